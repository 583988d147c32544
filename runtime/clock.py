"""The clock of a run: trio's own, without its layer of Python.

A request reads it 30 times. Trio adds a random number to each reading, so that clocks
of two runs cannot be confused; here all runs of a machine read the same clock.
"""

from __future__ import annotations

from time import perf_counter

import trio


class SteadyClock(trio.abc.Clock):
    """For `trio.run(clock=...)`."""

    # Not a method of ours that calls it: that is the layer.
    current_time = staticmethod(perf_counter)  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"<SteadyClock {perf_counter():.3f}>"

    def start_clock(self) -> None:
        """Nothing to start."""

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """How long to sleep until then."""
        return deadline - perf_counter()
