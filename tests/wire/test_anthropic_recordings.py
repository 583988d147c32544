"""Anthropic recordings: every cut gives the same events, and those the right ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read
from tests.support_recordings import cases, cuts, names
from wire.anthropic import MESSAGES
from wire.completion import fold
from wire.dialect import Head, Reply, Target
from wire.events import (
    Event,
    Fault,
    ToolArgsDelta,
    Usage,
    is_content,
    output_chars,
)
from wire.request import ChatRequest, Message, Reasoning, Text, ToolUse

STREAMS = cases("anthropic", family="anthropic", streamed=True)
WHOLE = cases("anthropic", family="anthropic", streamed=False, ok=True)
ERRORS = cases("anthropic", ok=False)
TARGET = Target("claude-sonnet-4-5")
ASKED = ChatRequest("m", (Message("user", (Text("hi"),)),), "anthropic")
REPLY = Reply("01TEST", 1_700_000_000, "mine")
SEEDS = range(3)


def decoded(pieces: list[bytes]) -> list[Event]:
    decoder = MESSAGES.stream_decoder(ASKED, TARGET)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    events += decoder.finish()
    assert decoder.done
    return events


def assert_says(events: list[Event], reading: Reading) -> None:
    """Compare events with the independent reading of the same bytes."""
    assert not any(isinstance(event, Fault) for event in events)
    completion = fold(events)
    choice = completion.choices[0]
    calls = [part for part in choice.parts if isinstance(part, ToolUse)]
    thoughts = [part for part in choice.parts if isinstance(part, Reasoning)]

    assert completion.start.id == reading.id
    assert completion.start.model == reading.model
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    assert "".join(texts) == reading.text
    assert "".join(part.text for part in thoughts) == reading.reasoning
    states = [part.state.data for part in thoughts if part.state is not None]
    assert states == [signature for signature in reading.signatures if signature]
    assert [call.name for call in calls] == [call.name for call in reading.tool_calls]
    assert [call.id for call in calls] == [call.id for call in reading.tool_calls]
    arguments = [msgspec.json.decode(call.arguments) for call in calls]
    assert arguments == [call.arguments for call in reading.tool_calls]
    assert choice.finish is not None
    assert choice.finish.reason == reading.finish
    assert completion.usage is not None
    assert reading.usage is not None
    for name in ("prompt", "cached", "cache_write", "completion", "reasoning"):
        assert getattr(completion.usage, name) == getattr(reading.usage, name), name


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_any_cut_of_a_stream_gives_the_same_events(case: Case) -> None:
    """Where the network cuts is nobody's business."""
    whole = decoded([case.body])

    assert_says(whole, read(case))
    for seed in SEEDS:
        for how, pieces in cuts(case.body, seed).items():
            assert decoded(pieces) == whole, f"{case.name} cut {how}"


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_a_whole_message_says_the_same(case: Case) -> None:
    """Unary answers and streams share one mapping."""
    events = MESSAGES.parse_response(
        case.status, case.response_headers, case.body, TARGET
    )

    assert_says(events, read(case))


