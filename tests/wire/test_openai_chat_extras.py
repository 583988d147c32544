"""What OpenAI chat tells beside text: proofs of thoughts, sources, sound and more."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from wire import events as ev
from wire.completion import fold
from wire.dialect import Reply, Target, public
from wire.events import ProviderState
from wire.flavours import FLAVOURS, flavour
from wire.jsontext import client_error, count, decode_object
from wire.openai_chat import CHAT
from wire.openai_chat_decoder import ChatDecoder, ChunkReader
from wire.openai_models import ModelCard, render_model, render_models
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolUse,
)
from wire.sse import SseDecoder
from wire.usage import from_openai, to_openai

REPLY = Reply(id="abc", created=7, model="asked")
ASKED = ChatRequest("asked", (), "openai_chat")


def tell(*events: ev.Event) -> list[Any]:
    """The chunks of a stream, parsed."""
    encoder = CHAT.stream_encoder(ASKED, REPLY)
    frames = SseDecoder().feed(encoder.encode(events) + encoder.finish())
    return [json.loads(f.data) for f in frames if f.data != b"[DONE]"]


def deltas(*events: ev.Event) -> list[Any]:
    chunks = tell(*events)
    found = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    return [d for d in found if d and "role" not in d]


def again(*events: ev.Event) -> list[ev.Event]:
    """The same events after a stream in OpenAI's dialect."""
    encoder = CHAT.stream_encoder(ASKED, REPLY)
    decoder = ChatDecoder("openai", FLAVOURS["openai"])
    return decoder.feed(encoder.encode(events) + encoder.finish())


def whole(*events: ev.Event) -> Any:
    return json.loads(CHAT.render_response(fold(events), ASKED, REPLY))


SIGNED = ProviderState("anthropic", "signature", "sig")
HIDDEN = ProviderState("anthropic", "redacted", "zzz")
THEIRS = ProviderState("openrouter", "reasoning_details", '[{"type":"x"}]')


@pytest.mark.parametrize("stream", [True, False])
def test_proofs_of_thoughts_are_told_in_reasoning_details(stream: bool) -> None:
    events = [
        ev.ReasoningDelta("t"),
        ev.ReasoningState(SIGNED),
        ev.ReasoningState(HIDDEN, block=1),
        ev.ReasoningState(THEIRS, block=2),
        ev.Finish("stop"),
    ]
    if stream:
        found = [
            d for delta in deltas(*events) for d in delta.get("reasoning_details", ())
        ]
    else:
        found = whole(*events)["choices"][0]["message"]["reasoning_details"]
    assert [d["type"] for d in found] == ["reasoning.text", "reasoning.encrypted", "x"]
    assert (found[0]["signature"], found[0]["text"]) == ("sig", "t")
    assert found[0]["format"] == "anthropic:signature"
    assert found[1]["data"] == "zzz"


def test_sources_are_told_as_annotations_and_come_back() -> None:
    cited = ev.Citation("https://x", "X", "quote", 1, 5, source="anthropic")
    events = again(ev.TextDelta("a"), cited, ev.Finish("stop"))
    back = next(e for e in events if isinstance(e, ev.Citation))
    assert (back.url, back.title, back.text, back.start, back.end) == (
        *("https://x", "X", "quote", 1, 5),
    )
    once_more = next(e for e in again(back) if isinstance(e, ev.Citation))
    assert once_more.data == back.data
    message = whole(ev.TextDelta("a"), cited)["choices"][0]["message"]
    assert message["annotations"][0]["url_citation"]["url"] == "https://x"


def test_sources_at_the_top_of_a_chunk_are_told_once() -> None:
    """Perplexity repeats its list of URLs on every chunk."""
    body = b'{"id":"c","choices":[{"delta":{"content":"a"}}],"citations":["https://x"]}'
    reader = ChunkReader("perplexity", flavour("perplexity"))
    events = reader.read(body) + reader.read(body)
    assert [e.url for e in events if isinstance(e, ev.Citation)] == ["https://x"]


