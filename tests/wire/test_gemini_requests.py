"""Requests to Google and from its clients: goldens, translations, refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.recordings_cases import Case
from tests.support_recordings import cases, names
from wire.dialect import ClientError, Target
from wire.events import ProviderState
from wire.gemini import PROVIDER, GeminiClient, Route, parse_path
from wire.gemini_fields import Fields
from wire.gemini_schema import camel
from wire.gemini_types import json_schema
from wire.request import (
    Audio,
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
from wire.toolids import pack

ASKED = [
    case
    for case in cases("gemini", "vertex")
    if case.request and case.family in {"gemini", "count"}
]
ROUTE = Route("m", "generateContent")
FLASH = Target("gemini-2.5-flash")
THREE = Target("gemini-3-pro-preview")
VERTEX = Target(
    "gemini-2.5-flash",
    flavour="vertex",
    options={"project": "p-1", "location": "europe-west4"},
)
USER = Message("user", (Text("hi"),))


def build(request: ChatRequest, target: Target = FLASH) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(
        PROVIDER.build_request(request, target).body
    )
    return body


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("gpt", messages or (USER,), "openai_chat", **fields)


def parse(body: dict[str, Any], route: Route = ROUTE) -> ChatRequest:
    return GeminiClient(route).parse_request(msgspec.json.encode(body), {})


def normal(body: Any) -> Any:
    """Reduce a body to its normal form.

    Names in camel case (but never inside schemas, arguments and responses); turns of
    one role merged; a role that is absent is "user", that of systemInstruction does
    not count; functions are one list before other tools; empty objects, empty
    descriptions and null fields are absent; a signature beside a text is a part of
    its own, as it is in streams; an unwrapped count request equals a wrapped one.
    """
    free = {
        *("args", "response", "parameters", "parametersJsonSchema"),
        *("responseSchema", "responseJsonSchema"),
    }

    def tidy(value: Any) -> Any:
        if isinstance(value, list):
            return [tidy(one) for one in value]
        if not isinstance(value, dict):
            return value
        out = {}
        for spelled, inner in value.items():
            name = camel(spelled)
            kept = inner if name in free else tidy(inner)
            if kept not in (None, {}, []) or name in free or name == "googleSearch":
                out[name] = kept
        return out

    def parts_of(parts: Any) -> list[Any]:
        out: list[Any] = []
        for part in parts:
            if (
                part.get("text")
                and part.get("thoughtSignature")
                and not part.get("thought")
            ):
                out += [{"text": part["text"]}]
                out += [{"text": "", "thoughtSignature": part["thoughtSignature"]}]
            else:
                out.append(part)
        return out

    body = tidy(body)
    if "generateContentRequest" in body:
        body = body["generateContentRequest"]
        body.pop("model")
    turns: list[dict[str, Any]] = []
    for turn in body.get("contents", []):
        role, parts = turn.get("role", "user"), parts_of(turn["parts"])
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": role, "parts": parts})
    out = {**body, "contents": turns}
    out.get("systemInstruction", {}).pop("role", None)
    if "tools" in out:
        functions = [f for t in out["tools"] for f in t.get("functionDeclarations", [])]
        rest = [
            {name: inner}
            for tool in out["tools"]
            for name, inner in tool.items()
            if name != "functionDeclarations"
        ]
        for function in functions:
            if not function.get("description"):
                function.pop("description", None)
        out["tools"] = (
            [{"functionDeclarations": functions}] if functions else []
        ) + rest
    config = out.get("generationConfig", {})
    if "thinkingConfig" in config and "thinkingLevel" in config["thinkingConfig"]:
        level = config["thinkingConfig"]["thinkingLevel"].lower()
        config["thinkingConfig"]["thinkingLevel"] = level
    return out


@pytest.mark.parametrize("case", ASKED, ids=names(ASKED))
def test_a_recorded_request_survives_the_vocabulary(case: Case) -> None:
    """Parse and build again: equal up to the normal form, nothing lost on the way."""
    request = parse(case.request)
    if case.family == "count":
        sent = PROVIDER.build_count(request, Target("m", flavour=case.provider))
        built = msgspec.json.decode(sent.body)
    else:
        built = build(request, FLASH)

    assert normal(built) == normal(case.request)


@pytest.mark.parametrize("case", ASKED, ids=names(ASKED))
def test_a_relayed_request_keeps_its_bytes(case: Case) -> None:
    """Model and method are in the path, so the body needs no edit."""
    body = msgspec.json.encode(case.request)
    client = GeminiClient(Route("m", "streamGenerateContent"))
    head = client.read_head(body, {})
    sent = client.forward_request(body, {}, head, VERTEX)

    assert sent.body == body
    assert sent.path.endswith("gemini-2.5-flash:streamGenerateContent?alt=sse")
    asked = case.request.get("generateContentRequest", case.request)
    assert ("tools" in head.needs) == (
        "functionDeclarations" in str(asked.get("tools"))
    )


def test_a_relayed_request_obeys_the_clamp_in_either_spelling() -> None:
    """The ledger's bound holds, whatever the client called the field."""
    client = GeminiClient(ROUTE)
    for config in ({}, {"maxOutputTokens": 900}, {"max_output_tokens": 900}):
        for name in ("generationConfig", "generation_config"):
            body = msgspec.json.encode({"contents": [], name: {**config, "topK": 3}})
            head = client.read_head(body, {})
            clamped = Target("m", max_output_tokens=100)
            sent = client.forward_request(body, {}, head, clamped)

            fields = msgspec.json.decode(sent.body)
            config_ = fields["generationConfig"]
            assert config_ == {"topK": 3, "maxOutputTokens": 100}
            assert "generation_config" not in fields


