"""Unwrapped KEKs for a while: bounded in time and uses, wiped at the end of either.

Time is an argument. A KMS that is down is not noticed before an entry ends; after that
there is no key and no lease. `strict` is a cache that keeps nothing.
"""

from __future__ import annotations

import attrs

from actors.vault.locked import LockedBytes
from actors.vault.sealing import Kek

TTL_S_MAX = 300.0  # A key that was disabled at the KMS must stop serving soon.
USES_MAX = 1_000_000  # Far below the 2**32 random nonces that GCM allows one key.
STRICT_S = 1.0  # Only a bound for what went wrong: it is dropped in the same step.
REFRESH_AT = 0.8  # Of its life: asked for anew while the old one still serves.


@attrs.frozen
class KekLimits:
    """How long and how often one unwrapped KEK may serve."""

    ttl_s: float = TTL_S_MAX
    uses_max: int = USES_MAX

    @property
    def strict(self) -> bool:
        """Whether every lease asks the KMS."""
        return self.ttl_s <= 0


@attrs.define(repr=False)
class _Held:
    key: LockedBytes
    kek: Kek
    refresh_at: float
    expires_at: float
    uses_left: int


class KekCache:
    """KEKs by id and version."""

    def __init__(self, limits: KekLimits) -> None:
        self.limits = limits
        self._held: dict[tuple[str, int], _Held] = {}

    def __repr__(self) -> str:
        return f"<KekCache {len(self._held)} of {self.limits.ttl_s:g} s>"

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def get(self, kek_id: str, version: int, now: float) -> Kek | None:
        """One use of the KEK, if it still may be used."""
        held = self._held.get((kek_id, version))
        if held is None:
            return None
        if now >= held.expires_at or held.uses_left <= 0:
            self.drop(kek_id, version)
            return None
        held.uses_left -= 1
        return held.kek

    def wants_refresh(self, kek_id: str, version: int, now: float) -> bool:
        """Whether its end is near; true once, the asker then fetches it."""
        held = self._held.get((kek_id, version))
        if held is None or now < held.refresh_at:
            return False
        held.refresh_at = held.expires_at
        return True

    def put(self, kek_id: str, version: int, key: LockedBytes, now: float) -> Kek:
        """Keep it, in the place of an older copy."""
        self.drop(kek_id, version)
        kek = Kek(kek_id, version, key.view)
        strict = self.limits.strict
        # Strict: for the step that follows, and dropped by it.
        ttl_s = STRICT_S if strict else min(self.limits.ttl_s, TTL_S_MAX)
        self._held[kek_id, version] = _Held(
            key=key,
            kek=kek,
            refresh_at=now + REFRESH_AT * ttl_s,
            expires_at=now + ttl_s,
            uses_left=1 if strict else self.limits.uses_max,
        )
        return kek

    def drop(self, kek_id: str, version: int) -> None:
        """Wipe one."""
        held = self._held.pop((kek_id, version), None)
        if held is not None:
            held.key.wipe()

    def sweep(self, now: float) -> float | None:
        """Wipe what is over; when the next one will be."""
        for place, held in list(self._held.items()):
            if now >= held.expires_at:
                self.drop(*place)
        return min((held.expires_at for held in self._held.values()), default=None)

    def settle(self) -> None:
        """After a change: a strict cache keeps nothing that was made on the way."""
        if self.limits.strict:
            self.clear()

    def clear(self) -> None:
        """Wipe them all."""
        for place in list(self._held):
            self.drop(*place)
