"""OpenAI Responses requests: every part, tool and choice, in and out."""

import json
from typing import Any

import pytest

from wire import events as ev
from wire.completion import fold
from wire.dialect import ClientError, Reply, Target
from wire.events import ProviderState
from wire.openai_responses import RESPONSES
from wire.openai_responses_decoder import ResponsesDecoder
from wire.openai_responses_items import carry, uncarry
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Reasoning,
    ReasoningWish,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

REPLY = Reply(id="abc", created=7, model="asked")


def build(*messages: Message, model: str = "gpt-5", **fields: Any) -> Any:
    turns = messages or (Message("user", (Text("hi"),)),)
    request = ChatRequest("m", turns, "anthropic", **fields)
    return json.loads(RESPONSES.build_request(request, Target(model, "openai")).body)


def parse(**fields: Any) -> ChatRequest:
    body = {"model": "m", "input": "hi", **fields}
    return RESPONSES.parse_request(json.dumps(body).encode(), {})


PDF = "data:x/y;base64,QQ=="


def user(*content: Any) -> Any:
    return [{"role": "user", "content": list(content)}]


def test_every_part_has_its_words_upstream() -> None:
    sent = build(
        Message(
            "user",
            (
                Text("t"),
                Image(file_id="f1"),
                Image(url="https://x", detail="low"),
                File(text="plain", name="a.txt"),
                File(file_id="f2"),
                File(url="https://x/a.pdf"),
                File(data="QQ==", media_type="application/pdf"),
                Audio("QQ==", "mp3"),
                Refusal("no"),
                OpaquePart("anthropic", "x", b"{}"),
            ),
        ),
        Message("assistant", (Refusal("no"), ToolUse("c", "g", "raw", custom=True))),
        Message("tool", (ToolResult("c", (Text("a"), Image(url="https://y"))),)),
    )
    first, refusal, call, output = sent["input"]
    kinds = ["input_text", "input_image", "input_image", "input_text", "input_file"]
    kinds += ["input_file", "input_file", "input_audio", "input_text"]
    assert [p["type"] for p in first["content"]] == kinds
    assert first["content"][6]["filename"] == "file.pdf"
    assert refusal["content"] == [{"type": "refusal", "refusal": "no"}]
    assert (call["type"], call["input"]) == ("custom_tool_call", "raw")
    assert [p["type"] for p in output["output"]] == ["input_text", "input_image"]


def test_what_comes_in_is_what_goes_out() -> None:
    content = [
        {"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "x"}},
        {"type": "input_image", "file_id": "f1", "detail": "high"},
        {"type": "input_image", "image_url": "https://x"},
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": "data:x/y;base64,QQ==",
        },
        {"type": "input_file", "file_id": "f2"},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        {"type": "refusal", "refusal": "no"},
    ]
    assert parse(input=user(*content)).messages[0].parts == (
        Text("t", CacheMark()),
        Image(file_id="f1", detail="high"),
        Image(url="https://x"),
        File(data="QQ==", media_type="x/y", name="a.pdf"),
        File(file_id="f2"),
        Audio("QQ==", "wav"),
        Refusal("no"),
    )


@pytest.mark.parametrize(
    ("items", "param"),
    [
        (user({"type": "input_text"}), "input[0].content[0].text"),
        (user({"type": "input_image"}), "input[0].content[0].image_url"),
        (user({"type": "input_file"}), "input[0].content[0].file_data"),
        ([{"role": "user"}], "input[0].content"),
        ([{"type": "function_call", "name": "f"}], "input[0].call_id"),
        ([{"type": "function_call", "call_id": "c"}], "input[0].name"),
        ([{"type": "function_call_output", "output": "x"}], "input[0].call_id"),
        ([7], "input[0]"),
        ([{"role": "user", "content": 7}], "input[0].content"),
    ],
)
def test_a_faulty_item_is_named_by_its_place(items: list[Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        parse(input=items)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "custom", "name": "g"}, ToolChoice("tool", "g")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"name": "f"}]},
            ToolChoice("required", allowed=("f",)),
        ),
    ],
)
def test_every_tool_choice_is_understood_and_said(
    given: Any, expected: ToolChoice | None
) -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]
    asked = parse(tool_choice=given, tools=tools)
    assert asked.tool_choice == expected
    sent = build(tools=asked.tools, tool_choice=expected)
    if expected is not None and expected.mode != "tool" and not expected.allowed:
        assert sent["tool_choice"] == given


