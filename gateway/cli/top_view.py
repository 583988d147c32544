"""What `stagedoor top` shows: two scrapes in, figures out, lines of text. Pure.

Figures are rates between the two scrapes, over all workers. A series that fell was
started again with its worker: what it says now is all since then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

import attrs
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli.control import plain

Group = Literal["site", "model", "provider"]
Sort = Literal["requests", "errors", "tokens", "spend", "name"]

GROUPS: Final[tuple[Group, ...]] = ("site", "model", "provider")
SORTS: Final[tuple[Sort, ...]] = ("requests", "errors", "tokens", "spend", "name")

Labels = Mapping[str, str]
Series = dict[str, dict[tuple[tuple[str, str], ...], float]]

DURATION: Final = "gen_ai_server_request_duration_seconds"
FIRST: Final = "gen_ai_server_time_to_first_token_seconds"


@attrs.frozen
class Scrape:
    """All samples of one moment, by name and labels."""

    at_s: float
    series: Series

    @classmethod
    def of(cls, text: str, at_s: float) -> Scrape:
        """Of Prometheus' text."""
        series: Series = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                series.setdefault(sample.name, {})[labels] = sample.value
        return cls(at_s, series)


@attrs.frozen
class Row:
    """One site, model or provider."""

    name: str
    requests_s: float
    failed: float  # Of its requests, 0 to 1.
    tokens_s: float
    usd_min: float


@attrs.frozen
class Latency:
    """Quantiles in seconds; None: nothing came."""

    p50: float | None
    p95: float | None


@attrs.frozen
class Provider:
    """How one provider is, by all workers."""

    name: str
    state: str
    in_flight: int
    queued: int
    errors_s: float
    first: Latency


@attrs.frozen
class Cap:
    """A cap that money is spent under."""

    name: str
    subject: str
    spent_usd: float
    held_usd: float
    max_usd: float


@attrs.frozen
class View:
    """Everything that is shown."""

    over_s: float
    workers: int
    workers_down: int
    streams: int
    connections: int
    requests_s: float
    failed: float
    refused_s: float
    tokens_in_s: float
    tokens_out_s: float
    usd_min: float
    first: Latency
    whole: Latency
    rows: tuple[Row, ...]
    providers: tuple[Provider, ...]
    caps: tuple[Cap, ...]


class _Between:
    """What changed from one scrape to the next."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self._before, self._after = before.series, after.series
        self.over_s = max(after.at_s - before.at_s, 1e-3)

    def now(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """The samples of a name."""
        for labels, value in self._after.get(name, {}).items():
            yield dict(labels), value

    def grown(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """By how much each of them grew."""
        old = self._before.get(name, {})
        for labels, value in self._after.get(name, {}).items():
            was = old.get(labels, 0.0)
            yield dict(labels), value - was if value >= was else value

    def total(
        self, name: str, where: Callable[[Labels], bool] = lambda _: True
    ) -> float:
        """By how much all of them grew together, a second."""
        grown = sum(by for labels, by in self.grown(name) if where(labels))
        return grown / self.over_s

    def latency(
        self, name: str, where: Callable[[Labels], bool] = lambda _: True
    ) -> Latency:
        """The quantiles of what came between the two."""
        buckets: dict[float, float] = {}
        for labels, by in self.grown(f"{name}_bucket"):
            if where(labels):
                bound = float(labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + by
        return Latency(quantile(buckets, 0.5), quantile(buckets, 0.95))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """As Prometheus has it: linear within the bucket that it falls into."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = share * buckets[bounds[-1]]
    below, low = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if bound == float("inf"):
                return low  # All that is known: it is more than this.
            inside = count - below
            return low + (bound - low) * ((rank - below) / inside if inside else 1.0)
        below, low = count, bound
    return low


def view(before: Scrape, after: Scrape, group: Group = "site") -> View:
    """What happened between two scrapes."""
    between = _Between(before, after)
    ups = [value for _, value in between.now("stagedoor_worker_up")]
    requests_s = between.total("stagedoor_requests_total")
    failed_s = between.total("stagedoor_requests_total", _failed)
    return View(
        over_s=between.over_s,
        workers=len(ups) or 1,
        workers_down=sum(not up for up in ups),
        streams=int(sum(v for _, v in between.now("stagedoor_streams_open"))),
        connections=int(sum(v for _, v in between.now("stagedoor_connections"))),
        requests_s=requests_s,
        failed=failed_s / requests_s if requests_s else 0.0,
        refused_s=between.total("stagedoor_refusals_total"),
        tokens_in_s=between.total(
            "stagedoor_tokens_total", lambda labels: labels["type"] == "input"
        ),
        tokens_out_s=between.total(
            "stagedoor_tokens_total", lambda labels: labels["type"] == "output"
        ),
        usd_min=between.total("stagedoor_spend_usd_total") * 60,
        first=between.latency(FIRST),
        whole=between.latency(DURATION),
        rows=tuple(_rows(between, group)),
        providers=tuple(_providers(between)),
        caps=tuple(_caps(between)),
    )


def _failed(labels: Labels) -> bool:
    return labels["outcome"] != "ok"


