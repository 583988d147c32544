"""No person's name, e-mail or address in an entry, whoever made the event. Pure.

Every entry passes here on its way into the log. What is known to be a person's (the
actor `user:NAME`, the details `user`, `email` and `ip`) becomes the keyed hash of
privacy.py; so does whatever looks like an e-mail or an IP address in any other text,
for names are chosen by people, and some of them by clients. Owns: what is a person's.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from msgspec.structs import replace

from actors.auditor.messages import AuditEvent
from actors.auditor.privacy import (
    HASH_BYTES,
    Kind,
    Peppers,
    epoch_of,
    normalised,
    pseudonym_in,
)

PERSON: Final = "user:"
KINDS: Final[Mapping[str, Kind]] = {"user": "user", "email": "email", "ip": "ip"}

# Whatever may stand before an @ (RFC 5322's atext, and any letter): rather too much of
# what is around an address goes with it than a part of it stays.
_EMAIL: Final = r"[^\s\"<>@:,;()\[\]\\]+@[\w-]+(?:\.[\w-]+)+"
_IPV4: Final = r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
_IPV6: Final = r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"
_SUSPECT: Final = re.compile(f"({_EMAIL})|({_IPV4}|{_IPV6})")

Veil = Callable[[AuditEvent, int], AuditEvent]


class PersonVeil:
    """Names people by their hashes.

    Args:
        home: whose peppers are used: the gateway's own tenant.
        boot_key: in place of a pepper that is not at hand (the KMS is down at a start):
            acts of one person can be joined within this life of the process.
    """

    def __init__(self, peppers: Peppers, home: str, boot_key: bytes) -> None:
        self._peppers = peppers
        self._home = home
        self._boot_key = boot_key

    def __repr__(self) -> str:
        """Nobody."""
        return "<PersonVeil>"

    def __call__(self, event: AuditEvent, now_ms: int) -> AuditEvent:
        """The event as it may be kept."""
        changes: dict[str, str] = {}
        if (actor := self.actor(event.actor, now_ms)) != event.actor:
            changes["actor"] = actor
        for field in ("name", "req", "tenant", "env", "provider"):
            text: str = getattr(event, field)
            if text and (found := self._scrubbed(text, now_ms)) != text:
                changes[field] = found
        detail = self._detail(event.detail, now_ms)
        if not changes and detail == event.detail:
            return event
        return replace(event, **changes, detail=detail)

    def actor(self, actor: str, now_ms: int) -> str:
        """Who acts: a person by a hash, a machine by its name."""
        if actor.startswith(PERSON):
            name = actor[len(PERSON) :]
            return PERSON + self.name(kind_of(name), name, now_ms)
        return self._scrubbed(actor, now_ms)

    def name(self, kind: Kind, value: str, now_ms: int) -> str:
        """One person, address or e-mail."""
        found = pseudonym_in(self._peppers, self._home, kind, value, epoch_of(now_ms))
        if found is not None:
            return found
        message = kind.encode() + b"\0" + normalised(kind, value)
        digest = hmac.digest(self._boot_key, message, "sha256")
        return f"boot:{digest[:HASH_BYTES].hex()}"

    def names_of(self, person: str, epochs: Iterable[int]) -> tuple[str, ...]:
        """As whom the log may have named somebody, in each epoch that still can."""
        found = (
            pseudonym_in(self._peppers, self._home, kind_of(person), person, epoch)
            for epoch in epochs
        )
        return tuple(PERSON + one for one in found if one is not None)

    def _detail(
        self, detail: tuple[tuple[str, str | int], ...], now_ms: int
    ) -> tuple[tuple[str, str | int], ...]:
        return tuple((name, self._value(name, value, now_ms)) for name, value in detail)

    def _value(self, name: str, value: str | int, now_ms: int) -> str | int:
        if isinstance(value, int):
            return value
        kind = KINDS.get(name)
        if kind is None:
            return self._scrubbed(value, now_ms)
        return self.name(kind, value, now_ms) if value else value

    def _scrubbed(self, text: str, now_ms: int) -> str:
        def veiled(match: re.Match[str]) -> str:
            if match[1]:
                return self.name("email", match[1], now_ms)
            return self.name("ip", match[2], now_ms) if _is_ip(match[2]) else match[2]

        return _SUSPECT.sub(veiled, text)


def kind_of(person: str) -> Kind:
    """What a person's name is: an e-mail address has one spelling."""
    return "email" if "@" in person else "user"


def _is_ip(text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    # These machines are nobody's in particular.
    return not (found.is_loopback or found.is_unspecified)
