"""Bedrock's recordings, through Converse and through InvokeModel."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases, names
from tests.support_replay import ASKED, assert_says, drain, replay
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.bedrock_read import BLOCKS_MAX
from wire.dialect import Target
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Media,
    Opaque,
    ReasoningState,
    ServerTool,
    ToolArgsDelta,
    ToolCallStart,
    Usage,
)
from wire.eventstream import EventStreamDecoder, Frame, Header, encode, event, exception
from wire.request import ChatRequest, Tool

CONVERSE = [c for c in cases("bedrock", ok=True) if c.family == "converse"]
INVOKE = cases("bedrock-invoke", ok=True)
STREAMS = [case for case in CONVERSE + INVOKE if case.streamed]
TITAN_GUARDED = "bedrock-invoke/invoke-stream--guardrail-invoke-stream"


def model_of(case: Case) -> Target:
    assert case.url is not None
    return Target(case.url.split("/model/")[1].split("/")[0].replace("%3A", ":"))


def dialect_of(case: Case) -> Bedrock | BedrockInvoke:
    return BedrockInvoke() if case.provider == "bedrock-invoke" else Bedrock()


def played(case: Case) -> list[Event]:
    return replay(dialect_of(case), case, model_of(case))


def test_all_recorded_answers_are_played() -> None:
    assert len(CONVERSE) == 23
    assert len(INVOKE) == 7


@pytest.mark.parametrize("case", CONVERSE + INVOKE, ids=names(CONVERSE + INVOKE))
def test_an_answer_says_what_the_other_reader_found(case: Case) -> None:
    events = played(case)

    reading = read(case)
    assert_says(events, reading)
    states = [e.state.data for e in events if isinstance(e, ReasoningState)]
    expected = [one for one in reading.signatures if one]
    if "redacted" in case.name:
        # Anthropic's own `data` is the text inside Bedrock's blob.
        expected = [base64.b64decode(one).decode() for one in expected]
    assert states == expected


def test_the_guardrails_verdict_is_a_filter() -> None:
    """Titan says INTERVENED instead of a reason; the answer is not the model's."""
    (case,) = [one for one in INVOKE if one.name == TITAN_GUARDED]

    finishes = [event for event in played(case) if isinstance(event, Finish)]

    assert [(f.reason, f.raw) for f in finishes] == [
        ("content_filter", "guardrail_intervened")
    ]


def kinds_of(frame: Frame) -> set[str]:
    """The event types of a frame, also of one inside a chunk."""
    kind = frame.text(":event-type") or ""
    if kind != "chunk":
        return {kind}
    return set(json.loads(base64.b64decode(json.loads(frame.payload)["bytes"])))


CONVERSED = [case for case in CONVERSE if case.streamed]


@pytest.mark.parametrize("case", CONVERSED, ids=names(CONVERSED))
def test_the_invoke_dialect_reads_converse_alike(case: Case) -> None:
    """It asks models that only Converse serves through Converse."""
    assert replay(BedrockInvoke(), case, model_of(case)) == played(case)


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_a_stream_cut_between_frames_is_a_fault_until_its_stop(case: Case) -> None:
    frames = list(EventStreamDecoder().feed(case.body))
    sizes = [len(encode(frame.headers, frame.payload)) for frame in frames]
    # Only usage may come after messageStop: without it the answer is still complete.
    stops = ["messageStop" in kinds_of(frame) for frame in frames]
    last = stops.index(True) if True in stops else len(frames) - 1
    for kept in range(last + 1):
        at = sum(sizes[:kept])
        target = model_of(case)

        for cut in (at, at + 5):
            decoder = dialect_of(case).stream_decoder(ASKED, target)
            events = drain(decoder, [case.body[:cut]])

            assert isinstance(events[-1], Fault)
            assert events[-1].truncated or "event stream" in events[-1].message
            assert decoder.done


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_a_damaged_stream_ends_in_a_fault_after_what_was_sound(case: Case) -> None:
    whole = played(case)
    for place in range(0, len(case.body), max(1, len(case.body) // 20)):
        damaged = bytearray(case.body)
        damaged[place] ^= 0x20

        decoder = dialect_of(case).stream_decoder(ASKED, model_of(case))
        events = drain(decoder, [bytes(damaged)])

        assert isinstance(events[-1], Fault)
        assert events[:-1] == whole[: len(events) - 1]


def test_server_tools_are_not_the_clients_to_run() -> None:
    (case,) = [one for one in CONVERSE if "web-search" in one.name]

    events = played(case)

    tools = [event for event in events if isinstance(event, ServerTool)]
    assert [tool.name for tool in tools] == ["nova_grounding", "nova_grounding_result"]
    assert json.loads(tools[0].data)["deltas"] == [
        '{"query":"latest stable Ruby version"}'
    ]
    urls = [event.url for event in events if isinstance(event, Citation)]
    assert urls[0] == "https://www.ruby-lang.org/en/downloads/"


def test_a_citation_quotes_its_source() -> None:
    (case,) = [one for one in CONVERSE if one.name == "bedrock/converse--citations"]

    (cited,) = [event for event in played(case) if isinstance(event, Citation)]

    assert cited.title == "company_policy"
    assert cited.text == "Consult with your manager for details."
    assert cited.block == 1


def test_a_guardrails_trace_is_kept() -> None:
    (case,) = [one for one in CONVERSE if "titan-converse-stream-guard" in one.name]

    traces = [event for event in played(case) if isinstance(event, Opaque)]

    assert [trace.name for trace in traces] == ["trace"]
    assert b"inputAssessment" in traces[0].data


def converse(
    *events: tuple[str, dict[str, Any]], model: str = "amazon.nova"
) -> list[Event]:
    decoder = Bedrock().stream_decoder(ASKED, Target(model))
    return drain(
        decoder, [event(kind, json.dumps(said).encode()) for kind, said in events]
    )


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("internalServerException", "transient", 500),
        ("modelStreamErrorException", "transient", 424),
        ("validationException", "client", 400),
        ("throttlingException", "throttle", 429),
        ("serviceUnavailableException", "transient", 503),
        ("modelTimeoutException", "transient", 408),
    ],
)
def test_an_exception_frame_ends_the_stream_with_its_fault(
    name: str, kind: str, status: int
) -> None:
    for dialect in (Bedrock(), BedrockInvoke()):
        decoder = dialect.stream_decoder(ASKED, Target("amazon.nova"))
        frames = exception(name, b'{"message":"m"}') + event("chunk", b"{}")

        (fault,) = drain(decoder, [frames])

        assert isinstance(fault, Fault)
        assert (fault.kind, fault.status, fault.message) == (kind, status, "m")
        assert decoder.feed(event("messageStart", b"{}")) == []


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_models_own_failure_is_no_success(reason: str) -> None:
    events = converse(("messageStart", {}), ("messageStop", {"stopReason": reason}))

    assert isinstance(events[-1], Fault)
    assert events[-1].kind == "transient"
    assert events[-1].code == reason