def _rows(between: _Between, group: Group) -> Iterator[Row]:
    sums: dict[str, list[float]] = {}

    def add(name: str, place: int, where: Callable[[Labels], bool]) -> None:
        for labels, by in between.grown(name):
            if where(labels):
                sums.setdefault(labels[group], [0.0] * 4)[place] += by

    add("stagedoor_requests_total", 0, lambda _: True)
    add("stagedoor_requests_total", 1, _failed)
    add("stagedoor_tokens_total", 2, lambda labels: labels["type"] != "cached_input")
    add("stagedoor_spend_usd_total", 3, lambda _: True)
    over_s = between.over_s
    for name, (requests, failed, tokens, usd) in sums.items():
        share = failed / requests if requests else 0.0
        yield Row(name, requests / over_s, share, tokens / over_s, usd / over_s * 60)


def _providers(between: _Between) -> Iterator[Provider]:
    states: dict[str, set[str]] = {}
    for labels, value in between.now("stagedoor_provider_state"):
        if value:
            states.setdefault(labels["provider"], set()).add(labels["state"])
    for name, found in sorted(states.items()):

        def ours(labels: Labels, name: str = name) -> bool:
            return labels.get("provider", labels.get("gen_ai_provider_name")) == name

        def summed(metric: str, ours: Callable[[Labels], bool] = ours) -> int:
            return int(sum(v for labels, v in between.now(metric) if ours(labels)))

        yield Provider(
            name,
            "/".join(sorted(found)),
            summed("stagedoor_provider_in_flight"),
            summed("stagedoor_provider_queued"),
            between.total("stagedoor_upstream_errors_total", ours),
            between.latency(FIRST, ours),
        )


def _caps(between: _Between) -> Iterator[Cap]:
    """By all workers the same: whoever knows of most has heard last."""
    found: dict[tuple[str, str], list[float]] = {}
    for place, name in enumerate(
        ("stagedoor_cap_spent_usd", "stagedoor_cap_held_usd", "stagedoor_cap_max_usd")
    ):
        for labels, value in between.now(name):
            key = (labels["cap"], labels["subject"])
            values = found.setdefault(key, [0.0, 0.0, 0.0])
            values[place] = max(values[place], value)
    for (name, subject), (spent, held, most) in sorted(found.items()):
        yield Cap(name, subject, spent, held, most)


def ordered(rows: Sequence[Row], sort: Sort, wanted: str = "") -> list[Row]:
    """The rows whose name holds `wanted`, the most first."""
    keys: dict[Sort, Callable[[Row], float]] = {
        "requests": lambda row: row.requests_s,
        "errors": lambda row: row.failed * row.requests_s,
        "tokens": lambda row: row.tokens_s,
        "spend": lambda row: row.usd_min,
        "name": lambda _: 0.0,
    }
    found = [row for row in rows if wanted.casefold() in row.name.casefold()]
    return sorted(found, key=lambda row: (-keys[sort](row), row.name))


def lines(
    shown: View, *, group: Group, sort: Sort, wanted: str = "", height: int = 0
) -> list[str]:
    """The screen, a line each; `height` 0 is as long as it takes."""
    down = f", {shown.workers_down} down" if shown.workers_down else ""
    head = [
        (
            f"workers {shown.workers}{down}   streams {shown.streams}   "
            f"connections {shown.connections}   over {shown.over_s:.1f} s"
        ),
        (
            f"requests {shown.requests_s:.1f}/s   failed {shown.failed:.1%}   "
            f"refused {shown.refused_s:.1f}/s   tokens {_count(shown.tokens_in_s)} in "
            f"{_count(shown.tokens_out_s)} out/s   ${shown.usd_min:.4f}/min"
        ),
        (
            f"first content p50 {_time(shown.first.p50)} "
            f"p95 {_time(shown.first.p95)}   "
            f"whole p50 {_time(shown.whole.p50)} p95 {_time(shown.whole.p95)}"
        ),
        "",
    ]
    below = [
        "",
        (
            f"{'PROVIDER':24} {'STATE':18} {'CALLS':>7} {'WAIT':>6} {'ERR/S':>8} "
            f"{'FIRST P95':>10}"
        ),
        *(
            f"{_name(one.name)} {one.state:18.18} {one.in_flight:7} {one.queued:6} "
            f"{one.errors_s:8.2f} {_time(one.first.p95):>10}"
            for one in shown.providers
        ),
    ]
    if shown.caps:
        below += ["", f"{'CAP':24} {'SUBJECT':18} {'SPENT':>14} {'OF':>12} {'':>5}"]
        below += [
            f"{_name(one.name)} {plain(one.subject):18.18} ${one.spent_usd:13.4f} "
            f"${one.max_usd:11.2f} {_share(one):>5}"
            for one in shown.caps
        ]
    rows = [
        f"{_name(row.name)} {row.requests_s:10.1f} {row.failed:8.1%} "
        f"{_count(row.tokens_s):>10} {row.usd_min:10.4f}"
        for row in ordered(shown.rows, sort, wanted)
    ]
    titles = (
        f"{group.upper():24} {'REQUESTS/S':>10} {'FAILED':>8} {'TOKENS/S':>10} "
        f"{'$/MIN':>10}"
    )
    room = max(1, height - len(head) - len(below) - 1) if height else len(rows)
    found = [*head, titles, *rows[:room], *below]
    return found[:height] if height else found


def _name(name: str) -> str:
    return f"{plain(name):24.24}"


def _share(cap: Cap) -> str:
    return f"{(cap.spent_usd + cap.held_usd) / cap.max_usd:.0%}" if cap.max_usd else "-"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.2f}s"


def _count(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.1f}M"
    return f"{value / 1e3:.1f}k" if value >= 1e4 else f"{value:.0f}"