def test_a_field_in_both_spellings_is_refused() -> None:
    """One of them would be our clamp, and Google might believe the other."""
    for config in (
        {"generation_config": {}, "generationConfig": {}},
        {"generationConfig": {"maxOutputTokens": 5, "max_output_tokens": 900}},
    ):
        with pytest.raises(ClientError, match="both spellings"):
            GeminiClient(ROUTE).read_head(msgspec.json.encode(config), {})


@pytest.mark.parametrize(
    ("path", "query", "route"),
    [
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "",
            Route("gemini-2.5-flash", "generateContent", sse=False),
        ),
        (
            "/v1beta/models/gemini-2.5-flash%3AstreamGenerateContent",
            "alt=sse&key=x",
            Route("gemini-2.5-flash", "streamGenerateContent"),
        ),
        (
            "/v1/projects/p/locations/l/publishers/google/models/g-1:countTokens",
            "",
            Route("g-1", "countTokens", sse=False),
        ),
        (
            "/v1beta/models/acme%2Fbig:8b:generateContent",
            "",
            Route("acme/big:8b", "generateContent", sse=False),
        ),
        ("/v1beta/models/x:embedContent", "", None),
        ("/v1beta/models/:generateContent", "", None),
        ("/v1beta/models", "", None),
    ],
)
def test_paths_of_both_services_are_read(
    path: str, query: str, route: Route | None
) -> None:
    """The colon may come escaped, and a model's name may have one of its own."""
    assert parse_path(path, query) == route


def test_each_service_has_its_path_and_login() -> None:
    """Gemini by key, a Vertex project by OAuth, Vertex express by key again."""
    express = Target("gemini-2.5-flash", flavour="vertex")
    streamed = chat(stream=True)
    gemini, vertex = (PROVIDER.build_request(streamed, t) for t in (FLASH, VERTEX))

    assert gemini.path == (
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )
    assert gemini.auth == "x-goog-api-key"
    assert vertex.path == (
        "/v1beta1/projects/p-1/locations/europe-west4/publishers/google"
        "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )
    assert vertex.auth == "bearer"
    sent = PROVIDER.build_request(chat(), express)
    assert sent.path == (
        "/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert sent.auth == "x-goog-api-key"


def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    """A name is data: slashes and question marks in it are escaped."""
    sent = PROVIDER.build_request(chat(), Target("../x?y=1#z"))

    assert sent.path == "/v1beta/models/..%2Fx%3Fy%3D1%23z:generateContent"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"contents": []}, "contents"),
        (
            {"contents": [{"role": "robot", "parts": [{"text": "x"}]}]},
            "contents[0].role",
        ),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "contents[0].parts[0].text"),
        ({"contents": [7]}, "contents[0]"),
        ({"generationConfig": {"temperature": "warm"}}, "generationConfig.temperature"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        (
            {"tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
        ),
        ({"systemInstruction": 7}, "systemInstruction"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], param: str) -> None:
    """Errors name the path as Google does, and never the value."""
    with pytest.raises(ClientError) as caught:
        parse({"contents": [{"parts": [{"text": "x"}]}], **change})

    assert caught.value.param == param
    assert "robot" not in caught.value.message
    assert "warm" not in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"[" * 9999, b'"\xff"'])
