"""One sweeper for the deadlines of all connections of a server.

Owns: who waits for the clock; for the kernel, that is `runtime.poller`. Never: reads or
writes.

Why not trio's own: a cancel scope for each timeout. Here a timer is a dict entry.
"""

from typing import Protocol

import trio

SWEEPS_PER_DEADLINE = 8  # A deadline is kept within an eighth of itself.


class Sweepable(Protocol):
    """Something with a deadline of one kind at a time."""

    def expire(self, kind: str) -> None:
        """The deadline of this kind has passed."""
        ...


class Timers:
    """Deadlines of a few kinds, each of constant length: so a dict is sorted.

    Arming and disarming are one dict operation each; no heap, no cancel scope.
    """

    def __init__(self, **lengths_s: float) -> None:
        self._lengths_s = lengths_s
        self._armed: dict[str, dict[Sweepable, float]] = {k: {} for k in lengths_s}
        self.tick_s = min(lengths_s.values()) / SWEEPS_PER_DEADLINE

    def __repr__(self) -> str:
        counts = " ".join(f"{kind}={len(d)}" for kind, d in self._armed.items())
        return f"<Timers {counts}>"

    def kind(self, kind: str) -> dict[Sweepable, float]:
        """The armed of this kind, earliest first: store `now` to arm, pop to disarm."""
        return self._armed[kind]

    def sweep(self, now: float) -> None:
        """Expire what is due."""
        for kind, armed in self._armed.items():
            due = now - self._lengths_s[kind]
            expired: list[Sweepable] = []
            for target, since in armed.items():
                if since > due:
                    break
                expired.append(target)
            for target in expired:
                # An expiry may disarm others: each is looked at again.
                if armed.pop(target, None) is not None:
                    target.expire(kind)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await trio.sleep(self.tick_s)
            self.sweep(trio.current_time())
