"""`stagedoor top`: a running gateway, all its workers, again and again.

Owns: the terminal while it runs, and gives it back as it was. A screen is one write
over the last one, so nothing flickers. Keys: q quits, g groups by site, model or
provider, s sorts, / filters by name (Enter ends it, Escape clears), p holds the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from gateway.cli import OK, UNREACHABLE, USAGE, complain
from gateway.cli.control import ControlError, add_gateway, control_socket, get_text
from gateway.cli.top_view import GROUPS, SORTS, Group, Scrape, Sort, lines, view

# The gateway renders its metrics once a second at the most: sooner is the same text.
INTERVAL_S_MIN: Final = 1.0
FILTER_CHARS_MAX: Final = 64
KEYS_BYTES_MAX: Final = 64  # What a paste leaves beyond is read at the next look.

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


@attrs.define
class Wishes:
    """What the keys have asked for."""

    group: Group = "site"
    sort: Sort = "requests"
    wanted: str = ""
    typing: bool = False
    held: bool = False
    over: bool = False

    def key(self, key: str) -> None:
        """One key."""
        if self.typing:
            self._typed(key)
            return
        match key:
            case "q" | "\x03" | "\x04":
                self.over = True
            case "g":
                self.group = GROUPS[(GROUPS.index(self.group) + 1) % len(GROUPS)]
            case "s":
                self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
            case "p" | " ":
                self.held = not self.held
            case "/":
                self.typing, self.wanted = True, ""
            case "\x1b":
                self.wanted = ""
            case _:
                pass

    def _typed(self, key: str) -> None:
        match key:
            case "\r" | "\n":
                self.typing = False
            case "\x1b":
                self.typing, self.wanted = False, ""
            case "\x7f" | "\b":
                self.wanted = self.wanted[:-1]
            case "\x03" | "\x04":
                self.over = True
            case _ if key.isprintable() and len(self.wanted) < FILTER_CHARS_MAX:
                self.wanted += key
            case _:
                pass

    @property
    def foot(self) -> str:
        """The last line."""
        if self.typing:
            return f"/{self.wanted}_"
        wanted = f"  /{self.wanted}" if self.wanted else ""
        held = "  held" if self.held else ""
        return (
            f"q quit  g by {self.group}  s by {self.sort}  / filter  p hold"
            f"{wanted}{held}"
        )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which gateway, and how it is shown."""
    add_gateway(parser)
    parser.add_argument(
        "--once", action="store_true", help="watch one interval, print it, and end"
    )
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS",
        help=f"between two looks (default: 2; at least {INTERVAL_S_MIN:g})",
    )  # fmt: skip
    parser.add_argument("--by", choices=GROUPS, default="site", help="what a row is")
    parser.add_argument("--sort", choices=SORTS, default="requests", help="what leads")
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="rows that hold it"
    )


def run(args: argparse.Namespace) -> int:
    """Watch."""
    path = control_socket(args)
    if isinstance(path, int):
        return path
    interval_s = max(args.interval, INTERVAL_S_MIN)
    wishes = Wishes(args.by, args.sort, args.filter)
    try:
        if args.once or args.json:
            return _once(path, interval_s, wishes, as_json=args.json)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            complain("top needs a terminal; use --once or --json in a script")
            return USAGE
        return _watch(path, interval_s, wishes)
    except ControlError as error:
        complain(error)
        return UNREACHABLE


def _look(path: Path) -> Scrape:
    return Scrape.of(get_text(path, "/metrics"), time.monotonic())


def _once(path: Path, interval_s: float, wishes: Wishes, *, as_json: bool) -> int:
    before = _look(path)
    time.sleep(interval_s)
    shown = view(before, _look(path), wishes.group)
    if as_json:
        print(json.dumps(attrs.asdict(shown), indent=1))
    else:
        found = lines(shown, group=wishes.group, sort=wishes.sort, wanted=wishes.wanted)
        print("\n".join(found))
    return OK


def _watch(path: Path, interval_s: float, wishes: Wishes) -> int:
    before = after = _look(path)
    with _screen():
        while True:
            _draw(before, after, wishes)
            due = time.monotonic() + interval_s
            while (wait_s := due - time.monotonic()) > 0:
                if _keys(wishes, wait_s):
                    _draw(before, after, wishes)
                if wishes.over:
                    return OK
            if not wishes.held:
                before, after = after, _look(path)


def _keys(wishes: Wishes, wait_s: float) -> bool:
    """Take what was typed within that time; whether anything was."""
    fd = sys.stdin.fileno()
    if not select.select([fd], [], [], wait_s)[0]:
        return False
    typed = os.read(fd, KEYS_BYTES_MAX)
    if not typed:
        wishes.over = True  # The terminal is gone.
    if len(typed) > 1 and typed.startswith(b"\x1b"):
        return False  # An arrow or the like: one key of many bytes, and none of ours.
    for key in typed.decode("utf-8", "ignore"):
        wishes.key(key)
    return True


def _draw(before: Scrape, after: Scrape, wishes: Wishes) -> None:
    width, height = shutil.get_terminal_size()
    shown = lines(
        view(before, after, wishes.group),
        group=wishes.group,
        sort=wishes.sort,
        wanted=wishes.wanted,
        height=max(1, height - 1),
    )
    sys.stdout.write(screen(shown, wishes.foot, width, height))
    sys.stdout.flush()


def screen(shown: list[str], foot: str, width: int, height: int) -> str:
    """One write: each line over the old one, and what is left of that cleared."""
    body = [line[:width] for line in shown[: height - 1]]
    body += [""] * (height - 1 - len(body))
    rows = "".join(f"{line}\x1b[K\r\n" for line in body)
    return f"\x1b[H{rows}\x1b[7m{foot[:width]:<{width}}\x1b[0m"


@contextmanager
def _screen() -> Generator[None]:
    """The other screen, with keys as they are typed; afterwards all as it was."""
    fd = sys.stdin.fileno()
    old = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        sys.stdout.write(_ENTER)
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(fd, termios.TCSADRAIN, old)
