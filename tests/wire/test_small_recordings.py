"""Cohere's, Mistral's and Ollama's recordings, played at any cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases, names
from tests.support_replay import (
    ASKED,
    assert_says,
    assert_truncation_is_seen,
    drain,
    lower,
    replay,
)
from wire.cohere import Cohere
from wire.dialect import ProviderDialect, Target
from wire.embeddings import EmbedResult
from wire.events import (
    Citation,
    Event,
    Fault,
    Logprobs,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolArgsDelta,
    ToolCallStart,
)
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.request import ChatRequest, Tool

DIALECTS: dict[str, ProviderDialect] = {
    "cohere": Cohere(),
    "mistral": Mistral(),
    "ollama-native": Ollama(),
}
PLAYED = [
    one
    for one in cases(*DIALECTS, ok=True)
    if one.family in {"cohere", "chat", "ollama"}
    and b'"embedding"' not in one.body[:20]
]
STREAMS = [one for one in PLAYED if one.streamed]


def target_of(one: Case) -> Target:
    asked = one.request if isinstance(one.request, dict) else {}
    return Target(asked.get("model", "m"))


def played(one: Case) -> list[Event]:
    return replay(DIALECTS[one.provider], one, target_of(one))


def test_all_recorded_answers_are_played() -> None:
    counts = {
        provider: sum(one.provider == provider for one in PLAYED)
        for provider in DIALECTS
    }

    assert counts == {"cohere": 13, "mistral": 16, "ollama-native": 4}


@pytest.mark.parametrize("one", PLAYED, ids=names(PLAYED))
def test_an_answer_says_what_the_other_reader_found(one: Case) -> None:
    events = played(one)

    assert_says(events, read(one))


def after_the_end(one: Case) -> Callable[[bytes], int]:
    """Where a stream's grammar ends: cuts before it are truncations."""
    end = {
        "cohere": b'data: {"type":"message-end"',
        "mistral": b'"finish_reason":"',
        "ollama-native": b'"done":true',
    }[one.provider]
    return lambda body: body.index(end)


@pytest.mark.parametrize("one", STREAMS, ids=names(STREAMS))
def test_a_stream_cut_before_its_end_is_a_fault(one: Case) -> None:
    assert_truncation_is_seen(
        DIALECTS[one.provider], one, target_of(one), after_the_end(one)
    )


def test_embeddings_are_read() -> None:
    (mistral,) = [
        one for one in cases("mistral", ok=True) if one.family == "embeddings"
    ]
    (ollama,) = [one for one in cases("ollama-native") if "embeddings--" in one.name]

    for dialect, one, dimensions in (
        (Mistral(), mistral, 1024),
        (Ollama(), ollama, 4096),
    ):
        answer = dialect.parse_embed(
            one.status, lower(one.response_headers), one.body, Target("m")
        )

        assert isinstance(answer, EmbedResult)
        assert len(answer.vectors) == read(one).vectors == 1
        assert answer.vectors[0].encoding == "float"
        assert answer.vectors[0].data.count(b",") == dimensions - 1


def test_coheres_tool_plan_is_a_thought_of_its_own() -> None:
    (one,) = [one for one in PLAYED if "tool-calls-and-streaming" in one.name]

    events = played(one)

    plan = [event for event in events if isinstance(event, ReasoningDelta)]
    assert len({event.block for event in plan}) == 1
    assert [e.index for e in events if isinstance(e, ToolCallStart)] == [0, 1]


def test_coheres_citations_point_into_the_text() -> None:
    (one,) = [one for one in PLAYED if "citations-plus-streams" in one.name]

    events = played(one)

    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    cited = [event for event in events if isinstance(event, Citation)]
    assert [text[c.start : c.end] for c in cited] == [c.text for c in cited]
    assert {c.title for c in cited} == {"facts.txt"}
    assert {c.block for c in cited} == {1}


def cohere(*events: str) -> list[Event]:
    body = "".join(f"data: {event}\n\n" for event in events).encode()
    return drain(Cohere().stream_decoder(ASKED, Target("m")), [body])


START = '{"type":"message-start","id":"i"}'


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ('{"type":"message-end","delta":{"finish_reason":"ERROR","error":"x"}}', 502),
        ('{"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}', 504),
        ('{"message":"internal server error"}', 502),
        ('{"type":"tool-call-delta","index":3}', 502),
        ("[1]", 502),
    ],
)
def test_cohere_giving_up_is_no_success(end: str, status: int) -> None:
    fault = cohere(START, end)[-1]

    assert isinstance(fault, Fault)
    assert (fault.kind, fault.status) == ("transient", status)