def test_one_hour_cache_writes_are_told_apart() -> None:
    usage = {
        "inputTokens": 10,
        "outputTokens": 1,
        "totalTokens": 41,
        "cacheWriteInputTokens": 30,
        "cacheDetails": [
            {"ttl": "1h", "inputTokens": 20},
            {"ttl": "5m", "inputTokens": 10},
        ],
    }
    events = converse(
        ("messageStart", {}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage}),
    )

    assert events[-1] == Usage(
        prompt=40, completion=1, cache_write=30, cache_write_1h=20
    )


def test_events_and_deltas_of_the_future_pass_unread() -> None:
    events = converse(
        ("initial-response", {}),
        ("messageStart", {"role": "assistant"}),
        ("somethingNew", {"a": 1, "p": "abc"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"video": {}}}),
        ("messageStop", {"stopReason": "a_new_reason"}),
    )

    named = [(e.name, e.data) for e in events if isinstance(e, Opaque)]
    assert named[0] == ("somethingNew", b'{"a":1}')
    assert named[1][0] == "contentBlockDelta"
    assert isinstance(events[-1], Finish)
    assert (events[-1].reason, events[-1].raw) == ("stop", "a_new_reason")


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 10_000],
)
def test_a_payload_that_is_no_object_is_a_fault(payload: bytes) -> None:
    for dialect in (Bedrock(), BedrockInvoke()):
        decoder = dialect.stream_decoder(ASKED, Target("m"))

        (fault,) = drain(decoder, [event("messageStart", payload)])

        assert isinstance(fault, Fault)
        assert fault.code == "upstream_malformed"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"output":{}}', b'{"output":{"message":{"content":[]}}}'],
)
def test_a_broken_unary_answer_is_a_fault(body: bytes) -> None:
    for dialect in (Bedrock(), BedrockInvoke()):
        (fault,) = dialect.parse_response(200, {}, body, Target("amazon.nova"))

        assert isinstance(fault, Fault)
        assert fault.kind == "transient"


def test_a_bare_error_frame_is_a_fault_too() -> None:
    """Errors AWS did not model come as headers alone."""
    frame = encode(
        (
            Header(":message-type", "string", "error"),
            Header(":error-code", "string", "ThrottlingException"),
            Header(":error-message", "string", "slow down"),
        ),
        b"",
    )

    (fault,) = drain(Bedrock().stream_decoder(ASKED, Target("m")), [frame])

    assert isinstance(fault, Fault)
    assert (fault.kind, fault.message) == ("throttle", "slow down")


def test_pictures_come_whole() -> None:
    picture = {"image": {"source": {"bytes": "iVBO"}}}
    streamed = converse(
        ("messageStart", {}),
        ("contentBlockStart", {"start": {"image": {"format": "png"}}}),
        ("contentBlockDelta", {"delta": picture}),
        ("contentBlockDelta", {"delta": picture}),
        ("contentBlockStop", {}),
        ("messageStop", {"stopReason": "end_turn"}),
    )
    whole = {"image": {"format": "png", "source": {"bytes": "iVBO"}}}
    unary = answered(whole)

    assert Media("image/png", "iVBOiVBO") in streamed
    assert Media("image/png", "iVBO") in unary


