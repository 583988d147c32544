"""Requests to Anthropic and from its clients: goldens, translations, refusals."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from tests.recordings_cases import Case
from tests.support_recordings import cases, names
from wire.anthropic import MESSAGES
from wire.anthropic_carry import carry
from wire.dialect import ClientError, Target
from wire.events import ProviderState
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
from wire.toolids import pack

ASKED = [
    case
    for case in cases("anthropic", operation="messages")
    if case.request and "error-400--error" not in case.name
]
TARGET = Target("claude-sonnet-4-5")
NEW = Target("claude-opus-4-8")
USER = Message("user", (Text("hi"),))


def build(request: ChatRequest, target: Target = TARGET) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(
        MESSAGES.build_request(request, target).body
    )
    return body


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("gpt", messages or (USER,), "openai_chat", **fields)


def parse(body: dict[str, Any], headers: dict[str, str] | None = None) -> ChatRequest:
    return MESSAGES.parse_request(msgspec.json.encode(body), headers or {})


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """Reduce a body to its normal form.

    A string content is one text block; neighbours of one role are one turn; false
    flags, null fields and empty lists are absent; a plain ephemeral cache mark is
    one whatever its spelling.
    """

    def blocks(content: Any) -> list[Any]:
        whole = (
            [{"type": "text", "text": content}] if isinstance(content, str) else content
        )
        return [tidy(block) for block in whole]

    def tidy(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {name: tidy(inner) for name, inner in value.items()}
            if kept.get("type") == "tool_result" and "content" in kept:
                kept["content"] = blocks(kept["content"])
            return {
                name: inner
                for name, inner in kept.items()
                if inner not in (None, False, [])
            }
        if isinstance(value, list):
            return [tidy(inner) for inner in value]
        return value

    turns: list[dict[str, Any]] = []
    for turn in body["messages"]:
        content = blocks(turn["content"])
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += content
        else:
            turns.append({"role": turn["role"], "content": content})
    out = {name: tidy(value) for name, value in body.items() if name != "messages"}
    if "system" in out:
        out["system"] = blocks(out["system"])
    if out.get("tool_choice") == {"type": "auto"}:
        del out["tool_choice"]
    return {**{k: v for k, v in out.items() if v not in (False, [])}, "messages": turns}


@pytest.mark.parametrize("case", ASKED, ids=names(ASKED))
def test_a_recorded_request_survives_the_vocabulary(case: Case) -> None:
    """Parse and build again: equal up to the normal form, nothing lost on the way."""
    request = parse(case.request, case.request_headers)
    built = build(request, Target(case.request["model"]))

    assert normal(built) == normal(case.request)


@pytest.mark.parametrize("case", ASKED, ids=names(ASKED))
def test_a_relayed_request_keeps_everything_but_the_model(case: Case) -> None:
    """The fast way edits the top level only."""
    body = msgspec.json.encode(case.request)
    head = MESSAGES.read_head(body, {})
    sent = MESSAGES.forward_request(body, case.request_headers, head, Target("other"))

    assert msgspec.json.decode(sent.body) == {**case.request, "model": "other"}
    assert head.model == case.request["model"]
    assert head.max_output_tokens == case.request["max_tokens"]
    assert head.stream == bool(case.request.get("stream"))
    assert ("tools" in head.needs) == bool(case.request.get("tools"))


def test_what_was_recorded_as_a_bad_request_is_one_here_too() -> None:
    """Anthropic said: messages.0: Input does not match the expected shape."""
    with pytest.raises(ClientError) as caught:
        parse({"model": "m", "max_tokens": 15, "messages": ["Invalid content"]})

    assert caught.value.param == "messages.0"
    assert "Invalid content" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text",
        ),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"stop_sequences": "x"}, "stop_sequences"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], param: str) -> None:
    """Errors name the path as Anthropic does, and never the value."""
    good = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    }
    with pytest.raises(ClientError) as caught:
        parse({k: v for k, v in {**good, **change}.items() if v is not None})

    assert caught.value.param == param
    assert caught.value.message.startswith(param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "\xff"}', b"[" * 9999])
def test_a_body_that_is_no_object_is_a_client_error(body: bytes) -> None:
    """Garbage raises the dialect's own error and nothing else."""
    with pytest.raises(ClientError):
        MESSAGES.parse_request(body, {})
    with pytest.raises(ClientError):
        MESSAGES.read_head(body, {})


