"""Requests written for OpenAI's dialects and read back: nothing of a turn is lost."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.dialect import Target
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.request import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    ReasoningWish,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

TARGET = Target(model="gpt-4.1", flavour="openai")
DIALECTS: dict[str, Any] = {"chat": CHAT, "responses": RESPONSES}

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
base64s = st.sampled_from(["QQ==", "QUJD"])
names = st.sampled_from(["f", "g", "look_up"])

texts = st.builds(Text, words)
media = (
    st.builds(Image, url=st.sampled_from(["https://x/1.png", "https://x/2.png"]))
    | st.builds(Image, data=base64s, media_type=st.just("image/png"))
    | st.builds(File, file_id=st.just("file-1"))
    | st.builds(
        File, data=base64s, media_type=st.just("application/pdf"), name=st.just("a.pdf")
    )
    | st.builds(Audio, data=base64s, format=st.just("wav"))
)


@st.composite
def users(draw: st.DrawFn) -> Message:
    """A text alone or beside other things: two texts would be one string after it."""
    parts: list[Part] = [draw(texts)]
    parts += draw(st.lists(media, max_size=2))
    return Message("user", tuple(parts))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns in a legal order; every call is answered, ids never repeat."""
    role = draw(st.sampled_from(["system", "developer"]))
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message(role, (draw(texts),)))
    turns.append(draw(users()))
    calls = 0
    for _ in range(draw(st.integers(0, 3))):
        parts: list[Part] = [draw(texts)] if draw(st.booleans()) else []
        if draw(st.booleans()):
            parts.append(Refusal(draw(words)))
        results: list[Message] = []
        for _ in range(draw(st.integers(0, 2))):
            calls += 1
            custom = draw(st.booleans())
            arguments = draw(words) if custom else '{"a": [1, "é"]}'
            name = draw(names)
            parts.append(ToolUse(f"call_{calls}", name, arguments, custom))
            said = (draw(texts),)
            result = ToolResult(f"call_{calls}", said, name=name)
            results.append(Message("tool", (result,)))
        if parts:
            turns += [Message("assistant", tuple(parts)), *results]
        turns.append(draw(users()))
    return tuple(turns)


tools = st.builds(
    Tool,
    name=names,
    description=st.none() | words,
    parameters=st.sampled_from([b'{"type":"object"}', b'{"b":1,"a":{}}']),
    strict=st.booleans(),
)
formats = st.sampled_from(
    [
        None,
        ResponseFormat("json_object"),
        ResponseFormat("json_schema", "n", b'{"type":"object"}', True, "d"),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    offered = tuple(draw(st.lists(tools, max_size=2)))
    choice = draw(
        st.sampled_from(
            [
                None,
                ToolChoice("auto"),
                ToolChoice("none"),
                ToolChoice("required"),
                ToolChoice("required", allowed=("f", "g")),
            ]
        )
    )
    return ChatRequest(
        model="gpt-4.1",
        messages=draw(conversations()),
        source="test",
        tools=offered,
        tool_choice=choice if offered else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if offered else None,
        response_format=draw(formats),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        max_output_tokens=draw(st.none() | st.integers(16, 10**6)),
        user=draw(st.none() | words),
        metadata=draw(st.none() | st.dictionaries(words, words, max_size=2)),
        service_tier=draw(st.sampled_from([None, "flex"])),
        verbosity=draw(st.sampled_from([None, "low"])),
        cache_key=draw(st.none() | words),
        stream=draw(st.booleans()),
        include_usage=True,
    )


def normal(request: ChatRequest) -> ChatRequest:
    """Without what says who asked: the reader is another dialect than the writer."""
    offered = tuple(msgspec.structs.replace(t, source="") for t in request.tools)
    return msgspec.structs.replace(
        request, source="", tools=offered, extra={}, include_usage=True
    )


@pytest.mark.parametrize("name", DIALECTS)
@given(request=requests())
def test_what_is_built_is_parsed(name: str, request: ChatRequest) -> None:
    dialect = DIALECTS[name]
    body = dialect.build_request(request, TARGET).body
    assert normal(dialect.parse_request(body, {})) == normal(request)


@pytest.mark.parametrize("name", DIALECTS)
@given(request=requests())
def test_what_is_parsed_is_built_again_to_the_byte(
    name: str, request: ChatRequest
) -> None:
    dialect = DIALECTS[name]
    once = dialect.build_request(request, TARGET).body
    again = dialect.parse_request(once, {})
    assert dialect.build_request(again, TARGET).body == once


@pytest.mark.parametrize("name", DIALECTS)
@given(request=requests())
def test_the_head_agrees_with_the_whole(name: str, request: ChatRequest) -> None:
    dialect = DIALECTS[name]
    body = dialect.build_request(request, TARGET).body
    head, whole = dialect.read_head(body, {}), dialect.parse_request(body, {})
    assert (head.model, head.stream, head.max_output_tokens, head.n) == (
        *(whole.model, whole.stream, whole.max_output_tokens, whole.n),
    )
    assert ("tools" in head.needs) == bool(whole.tools)
    pictures = any(isinstance(p, Image) for m in whole.messages for p in m.parts)
    assert ("images" in head.needs) == pictures
    form = whole.response_format
    schema = form is not None and form.kind == "json_schema"
    assert ("json_schema" in head.needs) == schema
    assert 0 <= head.media_bytes <= head.prompt_bytes <= len(body)


@given(request=requests(), wish=st.sampled_from(["low", "high"]))
def test_a_wish_for_thinking_is_read_back(request: ChatRequest, wish: str) -> None:
    asked = msgspec.structs.replace(request, reasoning=ReasoningWish(wish))
    for dialect in DIALECTS.values():
        body = dialect.build_request(asked, Target("gpt-5", "openai")).body
        read = dialect.parse_request(body, {}).reasoning
        assert read is not None
        assert read.effort == wish
        assert "reasoning" in dialect.read_head(body, {}).needs
