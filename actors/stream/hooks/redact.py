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
from functools import partial
from typing import Final

from actors.stream.hooks.api import EVERYTHING, Hook, Part
from actors.stream.hooks.linear import Found, compiled
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

# In this order: what is more particular goes first.
_PATTERNS: Final[tuple[tuple[str, str, Check | None], ...]] = (
    ("secrets", "|".join(_SECRETS), None),
    ("email", _EMAIL, None),
    ("iban", _IBAN, _iban),
    ("card", _CARD, _card),
    ("ip", _IP, _ip),
    ("phone", _PHONE, _phone),
)
KINDS: Final = tuple(kind for kind, _, _ in _PATTERNS)
# What every find has: a digit or a mark, or it is a word too long to be one.
_SUSPECT: Final = re.compile(r"[0-9@]|-----|::|[!-~]{21}")


class Redact(Hook):
    """Masks what its patterns find."""

    conceals = True

    def __init__(self, what: tuple[str, ...], mask: str, others: bool) -> None:
        self._patterns = [
            (kind, compiled(pattern), check)
            for kind, pattern, check in _PATTERNS
            if kind in what
        ]
        # One pass for the many runs in which there is nothing.
        self._any = compiled("|".join(f"(?:{p})" for k, p, _ in _PATTERNS if k in what))
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
        if _SUSPECT.search(run) is None or self._any.search(run) is None:
            return run
        for kind, pattern, check in self._patterns:
            if pattern.search(run) is None:
                continue
            mask = self._mask.replace("{kind}", kind)
            run = pattern.sub(partial(self._judge, check, mask), run)
        return run

    def _judge(self, check: Check | None, mask: str, found: Found) -> str:
        text: str = found.group(0)
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
