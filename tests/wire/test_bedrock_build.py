"""Requests for Bedrock: what they say, and that AWS's own model of them agrees."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import pytest

from wire.bedrock import Bedrock
from wire.bedrock_embed import BedrockEmbed
from wire.bedrock_invoke import BedrockInvoke
from wire.bedrock_parts import call_id
from wire.dialect import ClientError, Target
from wire.embeddings import EmbedRequest, EmbedResult
from wire.events import Fault, ProviderState, Usage
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
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

CLAUDE = Target("us.anthropic.claude-sonnet-4-20250514-v1:0")
NEW_CLAUDE = Target("anthropic.claude-sonnet-5")
NOVA = Target("us.amazon.nova-2-lite-v1:0")
SCHEMA = b'{"type":"object","properties":{"b":{},"a":{}}}'
WEATHER = Tool("weather", "Tells it", SCHEMA)


@cache
def service() -> botocore.model.ServiceModel:
    loader = botocore.loaders.Loader()
    return botocore.model.ServiceModel(
        loader.load_service_model("bedrock-runtime", "service-2")
    )


def user(*parts: Part) -> Message:
    return Message("user", parts)


def ask(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("m", messages or (user(Text("hi")),), "openai_chat", **fields)


def built(request: ChatRequest, target: Target = NOVA) -> dict[str, Any]:
    """The body, after AWS's own validator has read it."""
    upstream = Bedrock().build_request(request, target)
    body = json.loads(upstream.body)
    shape = service().operation_model("Converse").input_shape
    report = botocore.validate.ParamValidator().validate(
        {"modelId": target.model, **body}, shape
    )
    assert not report.has_errors(), report.generate_report()
    return body


def test_paths_escape_the_colons_and_slashes_of_ids() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x.y-v1:0"

    one = Bedrock().build_request(ask(), CLAUDE)
    two = Bedrock().build_request(ask(stream=True), Target(arn))

    assert one.path == "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
    assert two.path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
        "inference-profile%2Fx.y-v1%3A0/converse-stream"
    )
    assert (one.auth, dict(two.headers)["accept"]) == (
        "sigv4",
        "application/vnd.amazon.eventstream",
    )


def test_a_bedrock_api_key_goes_as_a_bearer() -> None:
    target = Target("m", options={"auth": "bearer"})

    assert Bedrock().build_request(ask(), target).auth == "bearer"


def test_a_whole_conversation() -> None:
    body = built(
        ask(
            Message("system", (Text("Be brief", CacheMark("1h")),)),
            user(Text("What is this?"), Image(data="iVBO", media_type="image/png")),
            Message(
                "assistant",
                (Text("Let me see"), ToolUse("c1", "weather", '{"b":1,"a":2}')),
            ),
            Message("tool", (ToolResult("c1", (Text("rain"),)),)),
            Message("tool", (ToolResult("c2", (Text("no"),), is_error=True),)),
            Message("developer", (Text("And polite"),)),
            user(Text("Well?")),
            tools=(WEATHER,),
            tool_choice=ToolChoice("tool", "weather"),
            max_output_tokens=100,
            temperature=1.7,
            top_p=0.5,
            stop=("END", ""),
            user="u-1",
            metadata={"team": "a", "bad": "ü"},
            service_tier="flex",
        )
    )

    assert body == {
        "system": [
            {"text": "Be brief"},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
            {"text": "And polite"},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "What is this?"},
                    {"image": {"format": "png", "source": {"bytes": "iVBO"}}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"text": "Let me see"},
                    {
                        "toolUse": {
                            "toolUseId": "c1",
                            "name": "weather",
                            "input": {"b": 1, "a": 2},
                        }
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "rain"}]}},
                    {
                        "toolResult": {
                            "toolUseId": "c2",
                            "content": [{"text": "no"}],
                            "status": "error",
                        }
                    },
                    {"text": "Well?"},
                ],
            },
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "weather",
                        "description": "Tells it",
                        "inputSchema": {"json": json.loads(SCHEMA)},
                    }
                }
            ],
            "toolChoice": {"tool": {"name": "weather"}},
        },
        "inferenceConfig": {
            "maxTokens": 100,
            "temperature": 1.0,
            "topP": 0.5,
            "stopSequences": ["END"],
        },
        "requestMetadata": {"team": "a", "user": "u-1"},
        "serviceTier": {"type": "flex"},
    }


