"""Who may call: site keys by digest. A snapshot, replaced as a whole on reload."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import attrs

from gateway.settings.config import Config


@attrs.frozen
class Caller:
    """A client whose key is known. `key_id` names the key without opening anything."""

    site: str
    key_id: str


class Sites:
    """Finds the site of a presented key."""

    def __init__(self, config: Config) -> None:
        self._by_digest: Mapping[bytes, Caller] = {}
        self._names: frozenset[str] = frozenset()
        self.replace(config)

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Sites {len(self._names)} with {len(self._by_digest)} keys>"

    def replace(self, config: Config) -> None:
        """Take the keys of another config; those that are gone stop at once."""
        self._by_digest = {
            key.digest: Caller(site.name, f"{site.name}:{key.prefix}")
            for site in config.sites
            for key in site.keys
        }
        self._names = frozenset(site.name for site in config.sites)

    def find(self, key: bytes) -> Caller | None:
        """The caller with this key.

        A look-up by digest: its time says nothing about how much of a guess was right.
        """
        return self._by_digest.get(hashlib.sha256(key).digest())