def answered(*blocks: dict[str, Any], **fields: Any) -> list[Event]:
    body = {
        "output": {"message": {"content": list(blocks)}},
        "stopReason": "end_turn",
        **fields,
    }
    target = Target("amazon.nova")
    return Bedrock().parse_response(200, {}, json.dumps(body).encode(), target)


def test_a_unary_answer_keeps_server_tools_and_the_unknown_apart() -> None:
    events = answered(
        {"toolUse": {"toolUseId": "a", "name": "s", "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "a", "type": "s_result", "content": []}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"video": {"format": "mp4"}},
        trace={"guardrail": {}},
        additionalModelResponseFields={"stop_sequence": "END"},
    )

    assert [e.name for e in events if isinstance(e, ServerTool)] == ["s", "s_result"]
    assert [e.name for e in events if isinstance(e, Opaque)] == ["video", "trace"]
    (state,) = [e.state for e in events if isinstance(e, ReasoningState)]
    assert (state.source, state.kind, state.data) == ("bedrock", "redacted", "AAEC")
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_sequence == "END"


def test_redacted_pieces_are_one_blob() -> None:
    def piece(blob: bytes) -> tuple[str, dict[str, Any]]:
        data = base64.b64encode(blob).decode()
        return "contentBlockDelta", {
            "delta": {"reasoningContent": {"redactedContent": data}}
        }

    stop = ("messageStop", {"stopReason": "end_turn"})
    claude = converse(piece(b"Eqo"), piece(b"Bxyz"), stop, model="anthropic.claude-3-7")
    nova = converse(piece(b"Eqo"), piece(b"Bxyz"), stop)
    broken = (
        "contentBlockDelta",
        {"delta": {"reasoningContent": {"redactedContent": "!"}}},
    )

    def data(events: list[Event]) -> list[str]:
        return [e.state.data for e in events if isinstance(e, ReasoningState)]

    assert data(claude) == ["EqoBxyz"]
    assert data(nova) == [base64.b64encode(b"EqoBxyz").decode()]
    assert data(converse(broken, stop)) == ["!"]


def test_a_runaway_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by name, not by the peer's good will."""
    starts = [
        ("contentBlockStart", {"contentBlockIndex": at, "start": {"image": {}}})
        for at in range(BLOCKS_MAX + 1)
    ]
    monkeypatch.setattr("wire.bedrock_read.HELD_CHARS_MAX", 10)
    picture = {"image": {"source": {"bytes": "x" * 11}}}

    for events in (starts, [starts[0], ("contentBlockDelta", {"delta": picture})]):
        fault = converse(*events)[-1]

        assert isinstance(fault, Fault)
        assert fault.code == "upstream_malformed"


def test_a_custom_tools_text_is_unpacked_from_converse() -> None:
    request = ChatRequest("m", (), "x", tools=(Tool("run", kind="custom"),))
    use = {"toolUse": {"toolUseId": "a", "name": "run"}}
    events = [
        ("contentBlockStart", {"start": use}),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": '{"input":'}}}),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": '"ls -l"}'}}}),
        ("contentBlockStop", {}),
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {}),
    ]
    frames = b"".join(event(kind, json.dumps(said).encode()) for kind, said in events)

    told = drain(Bedrock().stream_decoder(request, Target("m")), [frames])

    (call,) = [e for e in told if isinstance(e, ToolCallStart)]
    assert call.custom
    assert [e.text for e in told if isinstance(e, ToolArgsDelta)] == ["ls -l"]


def test_error_answers_are_classified() -> None:
    for dialect in (Bedrock(), BedrockInvoke()):
        headers = {"x-amzn-errortype": "ThrottlingException:http://x/"}
        (fault,) = dialect.parse_response(429, headers, b"{}", Target("m"))

        assert isinstance(fault, Fault)
        assert (fault.kind, fault.source) == ("throttle", "bedrock")
    counted = Bedrock().read_count(429, {}, b"", Target("m"))
    assert isinstance(counted, Fault)


def test_a_guardrail_in_claudes_stream_is_a_filter() -> None:
    """Its verdict may come with the last event, after the reason to stop."""
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "model": "x"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop", "amazon-bedrock-guardrailAction": "INTERVENED"},
    ]
    chunks = [base64.b64encode(json.dumps(one).encode()).decode() for one in said]
    frames = [event("chunk", json.dumps({"bytes": one}).encode()) for one in chunks]
    whole = {
        "type": "message",
        "id": "m",
        "model": "x",
        "content": [],
        "stop_reason": "end_turn",
        "amazon-bedrock-guardrailAction": "INTERVENED",
    }

    streamed = drain(BedrockInvoke().stream_decoder(ASKED, Target("m")), frames)
    unary = BedrockInvoke().parse_response(
        200, {}, json.dumps(whole).encode(), Target("m")
    )

    for events in (streamed, unary):
        (finish,) = [made for made in events if isinstance(made, Finish)]
        assert (finish.reason, finish.raw) == ("content_filter", "guardrail_intervened")
