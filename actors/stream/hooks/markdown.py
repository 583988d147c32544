"""Cuts answers where Markdown is whole, so that a page never shows half a link. Pure.

    options: chars_max = "400"

Text is kept back from the first inline mark of a line that is still open (`**bold`,
`` `code``, `[text](addr`), until it closes, the line ends, or `chars_max` are kept: a
lone asterisk is a lone asterisk. Inside a fence (```), text is shown as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from actors.stream.hooks.api import Hook, Part

CHARS_MAX: Final = 400
CHARS_MAX_MAX: Final = 4_000

# What opens and closes something within a line; a backslash takes what follows along.
_MARKS: Final = re.compile(r"\\.|`+|\*\*|__|\*|_|~~|!?\[|\]\(|\]|\)|\\$")
_MARKED: Final = re.compile(r"[\n\\`*_~!\[\]()]")  # Without one, text is just text.
FENCE_CHARS_MAX: Final = 80  # So much of a line says whether it is a fence.
_PAIRED: Final = frozenset({"**", "__", "*", "_", "~~"})


class Cuts(Hook):
    """Keeps back what is not whole yet."""

    def __init__(self, chars_max: int) -> None:
        self._chars_max = chars_max
        self._kept: dict[Part, str] = {}
        self._shown: dict[Part, str] = {}  # How the line began, as far as it is shown.
        self._fenced: dict[Part, str] = {}

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Cuts parts={len(self._kept)}>"

    def on_delta(self, text: str, part: Part) -> str:
        """Up to the last place where nothing is open."""
        kept = self._kept.get(part, "")
        if not kept and _MARKED.search(text) is None:
            self._note(text, part)
            return text
        if part.kind not in {"text", "refusal"}:
            return text
        kept += text
        line = kept.rfind("\n") + 1
        done, rest = kept[:line], kept[line:]
        if done:
            self._follow_fences(self._shown.pop(part, "") + done, part)
        cut = len(rest) if part in self._fenced else open_from(rest)
        if len(rest) - cut > self._chars_max:
            cut = len(rest)
        self._kept[part] = rest[cut:]
        # What is shown of a line is no longer looked at: marks in it were closed.
        self._note(rest[:cut], part)
        return done + rest[:cut]

    def on_flush(self, part: Part) -> str:
        """The end closes everything."""
        self._fenced.pop(part, None)
        self._shown.pop(part, None)
        return self._kept.pop(part, "")

    def _note(self, text: str, part: Part) -> None:
        shown = self._shown.get(part, "")
        if len(shown) < FENCE_CHARS_MAX:
            self._shown[part] = shown + text

    def _follow_fences(self, lines: str, part: Part) -> None:
        for line in lines.split("\n")[:-1]:
            stripped = line.lstrip(" ")
            if len(line) - len(stripped) > 3 or not stripped.startswith(("```", "~~~")):
                continue
            fence = self._fenced.get(part)
            if fence is None:
                self._fenced[part] = stripped[:3]
            elif stripped.startswith(fence) and not stripped.strip(fence[0] + " \r"):
                del self._fenced[part]


def open_from(line: str) -> int:
    """Where the first inline mark stands that is open at the end; else the length."""
    stack: list[tuple[str, int]] = []
    code: tuple[str, int] | None = None
    closed = len(line)  # Where what the last mark closes began.
    for found in _MARKS.finditer(line):
        mark, at = found.group(), found.start()
        closed = len(line)
        if code is not None:
            if mark == code[0]:
                closed, code = code[1], None
            continue
        if mark.startswith("\\"):
            if len(mark) == 1:
                return min(at, stack[0][1] if stack else at)
            continue
        if mark.startswith("`"):
            code = (mark, at)
        elif mark in _PAIRED:
            closed = _pair(stack, mark, at)
        elif mark.endswith("["):
            stack.append(("[", at))
        elif mark == "](":
            _replace(stack, "[", "(")
        elif mark == "]":
            # A link's address may follow at once: keep it until something else does.
            if found.end() < len(line):
                _drop(stack, "[")
        else:
            _drop(stack, "(")
    starts = [at for _, at in stack]
    if code is not None:
        starts.append(code[1])
    # A mark at the very end may grow: "*" to "**", "`" to "```", "!" to "![".
    # Then what it seems to close may still be open.
    tail = len(line) - len(line.rstrip("*_~`!"))
    if tail:
        starts += [len(line) - tail, closed]
    return min(starts, default=len(line))


def _pair(stack: list[tuple[str, int]], mark: str, at: int) -> int:
    """Close what this mark opened, or open it. Returns where it was opened."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place][0] == mark:
            opened = stack[place][1]
            del stack[place:]
            return opened
    stack.append((mark, at))
    return at


def _replace(stack: list[tuple[str, int]], old: str, new: str) -> None:
    for place in range(len(stack) - 1, -1, -1):
        if stack[place][0] == old:
            stack[place:] = [(new, stack[place][1])]
            return


def _drop(stack: list[tuple[str, int]], mark: str) -> None:
    for place in range(len(stack) - 1, -1, -1):
        if stack[place][0] == mark:
            del stack[place:]
            return


def make(options: Mapping[str, str]) -> Hook:
    """See `Make`."""
    given = dict(options)
    chars = given.pop("chars_max", str(CHARS_MAX))
    if given:
        raise ValueError(f"{min(given)!r} is no option; there is chars_max")
    if not chars.isdecimal() or not 1 <= int(chars) <= CHARS_MAX_MAX:
        raise ValueError(f"chars_max is a number from 1 to {CHARS_MAX_MAX}")
    return Cuts(int(chars))
