"""People as records may name them: keyed hashes, for the sites that ask for it.

Owns: which of a request's identifiers are named, and how a client's address is found.
Off unless a site asks; then two HMACs a request. Never: keeps or shows what it hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from actors.auditor.privacy import Kind, Peppers, epoch_of, pseudonym

FORWARDED_MAX: Final = 16  # Proxies in a row; more is somebody's invention.

Networks = Sequence[IPv4Network | IPv6Network]
Names = tuple[str, str]  # The end user and the address, as records name them.
NOBODY: Final[Names] = ("", "")


class People:
    """Names people."""

    def __init__(self, peppers: Peppers, wall: Callable[[], float]) -> None:
        self._peppers = peppers
        self._wall = wall

    def __repr__(self) -> str:
        """Nobody."""
        return "<People>"

    def names(
        self, kinds: frozenset[str], tenant: str, user: str | None, address: str
    ) -> Names:
        """Whom a request is from, as far as its site wants to know."""
        named = ""
        if user and "user" in kinds:
            named = self.name(tenant, "email" if "@" in user else "user", user)
        where = ""
        if address and "ip" in kinds:
            where = self.name(tenant, "ip", address)
        return named, where

    def name(self, tenant: str, kind: Kind, value: str) -> str:
        """One identifier; empty while its pepper is not at hand."""
        now_ms = int(self._wall() * 1000)
        if self._peppers.pepper(tenant, epoch_of(now_ms)) is None:
            return ""
        return pseudonym(self._peppers, tenant, kind, value, now_ms)


def client_address(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """The address a request came from: the last one that no trusted proxy wrote.

    Whoever is not trusted can write what it likes, so only what a trusted proxy added
    counts, from the right.
    """
    address = peer
    for hop in reversed(forwarded_for.split(",")[-FORWARDED_MAX:]):
        if not _is_within(address, trusted):
            break
        found = hop.strip()
        if not found:
            break
        address = found
    return address


def _is_within(address: str, networks: Networks) -> bool:
    if not networks:
        return False
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
