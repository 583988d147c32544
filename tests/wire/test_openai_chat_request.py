"""OpenAI chat requests: parsed, built, forwarded; errors that name the field."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings_cases import Case
from tests.support_recordings import cases, names
from tests.wire.test_openai_chat_stream import flavour_of
from wire.dialect import ClientError, Target
from wire.events import ProviderState
from wire.flavours import FLAVOURS
from wire.openai_chat import CHAT
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    Reasoning,
    ReasoningWish,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from wire.toolids import pack, unpack

RECORDED = [
    c
    for c in cases(family="chat")
    if isinstance(c.request, dict)
    and "messages" in c.request
    and "functions" not in c.request
    and c.provider not in {"mistral", "cohere"}
    # A completion sent to a chat URL, and a body of the Responses dialect.
    and all(
        isinstance(m, dict) and m.get("content") != [] for m in c.request["messages"]
    )
]


def normal(body: Any) -> Any:
    """The normal form in which a parsed and rebuilt request equals the recorded one.

    - null is the same as absent, `n: 1`, `stream: false` and empty `tools` too;
    - a content that is text parts only is their texts joined by newlines;
    - arguments "" are "{}"; `strict` and descriptions are kept as they are;
    - what a field is called (`max_tokens`) and `stream_options` belong to the server.
    """
    if isinstance(body, list):
        return [normal(item) for item in body]
    if not isinstance(body, dict):
        return body
    out = {k: normal(v) for k, v in body.items() if v is not None}
    if isinstance(out.get("image_url"), str):
        out["image_url"] = {"url": out["image_url"]}
    out.pop("prompt_cache_breakpoint", None)
    content = out.get("content")
    if isinstance(content, list) and all(
        set(p) - {"cache_control"} == {"type", "text"} for p in content
    ):
        out["content"] = "\n".join(p["text"] for p in content)
    for name, default in (("n", 1), ("stream", False), ("tools", [])):
        if out.get(name) == default:
            del out[name]
    if "max_completion_tokens" in out:
        out["max_tokens"] = out.pop("max_completion_tokens")
    out.pop("stream_options", None)
    out.pop("cache_control", None)
    if isinstance(out.get("stop"), str):
        out["stop"] = [out["stop"]]
    if out.get("role") == "developer":
        out["role"] = "system"
    if out.get("role") == "assistant":
        out.pop("reasoning", None)
        out.pop("reasoning_content", None)
        out.pop("index", None)
        if out.get("content") == "" or out.get("content") is None:
            out.pop("content", None)
    return out


@pytest.mark.parametrize("case", RECORDED, ids=names(RECORDED))
def test_recorded_request_is_the_same_after_parse_and_build(case: Case) -> None:
    body = json.dumps(case.request).encode()
    request = CHAT.parse_request(body, {})
    flavour = FLAVOURS["openai"]
    target = Target(model="x" + case.request["model"], flavour=flavour.name)
    built = json.loads(CHAT.build_request(request, target).body)
    assert built.pop("model") == "x" + case.request["model"]
    expected = normal({k: v for k, v in case.request.items() if k != "model"})
    for name in flavour.refused & expected.keys():
        del expected[name]
    for name in ("thinking", "reasoning", "reasoning_effort"):  # one wish, many words
        expected.pop(name, None)
        built.pop(name, None)
    got = normal(built)
    for ours, theirs in zip(got["messages"], expected["messages"], strict=True):
        for call in theirs.get("tool_calls", []):
            call.pop("index", None)
            call.setdefault("type", "function")
        assert ours == theirs
    assert got == expected


@pytest.mark.parametrize("case", RECORDED, ids=names(RECORDED))
def test_recorded_request_is_forwarded_with_its_messages_untouched(case: Case) -> None:
    raw = msgspec.json.encode(case.request)
    head = CHAT.read_head(raw, {})
    row = flavour_of(case)
    target = Target(model="up", flavour=row.name)
    sent = CHAT.forward_request(raw, {"authorization": "Bearer x"}, head, target)
    before = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(sent.body, type=dict[str, msgspec.Raw])
    assert bytes(after["model"]) == b'"up"'
    for name, value in before.items():
        if name in {"model", "stream_options", "max_tokens", "max_completion_tokens"}:
            continue
        if name in row.refused or name in dict(row.renamed):
            continue
        assert bytes(after[name]) == bytes(value), name
    assert "authorization" not in dict(sent.headers)
    assert sent.auth == row.auth
    assert head.stream == bool(case.request.get("stream"))


def body_of(**fields: Any) -> bytes:
    base = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({**base, **fields}).encode()


def parse(**fields: Any) -> ChatRequest:
    return CHAT.parse_request(body_of(**fields), {})


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ""}, "model", None),
        ({"model": 7}, "model", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        (
            {"messages": [{"content": "x"}]},
            "messages[0].role",
            "missing_required_parameter",
        ),
        ({"messages": [{"role": "wizard"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "data:oops"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].image_url.url",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0].file.file_data",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "a"}]},
            "messages[0].tool_call_id",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 1000}, "n", "integer_above_max_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"stop": ["x"] * 17}, "stop", "array_above_max_length"),
        (
            {"tools": [{"type": "function"}]},
            "tools[0].function",
            "missing_required_parameter",
        ),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        ({"tools": [7]}, "tools[0]", "invalid_type"),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema.schema",
            "missing_required_parameter",
        ),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
        ({"metadata": {"a": 1}}, "metadata[...]", "invalid_type"),
    ],
)
def test_a_faulty_request_names_the_field(
    fields: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(ClientError) as caught:
        parse(**fields)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.status == 400
    error = json.loads(CHAT.render_error(caught.value.fault()).body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model":"\xff"}', b"[" * 9999]
)
def test_a_body_that_is_no_json_object_is_refused_by_both_ways(body: bytes) -> None:
    for read in (CHAT.read_head, CHAT.parse_request):
        with pytest.raises(ClientError) as caught:
            read(body, {})
        assert caught.value.status == 400


def test_errors_never_repeat_what_the_client_wrote() -> None:
    """Exceptions travel into logs; prompts must not."""
    for fields in (
        {"messages": [{"role": "SECRET", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "SECRET"}]}]},
        {"tool_choice": "SECRET"},
        {"response_format": {"type": "SECRET"}},
    ):
        with pytest.raises(ClientError) as caught:
            parse(**fields)
        assert "SECRET" not in str(caught.value)


@given(st.binary(max_size=80))
def test_garbage_is_refused_in_one_way(body: bytes) -> None:
    for read in (CHAT.read_head, CHAT.parse_request):
        with pytest.raises(ClientError):
            read(body, {})


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "id", "function"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "messages",
                "tools",
                "tool_choice",
                "stop",
                "n",
                "response_format",
                "thinking",
            ]
        ),
        json_like,
    )
)
def test_any_json_is_parsed_or_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(ClientError):
        request = CHAT.parse_request(body_of(**fields), {})
        CHAT.build_request(request, Target(model="m"))


def test_head_says_what_router_and_ledger_need() -> None:
    picture = "data:image/png;base64," + "A" * 1000
    head = CHAT.read_head(
        body_of(
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=50,
            n=2,
            tools=[{"type": "function", "function": {"name": "f"}}],
            response_format={"type": "json_schema", "json_schema": {"schema": {}}},
            reasoning_effort="low",
            user="u1",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": picture}}],
                }
            ],
        ),
        {},
    )
    assert head.needs == {"tools", "json_schema", "reasoning", "images"}
    assert (head.stream, head.include_usage, head.max_output_tokens, head.n) == (
        True,
        True,
        50,
        2,
    )
    assert head.media_bytes == 1000
    assert head.prompt_bytes > 1000
    assert "AAAA" not in repr(head)


def test_the_clamp_bounds_what_the_client_asked_for() -> None:
    target = Target(model="m", flavour="vllm", max_output_tokens=10)
    for asked, sent in ((None, 10), (5, 5), (50, 10)):
        fields = {} if asked is None else {"max_completion_tokens": asked}
        body = body_of(**fields)
        head = CHAT.read_head(body, {})
        forwarded = json.loads(CHAT.forward_request(body, {}, head, target).body)
        built = json.loads(CHAT.build_request(parse(**fields), target).body)
        assert forwarded["max_tokens"] == built["max_tokens"] == sent
        assert "max_completion_tokens" not in forwarded


@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_asked_for_in_every_stream(asked: bool) -> None:
    """The ledger settles on it; the relay swallows it where the client did not ask."""
    options = {"include_usage": True} if asked else {}
    body = body_of(stream=True, **({"stream_options": options} if asked else {}))
    head = CHAT.read_head(body, {})
    sent = CHAT.forward_request(body, {}, head, Target(model="m", flavour="openai"))
    assert json.loads(sent.body)["stream_options"] == {"include_usage": True}
    extra = body_of(stream=True, stream_options={"include_obfuscation": False})
    sent = CHAT.forward_request(
        extra, {}, CHAT.read_head(extra, {}), Target(model="m", flavour="openai")
    )
    assert json.loads(sent.body)["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    refuses = CHAT.forward_request(
        body, {}, head, Target(model="m", flavour="perplexity")
    )
    assert "stream_options" not in json.loads(refuses.body)


def test_refused_and_renamed_fields_follow_the_flavour() -> None:
    body = body_of(seed=1, user="u", logit_bias={}, tool_choice="required", x_unknown=1)
    head = CHAT.read_head(body, {})
    sent = json.loads(
        CHAT.forward_request(body, {}, head, Target(model="m", flavour="mistral")).body
    )
    assert sent["random_seed"] == 1
    assert sent["tool_choice"] == "any"
    assert sent["x_unknown"] == 1
    assert not {"seed", "user", "logit_bias"} & sent.keys()


def test_developer_becomes_system_where_the_role_is_unknown() -> None:
    body = body_of(messages=[{"role": "developer", "content": "be brief"}])
    head = CHAT.read_head(body, {})
    for name, role in (("vllm", "system"), ("openai", "developer")):
        sent = CHAT.forward_request(body, {}, head, Target(model="m", flavour=name))
        assert json.loads(sent.body)["messages"][0]["role"] == role
    sent = CHAT.build_request(
        CHAT.parse_request(body, {}), Target(model="o1-mini", flavour="openai")
    )
    assert json.loads(sent.body)["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("flavour", "options", "path", "auth"),
    [
        ("openai", {}, "/chat/completions", "bearer"),
        ("azure", {}, "/openai/v1/chat/completions", "api-key"),
        (
            "azure",
            {"api_version": "2024-10-21", "deployment": "my gpt"},
            "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
    ],
)
def test_paths_and_logins(
    flavour: str, options: dict[str, str], path: str, auth: str
) -> None:
    target = Target(model="m", flavour=flavour, options=options)
    sent = CHAT.build_request(parse(), target)
    assert (sent.path, sent.auth, sent.method) == (path, auth, "POST")
    assert "hi" not in repr(sent)


def test_every_part_of_a_conversation_is_understood() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    request = parse(
        messages=[
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "t",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    },
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://x/y.png", "detail": "low"},
                    },
                    {"type": "image_url", "image_url": "data:image/png;base64,QUJD"},
                    {
                        "type": "input_audio",
                        "input_audio": {"data": "QQ==", "format": "wav"},
                    },
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,QQ==",
                        },
                    },
                    {"type": "file", "file": {"file_id": "file-1"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                    },
                    {
                        "id": "c2",
                        "type": "custom",
                        "custom": {"name": "g", "input": "raw"},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r1"},
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": [{"type": "text", "text": "r2"}],
            },
        ],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": schema,
                    "strict": True,
                },
            },
            {"type": "custom", "custom": {"name": "g"}},
        ],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": schema},
        },
        stop="END",
        reasoning_effort="high",
        safety_identifier="x",
    )
    system, user, assistant, one, two = request.messages
    assert system == Message("system", (Text("s"),))
    assert user.parts == (
        Text("t", CacheMark("1h")),
        Image(url="https://x/y.png", detail="low"),
        Image(data="QUJD", media_type="image/png"),
        Audio("QQ==", "wav"),
        File(data="QQ==", media_type="application/pdf", name="a.pdf"),
        File(file_id="file-1"),
    )
    assert assistant.parts == (
        Reasoning("hm"),
        ToolUse("c1", "f", '{"a": 1}'),
        ToolUse("c2", "g", "raw", custom=True),
    )
    assert one.parts == (ToolResult("c1", (Text("r1"),), name="f"),)
    assert two.parts == (ToolResult("c2", (Text("r2"),), name="g"),)
    assert isinstance(request.tools[0], Tool)
    assert json.loads(request.tools[0].parameters) == schema
    assert request.tool_choice == ToolChoice("tool", "f")
    assert isinstance(request.response_format, ResponseFormat)
    assert request.stop == ("END",)
    assert request.reasoning == ReasoningWish("high")
    assert request.extra == {"safety_identifier": b'"x"'}
    assert "hm" not in repr(request)


def test_provider_state_survives_a_client_that_only_keeps_ids() -> None:
    """Gemini refuses the next turn without its signature."""
    state = ProviderState("gemini", "thought_signature", "s/+=", "")
    packed = pack("call_1", state)
    assert unpack(packed) == ("call_1", state)
    request = parse(
        messages=[
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": packed,
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": packed, "content": "r"},
        ]
    )
    assert request.messages[1].parts == (ToolUse("call_1", "f", "{}", state=state),)
    assert request.messages[2].parts == (ToolResult("call_1", (Text("r"),), name="f"),)
    body = json.dumps(
        {
            "model": "m",
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": packed,
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": packed, "content": "r"},
            ],
        }
    ).encode()
    sent = CHAT.forward_request(
        body, {}, CHAT.read_head(body, {}), Target(model="m", flavour="openai")
    )
    assert packed.encode() not in sent.body, "OpenAI takes 40 characters of id"
    assert json.loads(sent.body)["messages"][1]["tool_call_id"] == "call_1"


@given(st.text(max_size=60))
def test_any_id_unpacks_to_something(call_id: str) -> None:
    own, state = unpack(call_id)
    assert state is not None or own == call_id


def test_pictures_in_tool_results_follow_in_a_user_turn() -> None:
    """OpenAI's tool role takes text only; without the picture the model is blind."""
    request = ChatRequest(
        "m",
        (
            Message("assistant", (ToolUse("a", "f"), ToolUse("b", "f"))),
            Message("tool", (ToolResult("a", (Text("t"), Image(url="https://x"))),)),
            Message("tool", (ToolResult("b", (Text("u"),)),)),
            Message("user", (Text("go on"),)),
        ),
        "anthropic",
    )
    sent = json.loads(
        CHAT.build_request(request, Target(model="m", flavour="openai")).body
    )
    roles = [m["role"] for m in sent["messages"]]
    assert roles == ["assistant", "tool", "tool", "user", "user"]
    assert sent["messages"][3]["content"][1]["image_url"]["url"] == "https://x"