def test_a_body_that_is_no_object_is_a_client_error(body: bytes) -> None:
    """Garbage raises the dialect's own error and nothing else."""
    for method in (GeminiClient(ROUTE).parse_request, GeminiClient(ROUTE).read_head):
        with pytest.raises(ClientError):
            method(body, {})


def test_snake_case_is_read_but_a_schemas_own_names_are_left_alone() -> None:
    """Protobuf's JSON takes both; a property called my_name is the client's."""
    request = parse(
        {
            "contents": [
                {"parts": [{"inline_data": {"mime_type": "image/png", "data": "a"}}]}
            ],
            "system_instruction": {"parts": [{"text": "s"}]},
            "generation_config": {
                "max_output_tokens": "12",
                "response_mime_type": "application/json",
                "response_schema": {
                    "type": "OBJECT",
                    "properties": {"my_name": {"type": "STRING", "nullable": True}},
                },
            },
        }
    )

    assert request.max_output_tokens == 12
    assert request.messages[0] == Message("system", (Text("s"),))
    assert request.messages[1].parts == (Image(data="a", media_type="image/png"),)
    assert request.response_format is not None
    assert msgspec.json.decode(request.response_format.schema) == {
        "type": "object",
        "properties": {"my_name": {"type": ["string", "null"]}},
    }


def test_googles_schemas_become_json_schemas() -> None:
    """Capitals, flags and counts as strings; what is unknown stays."""
    schema = {
        "type": "ARRAY",
        "minItems": "1",
        "items": {
            "anyOf": [{"type": "INTEGER", "format": "int64"}, {"type": "STRING"}],
            "nullable": True,
        },
        "property_ordering": ["a"],
        "x-own": 1,
    }

    assert msgspec.json.decode(json_schema(msgspec.json.encode(schema))) == {
        "type": "array",
        "minItems": 1,
        "items": {
            "anyOf": [
                {"type": "integer", "format": "int64"},
                {"type": "string"},
                {"type": "null"},
            ]
        },
        "x-own": 1,
    }


def test_results_without_ids_find_their_calls_by_name_and_order() -> None:
    """Google's clients need not send ids; other providers need them to match."""
    call = {"functionCall": {"name": "f", "args": {"x": 1}}}
    request = parse(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {
                    "role": "model",
                    "parts": [call, {"functionCall": {"name": "g"}}, call],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": "f",
                                "response": {"output": "1"},
                            }
                        },
                        {"functionResponse": {"name": "f", "response": {"error": "2"}}},
                        {
                            "functionResponse": {
                                "name": "g",
                                "response": {"a": 1, "b": 2},
                            }
                        },
                    ],
                },
            ]
        }
    )
    uses = [p for p in request.messages[1].parts if isinstance(p, ToolUse)]
    results = [p for p in request.messages[2].parts if isinstance(p, ToolResult)]

    assert request.messages[2].role == "tool"
    assert len({use.id for use in uses}) == 3
    assert [r.tool_use_id for r in results] == [uses[0].id, uses[2].id, uses[1].id]
    assert [r.parts[0] for r in results] == [
        Text("1"),
        Text("2"),
        Text('{"a":1,"b":2}'),
    ]
    assert [r.is_error for r in results] == [False, True, False]
    back = build(request)["contents"]
    assert all("id" not in p["functionCall"] for p in back[1]["parts"])