def test_sound_and_pictures_are_told_and_come_back() -> None:
    sound = ev.Media("audio", "QQ==", "audio_1", "hi", 99)
    picture = ev.Media("image/png", "QUJD")
    assert [e for e in again(sound, picture) if isinstance(e, ev.Media)] == [
        sound,
        picture,
    ]
    message = whole(sound, picture, picture)["choices"][0]["message"]
    assert message["audio"] == {
        "id": "audio_1",
        "data": "QQ==",
        "transcript": "hi",
        "expires_at": 99,
    }
    assert len(message["images"]) == 2


def test_probabilities_are_told_beside_their_text() -> None:
    one = ev.Logprobs(b'{"content":[{"token":"a"}],"refusal":null}')
    two = ev.Logprobs(b'{"content":[{"token":"b"}]}')
    chunks = tell(ev.TextDelta("a"), one)
    assert chunks[-1]["choices"][0]["logprobs"]["content"] == [{"token": "a"}]
    told = whole(ev.TextDelta("ab"), one, two)["choices"][0]["logprobs"]
    assert told == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_what_has_no_words_here_is_left_out() -> None:
    """Tools that the provider ran must not look like calls for the client."""
    silent = [
        ev.ServerTool("anthropic", "web_search", b"{}"),
        ev.Opaque("gemini", "grounding", b"{}"),
    ]
    assert deltas(*silent) == []
    assert "tool_calls" not in whole(*silent)["choices"][0]["message"]


def test_legacy_function_calls_are_tool_calls() -> None:
    body = (
        b'{"id":"chatcmpl-1","choices":[{"message":{"content":null,"function_call":'
        b'{"name":"f","arguments":"{}"}},"finish_reason":"function_call"}]}'
    )
    events = ChunkReader("openai", FLAVOURS["openai"]).read(body)
    part = fold(events).choices[0].parts[0]
    assert isinstance(part, ToolUse)
    assert part.name == "f"
    assert events[-1] == ev.Finish("tool_calls", "function_call")


def test_a_call_that_goes_on_after_its_end_is_malformed() -> None:
    """No server interleaves calls; one that did would mix up arguments."""
    reader = ChunkReader("x", FLAVOURS["openai"])
    call = '{"choices":[{"delta":{"tool_calls":[{"index":%d,"function":{%s}}]}}]}'
    named = '"name":"f","arguments":"{"'
    for index in (0, 1):
        reader.read((call % (index, named)).encode())
    fault = reader.read((call % (0, '"arguments":"}"')).encode())[-1]
    assert isinstance(fault, ev.Fault)
    assert fault.code == "upstream_malformed"


def test_googles_signature_rides_on_the_call_both_ways() -> None:
    body = (
        b'{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f",'
        b'"arguments":"{}"},"extra_content":{"google":{"thought_signature":"sg"}}}]}}]}'
    )
    events = ChunkReader("gemini-openai", flavour("gemini-openai")).read(body)
    start = next(e for e in events if isinstance(e, ev.ToolCallStart))
    assert start.state == ProviderState("gemini", "thought_signature", "sg")
    sent = build(Message("assistant", (ToolUse("a", "f", state=start.state),)))
    call = sent["messages"][0]["tool_calls"][0]
    assert call["extra_content"] == {"google": {"thought_signature": "sg"}}


def build(*messages: Message, flavour: str = "openai", **fields: Any) -> Any:
    request = ChatRequest("m", messages, "anthropic", **fields)
    return json.loads(CHAT.build_request(request, Target("m", flavour)).body)


