"""Cuts text where no secret, address or number can go on. Pure.

A *run* is the least that a pattern may have to be seen in whole. It ends with the
separator (whitespace, or any character outside ASCII) behind a word without digits;
once a word has a digit, behind the second word in a row without any, because numbers
are written in groups ("GB82 WEST 1234 5698"). A private key's block is one run.

Where a run ends depends on the text alone, never on how it was cut into pieces. That is
what makes every hook on top of it give the same for any split.
"""

from __future__ import annotations

import re
from typing import Final

RUN_CHARS_MAX: Final = (
    4_096  # A run without an end, as base64: cut there, and only there.
)
KEY_CHARS_MAX: Final = 16_384  # An RSA key of 8,192 bits is 6,400 characters.
PLAIN_WORDS_END: Final = 2
SEPARATORS: Final = " \n"  # Those in front of most words; there are others.

_WORD: Final = re.compile(r"[!-~]*[^!-~]")
_TAIL: Final = re.compile(r"[!-~]*\Z")
_DIGIT: Final = re.compile(r"[0-9]")
_KEY_BEGINS: Final = "-----BEGIN"
_KEY_ENDS: Final = "-----END"


class Runs:
    """Gathers pieces of one part, gives whole runs."""

    __slots__ = ("_calm", "_digits", "_in_key", "_plain", "_scanned", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._calm = True  # Nothing in the text is suspect, so far.
        self._scanned = 0  # Words before it are taken note of.
        self._digits = False
        self._plain = 0
        self._in_key = 0  # 0: no; 1: its block; 2: its last line.

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Runs {len(self._text)} chars kept>"

    def feed_calm(
        self, piece: str, calm: re.Pattern[str], chars_max: int
    ) -> str | None:
        """As `feed_plain`, of a piece that is a separator, a `calm` word, or both.

        Calm words have at most `chars_max` characters, and nothing of theirs makes
        suspect what stands beside them.
        """
        if not self._calm or calm.match(piece) is None:
            return None
        if piece[0] in SEPARATORS:
            shown = self._text + piece[0]
            self._text = piece[1:]
            return shown
        if len(self._text) + len(piece) > chars_max:
            return None
        self._text += piece
        return ""

    def feed_plain(self, piece: str, suspect: re.Pattern[str]) -> str | None:
        """The runs that are complete with this piece, joined, if none is `suspect`.

        None, and nothing has changed, where one may be: then `feed` parts them. Of
        words that have no digit and begin no key, each is a run.
        """
        if self._digits or self._in_key:
            return None
        text = self._text + piece
        if suspect.search(text) is not None:
            return None
        found = _TAIL.search(text)
        assert found is not None
        cut = found.start()
        self._text, self._scanned, self._calm = text[cut:], 0, True
        return text[:cut]

    def feed(self, piece: str) -> list[str]:
        """The runs that are complete with this piece."""
        self._calm = False  # What is kept of it was not looked at.
        text = self._text + piece if self._text else piece
        runs: list[str] = []
        began = 0
        position = self._scanned
        while True:
            found = _WORD.match(text, position)
            end = len(text) if found is None else found.end()
            limit = KEY_CHARS_MAX if self._in_key else RUN_CHARS_MAX
            if end - began > limit:
                # Always at the same place of the run, wherever the pieces were cut.
                runs.append(text[began : began + limit])
                began = position = began + limit
                self._begin()
                continue
            if found is None:
                break
            if self._ends(text, position, end):
                runs.append(text[began:end])
                began = end
                self._begin()
            position = end
        self._text = text[began:]
        self._scanned = position - began
        return runs

    def flush(self) -> str:
        """The last run; nothing goes on behind it."""
        text, self._text, self._scanned = self._text, "", 0
        self._calm = True
        self._begin()
        return text

    def _begin(self) -> None:
        self._digits, self._plain, self._in_key = False, 0, 0

    def _ends(self, text: str, start: int, end: int) -> bool:
        """Whether the run ends behind this word."""
        if self._in_key or text.startswith("-----", start):
            return self._ends_key(text, start, end)
        if end - start == 1:
            # Between separators: no word at all, and no end of a number either.
            return not self._digits
        if _DIGIT.search(text, start, end) is not None:
            self._digits, self._plain = True, 0
            return False
        self._plain += 1
        return not self._digits or self._plain >= PLAIN_WORDS_END

    def _ends_key(self, text: str, start: int, end: int) -> bool:
        if text.startswith(_KEY_ENDS, start):
            self._in_key = 2
        elif not self._in_key and text.startswith(_KEY_BEGINS, start):
            self._in_key = 1
        if self._in_key == 2:
            # "-----END RSA PRIVATE KEY-----": up to the dashes that close it.
            return text[start : end - 1].endswith("-----")
        return not self._in_key
