"""The metrics' names, labels and words: numbers in, Prometheus families out.

Names are those of OpenTelemetry's GenAI conventions where it has one, else
`stagedoor_…`. Pure but for the process's own numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, TypeVar

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gateway.logs import LogStatistics
from gateway.metrics import keeping
from gateway.metrics.counts import (
    PROVIDER_STATES,
    CapGauges,
    Gauges,
    Histogram,
    Mark,
    Timing,
    Traffic,
)

T = TypeVar("T")

PIECE_MAX: Final = 16  # Some 300 samples of a histogram.
EOF: Final = b"# EOF\n"


def render(
    snapshot: Snapshot, process: CollectorRegistry, accept: str, worker: int = 0
) -> tuple[str, bytes]:
    """The content type and the text that a scraper accepts.

    With a worker, every sample says which: each series then resets by itself when that
    one is started again.
    """
    encode, content_type = choose_encoder(accept)
    sources: list[Collector | CollectorRegistry] = [snapshot, process]
    if worker:
        sources = [_Labelled(source, worker) for source in sources]
    # A piece of a family at a time: what is there at once is what the garbage collector
    # walks and what one instruction joins, and meanwhile the loop has no interpreter.
    texts: list[bytes] = []
    before = end = b""
    for source in sources:
        for family in source.collect():
            text: bytes = encode(_Family(family))
            if text.endswith(EOF):
                # Each ends in OpenMetrics' last line, which may be there only once.
                end = EOF
                text = text.removesuffix(EOF)
            head, text = _parted(text)
            texts += (text,) if head == before else (head, text)
            before = head
    return content_type, b"".join([*texts, end])


def _parted(text: bytes) -> tuple[bytes, bytes]:
    """What is said of a family, and its samples."""
    at = 0
    while text.startswith(b"# ", at):
        at = text.index(b"\n", at) + 1
    return text[:at], text[at:]


def _pieces(found: Sequence[T]) -> Iterator[Sequence[T]]:
    """Some at a time; one empty piece of nothing, which still names its family."""
    for start in range(0, max(1, len(found)), PIECE_MAX):
        yield found[start : start + PIECE_MAX]


@attrs.frozen(eq=False)
class _Family(Collector):
    """One family, as encoders want to be given it."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        """That one."""
        yield self.family


@attrs.frozen(eq=False)
class _Labelled(Collector):
    """What another one collects, as one worker's."""

    inner: Collector | CollectorRegistry
    worker: int

    def collect(self) -> Iterable[Metric]:
        """Every family, with the label."""
        label = {"worker": str(self.worker)}
        for family in self.inner.collect():
            family.samples = [
                sample._replace(labels={**sample.labels, **label})
                for sample in family.samples
            ]
            yield family