def test_a_bare_error_in_a_200_is_read() -> None:
    decoder = Cohere().stream_decoder(ASKED, Target("m"))

    (fault,) = drain(decoder, [b'{"message":"too many tokens"}'])

    assert isinstance(fault, Fault)
    assert fault.message == "too many tokens"


def test_coheres_logprobs_are_told_as_openais() -> None:
    said = (
        '{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"hi"}},'
        '"logprobs":{"token_ids":[1,2],"text":"hi","logprobs":[-0.5,-0.25]}}}'
    )

    found = [event for event in cohere(START, said) if isinstance(event, Logprobs)]

    assert b'"token":"hi","logprob":-0.75' in found[0].data


def test_events_of_the_future_pass_unread() -> None:
    opaque = cohere(START, '{"type":"debug","prompt":"x"}')[1]

    assert isinstance(opaque, Opaque)
    assert opaque.name == "debug"


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        ('{"object":"error","message":"slow","code":"1300"}', "transient", 502),
        ('{"object":"error","message":"slow","raw_status_code":429}', "throttle", 429),
        ('{"object":"error","message":"x","type":"rate_limited"}', "throttle", 429),
        ('{"detail":"boom"}', "transient", 502),
        ('{"error":{"message":"boom"}}', "transient", 502),
    ],
)
def test_mistrals_errors_inside_a_stream_are_read(
    said: str, kind: str, status: int
) -> None:
    decoder = Mistral().stream_decoder(ASKED, Target("m"))

    (fault,) = drain(decoder, [f"data: {said}\n\n".encode()])

    assert isinstance(fault, Fault)
    assert (fault.kind, fault.status) == (kind, status)
    assert fault.message in {"slow", "x", "boom"}


def ollama(*lines: str, request: ChatRequest = ASKED) -> list[Event]:
    decoder = Ollama().stream_decoder(request, Target("m"))
    return drain(decoder, [("\n".join(lines)).encode()])


CALL = (
    '{"created_at":"2025-01-01T10:00:00.123456789+01:00","model":"m","message":'
    '{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},'
    '{"id":"call_x","function":{"name":"g","arguments":{"input":"text"}}}]}}'
)
DONE = '{"model":"m","done":true,"done_reason":"stop","eval_count":2}'


def test_ollamas_calls_get_ids_and_end_the_turn() -> None:
    events = ollama(CALL, DONE)

    calls = [event for event in events if isinstance(event, ToolCallStart)]
    assert calls[0].id.startswith("call_")
    assert calls[1].id == "call_x"
    assert getattr(events[0], "created", 0) == 1_735_722_000
    assert getattr(events[-1], "reason", "") == "tool_calls"
    assert ollama(CALL, DONE) == events  # The same ids for the same bytes.


def test_a_custom_tools_text_is_unpacked() -> None:
    request = ChatRequest("m", (), "x", tools=(Tool("g", kind="custom"),))

    events = ollama(CALL, DONE, request=request)

    assert [e.custom for e in events if isinstance(e, ToolCallStart)] == [False, True]
    assert [e.text for e in events if isinstance(e, ToolArgsDelta)] == [
        '{"a":1}',
        "text",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ('{"message":{"content":"a"}}', '{"error":"an error was encountered"}'),
        ('{"message":{"content":"a"}}', '{"message":{"content":"b"},"done":false}'),
        ('{"message":{"content":"a"}}', "[1]", DONE),
        ('{"message":{"content":"a"}}', '{"message":{"con'),
    ],
)
def test_ollama_giving_up_is_no_success(lines: tuple[str, ...]) -> None:
    fault = ollama(*lines)[-1]

    assert isinstance(fault, Fault)
    assert fault.kind == "transient"


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"message":1}'])
def test_a_broken_unary_answer_is_a_fault(name: str, body: bytes) -> None:
    (fault,) = DIALECTS[name].parse_response(200, {}, body, Target("m"))

    assert isinstance(fault, Fault)
    assert fault.kind == "transient"


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_answer_is_classified(name: str) -> None:
    (fault,) = DIALECTS[name].parse_response(429, {}, b"{}", Target("m"))

    assert isinstance(fault, Fault)
    assert fault.kind == "throttle"
    assert fault == DIALECTS[name].classify_error(429, {}, b"{}", Target("m"))


@pytest.mark.parametrize("name", DIALECTS)
def test_a_line_without_end_is_a_fault(name: str) -> None:
    """The bounds are the codecs'; a decoder turns their errors into faults."""
    decoder = DIALECTS[name].stream_decoder(ASKED, Target("m"))
    chunk = b"x" * (8 * 1024 * 1024)

    events = drain(decoder, [chunk] * 4)

    assert isinstance(events[-1], Fault)
    assert events[-1].code == "upstream_malformed"
