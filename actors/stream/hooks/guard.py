r"""Ends, fails or masks an answer in which an operator's pattern is found. Pure.

    options: pattern = "regex" (again for more), words = "word,word…",
             do = "stop" | "fail" | "mask"; mask = "***"; window_chars = "80"

Patterns run in linear time (RE2), so none can hold the gateway. A find of at most
`window_chars` is never shown, not even in part, however the answer is cut into pieces;
text is shown once it lies further back than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from actors.stream.hooks.api import Halt, Hook, Part
from actors.stream.hooks.linear import Found, Pattern, compiled, escaped

WINDOW_CHARS: Final = 80
WINDOW_CHARS_MAX: Final = 2_000  # Kept back: nobody waits for a page.
MASK: Final = "***"
Deed = Literal["stop", "fail", "mask"]


class _Kept:
    """What is kept back of one part."""

    __slots__ = ("before", "clear", "text")

    def __init__(self) -> None:
        self.text = ""
        self.before = ""  # One character in front, so that a word's boundary is one.
        self.clear = 0  # So far into the text no find begins, whatever follows.


class Guard(Hook):
    """Keeps the last `window_chars` back and looks at them again with what follows.

    Where no find is longer than `find_chars_max` (None: nobody knows), text that was
    looked at once is settled but for its last so many characters. Then it is looked at
    when those that are not settled are to be shown, and not with every delta.
    """

    conceals = True

    def __init__(
        self,
        pattern: Pattern,
        deed: Deed,
        mask: str,
        window_chars: int,
        find_chars_max: int | None = None,
    ) -> None:
        self._pattern = pattern
        self._deed = deed
        self._mask = mask
        self._window = window_chars
        self._find_chars_max = find_chars_max
        self._parts: dict[Part, _Kept] = {}
        self.found = 0

    def __repr__(self) -> str:
        """Counts only."""
        return f"<Guard {self._deed} found={self.found}>"

    def on_delta(self, text: str, part: Part) -> str:
        """What lies further back than a find may reach."""
        kept = self._parts.get(part)
        if kept is None:
            kept = self._parts[part] = _Kept()
        text = kept.text + text
        until = len(text) - self._window
        if until <= 0:
            kept.text = text
            return ""
        if until <= kept.clear:
            kept.text = text[until:]
            kept.before = text[until - 1]
            kept.clear -= until
            return text[:until]
        return self._look(kept, text, until)

    def on_flush(self, part: Part) -> str:
        """What was kept back."""
        kept = self._parts.pop(part, None)
        return "" if kept is None else self._look(kept, kept.text, len(kept.text))

    def _look(self, kept: _Kept, text: str, until: int) -> str:
        """Show up to `until`, or up to a find that begins before it."""
        whole = kept.before + text
        start = len(kept.before)
        limit = start + until
        shown: list[str] = []
        position = start
        while True:
            found = self._pattern.search(whole, position)
            if found is None or found.start() >= limit:
                break
            begin, end = found.start(), found.end()
            if end - begin > self._window or end == begin:
                # Too long to be kept back whole: another may begin inside.
                exact = self._pattern.match(whole, begin, begin + self._window)
                if exact is None or exact.end() == begin:
                    shown.append(whole[position : begin + 1])
                    position = begin + 1
                    continue
                end = exact.end()
            shown.append(whole[position:begin])
            self._act("".join(shown))
            shown.append(self._mask)
            position = end
        if position < limit:
            shown.append(whole[position:limit])
            position = limit
        kept.text = whole[position:]
        kept.before = whole[max(0, position - 1) : position]
        kept.clear = self._settled(len(whole), found) - position
        return "".join(shown)

    def _settled(self, chars: int, found: Found | None) -> int:
        """How far into a text of so many characters it is known where finds begin."""
        if self._find_chars_max is None:
            return 0
        # The character behind a find decides whether a word ends there.
        settled = chars - self._find_chars_max
        return settled if found is None else min(settled, found.start())

    def _act(self, shown: str) -> None:
        self.found += 1
        if self._deed == "stop":
            raise Halt("content_filter", shown=shown)
        if self._deed == "fail":
            raise Halt(None, shown="")


def make(options: Mapping[str, str]) -> Hook:
    """See `Make`."""
    given = dict(options)
    patterns = [line for line in given.pop("pattern", "").split("\n") if line.strip()]
    words = [word.strip() for word in given.pop("words", "").split(",")]
    deed = given.pop("do", "stop")
    mask = given.pop("mask", MASK)
    window = given.pop("window_chars", str(WINDOW_CHARS))
    if given:
        raise ValueError(
            f"{min(given)!r} is no option; there are pattern, words, do, "
            "mask, window_chars"
        )
    words = [word for word in words if word]
    parts = [f"(?:{pattern})" for pattern in patterns]
    parts += [rf"(?i:\b{escaped(word)}\b)" for word in words]
    if not parts:
        raise ValueError("needs a pattern or words")
    if deed not in {"stop", "fail", "mask"}:
        raise ValueError("do is stop, fail or mask")
    if not window.isdecimal() or not 1 <= int(window) <= WINDOW_CHARS_MAX:
        raise ValueError(f"window_chars is a number from 1 to {WINDOW_CHARS_MAX}")
    # In another case a word has as many characters; of a pattern nobody knows.
    longest = None if patterns else max(map(len, words))
    return Guard(
        compiled("|".join(parts)), cast("Deed", deed), mask, int(window), longest
    )
