"""Who may call: keys by digest. A snapshot that a reload replaces and changes mend.

Owns: the keys of the file and of the directory, and which sites are open. Never: holds
a key; it knows SHA-256 digests, and looks one up in the same time whatever was guessed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

import attrs

from actors.directory.messages import HeldKey, KeyTerms
from gateway.access import SERVERS_ONLY, Access, access_of
from gateway.settings.config import Config
from gateway.settings.origins import NOBODY, Origins


@attrs.frozen
class Caller:
    """A client whose key is known. `key_id` names the key without opening anything.

    `terms` is what a key of the directory is held to; keys of the file have none.
    """

    site: str
    key_id: str
    access: Access = SERVERS_ONLY
    terms: KeyTerms | None = None


@attrs.frozen
class Ended:
    """Sites and keys that do not serve any more: their streams end too.

    `astray`: some pages may not have what they read any more.
    """

    sites: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    astray: bool = False

    def __bool__(self) -> bool:
        return bool(self.sites or self.keys or self.astray)


@attrs.frozen
class _Secret:
    """A digest's caller, and until when it is one."""

    caller: Caller
    expires_s: float | None = None


class Sites:
    """Finds the caller of a presented key."""

    def __init__(self, config: Config, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._by_digest: dict[bytes, _Secret] = {}
        self._by_id: dict[str, Caller] = {}
        self._of_file: dict[bytes, _Secret] = {}
        self._held: dict[str, HeldKey] = {}
        self._access: dict[str, Access] = {}
        self._homes: dict[str, tuple[str, str]] = {}
        self._closed: frozenset[str] = frozenset()
        self.origins: Origins = NOBODY
        self.replace(config)

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Sites {len(self._access)} with {len(self._by_digest)} keys>"

    def replace(self, config: Config) -> Ended:
        """Take the sites and keys of another config; those that are gone stop now."""
        sites, callers = self._open_sites(), self._by_id
        self._access = {site.name: access_of(site) for site in config.sites}
        self._homes = {site.name: config.home_of(site) for site in config.sites}
        self._closed = config.closed_sites()
        self._of_file = {
            key.digest: _Secret(
                Caller(site.name, f"{site.name}:{key.prefix}", self._access[site.name])
            )
            for site in config.sites
            for key in site.keys
        }
        self._index()
        closed = frozenset(sites - self._open_sites())
        return Ended(
            closed,
            frozenset(
                key_id
                for key_id in callers.keys() - self._by_id.keys()
                if callers[key_id].site not in closed  # Those are told so already.
            ),
            any(
                self._strays(caller, self._by_id.get(key_id))
                for key_id, caller in callers.items()
            ),
        )

    def follow(self, keys: Iterable[HeldKey], gone: Iterable[str] = ()) -> Ended:
        """Take what changed among the directory's keys."""
        ended: set[str] = set()
        mended = astray = False
        for key_id in gone:
            old = self._held.pop(key_id, None)
            if old is not None:
                ended.add(old.facts.key_id)
                self._drop(old)
        for key in keys:
            old = self._held.get(key.facts.id)
            before = self._by_id.get(key.facts.key_id)
            if old is not None:
                self._drop(old)
            self._held[key.facts.id] = key
            mended |= bool(key.facts.terms.origins)
            if key.digests:
                self._add(key)
                if before is not None:
                    astray |= self._strays(before, self._by_id.get(key.facts.key_id))
            elif old is not None and old.digests:
                ended.add(key.facts.key_id)
        if mended:
            self._gather_origins()
        return Ended(keys=frozenset(ended), astray=astray)

    def named(self, key_id: str) -> Caller | None:
        """The caller whose key this names, while the key is good."""
        caller = self._by_id.get(key_id)
        if caller is None or not self.is_open(caller.site):
            return None
        expires_ms = None if caller.terms is None else caller.terms.expires_ms
        if expires_ms is not None and self._wall() * 1000 >= expires_ms:
            return None
        return caller

    def lets(self, key_id: str, origin: str) -> bool:
        """Whether a page of this origin may have what this key's grants stand for."""
        caller = self.named(key_id)
        return caller is not None and caller.access.origins.allow(origin)

    @staticmethod
    def _strays(before: Caller, after: Caller | None) -> bool:
        """Whether a page that could have its answers may be one that cannot now."""
        origins = before.access.origins
        return bool(origins) and after is not None and origins != after.access.origins

    def find(self, key: bytes) -> Caller | None:
        """The caller with this key.

        A look-up by digest: its time says nothing about how much of a guess was right.
        """
        found = self._by_digest.get(hashlib.sha256(key).digest())
        if found is None:
            return None
        if found.expires_s is not None and self._wall() >= found.expires_s:
            return None
        return found.caller

    def home_of(self, site: str) -> tuple[str, str]:
        """The tenant and environment of a site; empty of one that is gone."""
        return self._homes.get(site, ("", ""))

    def is_open(self, site: str) -> bool:
        """Whether requests of this site are served."""
        return site in self._access and site not in self._closed

    def _open_sites(self) -> set[str]:
        return self._access.keys() - self._closed

    def _index(self) -> None:
        """Everything anew: sites have come and gone."""
        self._by_digest = dict(self._of_file)
        self._by_id = {one.caller.key_id: one.caller for one in self._of_file.values()}
        for key in self._held.values():
            self._add(key)
        self._gather_origins()

    def _gather_origins(self) -> None:
        origins = NOBODY
        for access in self._access.values():
            origins = origins.joined(access.origins)
        for caller in self._by_id.values():
            if caller.terms is not None and caller.terms.origins:
                origins = origins.joined(caller.access.origins)
        self.origins = origins

    def _add(self, key: HeldKey) -> None:
        """Its secrets serve, where its site is known here."""
        facts, terms = key.facts, key.facts.terms
        access = self._access.get(facts.site)
        if access is None or not key.digests:
            return
        if terms.origins:
            access = attrs.evolve(access, origins=Origins.of(terms.origins))
        caller = Caller(facts.site, facts.key_id, access, terms)
        self._by_id[facts.key_id] = caller
        for digest, expires_ms in key.digests:
            ends = [one for one in (expires_ms, terms.expires_ms) if one is not None]
            until = min(ends) / 1000 if ends else None
            # A digest of the file stays the file's: whoever could make two keys of one
            # secret has the secret.
            self._by_digest.setdefault(digest, _Secret(caller, until))

    def _drop(self, key: HeldKey) -> None:
        self._by_id.pop(key.facts.key_id, None)
        for digest, _ in key.digests:
            if digest not in self._of_file:
                self._by_digest.pop(digest, None)