def test_every_part_has_its_words_upstream() -> None:
    sent = build(
        Message(
            "user",
            (
                Text("t"),
                Image(data="QQ==", media_type="image/png", detail="low"),
                File(text="plain", name="a.txt"),
                File(file_id="f1"),
                File(data="QQ==", media_type="application/pdf"),
                Audio("QQ==", "mp3"),
                Refusal("no"),
                OpaquePart("anthropic", "container_upload", b"{}"),
            ),
            name="ann",
        ),
        Message(
            "assistant",
            (Audio(id="audio_1"), Refusal("no"), ToolUse("c", "g", "x", custom=True)),
            name="bot",
        ),
    )
    user, assistant = sent["messages"]
    assert [p["type"] for p in user["content"]] == [
        *("text", "image_url", "text", "file", "file", "input_audio", "text"),
    ]
    assert user["content"][4]["file"]["filename"] == "file.pdf"
    assert user["name"] == "ann"
    assert assistant == {
        "role": "assistant",
        "content": None,
        "audio": {"id": "audio_1"},
        "refusal": "no",
        "name": "bot",
        "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}
        ],
    }


def test_an_empty_turn_of_the_assistant_is_an_empty_string() -> None:
    assert build(Message("assistant", ()))["messages"][0]["content"] == ""


def test_cache_marks_go_where_they_are_understood() -> None:
    user = Message("user", (Text("t", CacheMark("1h")),))
    marked = build(user, flavour="openrouter")["messages"][0]["content"][0]
    assert marked["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert build(user)["messages"][0]["content"] == "t"


@pytest.mark.parametrize(
    ("flavour", "field"),
    [("deepseek", "reasoning_content"), ("groq", "reasoning"), ("openai", None)],
)
def test_thoughts_go_back_where_the_server_wants_them(
    flavour: str, field: str | None
) -> None:
    sent = build(Message("assistant", (Reasoning("hm"), Text("a"))), flavour=flavour)
    assert {k for k in sent["messages"][0] if "reasoning" in k} == ({field} - {None})


def test_openrouters_details_go_back_to_openrouter_alone() -> None:
    turn = Message("assistant", (Reasoning("hm", THEIRS), Text("a")))
    sent = build(turn, flavour="openrouter")["messages"][0]
    assert sent["reasoning_details"] == [{"type": "x"}]
    assert "reasoning_details" not in build(turn)["messages"][0]
    broken = ProviderState("openrouter", "reasoning_details", "{")
    turn = Message("assistant", (Reasoning("hm", broken),))
    assert build(turn, flavour="openrouter")["messages"][0]["reasoning"] == "hm"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", "f"), {"type": "function", "function": {"name": "f"}}),
        (ToolChoice("tool", "g"), {"type": "custom", "custom": {"name": "g"}}),
        (
            ToolChoice("auto", allowed=("f",)),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        ),
    ],
)
def test_tools_and_choices_are_said_in_openais_words(
    choice: ToolChoice, expected: Any
) -> None:
    tools = (
        Tool("f", "d", b'{"type":"object"}', strict=True),
        Tool("g", kind="custom", data=b'{"type":"text"}'),
        Tool("web_search", kind="server", source="anthropic", data=b"{}"),
    )
    sent = build(tools=tools, tool_choice=choice, parallel_tool_calls=False)
    assert sent["tool_choice"] == expected
    assert [t["type"] for t in sent["tools"]] == ["function", "custom"]
    assert sent["tools"][0]["function"]["strict"] is True
    assert sent["parallel_tool_calls"] is False


def test_a_schema_keeps_its_name_and_bytes() -> None:
    form = ResponseFormat("json_schema", "n", b'{"b":1,"a":2}', True, "d")
    sent = build(response_format=form)["response_format"]["json_schema"]
    assert sent == {
        "name": "n",
        "schema": {"b": 1, "a": 2},
        "strict": True,
        "description": "d",
    }
    plain = build(response_format=ResponseFormat("json_object"))
    assert plain["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 9}, {"completion": 4}),
        ({"prompt_tokens": 1, "cost": 0.0000001}, {"cost_microusd": 1}),
        ({"prompt_tokens": 1, "cost": {"total_cost": 0.5}}, {"cost_microusd": 500_000}),
        ({"cost_in_usd_ticks": 15_000}, {"cost_microusd": 2}),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, {"cached": 4}),
        ({"num_search_queries": 3}, {"searches": 3}),
        ({"prompt_tokens": -5, "completion_tokens": "x"}, {"prompt": 0}),
        ({"prompt_tokens": 1e300}, {"prompt": 0}),
    ],
)
def test_usage_is_put_right_wherever_it_comes_from(
    raw: dict[str, Any], expected: dict[str, int]
) -> None:
    usage = from_openai(raw)
    assert {name: getattr(usage, name) for name in expected} == expected
    assert from_openai(to_openai(usage)).prompt == usage.prompt