@attrs.frozen(eq=False)
class Snapshot(Collector):
    """The metrics at one moment, as families."""

    traffic: Sequence[Traffic]
    timings: Sequence[Timing]
    errors: dict[tuple[str, str], int]
    refusals: dict[tuple[str, str], int]
    alerts: dict[tuple[str, str], int]
    degraded: dict[tuple[str, str], int]
    asides: dict[tuple[str, str], int]
    gauges: Gauges

    def collect(self) -> Iterable[Metric]:
        """Every family, those without a sample too: dashboards find their names."""
        yield from self._histograms()
        yield from self._counters()
        yield from self._now()
        if self.gauges.log is not None:
            yield from _log(self.gauges.log)
        if self.gauges.audit is not None:
            yield from keeping.audit(self.gauges.audit)
        if self.gauges.vault is not None:
            yield from keeping.vault(self.gauges.vault)
        yield from keeping.hooks(self.gauges.hooks)
        if self.gauges.traces is not None:
            yield from keeping.traces(self.gauges.traces)

    def _histograms(self) -> Iterator[Metric]:
        names = (
            "gen_ai_operation_name",
            "gen_ai_provider_name",
            "gen_ai_request_model",
            "gen_ai_response_model",
        )
        for name, doc, histogram in (
            (
                "gen_ai_server_request_duration_seconds",
                "From a request's arrival to the last byte of its answer.",
                attrgetter("duration"),
            ),
            (
                "gen_ai_server_time_to_first_token_seconds",
                "From a request's arrival to its first content.",
                attrgetter("first_content"),
            ),
            (
                "gen_ai_server_time_per_output_token_seconds",
                "Between two tokens of an answer after its first content.",
                attrgetter("per_token"),
            ),
        ):
            for piece in _pieces(self.timings):
                family = HistogramMetricFamily(name, doc, labels=names)
                for one in piece:
                    _add(family, one.labels, histogram(one))
                yield family
        for piece in _pieces(self.timings):
            tokens = HistogramMetricFamily(
                "gen_ai_client_token_usage",
                "Tokens of a request, as the provider counted them.",
                labels=(*names, "gen_ai_token_type"),
            )
            for one in piece:
                _add(tokens, (*one.labels, "input"), one.tokens_in)
                _add(tokens, (*one.labels, "output"), one.tokens_out)
            yield tokens

    def _counters(self) -> Iterator[Metric]:
        names = ("site", "model", "provider")
        for piece in _pieces(self.traffic):
            requests = CounterMetricFamily(
                "stagedoor_requests",
                "Requests that have ended, by outcome: ok, or a class of errors.",
                labels=(*names, "outcome"),
            )
            for one in piece:
                for outcome, count in one.outcomes.items():
                    requests.add_metric((*one.labels, outcome), count)
            yield requests
        for piece in _pieces(self.traffic):
            tokens = CounterMetricFamily(
                "stagedoor_tokens",
                "Tokens, as providers counted them; cached input is part of input.",
                labels=(*names, "type"),
            )
            for one in piece:
                tokens.add_metric((*one.labels, "input"), one.tokens_in)
                tokens.add_metric((*one.labels, "cached_input"), one.tokens_cached)
                tokens.add_metric((*one.labels, "output"), one.tokens_out)
            yield tokens
        for name, doc, unit, count_of in (
            (
                "stagedoor_spend_usd",
                "What was spent, at catalogue prices, in US dollars.",
                1e9,
                attrgetter("spend_nanousd"),
            ),
            (
                "stagedoor_retries",
                "Calls repeated at the same provider.",
                1,
                attrgetter("retries"),
            ),
            (
                "stagedoor_fallbacks",
                "Calls moved on to another candidate.",
                1,
                attrgetter("fallbacks"),
            ),
        ):
            for piece in _pieces(self.traffic):
                family = CounterMetricFamily(name, doc, labels=names)
                for one in piece:
                    family.add_metric(one.labels, count_of(one) / unit)
                yield family
        errors = CounterMetricFamily(
            "stagedoor_upstream_errors",
            "Failed calls to a provider, by class, those that a fallback healed too.",
            labels=("provider", "error_type"),
        )
        for key, count in self.errors.items():
            errors.add_metric(key, count)
        refusals = CounterMetricFamily(
            "stagedoor_refusals",
            "Requests refused before any provider was asked.",
            labels=("site", "reason"),
        )
        for key, count in self.refusals.items():
            refusals.add_metric(key, count)
        alerts = CounterMetricFamily(
            "stagedoor_money_alerts",
            "Caps reached (soft, degrade, hard) and calls over their hold (overrun).",
            labels=("cap", "kind"),
        )
        for key, count in self.alerts.items():
            alerts.add_metric(key, count)
        degraded = CounterMetricFamily(
            "stagedoor_degraded_requests",
            "Requests on a step of their site's ladder.",
            labels=("site", "step"),
        )
        for key, count in self.degraded.items():
            degraded.add_metric(key, count)
        yield from (errors, refusals)
        asides = CounterMetricFamily(
            "stagedoor_asides",
            "What was asked for no client, mirrors and probes: ok, dropped (there was "
            "no room for it), or a class of errors.",
            labels=("kind", "outcome"),
        )
        for key, count in self.asides.items():
            asides.add_metric(key, count)
        yield from (alerts, degraded, asides)

    def _now(self) -> Iterator[Metric]:
        gauges = self.gauges
        yield GaugeMetricFamily(
            "stagedoor_streams_open", "Requests under way.", value=gauges.streams_open
        )
        yield GaugeMetricFamily(
            "stagedoor_connections", "Client connections.", value=gauges.connections
        )
        sites = GaugeMetricFamily(
            "stagedoor_site_in_flight",
            "Requests under way of a site.",
            labels=("site",),
        )
        for site, count in gauges.sites_in_flight.items():
            sites.add_metric((site,), count)
        yield sites
        yield from _caps(gauges.caps)
        in_flight = GaugeMetricFamily(
            "stagedoor_provider_in_flight", "Calls under way.", labels=("provider",)
        )
        queued = GaugeMetricFamily(
            "stagedoor_provider_queued", "Calls that wait.", labels=("provider",)
        )
        restarts = CounterMetricFamily(
            "stagedoor_provider_restarts",
            "Trips of a provider's breaker, and crashes of its actor.",
            labels=("provider",),
        )
        states = GaugeMetricFamily(
            "stagedoor_provider_state",
            "1 for the state that a provider's breaker is in.",
            labels=("provider", "state"),
        )
        for name, one in gauges.providers.items():
            in_flight.add_metric((name,), one.in_flight)
            queued.add_metric((name,), one.queued)
            restarts.add_metric((name,), one.restarts)
            for state in PROVIDER_STATES:
                states.add_metric((name, state), float(one.state == state))
        yield from (in_flight, queued, restarts, states)


