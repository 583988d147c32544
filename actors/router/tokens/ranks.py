"""OpenAI's encodings, built from ranks in this package: no download, no cache folder.

Owns: the rank files, their hashes, the patterns, when they are loaded. Never: touches
the network. A vocabulary takes 28 MB and 0.1 s, most of it with the interpreter locked;
it is loaded with the first prompt that needs it, so a gateway that has none stays small
(docs/decisions/0011).
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Final, Literal, get_args

from splintr import Tokenizer

EncodingName = Literal["o200k_base", "cl100k_base"]
CALLS_BETWEEN_LOOKS: Final = 1_024
WORDS_KEPT_MAX: Final = 20_000  # 3 MB; of a language's text they are nearly all.

ENCODINGS: Final = get_args(EncodingName)

# tiktoken's own `expected_hash` of each file.
SHA256: Final[dict[EncodingName, str]] = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}

_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER: Final = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER: Final = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
PATTERNS: Final[dict[EncodingName, str]] = {
    "o200k_base": "|".join(
        [
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    ),
    # tiktoken's of today says the same with possessive quantifiers.
    "cl100k_base": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


class BadRanks(Exception):
    """A rank file is not the one that this version was made with."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the token ranks of {name} in this installation are damaged; install "
            "stagedoor again"
        )


class Encoding:
    """One encoding. Its vocabulary is loaded when the first text comes."""

    def __init__(self, name: EncodingName) -> None:
        self.name: EncodingName = name
        self._lock = Lock()
        self._loaded: Tokenizer | None = None
        self._calls = 0

    def __repr__(self) -> str:
        """Whether it is loaded."""
        return f"<Encoding {self.name}{'' if self._loaded else ' not loaded'}>"

    def load(self) -> Tokenizer:
        """Load it now, once. Raises BadRanks."""
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self.name)
            return self._loaded

    def encode_ordinary(self, text: str) -> list[int]:
        r"""Text into tokens.

        Special tokens are not known here: nothing may read `<|endoftext|>` in a prompt
        as more than the text that it is. (o200k_harmony has the same ranks.) Lone
        surrogates are what JSON's \ud800 becomes: they count as replacements.
        """
        loaded = self._loaded or self.load()
        self._calls += 1
        if self._calls >= CALLS_BETWEEN_LOOKS:
            self._calls = 0
            # It remembers words that it has seen; ours are other people's.
            if loaded.cache_len > WORDS_KEPT_MAX:
                loaded.clear_cache()
        try:
            return loaded.encode_ordinary(text)
        except UnicodeEncodeError:
            plain = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return loaded.encode_ordinary(plain)


@cache
def encoding(name: EncodingName) -> Encoding:
    """The one encoding of this name in this process."""
    return Encoding(name)


def _load(name: EncodingName) -> Tokenizer:
    packed = (
        files("actors.router.tokens")
        .joinpath("data", f"{name}.tiktoken.gz")
        .read_bytes()
    )
    lines = gzip.decompress(packed)
    if hashlib.sha256(lines).hexdigest() != SHA256[name]:
        raise BadRanks(name)
    return Tokenizer.from_bytes(lines, PATTERNS[name])
