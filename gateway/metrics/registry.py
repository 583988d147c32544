"""The registry: hands out what to count on, and renders when somebody scrapes.

Owns: the bound on the number of handles, the snapshot, and that rendering happens in a
thread, one at a time and at most once a second.
Never: looks up a label on the hot path, or lets a client choose one.
Talks to: whoever is registered with `watch`, for gauges, at scrape time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio
from prometheus_client import CollectorRegistry, ProcessCollector

from gateway.metrics.counts import OTHER, Gauges, Timing, Traffic
from gateway.metrics.exposition import Snapshot, render

# Names come from the configuration, so what exceeds these is a very large one, and is
# summed up under "other". Histograms are 67 lines each and do not know sites: with
# sites in them, 500 handles took 0.3 s and 8 MB to render.
HANDLES_MAX: Final = 2_000
TIMINGS_MAX: Final = 200
RENDER_S_MIN: Final = 1.0  # Two scrapers within a second are given the same text.


class Metrics:
    """All metrics of one process."""

    def __init__(
        self,
        *,
        handles_max: int = HANDLES_MAX,
        clock: Callable[[], float] = time.monotonic,
        worker: int = 0,
    ) -> None:
        self._worker = worker  # Its label; none for a gateway of one process.
        self._handles_max = handles_max
        self._clock = clock
        self._traffic: dict[tuple[str, str, str, str, str], Traffic] = {}
        self._timings: dict[tuple[str, str, str, str], Timing] = {}
        self._other_timing = Timing((OTHER, OTHER, OTHER, OTHER))
        self._other = Traffic((OTHER, OTHER, OTHER), self._other_timing)
        self._errors: dict[tuple[str, str], int] = {}
        self._refusals: dict[tuple[str, str], int] = {}
        self._alerts: dict[tuple[str, str], int] = {}
        self._degraded: dict[tuple[str, str], int] = {}
        self._asides: dict[tuple[str, str], int] = {}
        self._gauges: Callable[[], Gauges] = Gauges
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._rendering = trio.Lock()
        self._rendered: dict[str, tuple[float, tuple[str, bytes]]] = {}

    def __repr__(self) -> str:
        return f"<Metrics handles={len(self._traffic)}/{self._handles_max}>"

    def watch(self, gauges: Callable[[], Gauges]) -> None:
        """Ask `gauges` at every scrape. It runs on the loop, and must not wait."""
        self._gauges = gauges

    def traffic(
        self, site: str, model: str, operation: str, provider: str, upstream_model: str
    ) -> Traffic:
        """The handle of one kind of traffic. All names are from the configuration."""
        key = (site, model, operation, provider, upstream_model)
        found = self._traffic.get(key)
        if found is not None:
            return found
        if len(self._traffic) >= self._handles_max:
            return self._other
        timing = self._timing((operation, provider, model, upstream_model))
        made = self._traffic[key] = Traffic((site, model, provider), timing)
        return made

    def _timing(self, labels: tuple[str, str, str, str]) -> Timing:
        found = self._timings.get(labels)
        if found is not None:
            return found
        if len(self._timings) >= TIMINGS_MAX:
            return self._other_timing
        made = self._timings[labels] = Timing(labels)
        return made

    def upstream_error(self, provider: str, error_class: str) -> None:
        """Count one failed call to a provider, one that a fallback healed too."""
        self._bump(self._errors, provider, error_class)

    def refusal(self, site: str, reason: str) -> None:
        """Count one request that was refused before any provider was asked."""
        self._bump(self._refusals, site, reason)

    def alert(self, cap: str, kind: str) -> None:
        """Count one alert about money."""
        self._bump(self._alerts, cap, kind)

    def degraded(self, site: str, rung: str) -> None:
        """Count one request that was served, or refused, from a rung of the ladder."""
        self._bump(self._degraded, site, rung)

    def aside(self, kind: str, outcome: str) -> None:
        """Count one call that no client waited for: a mirror, or a probe."""
        self._bump(self._asides, kind, outcome)

    def _bump(self, counts: dict[tuple[str, str], int], name: str, what: str) -> None:
        key = (name, what)
        if key not in counts and len(counts) >= self._handles_max:
            key = (OTHER, OTHER)
        counts[key] = counts.get(key, 0) + 1

    def snapshot(self) -> Snapshot:
        """Everything as it is now; on the loop, about 2 µs a handle."""
        traffic: dict[tuple[str, str, str], Traffic] = {}
        # Counters have fewer labels than handles: what falls together is summed up.
        for one in (*self._traffic.values(), self._other):
            if one.outcomes or one.tokens_in or one.spend_nanousd:
                traffic.setdefault(
                    one.labels, Traffic(one.labels, self._other_timing)
                ).add(one)
        timings = [
            one.copy()
            for one in (*self._timings.values(), self._other_timing)
            if any(one.duration.counts)
        ]
        return Snapshot(
            list(traffic.values()),
            timings,
            self._errors.copy(),
            self._refusals.copy(),
            self._alerts.copy(),
            self._degraded.copy(),
            self._asides.copy(),
            self._gauges(),
        )

    async def scrape(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and text that a scraper asked for.

        One rendering at a time, in a thread: with many labels it takes tens of
        milliseconds, which the loop does not have.
        """
        async with self._rendering:
            kept = self._rendered.get(accept)
            if kept is not None and self._clock() - kept[0] < RENDER_S_MIN:
                return kept[1]
            made = await trio.to_thread.run_sync(
                render, self.snapshot(), self._process, accept, self._worker
            )
            # One text is kept: scrapers of one gateway ask alike.
            self._rendered = {accept: (self._clock(), made)}
            return made