def test_arguments_keep_the_order_the_model_wrote_them_in() -> None:
    call = ToolUse("c", "weather", '{"b":1,"a":2}')
    request = ask(user(Text("x")), Message("assistant", (call,)))

    assert b'{"b":1,"a":2}' in Bedrock().build_request(request, NOVA).body


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", {}), ("{", {"invalid_json": "{"}), ("[1]", {"value": [1]})],
)
def test_arguments_that_are_no_object_do_not_fail_the_next_turn(
    arguments: str, sent: Any
) -> None:
    call = ToolUse("c", "weather", arguments)
    body = built(ask(user(Text("x")), Message("assistant", (call,))))

    assert body["messages"][1]["content"][0]["toolUse"]["input"] == sent


def test_a_history_of_calls_names_its_tools_though_none_are_offered() -> None:
    """Converse refuses toolUse and toolResult blocks without a toolConfig."""
    call = ToolUse("c", "weather")
    history = (user(Text("x")), Message("assistant", (call,)))

    body = built(ask(*history, tool_choice=ToolChoice("none")))

    assert [t["toolSpec"]["name"] for t in body["toolConfig"]["tools"]] == ["weather"]


def test_no_tools_are_offered_where_none_may_be_called() -> None:
    body = built(ask(tools=(WEATHER,), tool_choice=ToolChoice("none")))

    assert "toolConfig" not in body


def test_only_allowed_tools_are_offered() -> None:
    choice = ToolChoice("required", allowed=("weather",))
    body = built(ask(tools=(WEATHER, Tool("other")), tool_choice=choice))

    assert [t["toolSpec"]["name"] for t in body["toolConfig"]["tools"]] == ["weather"]
    assert body["toolConfig"]["toolChoice"] == {"any": {}}


def test_cache_marks_become_points_after_their_block() -> None:
    mark = CacheMark()
    body = built(
        ask(
            user(Text("long", mark)),
            tools=(Tool("weather", parameters=SCHEMA, cache=mark),),
        )
    )

    point = {"cachePoint": {"type": "default"}}
    assert body["messages"][0]["content"] == [{"text": "long"}, point]
    assert body["toolConfig"]["tools"][1] == point


def test_documents_are_named_apart_in_bedrocks_alphabet() -> None:
    pdf = File(data="JVBE", media_type="application/pdf", name="a/b  ü.pdf")
    cited = File(text="leave", options=b'{"citations":{"enabled":true},"x":1}')
    result = ToolResult("c", (pdf,))
    body = built(ask(user(pdf, cited, Text("x")), Message("tool", (result,))))

    documents = [
        block["document"]
        for block in body["messages"][0]["content"]
        if "document" in block
    ]
    nested = body["messages"][0]["content"][-1]["toolResult"]["content"][0]["document"]
    assert [one["name"] for one in (*documents, nested)] == [
        "a b pdf 1",
        "document 2",
        "a b pdf 3",
    ]
    assert documents[1]["citations"] == {"enabled": True}
    assert documents[1]["source"] == {"text": "leave"}


def test_sound_and_buckets_are_sent() -> None:
    image = Image(url="s3://bucket/cat.jpg")
    body = built(ask(user(Audio("UklG", "wav"), image)))

    assert body["messages"][0]["content"] == [
        {"audio": {"format": "wav", "source": {"bytes": "UklG"}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": image.url}}}},
    ]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Image(url="https://example.com/a.png"), "fetches no URLs"),
        (Image(data="x", media_type="image/tiff"), "png, jpeg"),
        (File(data="x", media_type="application/zip"), "pdf, csv"),
        (File(file_id="file-1"), "fetches no URLs"),
        (Audio(id="audio_1"), "send its data"),
    ],
)
def test_what_bedrock_cannot_take_is_refused_with_its_place(
    part: Part, words: str
) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        Bedrock().build_request(ask(user(Text("x"), part)), NOVA)

    assert caught.value.param == "messages.0.content.1"


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"logprobs": True}, {"modalities": ("text", "audio")}]
)
def test_another_shape_of_answer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        Bedrock().build_request(ask(**fields), NOVA)

    assert caught.value.param == next(iter(fields))