def test_counting_needs_no_output_bound() -> None:
    """count_tokens takes the prompt, and refuses sampling and bounds upstream."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    request = MESSAGES.parse_count(msgspec.json.encode(body), {})
    sent = MESSAGES.build_count(request, TARGET)

    assert sent.path == "/v1/messages/count_tokens"
    fields = msgspec.json.decode(sent.body)
    assert fields.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    "case", [c for c in cases("anthropic", family="count") if c.request]
)
def test_recorded_counts_survive_the_vocabulary(case: Case) -> None:
    """Both recorded count requests build again, and their answers are read."""
    request = MESSAGES.parse_count(msgspec.json.encode(case.request), {})
    sent = MESSAGES.build_count(request, Target(case.request["model"]))
    answer = MESSAGES.read_count(case.status, {}, case.body, TARGET)

    assert normal(msgspec.json.decode(sent.body)) == normal(case.request)
    if case.status == 200:
        expected = msgspec.json.decode(case.body)
        assert not hasattr(answer, "kind")
        assert msgspec.json.decode(MESSAGES.render_count(answer)) == expected  # type: ignore[arg-type]


def test_the_clients_version_and_login_go_upstream() -> None:
    """Trap 2: old clients log in with x-api-key, new ones with Bearer."""
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    }
    old = parse(body, {"anthropic-version": "2023-06-01"})
    new = parse(body, {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"})

    sent_old = MESSAGES.build_request(old, TARGET)
    sent_new = MESSAGES.build_request(new, TARGET)
    assert sent_old.auth == "x-api-key"
    assert ("anthropic-version", "2023-06-01") in sent_old.headers
    assert sent_new.auth == "bearer"
    assert ("anthropic-version", "2026-10-21") in sent_new.headers
    assert ("anthropic-beta", "a,b") in sent_new.headers


@pytest.mark.parametrize("stream", [True, False])
def test_claude_on_vertex_has_its_model_in_the_path(stream: bool) -> None:
    """The official Vertex client does the same; both ways of a request agree."""
    options = {"project": "p-1", "location": "europe-west1"}
    target = Target("claude-sonnet-4-5@20250929", flavour="vertex", options=options)
    base = "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models/"
    verb = "streamRawPredict" if stream else "rawPredict"
    body = msgspec.json.encode(
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
            "stream": stream,
        }
    )
    head = MESSAGES.read_head(body, {})
    request = MESSAGES.parse_request(body, {})

    for sent in (
        MESSAGES.build_request(request, target),
        MESSAGES.forward_request(body, {}, head, target),
    ):
        assert sent.path == f"{base}claude-sonnet-4-5@20250929:{verb}"
        assert sent.auth == "bearer"
        fields = msgspec.json.decode(sent.body)
        assert "model" not in fields
        assert fields["anthropic_version"] == "vertex-2023-10-16"
        assert fields.get("stream", False) == stream
    count = MESSAGES.build_count(request, target)
    assert count.path == f"{base}count-tokens:rawPredict"
    assert msgspec.json.decode(count.body)["model"] == target.model


def test_sampling_from_elsewhere_pins_the_version_that_takes_it() -> None:
    """Under the new version temperature is a 400, even at its default."""
    target = Target("claude-haiku-4-5", options={"api_version": "2026-10-21"})

    warm = MESSAGES.build_request(chat(temperature=0.5), target)
    plain = MESSAGES.build_request(chat(), target)
    assert ("anthropic-version", "2023-06-01") in warm.headers
    assert ("anthropic-version", "2026-10-21") in plain.headers


def test_new_models_take_no_sampling_at_all() -> None:
    """From Opus 4.7 on it is dropped: the client cannot know what it was routed to."""
    body = build(chat(temperature=0.5, top_p=0.9, top_k=3), NEW)

    assert not {"temperature", "top_p", "top_k"} & body.keys()


def test_temperature_is_clamped_and_never_beside_top_p() -> None:
    """OpenAI goes to 2, Anthropic to 1; Claude 4.1 and later take one of the two."""
    old = Target("claude-3-5-sonnet-20241022")

    assert build(chat(temperature=1.7, top_p=0.9))["temperature"] == 1.0
    assert "top_p" not in build(chat(temperature=1.7, top_p=0.9))
    assert build(chat(temperature=0.2, top_p=0.9), old)["top_p"] == 0.9


def test_tool_results_are_merged_into_one_user_turn() -> None:
    """Anthropic wants all results of a turn, and what the user adds, in one turn."""
    calls = (ToolUse("a.1", "f", '{"x": 1}'), ToolUse("b", "g", ""))
    body = build(
        chat(
            USER,
            Message("assistant", calls),
            Message("tool", (ToolResult("a.1", (Text("one"),)),)),
            Message("tool", (ToolResult("b", (Text("two"),), is_error=True),)),
            Message("user", (Text("go on"),)),
            tools=(Tool("f", parameters=b'{"type":"object"}'), Tool("g")),
        )
    )

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    uses, results = body["messages"][1]["content"], body["messages"][2]["content"]
    made = uses[0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", made)  # "a.1" is no id at Anthropic.
    assert uses[1]["id"] == "b"
    assert [use["input"] for use in uses] == [{"x": 1}, {}]
    assert [r.get("tool_use_id") for r in results] == [made, "b", None]
    assert results[1]["is_error"]
    assert body["tools"][1]["input_schema"] == {"type": "object", "properties": {}}


def test_system_texts_are_hoisted_with_their_cache_marks() -> None:
    """OpenAI's system and developer messages become `system`, wherever they stood."""
    marked = Text("b", cache=CacheMark("1h"))
    body = build(
        chat(Message("system", (Text("a"),)), USER, Message("developer", (marked,)))
    )

    assert body["system"] == [
        {"type": "text", "text": "a"},
        {
            "type": "text",
            "text": "b",
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ]


def test_the_conversation_begins_with_the_user_and_ends_clean() -> None:
    """Anthropic refuses an assistant first, empty texts, and trailing white space."""
    body = build(chat(Message("assistant", (Text(""), Text("a ")))))

    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
    ]


