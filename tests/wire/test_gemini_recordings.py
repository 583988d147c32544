"""Gemini and Vertex recordings: every cut the same events, and those the right ones."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read
from tests.support_recordings import cases, cuts, names
from wire.completion import Completion, fold
from wire.dialect import Head, Reply, Target
from wire.events import (
    Event,
    Fault,
    ReasoningState,
    ToolArgsDelta,
    ToolCallStart,
    Usage,
    is_content,
    output_chars,
)
from wire.gemini import PROVIDER, GeminiClient, Route
from wire.gemini_array import ArrayWriter
from wire.request import ChatRequest, Message, Reasoning, Text, ToolUse

STREAMS = cases("gemini", "vertex", family="gemini", streamed=True, ok=True)
SSE = [case for case in STREAMS if case.response_file == "response.sse"]
WHOLE = cases("gemini", "vertex", family="gemini", streamed=False, ok=True)
ERRORS = cases("gemini", "vertex", ok=False)
COUNTS = cases("gemini", "vertex", family="count", ok=True)
ASKED = ChatRequest("m", (Message("user", (Text("hi"),)),), "gemini", stream=True)
REPLY = Reply("01TEST", 1_700_000_000, "mine")
SEEDS = range(3)


def target(case: Case) -> Target:
    return Target("gemini-2.5-flash", flavour=case.provider)


def decoded(case: Case, pieces: list[bytes]) -> list[Event]:
    decoder = PROVIDER.stream_decoder(ASKED, target(case))
    events = [event for piece in pieces for event in decoder.feed(piece)]
    events += decoder.finish()
    assert decoder.done
    return events


def signatures(events: list[Event]) -> list[str]:
    return [
        event.state.data
        for event in events
        if isinstance(event, (ReasoningState, ToolCallStart)) and event.state
    ]


def assert_says(events: list[Event], reading: Reading) -> None:
    """Compare events with the independent reading of the same bytes."""
    assert not any(isinstance(event, Fault) for event in events)
    completion = fold(events)
    choice = completion.choices[0]
    parts = choice.parts
    calls = [part for part in parts if isinstance(part, ToolUse)]

    assert completion.start.id == (reading.id or "")
    assert completion.start.model == (reading.model or "")
    assert "".join(p.text for p in parts if isinstance(p, Text)) == reading.text
    thoughts = "".join(p.text for p in parts if isinstance(p, Reasoning))
    assert thoughts == reading.reasoning
    assert signatures(events) == reading.signatures
    assert [call.name for call in calls] == [call.name for call in reading.tool_calls]
    arguments = [msgspec.json.decode(call.arguments) for call in calls]
    assert arguments == [call.arguments for call in reading.tool_calls]
    assert choice.finish is not None
    assert choice.finish.reason == reading.finish
    if reading.usage is None:
        assert completion.usage is None
        return
    assert completion.usage is not None
    for name in ("prompt", "cached", "cache_write", "completion", "reasoning"):
        assert getattr(completion.usage, name) == getattr(reading.usage, name), name


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_any_cut_of_a_stream_gives_the_same_events(case: Case) -> None:
    """Both framings, CRLF and UTF-8 cut in the middle."""
    whole = decoded(case, [case.body])

    assert_says(whole, read(case))
    for seed in SEEDS:
        for how, pieces in cuts(case.body, seed).items():
            assert decoded(case, pieces) == whole, f"{case.name} cut {how}"


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_a_whole_answer_says_the_same(case: Case) -> None:
    """Unary answers and streams share one mapping, filtered prompts too."""
    events = PROVIDER.parse_response(
        case.status, case.response_headers, case.body, target(case)
    )

    assert_says(events, read(case))


@pytest.mark.parametrize("case", ERRORS, ids=names(ERRORS))
def test_errors_are_classified_as_the_other_reader_does(case: Case) -> None:
    """Trap 4: a bad key is a 400 here. To an array stream errors come in an array."""
    error = read(case).error
    assert error is not None
    for body in (case.body, b"[" + case.body + b"]\n"):
        fault = PROVIDER.classify_error(
            case.status, case.response_headers, body, target(case)
        )
        assert fault.kind == error.kind
        assert fault.status == error.status
        if fault.kind != "key":
            assert fault.message == error.message


def test_the_recorded_retry_delay_is_read() -> None:
    """Google has no retry-after header: RetryInfo says it."""
    case = next(c for c in ERRORS if "retry-info" in c.name)
    fault = PROVIDER.classify_error(429, {}, case.body, target(case))

    assert fault.retry_after_s == 34.4


@pytest.mark.parametrize("case", COUNTS, ids=names(COUNTS))
def test_counts_are_read_and_written(case: Case) -> None:
    """Both services answer totalTokens."""
    count = PROVIDER.read_count(case.status, {}, case.body, target(case))
    client = GeminiClient(Route("m", "countTokens"))

    assert not isinstance(count, Fault)
    assert count.tokens == read(case).input_tokens
    assert msgspec.json.decode(client.render_count(count)) == {
        "totalTokens": count.tokens
    }


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_an_answer_without_its_finish_reason_is_truncated(case: Case) -> None:
    """There is no end marker: only finish reasons tell a whole answer from half."""
    body = re.sub(rb'"finishReason": ?"[A-Z_]+",?\s*', b"", case.body)
    body = body.replace(b",}", b"}")
    events = decoded(case, [body])

    assert isinstance(events[-1], Fault)
    assert events[-1].truncated


@pytest.mark.parametrize("sse", [True, False], ids=["sse", "array"])
@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_the_encoder_writes_what_the_decoder_reads(case: Case, sse: bool) -> None:
    """Google to events and back loses nothing that a client would see."""
    events = decoded(case, [case.body])
    client = GeminiClient(Route("m", "streamGenerateContent", sse=sse))
    encoder = client.stream_encoder(ASKED, REPLY)
    out = b"".join(
        encoder.encode([event]) + (client.heartbeat if at else b"")
        for at, event in enumerate(events)
    )
    out += encoder.finish()
    again = decoded(case, [out])

    first, second = fold(events), fold(again)
    assert normal(second, "01TEST") == normal(first, first.start.id)
    assert [c.finish and c.finish.reason for c in second.choices] == [
        c.finish and c.finish.reason for c in first.choices
    ]
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.completion == first.usage.completion
    assert second.start.model == "mine"


def normal(completion: Completion, answer: str) -> list[list[Any]]:
    """Parts without the spelling of arguments, and without the ids we made up.

    A made-up id is made from the id of the answer it belongs to.
    """
    return [
        [
            (p.name, p.id.replace(answer, ""), json.loads(p.arguments), p.state)
            if isinstance(p, ToolUse)
            else p
            for p in choice.parts
        ]
        for choice in completion.choices
    ]


@pytest.mark.parametrize("case", SSE, ids=names(SSE))
def test_the_relay_passes_every_chunk_and_sees_the_same(case: Case) -> None:
    """Relay and decoder agree on content, characters, usage and the end."""
    events = decoded(case, [case.body])
    usages = [event for event in events if isinstance(event, Usage)]
    sent = case.body.replace(b"\r\n", b"\n")
    for how, pieces in cuts(case.body, 7).items():
        relay = PROVIDER.relay(Head("m"), target(case))
        readings = [relay.feed(piece) for piece in pieces]
        readings.append(relay.finish())

        assert b"".join(r.out for r in readings) == sent, how
        assert any(r.content for r in readings) == any(map(is_content, events))
        assert [r.usage for r in readings if r.usage][-1] == usages[-1]
        assert [r.finish for r in readings if r.finish] == [read(case).finish]
        assert [r.done for r in readings] == [False] * len(pieces) + [True]
        told = sum(output_chars(e) for e in events if not _empty_args(e))
        assert sum(r.output_chars for r in readings) >= told


def _empty_args(event: Event) -> bool:
    return isinstance(event, ToolArgsDelta) and event.text == "{}"


@pytest.mark.parametrize("case", SSE, ids=names(SSE))
def test_a_client_without_sse_gets_an_array_from_the_relay(case: Case) -> None:
    """The upstream streams SSE either way."""
    client = GeminiClient(Route("m", "streamGenerateContent", sse=False))
    relay = client.relay(Head("m", stream=True), target(case), model="mine")
    pieces = cuts(case.body, 3)["random seed=3"]
    out = b"".join(relay.feed(piece).out for piece in pieces) + relay.finish().out

    array = msgspec.json.decode(out)
    expected = [
        msgspec.json.decode(line.removeprefix(b"data: "))
        for line in case.body.replace(b"\r\n", b"\n").split(b"\n\n")
        if line
    ]
    assert array == [{**chunk, "modelVersion": "mine"} for chunk in expected]


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_a_whole_answer_is_relayed_as_it_came(case: Case) -> None:
    """Byte for byte, and renamed only where asked."""
    kept = PROVIDER.relay_response(200, case.response_headers, case.body)
    renamed = PROVIDER.relay_response(
        200, case.response_headers, case.body, model="mine"
    )
    reading = read(case)

    assert kept.out == case.body
    assert kept.finish == reading.finish
    assert (kept.usage is None) == (reading.usage is None)
    before: dict[str, Any] = msgspec.json.decode(case.body)
    assert msgspec.json.decode(renamed.out) == {**before, "modelVersion": "mine"}


BARE = b"""{
  "error": {
    "code": 503,
    "message": "The model is overloaded. Please try again later.",
    "status": "UNAVAILABLE"
  }
}
"""


@pytest.mark.parametrize(
    "bare",
    [
        BARE,
        BARE.replace(b"\n", b"\r\n"),
        b'{"error":{"code":503,"status":"UNAVAILABLE","message":"over"}}\n\n',
        b'{"error":{"code":503,"status":"UNAVAILABLE","message":"over"}}',
        b"[" + BARE + b"]\n\n",
        b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"over"}}\n\n',
    ],
    ids=["pretty", "crlf", "one-line", "no-newline", "in-array", "as-data"],
)
def test_a_bare_error_in_mid_stream_is_found(bare: bytes) -> None:
    """Trap 5: a conforming parser drops it and shows a truncated success."""
    case = next(c for c in SSE if "usage-is-mid-stream" in c.name)
    first = case.body.index(b"\r\n\r\n") + 4
    body = case.body[:first] + bare
    for pieces in cuts(body, 5).values():
        events = decoded(case, pieces)
        assert isinstance(events[-1], Fault)
        assert (events[-1].kind, events[-1].status) == ("transient", 503)

        relay = PROVIDER.relay(Head("m"), target(case))
        readings = [relay.feed(piece) for piece in pieces] + [relay.finish()]
        faults = [r.fault for r in readings if r.fault]
        assert [fault.status for fault in faults] == [503]
        assert b"error" not in b"".join(r.out for r in readings)


def test_an_error_as_the_whole_body_of_a_stream_is_found() -> None:
    """Status 200 and then nothing but an error."""
    case = SSE[0]
    for body in (BARE, b"[" + BARE + b"]"):
        events = decoded(case, [body])
        assert isinstance(events[-1], Fault)
        assert events[-1].status == 503


@pytest.mark.parametrize(
    ("flavour", "number", "reason"),
    [
        ("vertex", 1, "stop"),
        ("gemini", 1, "stop"),
        ("vertex", 2, "length"),
        ("vertex", 6, "content_filter"),
        ("vertex", 10, "content_filter"),
        ("gemini", 9, "content_filter"),
    ],
)
def test_finish_reasons_may_come_as_numbers(
    flavour: str, number: int, reason: str
) -> None:
    """Vertex can send the enum's integer; the two protos number differently."""
    chunk = {
        "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": number}]
    }
    events = PROVIDER.parse_response(
        200, {}, msgspec.json.encode(chunk), Target("m", flavour=flavour)
    )

    finish = fold(events).choices[0].finish
    assert finish is not None
    assert finish.reason == reason


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", 9])
def test_a_malformed_call_is_a_fault(word: str | int) -> None:
    """No client may take it for a success."""
    chunk = {"candidates": [{"content": {}, "finishReason": word}]}
    body = msgspec.json.encode(chunk)
    target_ = Target("m", flavour="vertex")

    events = PROVIDER.parse_response(200, {}, body, target_)
    assert isinstance(events[-1], Fault)
    if isinstance(word, str):
        assert PROVIDER.relay_response(200, {}, body).fault is not None


def test_a_call_without_arguments_has_empty_ones() -> None:
    """Google may leave `args` out."""
    part = {"functionCall": {"name": "now"}}
    chunk = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    events = PROVIDER.parse_response(200, {}, msgspec.json.encode(chunk), Target("m"))

    choice = fold(events).choices[0]
    assert choice.finish is not None
    assert choice.finish.reason == "tool_calls"
    assert isinstance(choice.parts[0], ToolUse)
    assert choice.parts[0].arguments == "{}"


def test_the_array_writer_writes_arrays_of_any_length() -> None:
    """None, one and many elements are all valid JSON."""
    for count in range(4):
        writer = ArrayWriter()
        out = b"".join(writer.add(b'{"a":1}') for _ in range(count)) + writer.end()
        assert msgspec.json.decode(out) == [{"a": 1}] * count
        assert writer.end() == b""