def test_thoughts_go_back_only_to_who_signed_them() -> None:
    def thought(source: str, kind: str = "signature") -> Message:
        state = ProviderState(source, kind, "EqoB")
        return Message("assistant", (Reasoning("hm", state), Text("so")))

    claude = built(ask(user(Text("x")), thought("anthropic")), CLAUDE)
    redacted = built(ask(user(Text("x")), thought("anthropic", "redacted")), CLAUDE)
    nova = built(ask(user(Text("x")), thought("anthropic")), NOVA)
    unsigned = built(
        ask(user(Text("x")), Message("assistant", (Reasoning("hm"), Text("so")))),
        CLAUDE,
    )

    assert claude["messages"][1]["content"][0] == {
        "reasoningContent": {"reasoningText": {"text": "hm", "signature": "EqoB"}}
    }
    assert redacted["messages"][1]["content"][0] == {
        "reasoningContent": {"redactedContent": "RXFvQg=="}
    }
    for body in (nova, unsigned):
        assert body["messages"][1]["content"] == [{"text": "so"}]


def test_a_profile_is_told_what_model_is_behind_it() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    target = Target(arn, options={"base_model": "anthropic.claude-opus-4-8"})

    body = built(ask(temperature=0.5, max_output_tokens=9), target)

    assert body["inferenceConfig"] == {"maxTokens": 9}