@pytest.mark.parametrize("case", ERRORS, ids=names(ERRORS))
def test_errors_are_classified_as_the_other_reader_does(case: Case) -> None:
    """Whose fault an error is decides retry, fallback and breaker."""
    fault = MESSAGES.classify_error(
        case.status, case.response_headers, case.body, TARGET
    )
    error = read(case).error

    assert error is not None
    assert (fault.kind, fault.status) == (error.kind, error.status)
    if fault.kind != "key":  # A key's message may quote the key.
        assert fault.message == error.message


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_a_truncated_stream_is_a_fault_never_a_stop(case: Case) -> None:
    """Without message_stop the answer is not whole, however good it looks."""
    last = case.body.rindex(b"event: message_stop")
    events = MESSAGES.stream_decoder(ASKED, TARGET)
    out = events.feed(case.body[:last]) + events.finish()

    assert isinstance(out[-1], Fault)
    assert out[-1].truncated


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_the_encoder_writes_what_the_decoder_reads(case: Case) -> None:
    """Anthropic to events and back loses nothing that a client would see."""
    events = decoded([case.body])
    encoder = MESSAGES.stream_encoder(ASKED, REPLY)
    out = b"".join(encoder.encode([event]) for event in events) + encoder.finish()
    again = decoded([out])

    first, second = fold(events), fold(again)
    assert second.choices == first.choices
    assert second.usage == first.usage
    assert second.start.model == "mine"


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_the_relay_passes_every_byte_and_sees_the_same(case: Case) -> None:
    """Relay and decoder agree on content, characters, usage and the end."""
    events = decoded([case.body])
    usages = [event for event in events if isinstance(event, Usage)]
    for how, pieces in cuts(case.body, 7).items():
        relay = MESSAGES.relay(Head("m"), TARGET)
        readings = [relay.feed(piece) for piece in pieces]
        readings.append(relay.finish())

        assert b"".join(r.out for r in readings) == case.body, how
        assert any(r.content for r in readings) == any(map(is_content, events))
        assert [r.usage for r in readings if r.usage][-1] == usages[-1]
        assert [r.finish for r in readings if r.finish] == [read(case).finish]
        assert [r.done for r in readings].count(True) == 1
        seen = sum(r.output_chars for r in readings)
        told = sum(output_chars(e) for e in events if e != ToolArgsDelta(0, "{}"))
        assert seen >= told  # The decoder adds the "{}" of a call without arguments.


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_the_relay_holds_everything_back_until_content(case: Case) -> None:
    """What has not been sent can still be replaced by another provider's answer."""
    relay = MESSAGES.relay(Head("m"), TARGET)
    for event in case.body.split(b"\n\n"):
        reading = relay.feed(event + b"\n\n")
        if reading.content or reading.done:
            assert reading.out.startswith(b"event: message_start")
            return
        assert reading.out == b""
    pytest.fail("no content and no end")


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_a_whole_message_is_relayed_as_it_came(case: Case) -> None:
    """Byte for byte, and renamed only where asked."""
    kept = MESSAGES.relay_response(200, case.response_headers, case.body)
    renamed = MESSAGES.relay_response(
        200, case.response_headers, case.body, model="mine"
    )
    reading = read(case)

    assert kept.out == case.body
    assert kept.finish in {reading.finish, "stop"}
    assert kept.usage is not None
    assert reading.usage is not None
    assert kept.usage.completion == reading.usage.completion
    before: dict[str, Any] = msgspec.json.decode(case.body)
    assert msgspec.json.decode(renamed.out) == {**before, "model": "mine"}


def stream_of(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: " + e["type"].encode() + b"\ndata: " + msgspec.json.encode(e) + b"\n\n"
        for e in events
    )


START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_1h_input_tokens": 2},
            "output_tokens": 1,
        },
    },
}
BLOCK: list[dict[str, Any]] = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "half"},
    },
]
ENDS: list[dict[str, Any]] = [
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {
            "input_tokens": 40,
            "cache_read_input_tokens": None,
            "output_tokens": 9,
        },
    },
    {"type": "message_stop"},
]


def test_later_usage_overrides_except_where_it_is_silent() -> None:
    """message_delta counts are totals; null and absent ones leave the start's."""
    usage = fold(decoded([stream_of(START, *BLOCK, *ENDS)])).usage

    assert usage is not None
    assert usage.prompt == 40 + 7 + 5
    assert (usage.cached, usage.cache_write, usage.cache_write_1h) == (7, 5, 2)
    assert usage.completion == 9


def test_an_error_event_ends_the_stream_as_a_fault() -> None:
    """Status 200, half an answer, then `event: error`: nothing after it counts."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    broken = stream_of(START, *BLOCK, {"type": "error", "error": error}, *ENDS)
    for pieces in cuts(broken, 3).values():
        events = decoded(pieces)
        assert isinstance(events[-1], Fault)
        assert (events[-1].kind, events[-1].status) == ("throttle", 529)

        relay = MESSAGES.relay(Head("m"), TARGET)
        readings = [relay.feed(piece) for piece in pieces] + [relay.finish()]
        assert [r.fault.kind for r in readings if r.fault] == ["throttle"]
        out = b"".join(r.out for r in readings)
        # An error that comes with the first content leaves no trace of either.
        assert out in {b"", stream_of(START, *BLOCK)}
        assert out or len(pieces) < 9


def test_events_and_deltas_to_come_disturb_nothing() -> None:
    """Anthropic adds kinds without asking; padding and comments are nothing either."""
    news: list[dict[str, Any]] = [
        {"type": "brand_new", "data": 1},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "new_delta", "text": "not text"},
        },
        {"type": "ping"},
    ]
    padded = stream_of(START, *BLOCK, *news, *ENDS).replace(b"}\n\n", b"}     \n\n")
    completion = fold(decoded([b": hello\n\n" + padded]))

    assert completion.choices[0].parts == [Text("half")]
    assert [extra.name for extra in completion.extra] == ["brand_new"]


def test_a_message_that_never_said_why_it_ended_is_truncated() -> None:
    """message_stop without a stop reason is no end."""
    for body in (stream_of(START, *BLOCK, ENDS[-1]), stream_of(*BLOCK, *ENDS)):
        events = decoded([body])
        assert isinstance(events[-1], Fault)
