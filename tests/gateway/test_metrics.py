"""Metrics: what is counted is what is rendered, within bounds, off the loop."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.logs import LogStatistics
from gateway.metrics import Gauges, Mark, Metrics, ProviderGauges
from gateway.metrics import counts as counts_module
from gateway.metrics import registry as registry_module
from gateway.metrics.counts import DURATION_S, Histogram
from gateway.metrics.exposition import render

CHAT = ("acme", "fast", "chat", "main", "gpt-5-mini")
Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


async def scraped(metrics: Metrics) -> Samples:
    _, text = await metrics.scrape()
    found: Samples = {}
    for family in parse(text.decode()):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def at(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


async def test_one_request_is_in_every_metric_it_belongs_to() -> None:
    metrics = Metrics()
    metrics.traffic(*CHAT).record(
        "ok",
        1.5,
        first_content_s=0.25,
        tokens_in=100,
        tokens_out=20,
        tokens_cached=60,
        spend_nanousd=1_500_000,
        retries=1,
        fallbacks=2,
    )

    found = await scraped(metrics)

    names = {"site": "acme", "model": "fast", "provider": "main"}
    genai = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "main",
        "gen_ai_request_model": "fast",
        "gen_ai_response_model": "gpt-5-mini",
    }
    assert found["stagedoor_requests_total"] == {at(**names, outcome="ok"): 1}
    assert found["stagedoor_tokens_total"] == {
        at(**names, type="input"): 100,
        at(**names, type="cached_input"): 60,
        at(**names, type="output"): 20,
    }
    assert found["stagedoor_spend_usd_total"] == {at(**names): 0.0015}
    assert found["stagedoor_retries_total"] == {at(**names): 1}
    assert found["stagedoor_fallbacks_total"] == {at(**names): 2}
    duration = "gen_ai_server_request_duration_seconds"
    assert found[f"{duration}_sum"] == {at(**genai): 1.5}
    assert found[f"{duration}_bucket"][at(**genai, le="1.28")] == 0
    assert found[f"{duration}_bucket"][at(**genai, le="2.56")] == 1
    first = "gen_ai_server_time_to_first_token_seconds"
    assert found[f"{first}_sum"] == {at(**genai): 0.25}
    assert found["gen_ai_client_token_usage_sum"] == {
        at(**genai, gen_ai_token_type="input"): 100,
        at(**genai, gen_ai_token_type="output"): 20,
    }


async def test_a_request_without_content_is_in_no_histogram_of_content() -> None:
    metrics = Metrics()
    metrics.traffic(*CHAT).record("upstream_timeout", 60.0)

    found = await scraped(metrics)

    (count,) = found["gen_ai_server_time_to_first_token_seconds_count"].values()
    assert count == 0
    assert sum(found["gen_ai_client_token_usage_count"].values()) == 0


async def test_sites_share_histograms_but_not_counters() -> None:
    """Histograms of every site would be megabytes."""
    metrics = Metrics()
    for site in ("acme", "other"):
        metrics.traffic(site, *CHAT[1:]).record("ok", 1.0, tokens_in=1)

    found = await scraped(metrics)

    assert list(found["gen_ai_server_request_duration_seconds_count"].values()) == [2]
    assert len(found["stagedoor_requests_total"]) == 2


async def test_upstream_models_share_counters() -> None:
    """Two handles with the same counter labels are one sample, not two."""
    metrics = Metrics()
    for upstream in ("a", "b"):
        metrics.traffic(*CHAT[:4], upstream).record("ok", 1.0, spend_nanousd=0)

    found = await scraped(metrics)

    assert list(found["stagedoor_requests_total"].values()) == [2]


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_a_histogram_counts_each_value_up_to_its_bound(values: list[float]) -> None:
    histogram = Histogram(DURATION_S)
    for value in values:
        histogram.observe(value)

    for le, count in histogram.cumulative():
        assert count == sum(value <= float(le) for value in values)


async def test_handles_are_bounded_and_the_rest_is_summed_up() -> None:
    metrics = Metrics(handles_max=2)
    for number in range(5):
        metrics.traffic(f"site-{number}", *CHAT[1:]).record("ok", 1.0)
        metrics.upstream_error(f"provider-{number}", "timeout")
        metrics.refusal(f"site-{number}", "spend_cap")

    found = await scraped(metrics)

    assert (
        found["stagedoor_requests_total"][
            at(site="other", model="other", provider="other", outcome="ok")
        ]
        == 3
    )
    for name, label in (("upstream_errors", "provider"), ("refusals", "site")):
        samples = found[f"stagedoor_{name}_total"]
        assert sum(samples.values()) == 5
        assert len(samples) == 3, label
    assert repr(metrics) == "<Metrics handles=2/2>"


async def test_timings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "TIMINGS_MAX", 2)
    metrics = Metrics()
    for number in range(5):
        metrics.traffic(*CHAT[:4], f"upstream-{number}").record("ok", 1.0)

    found = await scraped(metrics)

    samples = found["gen_ai_server_request_duration_seconds_count"]
    assert sorted(samples.values()) == [1, 1, 3]


async def test_outcomes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error class made from a message would be a new series each time."""
    monkeypatch.setattr(counts_module, "OUTCOMES_MAX", 3)
    metrics = Metrics()
    for number in range(10):
        metrics.traffic(*CHAT).record(f"error-{number}", 1.0)

    found = await scraped(metrics)

    samples = found["stagedoor_requests_total"]
    assert len(samples) == 4
    assert sum(samples.values()) == 10