@pytest.mark.parametrize(
    ("target", "wish", "extra", "output"),
    [
        (
            CLAUDE,
            ReasoningWish("low"),
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            None,
        ),
        (
            NEW_CLAUDE,
            ReasoningWish("minimal"),
            {"thinking": {"type": "adaptive"}},
            {"effort": "low"},
        ),
        (CLAUDE, ReasoningWish("none"), {"thinking": {"type": "disabled"}}, None),
        (
            Target("anthropic.claude-3-haiku-20240307-v1:0"),
            ReasoningWish("low"),
            None,
            None,
        ),
        (
            NOVA,
            ReasoningWish("high"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            None,
        ),
        (NOVA, ReasoningWish("none"), {"reasoningConfig": {"type": "disabled"}}, None),
        (
            Target("openai.gpt-oss-120b-1:0"),
            ReasoningWish("medium"),
            {"reasoning_effort": "medium"},
            None,
        ),
        (Target("mistral.mistral-large"), ReasoningWish("high"), None, None),
    ],
)
def test_a_wish_to_think_in_each_models_words(
    target: Target, wish: ReasoningWish, extra: Any, output: Any
) -> None:
    body = built(ask(reasoning=wish, max_output_tokens=20_000), target)

    assert body.get("additionalModelRequestFields") == extra
    assert body.get("outputConfig") == output


def test_claude_does_not_think_before_a_forced_call_or_without_its_last_thought() -> (
    None
):
    wish = ReasoningWish("high")
    forced = ask(tools=(WEATHER,), tool_choice=ToolChoice("required"), reasoning=wish)
    loop = ask(
        user(Text("x")),
        Message("assistant", (ToolUse("c", "weather"),)),
        Message("tool", (ToolResult("c", (Text("y"),)),)),
        tools=(WEATHER,),
        reasoning=wish,
    )

    for request in (forced, loop):
        assert "additionalModelRequestFields" not in built(request, CLAUDE)


def test_thinking_excludes_sampling_and_needs_a_bound() -> None:
    wish = ReasoningWish(budget_tokens=4096)

    body = built(ask(reasoning=wish, temperature=0.3, top_k=5), CLAUDE)

    assert body["inferenceConfig"] == {"maxTokens": 32_000}


def test_a_schema_goes_where_the_model_takes_it_and_else_in_words() -> None:
    form = ResponseFormat("json_schema", "answer", SCHEMA)

    native = built(ask(response_format=form), NOVA)
    words = built(ask(response_format=form), CLAUDE)
    plain = built(ask(response_format=ResponseFormat("json_object")), NOVA)

    assert native["outputConfig"]["textFormat"] == {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": SCHEMA.decode(), "name": "answer"}},
    }
    assert SCHEMA.decode() in words["system"][0]["text"]
    assert "JSON" in plain["system"][0]["text"]


def test_the_operators_options_are_added() -> None:
    target = Target(
        "amazon.nova-pro-v1:0",
        max_output_tokens=50,
        options={
            "guardrail_id": "gr1",
            "guardrail_version": "2",
            "guardrail_trace": "enabled",
            "latency": "optimized",
        },
    )

    body = built(ask(max_output_tokens=99, top_k=7), target)

    assert body["guardrailConfig"] == {
        "guardrailIdentifier": "gr1",
        "guardrailVersion": "2",
        "trace": "enabled",
    }
    assert body["performanceConfig"] == {"latency": "optimized"}
    assert body["inferenceConfig"]["maxTokens"] == 50
    assert body["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 7}}


def test_a_custom_tool_is_asked_for_one_text() -> None:
    tool = Tool("run", kind="custom")
    call = ToolUse("c", "run", "print(1)", custom=True)

    body = built(ask(user(Text("x")), Message("assistant", (call,)), tools=(tool,)))

    schema = body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
    assert schema["required"] == ["input"]
    use = body["messages"][1]["content"][0]["toolUse"]
    assert use["input"] == {"input": "print(1)"}


def test_ids_outside_bedrocks_alphabet_are_replaced_alike() -> None:
    strange = "call_1__st1_" + "x" * 100

    assert call_id("tooluse_Ab-1.2:3") == "tooluse_Ab-1.2:3"
    assert call_id(strange) == call_id(strange)
    assert call_id(strange) != call_id(strange + "y")
    assert len(call_id(strange)) <= 64


def test_only_bedrocks_own_opaque_parts_and_fields_go_through() -> None:
    guard = OpaquePart(
        "bedrock", "guardContent", b'{"guardContent":{"text":{"text":"x"}}}'
    )
    alien = OpaquePart("anthropic", "search_result", b'{"type":"search_result"}')
    own = ChatRequest(
        "m",
        (user(guard, alien),),
        "bedrock",
        extra={"additionalModelResponseFieldPaths": b'["/stop_sequence"]'},
    )

    body = built(own)

    assert body["messages"][0]["content"] == [{"guardContent": {"text": {"text": "x"}}}]
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]


def test_a_conversation_begins_with_the_user() -> None:
    body = built(
        ask(Message("assistant", (Text("hello"),)), user(Text("  "), Text("x")))
    )

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][2]["content"] == [{"text": "x"}]


def test_counting_asks_about_the_same_prompt() -> None:
    request = ask(tools=(WEATHER,), temperature=0.5)
    upstream = Bedrock().build_count(request, NOVA)

    body = json.loads(upstream.body)
    shape = service().operation_model("CountTokens").input_shape
    report = botocore.validate.ParamValidator().validate(
        {"modelId": "m", **body}, shape
    )
    assert not report.has_errors(), report.generate_report()
    # Recorded: with the profile's prefix, "doesn't support counting tokens".
    assert upstream.path == "/model/amazon.nova-2-lite-v1%3A0/count-tokens"
    assert set(body["input"]["converse"]) == {"messages", "toolConfig"}
    counted = Bedrock().read_count(200, {}, b'{"inputTokens":12}', NOVA)
    assert getattr(counted, "tokens", None) == 12
    assert isinstance(Bedrock().read_count(200, {}, b"{}", NOVA), Fault)


