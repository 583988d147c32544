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