async def test_gauges_are_asked_for_at_the_scrape() -> None:
    metrics = Metrics()
    metrics.watch(
        lambda: Gauges(
            streams_open=3,
            connections=5,
            sites_in_flight={"acme": 2},
            providers={
                "main": ProviderGauges("open", in_flight=1, queued=4, restarts=2)
            },
            log=LogStatistics(9, 8, 7, 6, 5),
        )
    )

    found = await scraped(metrics)

    assert found["stagedoor_streams_open"] == {at(): 3}
    assert found["stagedoor_connections"] == {at(): 5}
    assert found["stagedoor_site_in_flight"] == {at(site="acme"): 2}
    assert found["stagedoor_provider_in_flight"] == {at(provider="main"): 1}
    assert found["stagedoor_provider_queued"] == {at(provider="main"): 4}
    assert found["stagedoor_provider_restarts_total"] == {at(provider="main"): 2}
    assert found["stagedoor_provider_state"] == {
        at(provider="main", state="closed"): 0,
        at(provider="main", state="open"): 1,
        at(provider="main", state="half_open"): 0,
    }
    assert found["stagedoor_log_lines_dropped_total"] == {at(): 8}
    assert found["stagedoor_log_hidden_values_total"] == {at(): 5}


async def test_the_process_itself_is_measured() -> None:
    found = await scraped(Metrics())

    assert found["process_resident_memory_bytes"][at()] > 0


async def test_a_scraper_that_asks_for_openmetrics_gets_one_document() -> None:
    metrics = Metrics()
    metrics.traffic(*CHAT).record("ok", 1.0)

    content_type, text = await metrics.scrape(
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )

    assert content_type.startswith("application/openmetrics-text")
    assert text.count(b"# EOF") == 1
    names = {
        family.name
        for family in parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]
    }
    assert {"stagedoor_requests", "process_cpu_seconds"} <= names


async def test_scrapes_within_a_second_are_given_the_same_text() -> None:
    """Rendering takes milliseconds, and dashboards come in groups."""
    now = 100.0
    metrics = Metrics(clock=lambda: now)
    first = await metrics.scrape()
    metrics.traffic(*CHAT).record("ok", 1.0)

    assert await metrics.scrape() is first
    now += 1.0
    assert b'outcome="ok"' in (await metrics.scrape())[1]


async def test_rendering_happens_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    really: Callable[..., tuple[str, bytes]] = render

    def watched(*args: object) -> tuple[str, bytes]:
        threads.append(threading.get_ident())
        return really(*args)

    monkeypatch.setattr(registry_module, "render", watched)

    await Metrics().scrape()

    assert threads
    assert threads[0] != threading.get_ident()


def test_a_snapshot_stays_as_it_was() -> None:
    """It is rendered while requests go on."""
    metrics = Metrics()
    metrics.traffic(*CHAT).record("ok", 1.0)
    snapshot = metrics.snapshot()
    metrics.traffic(*CHAT).record("ok", 1.0)

    assert [one.outcomes for one in snapshot.traffic] == [{"ok": 1}]
    assert [sum(one.duration.counts) for one in snapshot.timings] == [1]


def test_the_same_traffic_is_the_same_handle() -> None:
    metrics = Metrics()

    assert metrics.traffic(*CHAT) is metrics.traffic(*CHAT)


async def test_a_bucket_names_its_last_request_to_scrapers_that_can_read_it() -> None:
    """Of two in one bucket the later; only the sampled one has a trace to look at."""
    metrics = Metrics()
    traffic = metrics.traffic(*CHAT)
    for name, trace_id in (("req_a", ""), ("req_b", "4bf9" * 8)):
        mark = Mark(name, trace_id, 1.8e9)
        traffic.record("ok", 1.5, first_content_s=0.25, tokens_out=26, mark=mark)

    _, text = await metrics.scrape("application/openmetrics-text")

    found = [
        sample
        for family in parse_openmetrics(text.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]
    names = {sample.name.removesuffix("_bucket") for sample in found}
    assert names == {
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
    }
    for sample in found:
        labels = {"request_id": "req_b", "trace_id": "4bf9" * 8}
        assert sample.exemplar is not None
        assert sample.exemplar.labels == labels
        assert float(sample.exemplar.timestamp or 0) == 1.8e9
    [per_token] = [one.exemplar for one in found if "per_output" in one.name]
    assert per_token is not None
    assert per_token.value == pytest.approx(0.05)


async def test_a_family_in_pieces_is_one_family() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.traffic(f"s{number}", f"m{number}", "chat", "main", "m").record("ok", 1)
    for accept, read in (
        ("", parse),
        ("application/openmetrics-text", parse_openmetrics),
    ):
        _, text = await Metrics.scrape(metrics, accept)
        families = list(read(text.decode()))
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        assert text.count(b"# TYPE stagedoor_requests") == 1
        [requests] = [one for one in families if one.name == "stagedoor_requests"]
        assert sum(sample.name.endswith("_total") for sample in requests.samples) == 100
