"""Traces through the whole gateway: contexts in and out, spans, a real collector."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from trio.testing import MockClock

from actors.auditor.messages import AttemptRecord, PlannedRecord, RequestRecord
from gateway.embed import Embedded, embedded
from gateway.embed_providers import Behaviour, CutAfter, Fails, FakeProvider, Says
from gateway.settings.tracing import PER_MILLION, TracingConfig
from gateway.tracing.entry import Tracing
from gateway.tracing.exporter import SpanExporter, open_exporter, places_of
from gateway.tracing.spans import Place, Span, spans_of
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from wire.trace_context import Trace

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "congo=t61rcWkgMzE"}
CANARY = "my-secret-prompt-7731"
WAIT_S = 20.0


class Hears(FakeProvider):
    """A provider that keeps the header fields it was sent."""

    def __init__(self, script: Sequence[Behaviour]) -> None:
        super().__init__(script)
        self.heads: list[httpx.Headers] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.heads.append(request.headers)
        return await super().handle_async_request(request)


def traced(gateway: Embedded, **settings: Any) -> list[RequestRecord]:
    """Have it trace; the records that it tells."""
    told: list[RequestRecord] = []
    gate = gateway.gateway.gate
    gate.tracing = Tracing(TracingConfig(**settings), told.append)
    return told


def spans(gateway: Embedded, record: RequestRecord) -> tuple[Span, ...]:
    places = places_of(gateway.gateway.config)
    return spans_of(record, places.__getitem__)


async def test_a_request_without_a_collector_carries_no_trace(
    autojump_clock: MockClock,
) -> None:
    main = Hears([Says("hi")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        await gateway.request("POST", CHAT, chat(), key=KEY, headers=PARENT)
        [record] = await gateway.records()
    assert record.trace == ""
    assert "traceparent" not in main.heads[0]


async def test_a_call_is_a_span_of_the_clients_trace(
    autojump_clock: MockClock,
) -> None:
    main = Hears([Says("hello", delta_s=0.25)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        told = traced(gateway)
        await gateway.request("POST", CHAT, chat(CANARY), key=KEY, headers=PARENT)
        await gateway.records()
        [record] = told
        own, call = spans(gateway, record)
        logged = gateway.logged()
    assert (own.trace_id, own.parent_id, own.kind) == (TRACE, SPAN, "server")
    assert (call.trace_id, call.parent_id, call.kind) == (TRACE, own.span_id, "client")
    sent = main.heads[0]
    assert sent["traceparent"] == f"00-{TRACE}-{call.span_id}-01"
    assert sent["tracestate"] == "congo=t61rcWkgMzE"
    assert own.name == "chat fast"
    assert call.name == "chat m"
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["server.address"] == "main.example"
    assert call.attributes["gen_ai.usage.output_tokens"] == record.output_tokens
    assert "gen_ai.usage.output_tokens" not in own.attributes
    assert own.attributes["stagedoor.request_id"] == record.request_id
    assert [event.name for event in own.events] == ["plan"]
    assert [event.name for event in call.events] == ["lease", "head", "first_content"]
    assert own.start_ns <= call.start_ns <= call.end_ns <= own.end_ns
    assert f'"trace_id":"{TRACE}"'.encode() in logged
    for secret in (CANARY, ENV["PROVIDER_KEY"], KEY):
        assert secret not in repr((own, call))


UNPARENTED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}


@pytest.mark.parametrize(("body", "key", "status", "code"), [
    (chat(CANARY), "sk-nobodys", 401, "invalid_api_key"),
    (chat(CANARY), None, 401, "invalid_api_key"),
    ({**chat(CANARY), "model": "nothing"}, KEY, 404, "model_not_found"),
    ({**chat(CANARY), "model": 7}, KEY, 400, None),
    ({**chat(CANARY), "max_tokens": 900}, KEY, 429, None),
])  # fmt: skip
async def test_a_request_that_is_refused_is_a_span_of_the_clients_trace(
    autojump_clock: MockClock, body: Any, key: str | None, status: int, code: str | None
) -> None:
    """Without a provider's below it; with what a dashboard asks: status and code."""
    main = Hears([Says("never")])
    made = config(spend_max_nanousd=1_000)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        told = traced(gateway)
        answer = await gateway.request("POST", CHAT, body, key=key, headers=PARENT)
        await gateway.records()
        assert answer.status == status, answer.body
        [record] = told
        own, *tried = spans(gateway, record)
        logged = gateway.logged()
    assert (own.trace_id, own.parent_id, own.kind) == (TRACE, SPAN, "server")
    # A candidate that money did not reach to is told of, and was not called.
    assert [one.attributes["stagedoor.outcome"] for one in tried] == (
        ["cancelled"] if status == 429 else []
    )
    assert own.attributes["http.response.status_code"] == status
    assert own.attributes["error.type"] == (code or own.attributes["error.type"])
    assert own.attributes["stagedoor.request_id"] == answer.headers["x-request-id"]
    assert own.name.startswith("chat")
    assert own.name == own.name.strip()
    assert f'"trace_id":"{TRACE}"'.encode() in logged
    assert main.heads == []
    assert CANARY not in repr(own)