def test_pictures_and_files_find_their_blocks() -> None:
    """URL, base64, PDF and plain text each have their source type."""
    body = build(
        chat(
            Message(
                "user",
                (
                    Image(url="https://example.com/a.png"),
                    Image(data="aGk=", media_type="image/png"),
                    File(data="JVBERi0=", media_type="application/pdf", name="a.pdf"),
                    File(data="aGk=", media_type="text/csv"),
                    File(url="https://example.com/b.pdf"),
                ),
            )
        )
    )

    sources = [block["source"] for block in body["messages"][0]["content"]]
    assert [source["type"] for source in sources] == [
        *("url", "base64", "base64", "text", "url"),
    ]
    assert sources[3]["data"] == "hi"
    assert body["messages"][0]["content"][2]["title"] == "a.pdf"


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(n=2), "n"),
        (chat(logprobs=True), "logprobs"),
        (chat(modalities=("text", "audio")), "modalities"),
        (chat(stop=("\n",)), "stop"),
        (chat(Message("user", (Audio(data="x"),))), "messages.0.content.0"),
        (
            chat(USER, Message("user", (File(data="x", media_type="audio/ogg"),))),
            "messages.1.content.0",
        ),
    ],
)
def test_what_would_change_the_answers_shape_is_refused(
    request_: ChatRequest, param: str
) -> None:
    """Hints are dropped; a second choice or a sound cannot be."""
    with pytest.raises(ClientError) as caught:
        build(request_)

    assert caught.value.param == param


def test_effort_becomes_a_budget_on_models_that_think_by_budget() -> None:
    """The budget stays below max_tokens, and thinking silences sampling."""
    wish = ReasoningWish(effort="high")
    body = build(chat(reasoning=wish, max_output_tokens=10_000, temperature=0.3))

    assert body["thinking"] == {"type": "enabled", "budget_tokens": 8000}
    assert "temperature" not in body
    assert "thinking" not in build(chat(reasoning=wish, max_output_tokens=1000))
    assert "thinking" not in build(
        chat(reasoning=wish), Target("claude-3-5-haiku-latest")
    )


def test_effort_is_effort_on_models_that_adapt() -> None:
    """Where OpenAI says minimal, Anthropic's least is low."""
    body = build(chat(reasoning=ReasoningWish(effort="minimal")), NEW)

    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "low"}
    off = build(chat(reasoning=ReasoningWish(effort="none")), NEW)
    assert off["thinking"] == {"type": "disabled"}


def test_a_forced_call_goes_without_thought() -> None:
    """Anthropic refuses the two together."""
    body = build(
        chat(
            reasoning=ReasoningWish(effort="low"),
            tools=(Tool("f"),),
            tool_choice=ToolChoice("tool", name="f"),
        )
    )

    assert "thinking" not in body
    assert body["tool_choice"] == {"type": "tool", "name": "f"}


def test_a_tool_loop_whose_thought_was_lost_goes_without_thought() -> None:
    """A budget wants the thought before the call; other clients do not keep it."""
    loop = (
        USER,
        Message("assistant", (ToolUse("a", "f"),)),
        Message("tool", (ToolResult("a", (Text("1"),)),)),
    )
    kept = (
        USER,
        Message(
            "assistant",
            (
                Reasoning("hm", ProviderState("anthropic", "signature", "sig")),
                ToolUse("a", "f"),
            ),
        ),
        loop[2],
    )
    wish = ReasoningWish(effort="low")

    assert "thinking" not in build(chat(*loop, reasoning=wish, tools=(Tool("f"),)))
    body = build(chat(*kept, reasoning=wish, tools=(Tool("f"),)))
    assert body["thinking"]["type"] == "enabled"
    assert body["messages"][1]["content"][0] == {
        "type": "thinking",
        "thinking": "hm",
        "signature": "sig",
    }