def test_thought_signatures_survive_clients_that_know_nothing_of_them() -> None:
    """A signature rides inside the id of the call, and goes back beside it."""
    signed = ProviderState("gemini", "thought_signature", "c2ln")
    messages = (
        USER,
        Message("assistant", (ToolUse(pack("call_9", signed), "f", '{"x":1}'),)),
        Message("tool", (ToolResult(pack("call_9", signed), (Text("r"),)),)),
    )
    contents = build(chat(*messages), THREE)["contents"]

    assert contents[1]["parts"] == [
        {
            "functionCall": {"name": "f", "id": "call_9", "args": {"x": 1}},
            "thoughtSignature": "c2ln",
        }
    ]
    assert contents[2]["parts"] == [
        {"functionResponse": {"name": "f", "id": "call_9", "response": {"output": "r"}}}
    ]


def test_a_call_from_elsewhere_gets_googles_placeholder() -> None:
    """Gemini 3 refuses unsigned calls; only the first of a turn is signed."""
    calls = (ToolUse("a", "f"), ToolUse("b", "g"))
    results = tuple(ToolResult(x, (Text("1"),)) for x in ("a", "b"))
    messages = (USER, Message("assistant", calls), Message("tool", results))

    three = build(chat(*messages), THREE)["contents"][1]["parts"]
    two = build(chat(*messages), FLASH)["contents"][1]["parts"]
    assert [p.get("thoughtSignature") for p in three] == [
        "skip_thought_signature_validator",
        None,
    ]
    assert not any("thoughtSignature" in p for p in two)