def test_a_schema_is_an_instruction_where_only_json_object_is_known() -> None:
    request = parse(
        response_format={
            "type": "json_schema",
            "json_schema": {"schema": {"type": "object"}},
        }
    )
    sent = json.loads(
        CHAT.build_request(request, Target(model="m", flavour="deepseek")).body
    )
    assert sent["response_format"] == {"type": "json_object"}
    assert '{"type": "object"}' in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    ("flavour", "wish", "expected"),
    [
        ("openai", ReasoningWish(budget_tokens=1000), {"reasoning_effort": "low"}),
        ("openai", ReasoningWish(budget_tokens=9000), {"reasoning_effort": "high"}),
        (
            "openrouter",
            ReasoningWish(budget_tokens=1000),
            {"reasoning": {"max_tokens": 1000}},
        ),
        ("openrouter", ReasoningWish(enabled=False), {"reasoning": {"enabled": False}}),
        ("deepseek", ReasoningWish("high"), {"thinking": {"type": "enabled"}}),
        ("zai", ReasoningWish(enabled=False), {"thinking": {"type": "disabled"}}),
        ("qwen", ReasoningWish(enabled=False), {"enable_thinking": False}),
    ],
)
def test_a_wish_for_thinking_is_said_in_the_servers_words(
    flavour: str, wish: ReasoningWish, expected: dict[str, Any]
) -> None:
    request = msgspec.structs.replace(parse(), reasoning=wish)
    sent = json.loads(
        CHAT.build_request(request, Target(model="m", flavour=flavour)).body
    )
    assert {k: sent[k] for k in expected} == expected