def test_cache_writes_are_told() -> None:
    told = to_openai(ev.Usage(prompt=9, cache_write=4))
    assert told["prompt_tokens_details"]["cache_write_tokens"] == 4


@pytest.mark.parametrize(
    ("fault", "status", "retry"),
    [
        (ev.Fault("key", "sk-secret", 401), 502, None),
        (ev.Fault("transient", "x", 408), 502, None),
        (ev.Fault("transient", "x", 503, retry_after_s=1e9), 503, 60.0),
        (ev.Fault("throttle", "x", 498, retry_after_s=-1), 429, 0.0),
        (ev.Fault("throttle", "x", 529), 529, None),
        (ev.Fault("client", "x", 422), 422, None),
    ],
)
def test_what_a_client_may_see_of_a_fault(
    fault: ev.Fault, status: int, retry: float | None
) -> None:
    shown = public(fault)
    assert (shown.status, shown.retry_after_s) == (status, retry)
    assert "secret" not in shown.message


def test_nonsense_in_optional_fields_never_fails_a_200() -> None:
    assert count(float("nan")) == count(float("inf")) == count(True) == 0
    assert decode_object(b"[1]") is None
    assert client_error(RecursionError()).code == "invalid_json"


def test_models_are_listed() -> None:
    card = ModelCard("m", 5)
    assert json.loads(render_models([card]))["data"] == [json.loads(render_model(card))]


def names_of(parts: Sequence[Any]) -> list[str]:
    return [type(part).__name__ for part in parts]


def test_parts_of_a_completion_keep_their_order() -> None:
    events = [
        ev.TextDelta("a"),
        ev.ReasoningDelta("b"),
        ev.ReasoningState(SIGNED),
        ev.ReasoningDelta("c", block=1),
        ev.TextDelta("d", block=2),
        ev.TextDelta("e", block=3),
        ev.Opaque("x", "y", b"{}"),
    ]
    answer = fold(events)
    assert names_of(answer.choices[0].parts) == [
        *("Text", "Reasoning", "Reasoning", "Text", "Text"),
    ]
    assert len(answer.extra) == 1
    assert "choices=1" in repr(answer)


@pytest.mark.parametrize("stream", [True, False])
def test_signed_thoughts_come_back_word_for_word(stream: bool) -> None:
    """Claude refuses a signature whose thought was changed, or merged with another."""
    events = [
        ev.Start(),
        ev.ReasoningDelta("one "),
        ev.ReasoningDelta("more"),
        ev.ReasoningState(SIGNED),
        ev.ReasoningState(HIDDEN, block=1),
        ev.ReasoningDelta("two", block=2),
        ev.ReasoningState(ProviderState("anthropic", "signature", "sig2"), block=2),
        ev.TextDelta("a", block=3),
        ev.Finish("stop"),
    ]
    if stream:
        told = deltas(*events)
        details = [d for delta in told for d in delta.get("reasoning_details", [])]
        message = {"role": "assistant", "content": "a", "reasoning_details": details}
        message["reasoning_content"] = "".join(
            delta.get("reasoning_content", "") for delta in told
        )
    else:
        message = whole(*events)["choices"][0]["message"]
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    parts = CHAT.parse_request(body, {}).messages[0].parts
    assert parts == tuple(fold(events).choices[0].parts)