async def test_who_has_no_key_does_not_decide_what_is_told(
    autojump_clock: MockClock,
) -> None:
    """The context is kept; its sampled flag is believed of our own clients alone."""
    async with embedded(config(), {"main": Hears([])}, environ=ENV) as gateway:
        told = traced(gateway, sample_per_million=0)
        for key, headers in ((None, PARENT), ("sk-nobodys", PARENT)):
            await gateway.request("POST", CHAT, chat(), key=key, headers=headers)
        assert told == []
        wrong = {**chat(), "model": 7}
        await gateway.request("POST", CHAT, wrong, key=KEY, headers=UNPARENTED)
        assert told == []
        await gateway.request("POST", CHAT, wrong, key=KEY, headers=PARENT)
        assert len(told) == 1


def test_refusals_take_half_of_the_room_at_most() -> None:
    """A scanner without a key does not push the spans of requests out."""
    exporter = SpanExporter(
        TracingConfig(queue_max=64), lambda _: True, config, flush_s=3600
    )
    try:
        refused = RequestRecord("r", "", "", "d", "", 0, "error", 401, streamed=False)
        for _ in range(100):
            exporter.offer_refusal(refused)
        assert exporter.statistics().waiting == 32
        exporter.offer(refused)
        assert exporter.statistics().waiting == 33
    finally:
        exporter.close()


async def test_each_attempt_is_a_span_and_says_why_the_next_one_came(
    autojump_clock: MockClock,
) -> None:
    a, b = Hears([Fails(500)]), Hears([Says("from b")])
    made = config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        told = traced(gateway)
        await gateway.post(CHAT, chat(), key=KEY)
        await gateway.records()
        [record] = told
        own, *calls = spans(gateway, record)
    assert [call.attributes["stagedoor.provider"] for call in calls][-1] == "b"
    assert len({call.span_id for call in calls}) == len(calls) >= 2
    assert calls[0].error
    assert calls[0].attributes["http.response.status_code"] == 500
    assert calls[-1].error == ""
    assert own.error == ""
    assert "fallback" in [event.name for event in own.events]
    parents = [one.heads[0]["traceparent"] for one in (a, b)]
    assert parents[0].split("-")[2] == calls[0].span_id
    assert parents[1].split("-")[2] == calls[-1].span_id