def test_foreign_thoughts_never_reach_google() -> None:
    """And Google's own go back as the parts they were."""
    ours = ProviderState("gemini", "thought_signature", "c2ln")
    theirs = ProviderState("anthropic", "signature", "sig")
    parts = (
        Reasoning("a", theirs),
        Reasoning("b", ours),
        Reasoning("", ours),
        Text("c"),
    )
    contents = build(chat(USER, Message("assistant", parts)))["contents"]

    assert contents[1]["parts"] == [
        {"text": "b", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": "c"},
    ]


def test_vertex_gets_no_call_ids() -> None:
    """Its older versions refuse the field; order matches calls and results there."""
    messages = (
        USER,
        Message("assistant", (ToolUse("a", "f"),)),
        Message("tool", (ToolResult("a", (Text("1"),)),)),
    )

    assert '"id"' not in msgspec.json.encode(build(chat(*messages), VERTEX)).decode()


def test_a_result_without_its_call_is_refused() -> None:
    """Google wants the function's name, and only the call knows it."""
    with pytest.raises(ClientError) as caught:
        build(chat(USER, Message("tool", (ToolResult("zz", (Text("1"),)),))))

    assert caught.value.param == "contents[1].parts[0]"


def test_media_find_their_parts() -> None:
    """Inline data, links with a guessed type, sound, plain text."""
    body = build(
        chat(
            Message(
                "user",
                (
                    Image(data="aGk=", media_type="image/png"),
                    Image(url="https://example.com/a.webp?x=1"),
                    Audio(data="aGk=", format="mp3"),
                    File(text="plain"),
                    File(url="gs://bucket/a.pdf"),
                    File(data="aGk=", media_type="text/csv"),
                ),
            )
        )
    )

    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {
            "fileData": {
                "fileUri": "https://example.com/a.webp?x=1",
                "mimeType": "image/webp",
            }
        },
        {"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}},
        {"text": "plain"},
        {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
        {"inlineData": {"mimeType": "text/csv", "data": "aGk="}},
    ]


def test_pictures_in_results_go_where_the_model_reads_them() -> None:
    """Gemini 3 has them inside the response, older ones beside it."""
    parts = (Text("see"), Image(data="aGk=", media_type="image/png"))
    messages = (
        USER,
        Message("assistant", (ToolUse("a", "f"),)),
        Message("tool", (ToolResult("a", parts),)),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}

    three = build(chat(*messages), THREE)["contents"][2]["parts"]
    two = build(chat(*messages), FLASH)["contents"][2]["parts"]
    assert three[0]["functionResponse"]["parts"] == [blob]
    assert two[1] == blob


def test_sampling_and_shape_map_to_generation_config() -> None:
    """n, stops, logprobs, seed and schema all have their place."""
    body = build(
        chat(
            temperature=3.0,
            top_p=0.5,
            stop=("a", "b"),
            n=2,
            seed=7,
            logprobs=True,
            top_logprobs=3,
            max_output_tokens=50,
            response_format=ResponseFormat(
                "json_schema", name="x", schema=b'{"type":"object"}'
            ),
        ),
        Target("gemini-2.0-flash", max_output_tokens=40),
    )

    assert body["generationConfig"] == {
        "temperature": 2.0,
        "topP": 0.5,
        "candidateCount": 2,
        "maxOutputTokens": 40,
        "stopSequences": ["a", "b"],
        "seed": 7,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }


@pytest.mark.parametrize(
    ("wish", "model", "config"),
    [
        (
            ReasoningWish(effort="low"),
            "gemini-2.5-flash",
            {"thinkingBudget": 1024, "includeThoughts": True},
        ),
        (ReasoningWish(effort="none"), "gemini-2.5-flash", {"thinkingBudget": 0}),
        (ReasoningWish(effort="none"), "gemini-2.5-pro", {"thinkingBudget": 128}),
        (
            ReasoningWish(enabled=False),
            "gemini-3-pro-preview",
            {"thinkingLevel": "low"},
        ),
        (
            ReasoningWish(effort="xhigh"),
            "gemini-3-flash",
            {"thinkingLevel": "high", "includeThoughts": True},
        ),
        (
            ReasoningWish(budget_tokens=5000, enabled=True),
            "gemini-3-flash",
            {"thinkingLevel": "medium", "includeThoughts": True},
        ),
        (
            ReasoningWish(budget_tokens=5000, summary="omitted"),
            "gemini-2.5-flash",
            {"thinkingBudget": 5000},
        ),
        (ReasoningWish(effort="low"), "gemini-2.0-flash", None),
    ],
)
def test_effort_is_a_level_on_3_and_a_budget_on_2_5(
    wish: ReasoningWish, model: str, config: dict[str, Any] | None
) -> None:
    """2.5 Pro cannot stop thinking, before 2.5 nothing thinks."""
    body = build(chat(reasoning=wish), Target(model))

    assert body.get("generationConfig", {}).get("thinkingConfig") == config


def test_tool_choice_and_its_narrowings() -> None:
    """One function by name is ANY with one allowed name."""
    tools = (Tool("f"), Tool("g", parameters=b'{"type":"object"}'))

    def config(choice: ToolChoice) -> Any:
        body = build(chat(tools=tools, tool_choice=choice))
        return body["toolConfig"]["functionCallingConfig"]

    assert config(ToolChoice("auto")) == {"mode": "AUTO"}
    assert config(ToolChoice("none")) == {"mode": "NONE"}
    assert config(ToolChoice("required")) == {"mode": "ANY"}
    assert config(ToolChoice("tool", name="g")) == {
        "mode": "ANY",
        "allowedFunctionNames": ["g"],
    }
    assert build(chat(tools=tools))["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f"},
                {"name": "g", "parametersJsonSchema": {"type": "object"}},
            ]
        }
    ]


def test_a_conversation_of_system_texts_alone_still_has_contents() -> None:
    """Google refuses empty contents."""
    body = build(chat(Message("system", (Text("s"),))))

    assert body["systemInstruction"] == {"parts": [{"text": "s"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "."}]}]


def test_a_request_in_a_traceback_shows_no_prompt() -> None:
    """What a repr shows ends in logs."""
    body = {"contents": [{"parts": [{"text": "SECRET"}]}]}
    request = parse(body)

    assert "SECRET" not in repr(request)
    assert "SECRET" not in repr(PROVIDER.build_request(request, FLASH))
    assert "SECRET" not in repr(Fields(msgspec.json.encode(body)))