def _add(
    family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram
) -> None:
    family.add_metric(
        labels,
        [
            (bound, count, _example(*histogram.marks[place]))
            if place in histogram.marks
            else (bound, count)
            for place, (bound, count) in enumerate(histogram.cumulative())
        ],
        histogram.sum,
    )


def _example(value: float, mark: Mark) -> Exemplar:
    """A request of a bucket; only OpenMetrics has room for it."""
    labels = {"request_id": mark.request_id}
    if mark.trace_id:
        labels["trace_id"] = mark.trace_id
    return Exemplar(labels, value, mark.unix_s)


def _caps(caps: Sequence[CapGauges]) -> Iterator[Metric]:
    names = ("cap", "kind", "subject")
    spent = GaugeMetricFamily(
        "stagedoor_cap_spent_usd", "Spent in the window that runs now.", labels=names
    )
    held = GaugeMetricFamily(
        "stagedoor_cap_held_usd", "Set aside for calls under way.", labels=names
    )
    most = GaugeMetricFamily(
        "stagedoor_cap_max_usd", "What may be spent in a window.", labels=names
    )
    for one in caps:
        labels = (one.cap, one.kind, one.subject)
        spent.add_metric(labels, one.spent_nanousd / 1e9)
        held.add_metric(labels, one.held_nanousd / 1e9)
        most.add_metric(labels, one.max_nanousd / 1e9)
    return iter((spent, held, most))


def _log(log: LogStatistics) -> Iterator[Metric]:
    for name, doc, count in (
        ("lines", "Lines written to the log.", log.written),
        ("lines_dropped", "Lines dropped: the buffer was full.", log.dropped),
        ("lines_failed", "Lines lost: they could not be written.", log.failed),
        ("unknown_fields", "Fields left out: not on the list.", log.unknown_fields),
        ("hidden_values", "Values replaced: no plain name.", log.hidden_values),
    ):
        yield CounterMetricFamily(f"stagedoor_log_{name}", doc, value=count)
