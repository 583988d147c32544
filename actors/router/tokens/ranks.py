"""OpenAI's encodings, built from ranks in this package: no download, no cache folder.

Owns: the rank files, their hashes, the patterns. Never: touches the network.
Loading takes about half a second of processor time, most of it with the interpreter
locked: do it before serving.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

import tiktoken

EncodingName = Literal["o200k_base", "cl100k_base"]
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
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}


class BadRanks(Exception):
    """A rank file is not the one that this version was made with."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the token ranks of {name} in this installation are damaged; install "
            "stagedoor again"
        )


@cache
def encoding(name: EncodingName) -> tiktoken.Encoding:
    """The encoding, loaded at the first call.

    Special tokens are left out: nothing here may read `<|endoftext|>` in a prompt as
    more than the text that it is. (o200k_harmony has the same ranks.)
    """
    packed = (
        files("actors.router.tokens")
        .joinpath("data", f"{name}.tiktoken.gz")
        .read_bytes()
    )
    lines = gzip.decompress(packed)
    if hashlib.sha256(lines).hexdigest() != SHA256[name]:
        raise BadRanks(name)
    ranks: dict[bytes, int] = {}
    for line in lines.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(
        name, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={}
    )
