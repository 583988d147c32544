"""OpenAI Responses: recorded events, the full grammar out, requests both ways."""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import recordings_reader
from tests.recordings_cases import Case, parsed
from tests.support_recordings import cases, cuts, names
from tests.wire.test_openai_chat_relay import total, without_comments
from tests.wire.test_openai_chat_stream import answers, chunk_like
from wire import events as ev
from wire.completion import fold
from wire.dialect import ClientError, Reading, Reply, Target
from wire.flavours import FLAVOURS
from wire.openai_chat import CHAT
from wire.openai_chat_relay import ChatRelay
from wire.openai_responses import RESPONSES, expand
from wire.openai_responses_decoder import ResponsesDecoder
from wire.openai_responses_relay import ResponsesRelay
from wire.relay import Translation, failure
from wire.request import (
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Reasoning,
    ReasoningWish,
    Refusal,
    Text,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from wire.sse import SseDecoder
from wire.toolids import pack

RECORDED = [c for c in cases(family="responses", ok=True) if c.body]
STREAMS = [c for c in RECORDED if c.streamed]
WHOLE = [c for c in RECORDED if not c.streamed]
REPLY = Reply(id="abc", created=1_700_000_000, model="asked")
TARGET = Target(model="up", flavour="openai")


def decode(case: Case, pieces: Sequence[bytes]) -> list[ev.Event]:
    decoder = ResponsesDecoder(case.provider)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


def same_as_reader(case: Case, events: Sequence[ev.Event]) -> None:
    expected = recordings_reader.read(case)
    faults = [e for e in events if isinstance(e, ev.Fault)]
    if expected.error is not None:
        assert [f.code for f in faults] == [expected.error.code]
        return
    assert not faults
    got = fold(events)
    parts = got.choices[0].parts
    assert "".join(p.text for p in parts if isinstance(p, Text)) == expected.text
    thoughts = "".join(p.text for p in parts if isinstance(p, Reasoning))
    assert thoughts == expected.reasoning
    assert "".join(p.text for p in parts if isinstance(p, Refusal)) == expected.refusal
    calls = [
        (p.name, parsed(p.arguments), p.id) for p in parts if isinstance(p, ToolUse)
    ]
    assert calls == [(c.name, c.arguments, c.id) for c in expected.tool_calls]
    finish = got.choices[0].finish
    assert finish is not None
    if expected.finish is not None:
        assert finish.reason == expected.finish
    if expected.usage is not None:
        usage = got.usage
        assert usage is not None
        assert (usage.prompt, usage.completion, usage.reasoning, usage.cached) == (
            expected.usage.prompt,
            expected.usage.completion,
            expected.usage.reasoning,
            expected.usage.cached,
        )
    assert got.start.id == (expected.id or "")


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_reads_the_same_at_any_cut(case: Case) -> None:
    expected: list[ev.Event] | None = None
    for way, pieces in cuts(case.body, zlib.crc32(case.name.encode())).items():
        events = decode(case, pieces)
        if expected is None:
            expected = events
            if b'"response.created"' in case.body:  # A resumed one has no beginning.
                same_as_reader(case, events)
        assert events == expected, way


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_recorded_answer_reads_as_the_independent_reader_says(case: Case) -> None:
    target = Target(model="x", flavour=case.provider)
    same_as_reader(case, RESPONSES.parse_response(200, {}, case.body, target))


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_passes_unchanged_at_any_cut(case: Case) -> None:
    events = decode(case, [case.body])
    fault = next((e for e in events if isinstance(e, ev.Fault)), None)
    usage = [e for e in events if isinstance(e, ev.Usage)]
    finish = [e for e in events if isinstance(e, ev.Finish)]
    expected = without_comments(case.body)
    at = expected.find(b"data: [DONE]")
    expected = expected[:at] if at >= 0 else expected
    for way, pieces in cuts(case.body, zlib.crc32(case.name.encode())).items():
        relay = ResponsesRelay(case.provider)
        got = total([*(relay.feed(p) for p in pieces), relay.finish()])
        assert got.fault == fault, way
        if fault is not None:
            continue
        assert got.out == expected, way
        assert got.done
        assert got.usage == (usage[-1] if usage else None)
        assert got.finish == finish[-1].reason
        assert got.content


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_cut_anywhere_is_never_a_silent_stop(case: Case) -> None:
    end = max(
        case.body.rfind(b"response.completed"),
        case.body.rfind(b"response.incomplete"),
        case.body.rfind(b"response.failed"),
    )
    first_fault = case.body.find(b'"type":"error"')
    end = min(end, first_fault) if first_fault >= 0 else end
    for at in range(0, end, max(1, end // 25)):
        decoder = ResponsesDecoder(case.provider)
        fault = (decoder.feed(case.body[:at]) + decoder.finish())[-1]
        assert isinstance(fault, ev.Fault)
        assert fault.truncated


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_recorded_answer_passes_unchanged(case: Case) -> None:
    reading = RESPONSES.relay_response(200, {}, case.body)
    assert reading.out == case.body
    events = RESPONSES.parse_response(200, {}, case.body, TARGET)
    usage = [e for e in events if isinstance(e, ev.Usage)]
    assert reading.usage == (usage[-1] if usage else None)
    renamed = RESPONSES.relay_response(200, {}, case.body, model="mine").out
    assert json.loads(renamed) == {**json.loads(case.body), "model": "mine"}


def request(**fields: Any) -> ChatRequest:
    body = {"model": "asked", "input": "hi", **fields}
    return RESPONSES.parse_request(json.dumps(body).encode(), {})


def emit(events: Sequence[ev.Event], asked: ChatRequest | None = None) -> bytes:
    encoder = RESPONSES.stream_encoder(asked or request(), REPLY)
    return b"".join(encoder.encode([e]) for e in events) + encoder.finish()


def snapshot_of(wire: bytes) -> Any:
    frames = SseDecoder().feed(wire)
    return json.loads(frames[-1].data)["response"]


def told(events: Sequence[ev.Event]) -> list[Any]:
    """The answer's parts as Responses can tell them, neighbours of a kind joined."""
    parts: list[Any] = []
    choice = fold([e for e in events if getattr(e, "choice", 0) == 0]).choices[0]
    for part in choice.parts:
        last = parts[-1] if parts else None
        match part:
            case Text() | Refusal():
                if type(last) is type(part):
                    parts[-1] = type(part)(last.text + part.text)
                else:
                    parts.append(part)
            case Reasoning():
                if isinstance(last, Reasoning) and last.state is None:
                    parts[-1] = Reasoning(last.text + part.text, part.state)
                else:
                    parts.append(Reasoning(part.text, part.state))
            case ToolUse():
                call_id = pack(part.id, part.state)
                parts.append(msgspec.structs.replace(part, id=call_id, state=None))
            case _:
                pass
    return parts


@given(answers(), st.integers(0, 2**32))
def test_what_is_encoded_is_decoded(events: list[ev.Event], seed: int) -> None:
    wire = emit(events)
    for way, pieces in cuts(wire, seed).items():
        decoder = ResponsesDecoder("x")
        again = [event for piece in pieces for event in decoder.feed(piece)]
        again += decoder.finish()
        assert told(again) == told(events), way
        assert decoder.done
        usage = [e for e in again if isinstance(e, ev.Usage)]
        assert usage[0].prompt == events[-1].prompt


@given(answers())
def test_grammar_is_kept(events: list[ev.Event]) -> None:
    """Numbers without a gap, every item and part opened and closed once, in order."""
    frames = SseDecoder().feed(emit(events))
    payloads = [json.loads(frame.data) for frame in frames]
    assert [p["sequence_number"] for p in payloads] == list(range(len(payloads)))
    assert [f.event for f in frames] == [p["type"] for p in payloads]
    kinds = [p["type"] for p in payloads]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in {"response.completed", "response.incomplete"}
    open_items: list[str] = []
    open_parts: list[Any] = []
    items: list[Any] = []
    for payload in payloads[2:-1]:
        kind = payload["type"]
        if kind == "response.output_item.added":
            assert not open_items
            assert payload["output_index"] == len(items)
            open_items.append(payload["item"]["id"])
        elif kind == "response.output_item.done":
            assert [payload["item"]["id"]] == open_items
            assert not open_parts
            open_items.clear()
            items.append(payload["item"])
        elif kind.endswith("part.added"):
            assert payload["item_id"] == open_items[0]
            open_parts.append(
                payload.get("content_index", payload.get("summary_index"))
            )
        elif kind.endswith("part.done"):
            assert open_parts == [
                payload.get("content_index", payload.get("summary_index"))
            ]
            open_parts.clear()
        else:
            assert payload["item_id"] == open_items[0]
    assert payloads[-1]["response"]["output"] == items


@given(answers())
def test_an_answer_rendered_whole_says_what_the_stream_said(
    events: list[ev.Event],
) -> None:
    first = [e for e in events if getattr(e, "choice", 0) == 0]
    body = RESPONSES.render_response(fold(first), request(), REPLY)
    again = RESPONSES.parse_response(200, {}, body, TARGET)
    assert told(again) == told(events)


@given(
    st.lists(chunk_like.map(msgspec.json.encode) | st.binary(max_size=60), max_size=5)
)
def test_garbage_never_raises(chunks: list[bytes]) -> None:
    kinds = (
        *("created", "completed", "output_item.added", "output_item.done"),
        *("output_text.delta", "output_text.annotation.added", "failed"),
    )
    body = b"".join(
        b'data: {"type":"response.%b","item":%b,"response":%b,"delta":%b,'
        b'"error":%b}\n\n' % (kind.encode(), *(c.replace(b"\n", b" "),) * 4)
        for c in chunks
        for kind in kinds
    )
    decoder, relay = ResponsesDecoder("x"), ResponsesRelay("x", model="m")
    for event in body.split(b"\n\n"):
        decoder.feed(event + b"\n\n")
        relay.feed(event + b"\n\n")
        ResponsesDecoder("x").feed(event + b"\n\n")
        ResponsesRelay("x", model="m").feed(event + b"\n\n")
    relay.cut()
    decoder.finish()
    for c in chunks:
        RESPONSES.relay_response(200, {}, c, model="m")
        RESPONSES.parse_response(200, {}, b'{"output":%b}' % c, TARGET)


def event(kind: str, **fields: Any) -> bytes:
    body = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {body}\n\n".encode()


CREATED = event("response.created", response={"id": "resp_1", "model": "up"})
ADDED = event(
    "response.output_item.added", output_index=0, item={"id": "m", "type": "message"}
)
DELTA = event("response.output_text.delta", output_index=0, item_id="m", delta="A")
COMPLETED = event(
    "response.completed",
    response={"id": "resp_1", "model": "up", "status": "completed"},
)


def test_keepalives_pass_because_they_consume_a_number() -> None:
    relay = ResponsesRelay("x")
    assert relay.feed(CREATED + ADDED).out == b""
    keepalive = event("keepalive", sequence_number=3)
    reading = relay.feed(keepalive + DELTA)
    assert reading.content
    assert reading.out == CREATED + ADDED + keepalive + DELTA


def test_model_is_renamed_in_snapshots_only() -> None:
    relay = ResponsesRelay("x", model="mine")
    words = event("response.output_text.delta", delta='"model":"up"')
    got = total([relay.feed(CREATED + words + COMPLETED)])
    assert got.out == (
        CREATED.replace(b'"up"', b'"mine"')
        + words
        + COMPLETED.replace(b'"up"', b'"mine"')
    )


@pytest.mark.parametrize(
    "error",
    [
        event("error", code="server_error", message="boom", param=None),
        event("error", error={"type": "server_error", "message": "boom"}),
        event(
            "response.failed",
            response={"status": "failed", "error": {"code": "x", "message": "boom"}},
        ),
        b'data: {"error":{"message":"boom","type":"server_error"}}\n\n',
    ],
)
def test_every_shape_of_error_is_a_fault(error: bytes) -> None:
    relay = ResponsesRelay("x")
    assert relay.feed(CREATED + DELTA).out == CREATED + DELTA
    reading = relay.feed(DELTA + error)
    assert reading.fault is not None
    assert reading.fault.message == "boom"
    assert reading.out == DELTA
    decoder = ResponsesDecoder("x")
    fault = decoder.feed(CREATED + DELTA + error)[-1]
    assert isinstance(fault, ev.Fault)
    assert fault.message == "boom"


def test_a_cut_ends_the_stream_as_incomplete_with_what_was_told() -> None:
    relay = ResponsesRelay("x", model="mine")
    out = relay.feed(CREATED + ADDED + DELTA).out + relay.cut("length")
    response = snapshot_of(out)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["content"][0]["text"] == "A"
    assert response["model"] == "mine"
    assert relay.feed(DELTA) == Reading()


def test_arguments_that_come_only_whole_are_told() -> None:
    """bedrock-mantle and small servers send no argument deltas."""
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "[1]"}
    body = CREATED + event("response.output_item.done", output_index=0, item=item)
    decoder = ResponsesDecoder("x")
    events = decoder.feed(body + COMPLETED)
    part = fold(events).choices[0].parts[0]
    assert part == ToolUse("c", "f", "[1]")
    assert events[-1] == ev.Finish("tool_calls", "completed")


def test_data_before_event_and_no_event_at_all_are_read() -> None:
    swapped = DELTA.replace(b"event: response.output_text.delta\n", b"")
    decoder = ResponsesDecoder("x")
    events = decoder.feed(CREATED + swapped + COMPLETED)
    assert ev.TextDelta("A") in events
    assert ResponsesRelay("x").feed(CREATED + swapped).content


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ""}, "model", None),
        ({"input": []}, "input", "missing_required_parameter"),
        (
            {"input": [{"role": "wizard", "content": "x"}]},
            "input[0].role",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "smell"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            {
                "input": [
                    {"type": "function_call_output", "call_id": "a", "output": "x"}
                ]
            },
            "input[0].call_id",
            "invalid_value",
        ),
        (
            {"input": [{"type": "item_reference", "id": "x"}]},
            "input[0].id",
            "item_not_found",
        ),
        ({"background": True}, "background", "unsupported_parameter"),
        (
            {"previous_response_id": "resp_x"},
            "previous_response_id",
            "previous_response_not_found",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        (
            {"tools": [{"type": "function"}]},
            "tools[0].name",
            "missing_required_parameter",
        ),
        (
            {"text": {"format": {"type": "json_schema"}}},
            "text.format.schema",
            "missing_required_parameter",
        ),
    ],
)
def test_a_faulty_request_names_the_field(
    fields: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(ClientError) as caught:
        request(**fields)
    assert (caught.value.param, caught.value.code) == (param, code)


ITEMS: list[Any] = [
    {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "gAAA",
    },
    {"type": "message", "role": "assistant", "content": "a"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "function_call_output", "call_id": "c1", "output": "r"},
    {
        "role": "user",
        "content": [
            {"type": "input_image", "image_url": "data:image/png;base64,QQ=="},
            {"type": "input_file", "filename": "a.pdf", "file_url": "https://x/a.pdf"},
        ],
    },
]


def test_items_become_turns() -> None:
    asked = request(
        instructions="be brief",
        input=ITEMS,
        tools=[
            {"type": "function", "name": "f", "parameters": {"type": "object"}},
            {"type": "web_search"},
        ],
        tool_choice={"type": "function", "name": "f"},
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low"},
        store=False,
    )
    system, user, assistant, tool, last = asked.messages
    assert system == Message("system", (Text("be brief"),))
    assert user == Message("user", (Text("q"),))
    state = ev.ProviderState("openai_responses", "encrypted", "gAAA", "rs_1")
    assert assistant.parts[:3] == (
        Reasoning("hm", state, summary=True),
        Text("a"),
        ToolUse("c1", "f", '{"x":1}'),
    )
    assert isinstance(assistant.parts[3], OpaquePart)
    assert tool.parts == (ToolResult("c1", (Text("r"),), name="f"),)
    assert last.parts == (
        Image(data="QQ==", media_type="image/png"),
        File(url="https://x/a.pdf", name="a.pdf"),
    )
    assert [t.kind for t in asked.tools] == ["function", "server"]
    assert asked.tool_choice == ToolChoice("tool", "f")
    assert asked.reasoning == ReasoningWish("low", summary="auto")
    sent = json.loads(
        RESPONSES.build_request(asked, Target(model="gpt-5", flavour="openai")).body
    )
    kinds = [item.get("type") for item in sent["input"]]
    assert kinds == [
        *("message", "message", "reasoning", "message", "function_call"),
        *("web_search_call", "function_call_output", "message"),
    ]
    assert sent["input"][2]["encrypted_content"] == "gAAA"
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert sent["store"] is False
    assert sent["tools"][0]["strict"] is False


REQUESTS = [
    c
    for c in cases(family="responses", ok=True)
    if isinstance(c.request, dict)
    and "input" in c.request
    and not c.request.keys() & {"conversation", "prompt", "previous_response_id"}
    and not c.request.get("background")
]


@pytest.mark.parametrize("case", REQUESTS, ids=names(REQUESTS))
def test_recorded_request_is_parsed_built_and_parsed_again(case: Case) -> None:
    """And forwarded with nothing but its model changed."""
    body = msgspec.json.encode(case.request)
    asked = RESPONSES.parse_request(body, {})
    built = RESPONSES.build_request(asked, TARGET).body
    again = RESPONSES.parse_request(built, {})
    assert [m.role for m in again.messages] == [m.role for m in asked.messages]
    for one, other in zip(again.messages, asked.messages, strict=True):
        kept = [
            p
            for p in other.parts
            if not isinstance(p, Reasoning) or p.state is not None
        ]
        assert len(one.parts) == len(kept)
    assert [t.name for t in again.tools] == [t.name for t in asked.tools]
    head = RESPONSES.read_head(body, {})
    sent = RESPONSES.forward_request(body, {}, head, TARGET)
    assert json.loads(sent.body) == {**case.request, "model": "up"}
    assert sent.path == "/responses"


def test_stored_items_go_before_the_input() -> None:
    body = b'{"model":"m","previous_response_id":"resp_1","input":"next"}'
    assert RESPONSES.read_head(body, {}).previous_response_id == "resp_1"
    earlier = [json.dumps(item).encode() for item in ITEMS[:3]]
    asked = RESPONSES.parse_request(expand(body, earlier), {})
    assert [m.role for m in asked.messages] == ["user", "assistant", "user"]


def test_another_providers_thoughts_survive_in_encrypted_content() -> None:
    """Claude's signature comes back to Claude through a Responses client."""
    state = ev.ProviderState("anthropic", "signature", "sig==")
    events = [
        ev.Start(),
        ev.ReasoningDelta("hm"),
        ev.ReasoningState(state),
        ev.ToolCallStart(0, "toolu_1", "f"),
        ev.ToolCallEnd(0),
        ev.Finish("tool_calls"),
    ]
    output = snapshot_of(emit(events))["output"]
    asked = request(
        input=[
            {"role": "user", "content": "q"},
            *output,
            {"type": "function_call_output", "call_id": "toolu_1", "output": "r"},
        ]
    )
    assert asked.messages[1].parts == (Reasoning("hm", state), ToolUse("toolu_1", "f"))
    body = json.dumps({"model": "m", "input": output}).encode()
    head = RESPONSES.read_head(body, {})
    sent = RESPONSES.forward_request(body, {}, head, TARGET)
    assert b"stagedoor1" not in sent.body, "OpenAI would refuse what it did not write"


@pytest.mark.parametrize(
    ("flavour", "options", "path"),
    [
        ("openai", {}, "/responses"),
        ("azure", {"api_version": "2024-10-21"}, "/openai/v1/responses"),
    ],
)
def test_paths(flavour: str, options: dict[str, str], path: str) -> None:
    target = Target(model="m", flavour=flavour, options=options)
    assert RESPONSES.build_request(request(), target).path == path


def test_the_clamp_bounds_the_answer() -> None:
    target = Target(model="m", flavour="openai", max_output_tokens=20)
    for asked, sent in ((None, 20), (17, 17), (50, 20)):
        fields = {} if asked is None else {"max_output_tokens": asked}
        body = json.dumps({"model": "m", "input": "x", **fields}).encode()
        head = RESPONSES.read_head(body, {})
        forwarded = RESPONSES.forward_request(body, {}, head, target)
        assert json.loads(forwarded.body)["max_output_tokens"] == sent
        built = RESPONSES.build_request(request(**fields), target)
        assert json.loads(built.body)["max_output_tokens"] == sent


ANSWER: list[ev.Event] = [
    ev.Start(model="up"),
    ev.ReasoningDelta("hm", summary=True),
    ev.TextDelta("Grüße ", block=1),
    ev.TextDelta("😀", block=1),
    ev.ToolCallStart(0, "c1", "f"),
    ev.ToolArgsDelta(0, '{"a":1}'),
    ev.ToolCallEnd(0),
    ev.Finish("tool_calls"),
    ev.Usage(prompt=10, completion=5, cached=3, reasoning=2),
]


def client(answer: Callable[[ChatRequest], httpx2.Response]) -> openai.OpenAI:
    def handle(sent: httpx2.Request) -> httpx2.Response:
        return answer(RESPONSES.parse_request(sent.content, {}))

    return openai.OpenAI(
        api_key="k",
        base_url="http://gateway.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    )


def stream_of(body: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers=dict(RESPONSES.stream_headers), content=body)


def test_the_official_client_reads_stream_helper_and_answer() -> None:
    streaming = client(lambda asked: stream_of(emit(ANSWER, asked)))
    kinds = [
        e.type
        for e in streaming.responses.create(model="asked", input="hi", stream=True)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    with streaming.responses.stream(model="asked", input="hi") as stream:
        final = stream.get_final_response()
    assert final.output_text == "Grüße 😀"
    assert [item.type for item in final.output] == [
        "reasoning",
        "message",
        "function_call",
    ]
    assert final.usage.input_tokens_details.cached_tokens == 3

    def whole(asked: ChatRequest) -> httpx2.Response:
        body = RESPONSES.render_response(fold(ANSWER), asked, REPLY)
        headers = {"content-type": "application/json"}
        return httpx2.Response(200, headers=headers, content=body)

    got = client(whole).responses.create(model="asked", input="hi")
    assert got.output_text == "Grüße 😀"
    assert got.output[2].arguments == '{"a":1}'
    assert got.status == "completed"


def test_the_official_client_raises_on_our_error_event() -> None:
    fault = ev.Fault("transient", "upstream died", 502, "upstream_truncated")

    def broken(asked: ChatRequest) -> httpx2.Response:
        encoder = RESPONSES.stream_encoder(asked, REPLY)
        return stream_of(encoder.encode(ANSWER[:3]) + RESPONSES.error_event(fault))

    stream = client(broken).responses.create(model="asked", input="hi", stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "upstream_truncated"


@pytest.mark.parametrize(
    ("reason", "details"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_a_short_answer_is_incomplete(reason: ev.FinishReason, details: str) -> None:
    response = snapshot_of(emit([ev.Start(), ev.TextDelta("a"), ev.Finish(reason)]))
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": details}


FAULT = ev.Fault("key", "sk-secret refused", 401, "invalid_api_key", source="openai")


@pytest.mark.parametrize("way", ["relay", "translation"])
def test_a_failing_stream_ends_in_a_failed_response_with_the_next_numbers(
    way: str,
) -> None:
    """Clients that count events, or wait for a terminal one, are served too."""
    if way == "relay":
        reader: Any = ResponsesRelay("x", model="mine")
        before = reader.feed(CREATED + ADDED + DELTA).out
    else:
        decoder = ResponsesDecoder("x")
        reader = Translation(decoder, RESPONSES.stream_encoder(request(), REPLY))
        before = reader.feed(CREATED + ADDED + DELTA).out
    frames = SseDecoder().feed(before + failure(reader, RESPONSES, FAULT))
    error, failed = (json.loads(frame.data) for frame in frames[-2:])
    assert [frame.event for frame in frames[-2:]] == ["error", "response.failed"]
    if way == "translation":
        numbers = [json.loads(frame.data)["sequence_number"] for frame in frames]
        assert numbers == list(range(len(frames)))
    assert failed["sequence_number"] == error["sequence_number"] + 1
    assert error["error"]["code"] == error["code"] == "upstream_credential_refused"
    assert failed["response"]["status"] == "failed"
    assert "secret" not in json.dumps([error, failed])
    if way == "relay":
        assert failed["response"]["output"][0]["content"][0]["text"] == "A"


def test_other_dialects_fail_with_their_error_event() -> None:
    relay = ChatRelay("x", FLAVOURS["openai"])
    assert failure(relay, CHAT, FAULT) == CHAT.error_event(FAULT)
    translation = Translation(
        ResponsesDecoder("x"), CHAT.stream_encoder(request(), REPLY)
    )
    assert failure(translation, CHAT, FAULT) == CHAT.error_event(FAULT)