async def test_a_stream_that_breaks_off_says_so(autojump_clock: MockClock) -> None:
    main = Hears([CutAfter("some words")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        told = traced(gateway)
        await gateway.post(CHAT, chat(), key=KEY)
        await gateway.records()
        [record] = told
        own, call = spans(gateway, record)
    assert call.error
    assert own.error
    assert own.attributes["error.type"] == record.code


async def test_an_unsampled_trace_is_passed_on_and_not_told(
    autojump_clock: MockClock,
) -> None:
    main = Hears([Says("hi")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        told = traced(gateway, sample_per_million=0)
        unsampled = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
        await gateway.request("POST", CHAT, chat(), key=KEY, headers=unsampled)
        await gateway.request("POST", CHAT, chat(), key=KEY)
        await gateway.request("POST", CHAT, chat(), key=KEY, headers=PARENT)
        await gateway.records()
    assert [record.trace.split("-")[0] for record in told] == [TRACE]
    flags = [one["traceparent"][-2:] for one in main.heads]
    assert flags == ["00", "00", "01"]


async def test_providers_are_not_told_where_they_are_not_to_know(
    autojump_clock: MockClock,
) -> None:
    main = Hears([Says("hi")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        told = traced(gateway, to_providers=False)
        await gateway.request("POST", CHAT, chat(), key=KEY, headers=PARENT)
        await gateway.records()
    assert len(told) == 1
    assert not {"traceparent", "tracestate"} & set(main.heads[0])


def test_the_share_that_is_sampled_is_the_share_that_was_wanted() -> None:
    """By the ids, so that every sampler that goes by them agrees."""
    from random import Random  # noqa: PLC0415 - of this test alone

    rng = Random(117)
    settings = TracingConfig(sample_per_million=PER_MILLION // 4)
    tracing = Tracing(settings, lambda _: None, rng.randbytes)
    sampled = sum(tracing.begin([]).sampled for _ in range(4000))
    assert 900 <= sampled <= 1100


def record_of(trace: Trace, **changes: Any) -> RequestRecord:
    given: dict[str, Any] = {
        "request_id": "req_1",
        "site": "acme",
        "key_id": "key_1",
        "dialect": "openai_chat",
        "model": "fast",
        "opened_at_ms": 1_800_000_000_000,
        "outcome": "ok",
        "status": 200,
        "streamed": True,
        "duration_ms": 900,
        "attempts": (
            AttemptRecord(
                "main", "m", "ok", status=200, first_content_ms=300, total_ms=880
            ),
        ),
        "plan": (
            PlannedRecord("main", "m"),
            PlannedRecord("other", "m", gate="region"),
        ),
        "trace": trace.text,
    }
    return RequestRecord(**given | changes)


class Collector:
    """A small OTLP/HTTP receiver: decodes what it is posted."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.status = 200
        self.posts = 0

    def take(self, path: str, body: bytes) -> None:
        self.posts += 1
        assert path == "/v1/traces"
        if self.status != 200:
            return
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            self.resources.append(
                {a.key: a.value.string_value for a in of_resource.resource.attributes}
            )
            for scope in of_resource.scope_spans:
                self.spans.extend(scope.spans)


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S)


def test_a_collector_gets_the_spans_as_otlp() -> None:
    made = config()
    with collecting() as (collector, url):
        settings = TracingConfig(endpoint=url)
        exporter = open_exporter(settings, lambda: made, version="1.2.3", worker=2)
        trace = Trace(TRACE, SPAN, "00f067aa0ba90200", sampled=True)
        exporter.offer(record_of(trace))
        exporter.close(WAIT_S)
    assert exporter.statistics().told == 1
    own, call = collector.spans
    assert own.trace_id == call.trace_id == bytes.fromhex(TRACE)
    assert own.span_id == call.parent_span_id == bytes.fromhex(SPAN)
    assert own.parent_span_id == bytes.fromhex("00f067aa0ba90200")
    assert (own.kind, call.kind) == (2, 3)  # SERVER, CLIENT.
    assert own.end_time_unix_nano - own.start_time_unix_nano == 900_000_000
    [plan] = own.events
    assert plan.name == "plan"
    told = {a.key: [v.string_value for v in a.value.array_value.values]
            for a in plan.attributes}  # fmt: skip
    assert told["stagedoor.candidates"] == ["main/m"]
    assert told["stagedoor.gated"] == ["other/m: region"]
    [resource] = collector.resources
    assert resource["service.name"] == "stagedoor"
    assert resource["service.version"] == "1.2.3"


def test_what_the_collector_does_not_take_is_counted() -> None:
    made = config()
    with collecting() as (collector, url):
        collector.status = 400
        settings = TracingConfig(endpoint=url)
        exporter = open_exporter(settings, lambda: made, version="1", worker=0)
        exporter.offer(record_of(Trace(TRACE, SPAN, sampled=True)))
        exporter.close(WAIT_S)
    assert collector.posts == 1
    found = exporter.statistics()
    assert (found.told, found.failed, found.waiting) == (0, 1, 0)


def test_a_full_queue_drops_and_counts_and_holds_nobody_up() -> None:
    posting, go_on = threading.Event(), threading.Event()

    def stalled(spans: object) -> bool:
        posting.set()
        return go_on.wait(WAIT_S)

    settings = attrs.evolve(TracingConfig(), queue_max=64)
    exporter = SpanExporter(settings, stalled, config, flush_s=0.001)
    record = record_of(Trace(TRACE, SPAN, sampled=True))
    exporter.offer(record)
    assert posting.wait(WAIT_S)
    for _ in range(100):
        exporter.offer(record)
    assert exporter.dropped == 36
    go_on.set()
    exporter.close(WAIT_S)
    assert exporter.told == 65


def test_a_library_that_raises_does_not_end_the_thread() -> None:
    def broken(spans: object) -> bool:
        raise RuntimeError(CANARY)

    exporter = SpanExporter(TracingConfig(), broken, config, flush_s=0.001)
    exporter.offer(record_of(Trace(TRACE, SPAN, sampled=True)))
    exporter.close(WAIT_S)
    assert exporter.failed == 1
    assert CANARY not in repr(exporter)


@pytest.mark.parametrize(
    ("outcome", "status", "event"),
    [("cut", 200, "cut"), ("aborted", 200, "aborted"), ("crashed", 500, "crashed")],
)
def test_how_a_request_ended_is_an_event_of_it(
    outcome: str, status: int, event: str
) -> None:
    trace = Trace(TRACE, SPAN, sampled=True)
    record = record_of(trace, outcome=outcome, status=status, code="")
    own = spans_of(record, lambda _: Place("openai"))[0]
    assert own.events[-1].name == event
    assert bool(own.error) is (status >= 500)
