"""Who may call: site keys by digest. A snapshot, replaced as a whole on reload."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import attrs

from gateway.access import SERVERS_ONLY, Access, access_of
from gateway.settings.config import Config
from gateway.settings.origins import NOBODY, Origins


@attrs.frozen
class Caller:
    """A client whose key is known. `key_id` names the key without opening anything."""

    site: str
    key_id: str
    access: Access = SERVERS_ONLY


class Sites:
    """Finds the site of a presented key."""

    def __init__(self, config: Config) -> None:
        self._by_digest: Mapping[bytes, Caller] = {}
        self._by_id: Mapping[str, Caller] = {}
        self._names: frozenset[str] = frozenset()
        self.origins: Origins = NOBODY
        self.replace(config)

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Sites {len(self._names)} with {len(self._by_digest)} keys>"

    def replace(self, config: Config) -> None:
        """Take the keys of another config; those that are gone stop at once."""
        by_digest: dict[bytes, Caller] = {}
        origins = NOBODY
        for site in config.sites:
            access = access_of(site)
            origins = origins.joined(access.origins)
            for key in site.keys:
                key_id = f"{site.name}:{key.prefix}"
                by_digest[key.digest] = Caller(site.name, key_id, access)
        self._by_digest = by_digest
        self._by_id = {caller.key_id: caller for caller in by_digest.values()}
        self.origins = origins
        self._names = frozenset(site.name for site in config.sites)

    def named(self, key_id: str) -> Caller | None:
        """The caller whose key this names, while the key is good."""
        return self._by_id.get(key_id)

    def find(self, key: bytes) -> Caller | None:
        """The caller with this key.

        A look-up by digest: its time says nothing about how much of a guess was right.
        """
        return self._by_digest.get(hashlib.sha256(key).digest())