def test_a_tool_choice_nobody_knows_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        parse(tool_choice={"type": "wizard"})
    assert caught.value.param == "tool_choice"


def test_tools_are_said_in_their_flat_shape() -> None:
    tools = (
        Tool("f", "d", b'{"type":"object"}', strict=None),
        Tool("g", "e", kind="custom", data=b'{"type":"text"}'),
        Tool("web_search", kind="server", source="openai_responses", data=b'{"a":1}'),
        Tool("web_search", kind="server", source="anthropic", data=b"{}"),
    )
    sent = build(tools=tools, tool_choice=ToolChoice("auto", allowed=("f",)))
    assert sent["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": "d",
            "parameters": {"type": "object"},
            "strict": False,
        },
        {
            "type": "custom",
            "name": "g",
            "description": "e",
            "format": {"type": "text"},
        },
        {"a": 1},
    ]
    assert sent["tool_choice"]["mode"] == "auto"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (ResponseFormat("json_object"), {"type": "json_object"}),
        (
            ResponseFormat("json_schema", "n", b"{}", True, "d"),
            {
                "type": "json_schema",
                "name": "n",
                "schema": {},
                "strict": True,
                "description": "d",
            },
        ),
    ],
)
def test_formats_go_both_ways(form: ResponseFormat, expected: Any) -> None:
    sent = build(response_format=form, verbosity="low")
    assert sent["text"] == {"format": expected, "verbosity": "low"}
    asked = parse(text=sent["text"])
    assert asked.response_format == form
    shown = json.loads(RESPONSES.render_response(fold([]), asked, REPLY))
    assert shown["text"]["format"]["type"] == expected["type"]


@pytest.mark.parametrize(
    ("model", "reasons"), [("gpt-5-mini", True), ("o3", True), ("gpt-4.1", False)]
)
def test_only_models_that_reason_are_asked_for_reasoning(
    model: str, reasons: bool
) -> None:
    """The others answer 400; those that reason refuse sampling fields instead."""
    wish = ReasoningWish(budget_tokens=9000)
    sent = build(model=model, reasoning=wish, temperature=0.5)
    assert ("include" in sent) == ("reasoning" in sent) == reasons
    assert ("temperature" in sent) == (not reasons)
    if reasons:
        assert sent["reasoning"] == {"effort": "high", "summary": "auto"}


def test_only_its_own_reasoning_goes_back() -> None:
    own = ProviderState("openai_responses", "encrypted", "gAAA", "rs_1")
    other = ProviderState("anthropic", "signature", "sig")
    turn = Message("assistant", (Reasoning("a", own), Reasoning("b", other), Text("t")))
    kinds = [item["type"] for item in build(turn)["input"]]
    assert kinds == ["reasoning", "message"]


def test_a_low_bound_is_raised_to_what_the_server_takes() -> None:
    assert build(max_output_tokens=3)["max_output_tokens"] == 16
    assert "max_output_tokens" not in build()


def test_instructions_may_be_items() -> None:
    asked = parse(instructions=[{"role": "developer", "content": "d"}])
    assert [m.role for m in asked.messages] == ["developer", "user"]
    assert asked.extra["instructions"]


