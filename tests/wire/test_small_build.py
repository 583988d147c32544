"""Requests for Cohere, Mistral and Ollama: what each is told, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from wire.cohere import Cohere
from wire.dialect import ClientError, ProviderDialect, Target
from wire.embeddings import EmbedProvider, EmbedRequest, EmbedResult
from wire.events import Fault, ProviderState, Usage
from wire.mistral import Mistral, call_id
from wire.ollama import Ollama
from wire.request import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    ReasoningWish,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

SCHEMA = b'{"type":"object","properties":{"b":{},"a":{}}}'
WEATHER = Tool("weather", "Tells it", SCHEMA)
OTHER = Tool("other", parameters=SCHEMA)
TARGET = Target("m", max_output_tokens=500)
PLAIN_TEXT = base64.b64encode(b"words").decode()


def user(*parts: Part) -> Message:
    return Message("user", parts)


def ask(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("m", messages or (user(Text("hi")),), "openai_chat", **fields)


def built(
    dialect: ProviderDialect, request: ChatRequest, target: Target = TARGET
) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(dialect.build_request(request, target).body)
    return body


CONVERSATION = ask(
    Message("developer", (Text("Be brief"),)),
    user(Text("What?"), Image(data="iVBO", media_type="image/png")),
    Message(
        "assistant", (Reasoning("I look"), ToolUse("call_1", "weather", '{"b":1}'))
    ),
    Message("tool", (ToolResult("call_1", (Text("rain"),), is_error=True),)),
    user(Text("Well?")),
    tools=(WEATHER, OTHER),
    max_output_tokens=900,
    temperature=1.8,
    top_p=0.5,
    top_k=900,
    seed=7,
    stop=("END",),
    presence_penalty=1.5,
    user="u",
    stream=True,
)


def test_cohere_is_told_a_whole_conversation() -> None:
    upstream = Cohere().build_request(CONVERSATION, TARGET)

    assert (upstream.path, upstream.auth) == ("/v2/chat", "bearer")
    assert json.loads(upstream.body) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBO"},
                    },
                ],
            },
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"b":1}'},
                    }
                ],
                "tool_plan": "I look",
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Error: rain"},
            {"role": "user", "content": [{"type": "text", "text": "Well?"}]},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells it",
                    "parameters": json.loads(SCHEMA),
                },
            },
            {
                "type": "function",
                "function": {"name": "other", "parameters": json.loads(SCHEMA)},
            },
        ],
        "max_tokens": 500,
        "temperature": 1.0,
        "p": 0.5,
        "k": 500,
        "presence_penalty": 1.0,
        "seed": 7,
        "stop_sequences": ["END"],
        "stream": True,
    }


def test_cohere_offers_one_tool_where_one_is_chosen() -> None:
    choice = ToolChoice("tool", "other")
    body = built(Cohere(), ask(tools=(WEATHER, OTHER), tool_choice=choice))

    assert [tool["function"]["name"] for tool in body["tools"]] == ["other"]
    assert body["tool_choice"] == "REQUIRED"


def test_coheres_other_words() -> None:
    form = ResponseFormat("json_schema", "x", SCHEMA)
    strict = Tool("weather", parameters=SCHEMA, strict=True)
    body = built(
        Cohere(),
        ask(
            user(Text("x"), File(text="facts", name="f.txt")),
            tools=(strict,),
            tool_choice=ToolChoice("none"),
            response_format=form,
            reasoning=ReasoningWish("low"),
            logprobs=True,
        ),
    )

    assert body["documents"] == [
        {"id": "doc:0", "data": {"text": "facts", "title": "f.txt"}}
    ]
    assert body["response_format"] == {
        "type": "json_object",
        "json_schema": json.loads(SCHEMA),
    }
    assert body["thinking"] == {"type": "enabled", "token_budget": 2048}
    assert (body["strict_tools"], body["tool_choice"]) == (True, "NONE")
    assert body["logprobs"] is True
    off = built(Cohere(), ask(reasoning=ReasoningWish("none")))
    assert off["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ask(n=2), "n"),
        (ask(logprobs=True, top_logprobs=3), "top_logprobs"),
        (ask(modalities=("audio",)), "modalities"),
        (ask(stop=("a",) * 6), "stop"),
        (ask(user(Audio("x", "wav"))), "messages.0.content.0"),
        (ask(user(Image(file_id="f"))), "messages.0.content.0"),
        (
            ask(user(File(data="x", media_type="application/pdf"))),
            "messages.0.content.0",
        ),
        (ask(user(File(data="!", media_type="text/plain"))), "messages.0.content.0"),
        (
            ask(Message("tool", (ToolResult("c", (Image(url="u"),)),))),
            "messages.0.content",
        ),
    ],
)
def test_what_cohere_cannot_express_is_refused(
    request_: ChatRequest, param: str
) -> None:
    with pytest.raises(ClientError) as caught:
        Cohere().build_request(request_, TARGET)

    assert caught.value.param == param


def test_mistral_is_told_a_whole_conversation() -> None:
    upstream = Mistral().build_request(CONVERSATION, TARGET)

    assert (upstream.path, upstream.auth) == ("/chat/completions", "bearer")
    body = json.loads(upstream.body)
    roles = [turn["role"] for turn in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    id_ = body["messages"][2]["tool_calls"][0]["id"]
    assert len(id_) == 9
    assert id_.isalnum()
    assert body["messages"][3]["tool_call_id"] == id_
    assert body["max_tokens"] == 500
    assert body["temperature"] == 1.5
    assert body["random_seed"] == 7
    assert body["stream"] is True
    assert not {"stream_options", "seed", "user", "top_k"} & set(body)


def test_mistrals_ids_stay_and_others_are_replaced_alike() -> None:
    assert call_id("g6fVbXS8K") == "g6fVbXS8K"
    assert call_id("call_1") == call_id("call_1")
    assert call_id("call_1") != call_id("call_2")


def test_mistral_continues_an_assistants_words_as_a_prefix() -> None:
    started = Message("assistant", (Text("{"),))

    last = built(Mistral(), ask(user(Text("x")), started))["messages"][-1]

    assert last["prefix"] is True
    assert "prefix" not in built(Mistral(), CONVERSATION)["messages"][2]


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("mistral-small-latest", "low", "high"),
        ("mistral-small-latest", "minimal", "none"),
        ("mistral-medium-3-5", "none", "none"),
        ("mistral-large-4-0", "medium", "medium"),
        ("mistral-large-4-0", "xhigh", "high"),
        ("magistral-medium-latest", "high", None),
        ("codestral-latest", "high", None),
    ],
)
def test_mistrals_efforts(model: str, effort: str, sent: str | None) -> None:
    body = built(Mistral(), ask(reasoning=ReasoningWish(effort)), Target(model))

    assert body.get("reasoning_effort") == sent


def test_thoughts_go_back_to_mistral_where_its_models_know_them() -> None:
    def asked(thought: Reasoning) -> ChatRequest:
        said = Message("assistant", (thought, Text("144")))
        return ask(user(Text("12*12")), said, user(Text("sure?")))

    own = asked(Reasoning("hm"))
    other = asked(Reasoning("hm", ProviderState("anthropic", "signature", "s")))

    sent = built(Mistral(), own, Target("magistral-small"))["messages"][1]["content"]
    assert sent == [
        {
            "type": "thinking",
            "thinking": [{"type": "text", "text": "hm"}],
            "closed": True,
        },
        {"type": "text", "text": "144"},
    ]
    for request, model in ((own, "codestral"), (other, "magistral-small")):
        body = built(Mistral(), request, Target(model))
        assert body["messages"][1]["content"] == "144"


def test_mistrals_other_words() -> None:
    custom = Tool("run", kind="custom")
    call = Message("assistant", (ToolUse("c", "run", "print(1)", custom=True),))
    choice = ToolChoice("required", allowed=("run",))

    body = built(
        Mistral(),
        ask(
            user(Text("x")),
            call,
            user(Text("y")),
            tools=(custom, WEATHER),
            tool_choice=choice,
            cache_key="k",
        ),
    )

    assert body["tool_choice"] == "any"
    assert body["prompt_cache_key"] == "k"
    (tool,) = body["tools"]
    assert tool["function"]["parameters"]["required"] == ["input"]
    function = body["messages"][1]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == {"input": "print(1)"}
    for fields in ({"logprobs": True}, {"modalities": ("audio",)}):
        with pytest.raises(ClientError):
            Mistral().build_request(ask(**fields), TARGET)


def test_ollama_is_told_a_whole_conversation() -> None:
    upstream = Ollama().build_request(CONVERSATION, TARGET)

    assert (upstream.path, upstream.auth) == ("/api/chat", "none")
    body = json.loads(upstream.body)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "What?", "images": ["iVBO"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"b": 1}},
                }
            ],
            "thinking": "I look",
        },
        {"role": "tool", "content": "Error: rain", "tool_name": "weather"},
        {"role": "user", "content": "Well?"},
    ]
    assert body["options"] == {
        "num_predict": 500,
        "temperature": 1.8,
        "top_p": 0.5,
        "top_k": 900,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 1.5,
    }
    assert body["stream"] is True
    assert len(body["tools"]) == 2


def test_ollamas_other_words() -> None:
    target = Target(
        "gpt-oss:20b",
        options={"num_ctx": "8192", "keep_alive": "5m", "auth": "bearer"},
    )
    form = ResponseFormat("json_schema", "x", SCHEMA)
    request = ask(
        user(Text("x"), File(data=PLAIN_TEXT, media_type="text/plain", name="f")),
        response_format=form,
        reasoning=ReasoningWish("xhigh"),
        tools=(WEATHER, OTHER),
        tool_choice=ToolChoice("tool", "other"),
        logprobs=True,
        top_logprobs=2,
    )

    upstream = Ollama().build_request(request, target)

    body = json.loads(upstream.body)
    assert upstream.auth == "bearer"
    assert body["messages"][0]["content"] == "x\nf:\nwords"
    assert body["format"] == json.loads(SCHEMA)
    assert body["think"] == "high"
    assert body["options"] == {"num_ctx": 8192}
    assert body["keep_alive"] == "5m"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["other"]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    plain = ask(
        response_format=ResponseFormat("json_object"),
        tools=(WEATHER,),
        tool_choice=ToolChoice("none"),
        reasoning=ReasoningWish("none"),
    )
    body = built(Ollama(), plain)
    assert (body["format"], body["think"]) == ("json", False)
    assert "tools" not in body


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ask(n=2), "n"),
        (ask(modalities=("audio",)), "modalities"),
        (ask(user(Text("x"), Image(url="http://x"))), "messages.0.content.1"),
        (ask(user(Audio("x", "wav"))), "messages.0.content.0"),
        (ask(user(File(file_id="f"))), "messages.0.content.0"),
    ],
)
def test_what_ollama_cannot_express_is_refused(
    request_: ChatRequest, param: str
) -> None:
    with pytest.raises(ClientError) as caught:
        Ollama().build_request(request_, TARGET)

    assert caught.value.param == param


def test_broken_arguments_of_a_model_do_not_fail_the_next_turn() -> None:
    call = Message("assistant", (ToolUse("c", "weather", "{oops"),))

    body = built(Ollama(), ask(user(Text("x")), call))

    function = body["messages"][1]["tool_calls"][0]["function"]
    assert function["arguments"] == {"invalid_json": "{oops"}


EMBED = EmbedRequest("m", ("a", "b"), "openai", dimensions=64)
VECTORS = [b"[1,2]", b"[3,4]"]
COHERE_VECTORS = (
    b'{"embeddings":{"float":[[1,2],[3,4]]},"meta":{"billed_units":{"input_tokens":5}}}'
)
MISTRAL_VECTORS = (
    b'{"data":[{"embedding":[3,4],"index":1},{"embedding":[1,2],"index":0}],'
    b'"usage":{"prompt_tokens":5,"total_tokens":5}}'
)


@pytest.mark.parametrize(
    ("dialect", "path", "body", "answer", "prompt"),
    [
        (
            Cohere(),
            "/v2/embed",
            {
                "model": "m",
                "texts": ["a", "b"],
                "input_type": "search_document",
                "embedding_types": ["float"],
                "output_dimension": 64,
            },
            COHERE_VECTORS,
            5,
        ),
        (
            Mistral(),
            "/embeddings",
            {
                "model": "m",
                "input": ["a", "b"],
                "encoding_format": "float",
                "output_dimension": 64,
            },
            MISTRAL_VECTORS,
            5,
        ),
        (
            Ollama(),
            "/api/embed",
            {"model": "m", "input": ["a", "b"], "dimensions": 64},
            b'{"embeddings":[[1,2],[3,4]],"prompt_eval_count":5}',
            5,
        ),
    ],
)
def test_embeddings_are_asked_for_and_read(
    dialect: EmbedProvider, path: str, body: Any, answer: bytes, prompt: int
) -> None:
    upstream = dialect.build_embed(EMBED, TARGET)

    assert upstream.path == path
    assert json.loads(upstream.body) == body
    read = dialect.parse_embed(200, {}, answer, TARGET)
    assert isinstance(read, EmbedResult)
    assert [vector.data for vector in read.vectors] == VECTORS
    assert isinstance(read.usage, Usage)
    assert read.usage.prompt == prompt
    tokens = EmbedRequest("m", ((1, 2),), "openai")
    with pytest.raises(ClientError):
        dialect.build_embed(tokens, TARGET)
    for status, broken in ((200, b"{}"), (200, b"["), (500, b"")):
        assert isinstance(dialect.parse_embed(status, {}, broken, TARGET), Fault)


def test_packed_vectors_stay_packed() -> None:
    cohere = Cohere().parse_embed(
        200, {}, b'{"embeddings":{"base64":["AACAPw=="]}}', TARGET
    )
    mistral = Mistral().parse_embed(
        200, {}, b'{"data":[{"embedding":"AACAPw=="}]}', TARGET
    )

    for read in (cohere, mistral):
        assert isinstance(read, EmbedResult)
        assert (read.vectors[0].data, read.vectors[0].encoding) == (
            b"AACAPw==",
            "base64",
        )
