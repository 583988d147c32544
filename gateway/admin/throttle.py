"""How many failed logins an address gets. Pure: time comes as an argument.

A token is 256 random bits, so guessing one is hopeless; what this bounds is what a
guesser costs, and how fast it fills the audit log.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

FAILURES_MAX: Final = 10  # A person's wrong pastes; each comes back in six seconds.
REFILL_S: Final = 6.0
ADDRESSES_MAX: Final = (
    4096  # A few hundred kB; beyond it the longest unseen is dropped.
)


@attrs.define
class _Bucket:
    left: float
    at: float


class Throttle:
    """A bucket of failures an address."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Throttle {len(self._buckets)}/{ADDRESSES_MAX} addresses>"

    def wait_s(self, address: str, now: float) -> float:
        """How long this address must wait before it may try again; 0 is not at all."""
        bucket = self._buckets.get(address)
        if bucket is None:
            return 0.0
        left = self._left(bucket, now)
        return 0.0 if left >= 1 else (1 - left) * REFILL_S

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        bucket = self._buckets.pop(address, None) or _Bucket(FAILURES_MAX, now)
        bucket.left = max(0.0, self._left(bucket, now) - 1)
        bucket.at = now
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)

    @staticmethod
    def _left(bucket: _Bucket, now: float) -> float:
        return min(float(FAILURES_MAX), bucket.left + (now - bucket.at) / REFILL_S)