def test_a_damaged_state_of_ours_is_a_lost_thought_not_a_lost_turn() -> None:
    state = ProviderState("anthropic", "signature", "s")
    assert uncarry(carry(state)) == state
    assert uncarry("stagedoor1:%%%") is None
    assert uncarry("stagedoor1:QUJD") is None
    item = {"type": "reasoning", "summary": [], "encrypted_content": "stagedoor1:x"}
    asked = parse(input=[*user({"type": "input_text", "text": "q"}), item])
    assert asked.messages[1].parts == (Reasoning(),)


def events_of(*payloads: Any) -> list[ev.Event]:
    decoder = ResponsesDecoder("x")
    body = "".join(f"data: {json.dumps(p)}\n\n" for p in payloads)
    return decoder.feed(body.encode()) + decoder.finish()


def test_server_tools_are_no_calls_and_refusals_no_text() -> None:
    done = {
        "type": "response.completed",
        "response": {"id": "r", "status": "completed"},
    }
    events = events_of(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m"}},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"type": "web_search_call", "id": "ws", "status": "completed"},
        },
        {"type": "response.refusal.delta", "output_index": 1, "delta": "no"},
        {"type": "response.reasoning_text.delta", "output_index": 2, "delta": "hm"},
        {
            "type": "response.output_text.annotation.added",
            "annotation": {"type": "url_citation", "url": "https://x", "title": "X"},
        },
        {
            "type": "response.output_text.delta",
            "output_index": 3,
            "delta": "a",
            "logprobs": [{"token": "a"}],
        },
        done,
    )
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        *("Start", "ServerTool", "RefusalDelta", "ReasoningDelta", "Citation"),
        *("TextDelta", "Logprobs", "Finish"),
    ]
    assert events[-1] == ev.Finish("stop", "completed")
    encoder = RESPONSES.stream_encoder(parse(), REPLY)
    body = encoder.encode(events) + encoder.finish()
    again = ResponsesDecoder("x")
    kinds_again = [type(event).__name__ for event in again.feed(body)]
    assert kinds_again.count("ServerTool") == 1
    assert kinds_again.count("RefusalDelta") == 1


def test_sources_and_probabilities_are_told_with_their_text() -> None:
    encoder = RESPONSES.stream_encoder(parse(), REPLY)
    body = encoder.encode(
        [
            ev.Start(),
            ev.TextDelta("a"),
            ev.Logprobs(b'{"content":[{"token":"a"}]}'),
            ev.Citation("https://x", "X", start=0, end=1),
            ev.Finish("stop"),
        ]
    )
    decoder = ResponsesDecoder("x")
    events = decoder.feed(body + encoder.finish())
    cited = next(e for e in events if isinstance(e, ev.Citation))
    assert (cited.url, cited.start, cited.end) == ("https://x", 0, 1)
    last = json.loads(body.decode().rpartition("data: ")[2])
    assert last["type"] == "response.output_text.annotation.added"


def test_an_answer_that_only_its_end_tells_is_told() -> None:
    """Small servers stream nothing and put everything into the last snapshot."""
    message = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    response = {"id": "r", "status": "completed", "output": [message]}
    events = events_of({"type": "response.completed", "response": response})
    assert ev.TextDelta("a") in events


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "response.failed", "response": {"status": "failed"}},
        {"type": "response.cancelled", "response": {"status": "cancelled"}},
    ],
)
def test_a_failure_without_an_error_is_a_fault(payload: Any) -> None:
    fault = events_of(payload)[-1]
    assert isinstance(fault, ev.Fault)
    assert fault.code == "upstream_failed"
    body = json.dumps({**payload["response"], "output": []}).encode()
    unary = RESPONSES.parse_response(200, {}, body, Target("m"))
    assert isinstance(unary[0], ev.Fault)
    assert RESPONSES.relay_response(200, {}, body).fault is not None


def test_a_bare_error_body_in_a_200_is_found() -> None:
    decoder = ResponsesDecoder("x")
    decoder.feed(b'{"error":{"message":"overloaded","type":"server_error"}}')
    fault = decoder.finish()[0]
    assert isinstance(fault, ev.Fault)
    assert fault.message == "overloaded"
