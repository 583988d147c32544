"""Bytes from outside never raise, and the vocabulary's rules hold whatever comes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recordings_cases import sse
from tests.support_recordings import cases
from tests.support_replay import ASKED, assert_grammar, drain
from wire.anthropic import MESSAGES
from wire.completion import fold
from wire.dialect import ClientError, Head, ProviderDialect, Reply, Target
from wire.events import (
    Event,
    Fault,
    Finish,
    FinishReason,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.gemini import PROVIDER, GeminiClient, Route
from wire.gemini_array import ArrayError, ArraySplitter
from wire.request import ToolUse

TARGET = Target("m")
REPLY = Reply("01TEST", 0, "mine")
BOTH: tuple[ProviderDialect, ...] = (MESSAGES, PROVIDER)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            *("", "x", "text", "tool_use", "thinking", "user", "end_turn", "STOP"),
            *("server_tool_use", "text_delta", "input_json_delta", "image/png", "🙂"),
        ]
    )
)
KEYS = [
    *("type", "index", "delta", "message", "content_block", "usage", "error", "text"),
    *("id", "name", "input", "partial_json", "thinking", "signature", "citations"),
    *("stop_reason", "stop_sequence", "content", "input_tokens", "output_tokens"),
    *("candidates", "parts", "functionCall", "args", "finishReason", "inlineData"),
    *("usageMetadata", "promptTokenCount", "thoughtSignature", "thought"),
    *("groundingMetadata", "groundingChunks", "groundingSupports", "segment"),
    *("groundingChunkIndices", "web", "uri", "citationMetadata", "citationSources"),
    *("logprobsResult", "chosenCandidates", "promptFeedback", "blockReason"),
    *("role", "messages", "contents", "tools", "system", "systemInstruction"),
    *("generationConfig", "toolConfig", "functionDeclarations", "parameters"),
    *("functionResponse", "response", "source", "data", "tool_use_id", "max_tokens"),
    *("model", "thinkingConfig", "responseSchema", "tool_choice", "output_config"),
]
EVENTS = [
    *("message_start", "content_block_start", "content_block_delta", "ping"),
    *("content_block_stop", "message_delta", "message_stop", "error", "other"),
]
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=14,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), ANY_JSON, max_size=6)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def relay_of(dialect: ProviderDialect) -> Any:
    assert dialect in BOTH
    return (
        MESSAGES.relay(Head("m"), TARGET)
        if dialect is MESSAGES
        else (
            GeminiClient(Route("m", "streamGenerateContent", sse=False)).relay(
                Head("m"), TARGET, model="mine"
            )
        )
    )


@pytest.mark.parametrize("dialect", BOTH, ids=repr)
@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), OBJECTS), max_size=8))
def test_streams_of_any_json(
    dialect: ProviderDialect, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """Right names, wrong insides: one fault at most, and it comes last."""
    body = b"".join(
        b"event: "
        + kind.encode()
        + b"\ndata: "
        + as_json({**said, "type": kind})
        + b"\n\n"
        for kind, said in events
    )
    drain(dialect.stream_decoder(ASKED, TARGET), [body])

    relay = relay_of(dialect)
    readings = [relay.feed(body), relay.finish()]
    assert sum(reading.fault is not None for reading in readings) <= 1
    relay.cut()


@pytest.mark.parametrize("dialect", BOTH, ids=repr)
@settings(max_examples=200, deadline=None)
@given(answer=ANY_JSON)
def test_whole_answers_of_any_json(dialect: ProviderDialect, answer: Any) -> None:
    """An unreadable 200 is a fault, never an exception."""
    body = as_json(answer)
    events = dialect.parse_response(200, {}, body, TARGET)

    assert events
    assert_grammar(events)
    for side in (MESSAGES, PROVIDER):
        side.relay_response(200, {}, body, model="mine")
        side.classify_error(400, {}, body, TARGET)
        side.read_count(200, {}, body, TARGET)


@pytest.mark.parametrize("dialect", BOTH, ids=repr)
@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
def test_streams_of_any_bytes(dialect: ProviderDialect, pieces: list[bytes]) -> None:
    """Noise ends as a fault."""
    events = drain(dialect.stream_decoder(ASKED, TARGET), pieces)

    assert isinstance(events[-1], Fault)


@pytest.mark.parametrize("dialect", BOTH, ids=repr)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_recordings_with_flipped_bytes(dialect: ProviderDialect, data: Any) -> None:
    """A damaged stream may tell less or fail, and never breaks the rules."""
    source = "anthropic" if dialect is MESSAGES else "gemini"
    case = data.draw(st.sampled_from(cases(source, family=source, streamed=True)))
    body = bytearray(case.body)
    for at in data.draw(
        st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)
    ):
        body[at] = data.draw(st.integers(0, 255))
    drain(dialect.stream_decoder(ASKED, TARGET), [bytes(body)])

    relay = relay_of(dialect)
    relay.feed(bytes(body))
    relay.finish()


def read_or_refused(anthropic: dict[str, Any], gemini: dict[str, Any]) -> None:
    """Parse for both clients, build for both providers; only ClientError may come."""
    client = GeminiClient(Route("m", "generateContent"))
    for sides, sent in ((MESSAGES, anthropic), (client, gemini)):
        raw = as_json(sent)
        with suppress(ClientError):
            head = sides.read_head(raw, {})
            sides.forward_request(raw, {}, head, Target("m", max_output_tokens=9))
        with suppress(ClientError):
            request = sides.parse_request(raw, {})
            for provider in BOTH:
                with suppress(ClientError):
                    provider.build_request(request, TARGET)


@settings(max_examples=200, deadline=None)
@given(body=OBJECTS)
def test_requests_of_any_json_are_read_or_refused(body: dict[str, Any]) -> None:
    """Whatever a client sends, it gets an answer or its own dialect's error."""
    read_or_refused({"model": "m", "max_tokens": 5, **body}, body)