def test_reasoning_models_get_no_sampling_fields() -> None:
    """They answer 400 even to the defaults; chat models keep them."""
    request = parse(temperature=1.0, top_p=0.5, max_tokens=9)
    for model, kept in (("gpt-5-mini", False), ("o3", False), ("gpt-4.1", True)):
        sent = json.loads(
            CHAT.build_request(request, Target(model=model, flavour="openai")).body
        )
        assert ("temperature" in sent) == kept
        assert sent["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("any", ToolChoice("required")),
        (None, None),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            ToolChoice("required", allowed=("f",)),
        ),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("tool", "g")),
    ],
)
def test_every_tool_choice_is_understood(
    given: Any, expected: ToolChoice | None
) -> None:
    assert parse(tool_choice=given).tool_choice == expected


def test_thoughts_come_back_with_what_proves_them() -> None:
    """Clients that keep `reasoning_details` give Claude its signed thoughts back."""
    detail = {"type": "reasoning.text", "text": "t", "signature": "s"}
    ours = {**detail, "format": "anthropic:signature", "id": None, "index": 0}
    assistant = {"role": "assistant", "content": "a", "reasoning_content": "t"}
    parts = parse(messages=[{**assistant, "reasoning_details": [ours]}]).messages[0]
    assert parts.parts[0] == Reasoning(
        "t", ProviderState("anthropic", "signature", "s")
    )
    theirs = {**detail, "format": "anthropic-claude-v1"}
    parts = parse(messages=[{**assistant, "reasoning_details": [theirs]}]).messages[0]
    thought = parts.parts[0]
    assert isinstance(thought, Reasoning)
    assert thought.state is not None
    assert thought.state.source == "openrouter"
    assert json.loads(thought.state.data) == [theirs]


@pytest.mark.parametrize("case", RECORDED, ids=names(RECORDED))
def test_no_flavour_refuses_what_its_server_took(case: Case) -> None:
    """A row of data that recorded traffic contradicts is a guess, and goes."""
    if case.status != 200:
        return
    row = flavour_of(case)
    assert not row.refused & case.request.keys()
    assert row.stream_options or "stream_options" not in case.request
    roles = {message["role"] for message in case.request["messages"]}
    assert row.developer_role or "developer" not in roles
    form = case.request.get("response_format") or {}
    assert row.json_schema or form.get("type") != "json_schema"


def test_what_a_server_has_no_use_for_still_passes_when_the_client_wrote_it() -> None:
    body = body_of(metadata={"a": "b"}, store=True)
    head = CHAT.read_head(body, {})
    target = Target(model="m", flavour="vllm")
    sent = json.loads(CHAT.forward_request(body, {}, head, target).body)
    assert sent["metadata"] == {"a": "b"}
    built = json.loads(CHAT.build_request(parse(metadata={"a": "b"}), target).body)
    assert "metadata" not in built
