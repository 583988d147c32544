"""Play recorded answers through a dialect and hold them to the other reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from tests.recordings_cases import Case, Reading
from tests.support_recordings import cuts
from wire.completion import Choice, fold
from wire.dialect import ProviderDialect, StreamDecoder, Target, finish_reason
from wire.events import CONTENT, Event, Fault, Finish, Start, ToolCallStart, Usage
from wire.request import ChatRequest, Message, Reasoning, Text, ToolUse

ASKED = ChatRequest("m", (Message("user", (Text("hi"),)),), "test", stream=True)
SEEDS = (1, 2)


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as every dialect takes them: names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def drain(decoder: StreamDecoder, pieces: Iterable[bytes]) -> list[Event]:
    """All events of a stream, its end told."""
    events = [event for piece in pieces for event in decoder.feed(piece)]
    events += decoder.finish()
    assert decoder.finish() == []
    assert_grammar(events)
    return events


def assert_grammar(events: list[Event]) -> None:
    """The rules of `wire.events` that every decoder keeps."""
    if any(isinstance(event, Fault) for event in events):
        assert isinstance(events[-1], Fault)
        assert sum(isinstance(event, Fault) for event in events) == 1
        events = events[:-1]
    starts = [at for at, event in enumerate(events) if isinstance(event, Start)]
    assert starts == ([0] if events else [])
    ended: set[int] = set()
    for event in events:
        if isinstance(event, Finish):
            assert event.choice not in ended
            ended.add(event.choice)
        elif isinstance(event, CONTENT):
            assert event.choice not in ended


def replay(
    dialect: ProviderDialect, case: Case, target: Target, request: ChatRequest = ASKED
) -> list[Event]:
    """The events of a recorded answer; a stream gives the same for every cut."""
    if not case.streamed:
        events = dialect.parse_response(
            case.status, lower(case.response_headers), case.body, target
        )
        assert_grammar(events)
        return events
    whole = drain(dialect.stream_decoder(request, target), [case.body])
    for seed in SEEDS:
        for how, pieces in cuts(case.body, seed).items():
            decoder = dialect.stream_decoder(request, target)
            assert drain(decoder, pieces) == whole, f"{case.name} cut {how}"
            assert decoder.done
    return whole


def assert_truncation_is_seen(
    dialect: ProviderDialect, case: Case, target: Target, ends: Callable[[bytes], int]
) -> None:
    """Any cut before the grammar's end is a fault; `ends` says where that is."""
    last = ends(case.body)
    for at in range(0, last, max(1, last // 40)):
        events = drain(dialect.stream_decoder(ASKED, target), [case.body[:at]])

        assert events, f"{case.name} cut at {at}"
        fault = events[-1]
        assert isinstance(fault, Fault), f"{case.name} cut at {at}"
        assert fault.kind == "transient"


def assert_says(events: list[Event], reading: Reading) -> None:
    """Compare the events of one answer with the independent reading of its bytes."""
    assert not any(isinstance(event, Fault) for event in events)
    completion = fold(events)
    choice = completion.choices[0]
    thoughts = [part for part in choice.parts if isinstance(part, Reasoning)]

    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    assert "".join(texts) == reading.text
    assert "".join(part.text for part in thoughts) == reading.reasoning
    assert_calls(choice, reading)
    if reading.id is not None:
        assert completion.start.id == reading.id
    if reading.model is not None:
        assert completion.start.model == reading.model
    calls = sum(isinstance(event, ToolCallStart) for event in events)
    assert choice.finish is not None
    if reading.finish is not None:
        assert finish_reason(choice.finish, calls) == reading.finish
        assert choice.finish.raw == reading.choice().finish_raw
    assert_usage(completion.usage, reading)


def assert_calls(choice: Choice, reading: Reading) -> None:
    """The client's tool calls, their arguments parsed."""
    calls = [part for part in choice.parts if isinstance(part, ToolUse)]
    found = [(call.name, msgspec.json.decode(call.arguments)) for call in calls]
    assert found == [(call.name, call.arguments) for call in reading.tool_calls]
    for ours, theirs in zip(calls, reading.tool_calls, strict=True):
        assert ours.id
        assert theirs.id in {None, ours.id}


def assert_usage(usage: Usage | None, reading: Reading) -> None:
    """The last usage, in the normal form."""
    if reading.usage is None:
        return
    assert usage is not None
    for name in ("prompt", "cached", "cache_write", "completion", "reasoning"):
        assert getattr(usage, name) == getattr(reading.usage, name), name
