"""Takes secrets and personal data out of answers, never half of one. Pure.

    options: what = "secrets,email,phone,card,iban,ip"; mask = "[{kind}]"

Numbers are checked by their own sums (Luhn, ISO 7064 mod 97), so that an order number
is not taken for a card. Every pattern runs in linear time (RE2). What spans two runs
(see runs.py) is not found: an address with spaces in it, a number in words.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from actors.stream.hooks.api import EVERYTHING, Hook, Part
from actors.stream.hooks.linear import Found, Pattern, compiled
from actors.stream.hooks.runs import Runs

MASK: Final = "[{kind}]"
ALL: Final = "secrets,email,phone,card,iban,ip"


def luhn(digits: str) -> bool:
    """Whether a card's number is one (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def mod97(iban: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616, ISO 7064)."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _card(found: str) -> bool:
    digits = "".join(char for char in found if char.isdigit())
    return 13 <= len(digits) <= 19 and luhn(digits)


def _iban(found: str) -> bool:
    plain = found.replace(" ", "")
    return 15 <= len(plain) <= 34 and mod97(plain)


def _ip(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _phone(found: str) -> bool:
    # E.164 has at most 15 digits. Without its + or an area's () they may be a sum or an
    # order's number: then only as many as an area and a number have, and in groups.
    digits = sum(char.isdigit() for char in found)
    if found.lstrip().startswith(("+", "(")):
        return 7 <= digits <= 15
    grouped = not found.isdecimal() and _DATE.match(found) is None
    return 10 <= digits <= 15 and grouped


_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}([-./])[0-9]{2}\1[0-9]{2}")


Check = Callable[[str], bool]

SECRET_CHARS_MIN: Final = (
    15  # "xoxb-" and ten more; a private key is found by its mark.
)
_SECRETS: Final = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*",
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}",
    r"\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    r"\bgithub_pat_[A-Za-z0-9_]{22,}",
    r"\bglpat-[A-Za-z0-9_-]{20,}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"\bnpm_[A-Za-z0-9]{36}",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
)
_EMAIL: Final = (
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}"
)
_IBAN: Final = r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_CARD: Final = r"\b[0-9](?:[ -]?[0-9]){12,18}\b"
_IP: Final = (
    r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:\.[0-9]+)*\b"
    r"|(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}|::[0-9A-Fa-f:]{2,}"
)
_PHONE: Final = (
    r"(?:\+[0-9]{1,3}[ .-]?)?(?:\([0-9]{1,4}\)[ .-]?)?"
    r"[0-9]{2,4}(?:[ ./-]?[0-9]{2,4}){1,4}\b"
)

_IBAN_BEGINS: Final = re.compile(r"[A-Z]{2}[0-9]{2}")


# What a run must have for a find of a kind to be in it: cheaper than to look for one.


def _may_hold_secrets(run: str) -> bool:
    if len(run) < SECRET_CHARS_MIN:
        return False
    return "-----" in run or max(map(len, run.split())) >= SECRET_CHARS_MIN


def _may_hold_email(run: str) -> bool:
    return "@" in run


def _may_hold_iban(run: str) -> bool:
    return _IBAN_BEGINS.search(run) is not None


def _may_hold_card(run: str) -> bool:
    return _digits(run) >= 13


def _may_hold_ip(run: str) -> bool:
    return run.count(".") >= 3 or run.count(":") >= 2


def _may_hold_phone(run: str) -> bool:
    return _digits(run) >= (7 if "+" in run or "(" in run else 10)


def _digits(run: str) -> int:
    return sum(map(run.count, "0123456789"))


# In this order: what is more particular goes first.
PATTERNS: Final[tuple[tuple[str, str, Check | None, Check], ...]] = (
    ("secrets", "|".join(_SECRETS), None, _may_hold_secrets),
    ("email", _EMAIL, None, _may_hold_email),
    ("iban", _IBAN, _iban, _may_hold_iban),
    ("card", _CARD, _card, _may_hold_card),
    ("ip", _IP, _ip, _may_hold_ip),
    ("phone", _PHONE, _phone, _may_hold_phone),
)
KINDS: Final = tuple(kind for kind, _, _, _ in PATTERNS)
# What every find has: a digit or a mark, or it is a word too long to be one.
_SUSPECT: Final = re.compile(r"[0-9@]|-----|::|[!-~]{21}")
# What most deltas are: a blank, a word of letters, its punctuation; none of the above.
_CALM: Final = re.compile(r"[ \n]?[A-Za-z,.;!?'\"()*_`]{1,20}\Z")
_CALM_CHARS_MAX: Final = 20


class Redact(Hook):
    """Masks what its patterns find."""

    conceals = True

    def __init__(self, what: tuple[str, ...], mask: str, others: bool) -> None:
        self._patterns = [
            (kind, compiled(pattern), check, may_hold)
            for kind, pattern, check, may_hold in PATTERNS
            if kind in what
        ]
        self._mask = mask
        self._runs: dict[Part, Runs] = {}
        self.found = 0
        if others:
            self.parts = EVERYTHING

    def __repr__(self) -> str:
        """Counts only."""
        return f"<Redact found={self.found}>"

    def on_delta(self, text: str, part: Part) -> str:
        """Whole runs, masked."""
        runs = self._runs.get(part)
        if runs is None:
            runs = self._runs[part] = Runs()
        calm = runs.feed_calm(text, _CALM, _CALM_CHARS_MAX)
        if calm is not None:
            return calm
        plain = runs.feed_plain(text, _SUSPECT)
        if plain is not None:
            return plain
        whole = runs.feed(text)
        if not whole:
            return ""
        return "".join([self._masked(run) for run in whole])

    def on_flush(self, part: Part) -> str:
        """The last run."""
        runs = self._runs.pop(part, None)
        return "" if runs is None else self._masked(runs.flush())

    def _masked(self, run: str) -> str:
        if _SUSPECT.search(run) is None:
            return run
        for kind, pattern, check, may_hold in self._patterns:
            if not may_hold(run):
                continue
            found = pattern.search(run)
            if found is not None:
                mask = self._mask.replace("{kind}", kind)
                run = self._replaced(run, pattern, found, check, mask)
        return run

    def _replaced(
        self, run: str, pattern: Pattern, found: Found, check: Check | None, mask: str
    ) -> str:
        """The run with this find and those behind it masked, where they are one."""
        pieces: list[str] = []
        at = 0
        while True:
            pieces.append(run[at : found.start()])
            at = found.end()
            pieces.append(self._judged(found.group(0), check, mask))
            following = pattern.search(run, at)
            if following is None:
                break
            found = following
        pieces.append(run[at:])
        return "".join(pieces)

    def _judged(self, text: str, check: Check | None, mask: str) -> str:
        if check is not None and not check(text):
            return text
        self.found += 1
        # A pattern may take the separator in front of it with it.
        lead = text[: len(text) - len(text.lstrip())]
        return lead + mask


def make(options: Mapping[str, str]) -> Hook:
    """See `Make`."""
    given = dict(options)
    what = tuple(filter(None, given.pop("what", ALL).replace(" ", "").split(",")))
    mask = given.pop("mask", MASK)
    others = given.pop("tool_arguments", "no")
    if given:
        raise ValueError(
            f"{min(given)!r} is no option; there are what, mask, tool_arguments"
        )
    unknown = set(what) - set(KINDS)
    if unknown or not what:
        raise ValueError(f"what = {','.join(what)!r}: name some of {', '.join(KINDS)}")
    if others not in {"yes", "no"}:
        raise ValueError("tool_arguments is yes or no")
    return Redact(what, mask, others == "yes")