def damaged(value: Any, draw: st.DrawFn) -> Any:
    """The same JSON with one thing in it replaced or left out."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: inner for key, inner in value.items() if key != name}
        if draw(st.integers(0, 4)) == 0:
            return rest
        return {**rest, name: damaged(value[name], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], damaged(value[at], draw), *value[at + 1 :]]
    return draw(ANY_JSON)


REQUESTS = {
    "anthropic": [
        c.request for c in cases("anthropic", operation="messages") if c.request
    ],
    "gemini": [
        c.request for c in cases("gemini", "vertex", family="gemini") if c.request
    ],
}


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_recorded_requests_are_read_or_refused(data: Any) -> None:
    """One wrong thing deep inside a real request raises a ClientError or nothing."""
    anthropic, gemini = (
        damaged(data.draw(st.sampled_from(REQUESTS[name])), data.draw)
        for name in ("anthropic", "gemini")
    )
    read_or_refused(anthropic, gemini)


@pytest.mark.parametrize("dialect", BOTH, ids=repr)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_recordings_with_one_damaged_event(dialect: ProviderDialect, data: Any) -> None:
    """A real stream with one wrong thing deep inside it keeps the rules."""
    source = "anthropic" if dialect is MESSAGES else "gemini"
    streams = [
        case
        for case in cases(source, family=source, streamed=True)
        if case.response_file == "response.sse"
    ]
    events, _ = sse(data.draw(st.sampled_from(streams)).body)
    at = data.draw(st.integers(0, len(events) - 1))
    body = b""
    for place, (name, said) in enumerate(events):
        value = json.loads(said)
        if place == at:
            value = damaged(value, data.draw)
        body += b"event: " + name.encode() + b"\n" if name else b""
        body += b"data: " + as_json(value) + b"\n\n"
    drain(dialect.stream_decoder(ASKED, TARGET), [body])

    relay = relay_of(dialect)
    readings = [relay.feed(body), relay.finish()]
    assert sum(reading.fault is not None for reading in readings) <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9)), max_size=5),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_arrays_are_cut_anywhere(values: list[Any], seed: int, pretty: bool) -> None:
    """Braces, quotes and backslashes inside strings are nothing to the splitter."""
    from tests.support_recordings import cut  # noqa: PLC0415 - only here

    body = json.dumps(values, indent=2 if pretty else None, ensure_ascii=False).encode()
    splitter = ArraySplitter()
    found = [
        json.loads(one) for piece in cut(body, seed, 3) for one in splitter.feed(piece)
    ]

    assert found == values
    assert splitter.done


def test_an_element_without_an_end_is_bounded() -> None:
    """A hostile upstream cannot make us hold its answer for ever."""
    splitter = ArraySplitter(element_bytes_max=100)
    with pytest.raises(ArrayError):
        splitter.feed(b'[{"a": "' + b"x" * 200)


# ------------------------------------------------ events to bytes and back again

TEXT = st.text(min_size=1, max_size=8)
DELTAS = st.one_of(
    st.builds(TextDelta, TEXT),
    st.builds(ReasoningDelta, TEXT),
    st.tuples(TEXT, st.dictionaries(TEXT, TEXT, max_size=2)),
)
REASONS: list[FinishReason] = ["stop", "length", "content_filter"]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """A lawful answer: deltas, calls that interleave in twos, an end, usage."""
    events: list[Event] = [Start("id", "m")]
    calls = 0
    for piece in draw(st.lists(DELTAS, max_size=8)):
        if not isinstance(piece, tuple):
            events.append(piece)
            continue
        name, args = piece
        text = json.dumps(args)
        middle = len(text) // 2
        first = [
            ToolCallStart(calls, f"c{calls}", name),
            ToolArgsDelta(calls, text[:middle]),
        ]
        last = [ToolArgsDelta(calls, text[middle:]), ToolCallEnd(calls)]
        if draw(st.booleans()):
            other = [
                ToolCallStart(calls + 1, f"c{calls + 1}", name),
                ToolArgsDelta(calls + 1, "{}"),
                ToolCallEnd(calls + 1),
            ]
            events += [*first, *other, *last]
            calls += 2
        else:
            events += [*first, *last]
            calls += 1
    reason = "tool_calls" if calls else draw(st.sampled_from(REASONS))
    events.append(Finish(reason, ""))
    completion = draw(st.integers(0, 9))
    events.append(Usage(prompt=draw(st.integers(0, 9)), completion=completion))
    return events


def told(events: list[Event]) -> Any:
    """What a client is told, apart from block numbers and the place of parts."""
    completion = fold(events)
    choice = completion.choices[0]
    parts = [p for p in choice.parts if not isinstance(p, ToolUse)]
    calls = sorted(
        (p.id, p.name, json.loads(p.arguments))
        for p in choice.parts
        if isinstance(p, ToolUse)
    )
    texts = [(type(p).__name__, getattr(p, "text", "")) for p in parts]
    merged: list[tuple[str, str]] = []
    for kind, text in texts:
        if merged and merged[-1][0] == kind:
            merged[-1] = (kind, merged[-1][1] + text)
        else:
            merged.append((kind, text))
    assert choice.finish is not None
    return merged, calls, choice.finish.reason, completion.usage


@pytest.mark.parametrize("side", ["anthropic", "gemini", "gemini-array"])
@settings(max_examples=150, deadline=None)
@given(events=answers(), piecewise=st.booleans())
def test_what_an_encoder_writes_its_decoder_reads(
    side: str, events: list[Event], piecewise: bool
) -> None:
    """parse(emit(x)) is x, streamed in one piece or in many."""
    client: Any = MESSAGES
    if side != "anthropic":
        client = GeminiClient(Route("m", "streamGenerateContent", sse=side == "gemini"))
    encoder = client.stream_encoder(ASKED, REPLY)
    if piecewise:
        body = b"".join(encoder.encode([event]) for event in events)
    else:
        body = encoder.encode(events)
    body += encoder.finish()
    provider: ProviderDialect = MESSAGES if side == "anthropic" else PROVIDER
    again = drain(provider.stream_decoder(ASKED, TARGET), [body])

    first, second = told(events), told(again)
    assert second[:3] == first[:3]
    assert second[3].total == first[3].total

    whole = client.render_response(fold(events), ASKED, REPLY)
    unary = told(provider.parse_response(200, {}, whole, TARGET))
    assert unary[:3] == first[:3]