def test_claude_through_invoke_speaks_anthropics_dialect() -> None:
    request = ChatRequest(
        "m",
        (user(Text("hi")),),
        "anthropic",
        stream=True,
        max_output_tokens=10,
        extra={
            "header:anthropic-beta": b'"new-1, alien-2,interleaved-thinking-2025-05-14"'
        },
        service_tier="flex",
    )
    target = Target(
        CLAUDE.model,
        options={
            "betas": "new-1",
            "guardrail_id": "gr1",
            "guardrail_trace": "enabled",
            "latency": "optimized",
        },
    )

    upstream = BedrockInvoke().build_request(request, target)

    assert upstream.path.endswith("%3A0/invoke-with-response-stream")
    body = json.loads(upstream.body)
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert body["anthropic_beta"] == ["new-1", "interleaved-thinking-2025-05-14"]
    assert upstream.headers[2:] == (
        ("x-amzn-bedrock-guardrailidentifier", "gr1"),
        ("x-amzn-bedrock-guardrailversion", "DRAFT"),
        ("x-amzn-bedrock-trace", "ENABLED"),
        ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
        ("x-amzn-bedrock-service-tier", "flex"),
    )
    assert body["max_tokens"] == 10
    assert not {"model", "stream", "service_tier"} & set(body)


def test_nova_through_invoke_has_its_own_schema() -> None:
    request = ask(max_output_tokens=10, top_k=3, tools=(WEATHER,))

    body = json.loads(BedrockInvoke().build_request(request, NOVA).body)

    assert body["schemaVersion"] == "messages-v1"
    assert body["inferenceConfig"] == {"maxTokens": 10, "topK": 3}
    assert "toolConfig" in body


def test_models_of_other_families_are_asked_through_converse() -> None:
    target = Target("meta.llama3-70b")

    one = BedrockInvoke().build_request(ask(stream=True), target)

    assert one == Bedrock().build_request(ask(stream=True), target)


def test_titan_and_cohere_embed() -> None:
    embed = BedrockEmbed()
    titan, cohere = Target("amazon.titan-embed-text-v2:0"), Target("cohere.embed-v4:0")
    one = EmbedRequest("m", ("a",), "openai", dimensions=256)
    two = EmbedRequest("m", ("a", "b"), "openai", input_type="search_query")

    assert json.loads(embed.build_embed(one, titan).body) == {
        "inputText": "a",
        "dimensions": 256,
    }
    assert json.loads(embed.build_embed(two, cohere).body)["texts"] == ["a", "b"]
    with pytest.raises(ClientError, match="one text"):
        embed.build_embed(two, titan)
    with pytest.raises(ClientError, match="token lists"):
        embed.build_embed(EmbedRequest("m", ((1, 2),), "openai"), titan)
    answer = embed.parse_embed(
        200, {}, b'{"embedding":[0.1,2],"inputTextTokenCount":3}', titan
    )
    assert isinstance(answer, EmbedResult)
    assert answer.vectors[0].data == b"[0.1,2]"
    assert answer.usage == Usage(prompt=3)
    headers = {"x-amzn-bedrock-input-token-count": "5"}
    answer = embed.parse_embed(
        200, headers, b'{"embeddings":{"float":[[1],[2]]}}', cohere
    )
    assert isinstance(answer, EmbedResult)
    assert [vector.data for vector in answer.vectors] == [b"[1]", b"[2]"]
    assert answer.usage == Usage(prompt=5)
    for status, body in ((200, b"{}"), (200, b""), (429, b"")):
        assert isinstance(embed.parse_embed(status, {}, body, titan), Fault)
