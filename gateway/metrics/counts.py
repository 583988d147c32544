"""What is counted: histograms, counters and gauges as plain numbers.

Owns: the buckets, and what one request changes (`Traffic.record`, the hot path).
Never: knows how they are named outside, or does I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from gateway.logs import LogStatistics
from gateway.tracing.exporter import TraceStatistics

OUTCOMES_MAX: Final = 64  # Error classes are a closed set of about twenty.
OTHER: Final = "other"

# The buckets that OpenTelemetry's GenAI conventions advise; the last of the durations
# are ours, since reasoning models answer for minutes.
DURATION_S: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96,
    81.92, 163.84, 327.68, 655.36,
)  # fmt: skip
FIRST_CONTENT_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
PER_TOKEN_S: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip
TOKENS: Final = (
    1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216,
    67108864,
)  # fmt: skip

PROVIDER_STATES: Final = ("closed", "open", "half_open")


@attrs.frozen
class Mark:
    """One request, for whoever wants to look at an example of a bucket."""

    request_id: str
    trace_id: str  # Empty: no span of it was told.
    unix_s: float


class Histogram:
    """Counts by bucket, and their sum. `bounds` are inclusive, as Prometheus has it.

    Each bucket remembers the last request that fell into it, where it was told one.
    """

    __slots__ = ("bounds", "counts", "marks", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.marks: dict[int, tuple[float, Mark]] = {}

    def observe(self, value: float, mark: Mark | None = None) -> None:
        """Count one value."""
        place = bisect_left(self.bounds, value)
        self.counts[place] += 1
        self.sum += value
        if mark is not None:
            self.marks[place] = (value, mark)

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound is None else f"{float(bound)}", total))
        return found

    def copy(self) -> Histogram:
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts = self.counts.copy()
        copied.sum = self.sum
        copied.marks = self.marks.copy()
        return copied


class Timing:
    """How long requests of one kind take, and how large they are; of all sites."""

    __slots__ = (
        "duration", "first_content", "labels", "per_token", "tokens_in", "tokens_out",
    )  # fmt: skip

    def __init__(self, labels: tuple[str, str, str, str]) -> None:
        self.labels = labels
        self.duration = Histogram(DURATION_S)
        self.first_content = Histogram(FIRST_CONTENT_S)
        self.per_token = Histogram(PER_TOKEN_S)
        self.tokens_in = Histogram(TOKENS)
        self.tokens_out = Histogram(TOKENS)

    def copy(self) -> Timing:
        """As it is now."""
        copied = Timing(self.labels)
        copied.duration = self.duration.copy()
        copied.first_content = self.first_content.copy()
        copied.per_token = self.per_token.copy()
        copied.tokens_in = self.tokens_in.copy()
        copied.tokens_out = self.tokens_out.copy()
        return copied


class Traffic:
    """One kind of traffic of one site: everything counted about its requests."""

    __slots__ = (
        "fallbacks",
        "labels",
        "outcomes",
        "retries",
        "spend_nanousd",
        "timing",
        "tokens_cached",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, labels: tuple[str, str, str], timing: Timing) -> None:
        self.labels = labels
        self.timing = timing
        self.outcomes: dict[str, int] = {}
        self.tokens_in = 0
        self.tokens_out = 0
        self.tokens_cached = 0
        self.spend_nanousd = 0
        self.retries = 0
        self.fallbacks = 0

    def record(
        self,
        outcome: str,
        duration_s: float,
        *,
        first_content_s: float | None = None,
        tokens_in: int = 0,
        tokens_out: int = 0,
        tokens_cached: int = 0,
        spend_nanousd: int = 0,
        retries: int = 0,
        fallbacks: int = 0,
        mark: Mark | None = None,
    ) -> None:
        """Count one request that has ended.

        `outcome` is "ok" or a class of errors. It is empty where no client waited: then
        time, tokens and money count, and there is no request.
        """
        outcomes = self.outcomes
        if outcome in outcomes:
            outcomes[outcome] += 1
        elif outcome:
            self._first(outcome)
        timing = self.timing
        timing.duration.observe(duration_s, mark)
        if first_content_s is not None:
            timing.first_content.observe(first_content_s, mark)
            if tokens_out > 1:
                rest_s = duration_s - first_content_s
                timing.per_token.observe(rest_s / (tokens_out - 1), mark)
        if tokens_in or tokens_out:
            timing.tokens_in.observe(tokens_in)
            timing.tokens_out.observe(tokens_out)
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
            self.tokens_cached += tokens_cached
            self.spend_nanousd += spend_nanousd
        if retries or fallbacks:
            self.retries += retries
            self.fallbacks += fallbacks

    def _first(self, outcome: str) -> None:
        if len(self.outcomes) >= OUTCOMES_MAX:
            outcome = OTHER
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def add(self, other: Traffic) -> None:
        """Sum up another one's counts in this one."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.tokens_cached += other.tokens_cached
        self.spend_nanousd += other.spend_nanousd
        self.retries += other.retries
        self.fallbacks += other.fallbacks


@attrs.frozen
class ProviderGauges:
    """A provider as it is now; `state` is one of PROVIDER_STATES."""

    state: str
    in_flight: int
    queued: int
    restarts: int = 0


@attrs.frozen
class CapGauges:
    """One sum of a cap as it is now."""

    cap: str
    kind: str
    subject: str
    spent_nanousd: int
    held_nanousd: int
    max_nanousd: int


@attrs.frozen
class AuditGauges:
    """The audit log as it is now."""

    entries: int
    published: int
    witnessed: int
    anchored: int
    anchor_late_s: float
    waiting: int
    troubled: bool
    disowned: bool


@attrs.frozen
class VaultGauges:
    """The vault as it is now; the last three count since the process began."""

    secrets: int
    leases: int
    grants: int
    keks_cached: int
    rotation_overdue: int
    rotation_failing: int
    locked_bytes: int
    leases_granted: int
    leases_refused: int


@attrs.frozen
class HookGauges:
    """What one hook did since the start."""

    name: str
    calls: int
    spent_s: float
    halts: int
    failures: dict[str, int]


@attrs.frozen
class Gauges:
    """The gateway as it is now."""

    streams_open: int = 0
    connections: int = 0
    sites_in_flight: Mapping[str, int] = attrs.field(factory=dict[str, int])
    providers: Mapping[str, ProviderGauges] = attrs.field(
        factory=dict[str, ProviderGauges]
    )
    log: LogStatistics | None = None
    caps: tuple[CapGauges, ...] = ()
    audit: AuditGauges | None = None
    vault: VaultGauges | None = None  # None: it is not running now.
    hooks: tuple[HookGauges, ...] = ()
    traces: TraceStatistics | None = None