def test_foreign_thoughts_never_reach_anthropic() -> None:
    """A signature Anthropic did not make is a 400 there."""
    state = ProviderState("gemini", "thought_signature", "xyz")
    body = build(chat(USER, Message("assistant", (Reasoning("hm", state), Text("a")))))

    assert body["messages"][1]["content"] == [{"type": "text", "text": "a"}]


def test_schemas_go_where_the_model_takes_them() -> None:
    """Structured output from 4.5 on; before that, and for JSON mode, in words."""
    form = ResponseFormat("json_schema", name="x", schema=b'{"type":"object"}')

    new = build(chat(response_format=form))
    old = build(chat(response_format=form), Target("claude-3-5-sonnet-latest"))
    mode = build(chat(response_format=ResponseFormat("json_object")))
    assert new["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {"type": "object"},
    }
    assert '{"type":"object"}' in old["system"]
    assert "JSON" in mode["system"]


def test_tool_choice_and_parallel_calls() -> None:
    """Required is any; parallel_tool_calls=false rides on the choice."""
    tools = (Tool("f"), Tool("g"))

    both = chat(
        tools=tools, tool_choice=ToolChoice("required"), parallel_tool_calls=False
    )
    assert build(both)["tool_choice"] == {
        "type": "any",
        "disable_parallel_tool_use": True,
    }
    allowed = chat(tools=tools, tool_choice=ToolChoice("auto", allowed=("g",)))
    assert [tool["name"] for tool in build(allowed)["tools"]] == ["g"]


def test_the_output_bound_is_always_there_and_never_above_the_clamp() -> None:
    """Anthropic requires max_tokens; the ledger's clamp holds over any wish."""
    clamped = Target("claude-sonnet-4-5", max_output_tokens=100)

    assert build(chat())["max_tokens"] == 32_000
    assert build(chat(), Target("claude-3-haiku-20240307"))["max_tokens"] == 4096
    assert build(chat(max_output_tokens=500), clamped)["max_tokens"] == 100


def test_a_relayed_request_obeys_the_clamp_with_its_budget() -> None:
    """Lowering max_tokens below the thinking budget would be a 400 of our making."""
    body = msgspec.json.encode(
        {
            "model": "m",
            "max_tokens": 9000,
            "messages": [{"role": "user", "content": "x"}],
            "thinking": {"type": "enabled", "budget_tokens": 8000},
        }
    )
    head = MESSAGES.read_head(body, {})

    def sent(most: int) -> dict[str, Any]:
        target = Target("m", max_output_tokens=most)
        out: dict[str, Any] = msgspec.json.decode(
            MESSAGES.forward_request(body, {}, head, target).body
        )
        return out

    assert sent(5000)["thinking"] == {"type": "enabled", "budget_tokens": 4000}
    assert sent(500)["thinking"] == {"type": "disabled"}
    assert sent(9000)["max_tokens"] == 9000


def test_state_of_other_providers_survives_an_anthropic_client() -> None:
    """Thoughts in signatures, signed calls in ids: the client echoes both."""
    thought = ProviderState("openai_responses", "encrypted", "é" * 9, id="rs_1")
    call = ProviderState("gemini", "thought_signature", "abc+/=")
    request = parse(
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": "x"},
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "thinking",
                            "thinking": "t",
                            "signature": carry(thought),
                        },
                        {"type": "redacted_thinking", "data": carry(thought)},
                        {
                            "type": "tool_use",
                            "id": pack("c1", call),
                            "name": "f",
                            "input": {},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": pack("c1", call),
                            "content": "r",
                        }
                    ],
                },
            ],
        }
    )

    parts = request.messages[1].parts
    assert parts[0] == Reasoning("t", thought)
    assert parts[1] == Reasoning("", thought)
    assert parts[2] == ToolUse("c1", "f", "{}", state=call)
    assert request.messages[2].role == "tool"
    assert request.messages[2].parts == (ToolResult("c1", (Text("r"),), name="f"),)


def test_a_request_in_a_traceback_shows_no_prompt() -> None:
    """What a repr shows ends in logs."""
    request = parse(
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "SECRET"}],
        }
    )
    body = msgspec.json.encode(
        {"model": "m", "messages": [{"role": "user", "content": "SECRET"}]}
    )

    assert "SECRET" not in repr(request)
    assert "SECRET" not in repr(MESSAGES.build_request(request, TARGET))
    assert "SECRET" not in repr(MESSAGES.read_head(body, {}))
