"""A prompt's content, from raw bodies and from parsed requests."""

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.tokens.bodies import of_body
from actors.router.tokens.content import Content, of_request
from actors.router.tokens.counter import content_of
from actors.router.tokens.images import Picture
from wire.anthropic import MESSAGES
from wire.openai_chat import CHAT

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480) + bytes(3000)
).decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(dialect: str, **body: Any) -> Content:
    found = of_body(dialect, json.dumps(body).encode())
    assert found is not None
    return found


def test_a_chat_is_its_texts() -> None:
    content = read(
        "openai_chat",
        model="m",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": "Hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "1",
                "content": [{"type": "text", "text": "cold"}],
            },
        ],
    )
    assert content.texts == [
        "Be brief.",
        "Hi",
        "ann",
        'weather {"city":"Oslo"}',
        "cold",
    ]
    assert (content.messages, content.names, content.tool_calls) == (4, 1, 1)


def test_tools_are_counted_without_their_blanks() -> None:
    tool = {"type": "function", "function": {"name": "w", "parameters": SCHEMA}}
    body = json.dumps({"model": "m", "messages": [], "tools": [tool]}, indent=4)
    content = of_body("openai_chat", body.encode())
    assert content is not None
    assert content.tools == [json.dumps([tool], separators=(",", ":"))]
    assert content.servers == 0


def test_a_schema_for_the_answer_is_part_of_the_prompt() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    assert read("openai_chat", messages=[], response_format=form).tools
    assert not read("openai_chat", messages=[], response_format={"type": "text"}).tools


def test_a_picture_in_a_chat_is_its_pixels() -> None:
    part = {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
    }
    link = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    content = read("openai_chat", messages=[{"role": "user", "content": [part, link]}])
    assert content.pictures == [Picture(640, 480, "low"), Picture()]
    assert not content.texts


def test_sound_and_documents_are_their_sizes() -> None:
    sound = {
        "type": "input_audio",
        "input_audio": {"data": "A" * 4000, "format": "wav"},
    }
    paper = {"type": "file", "file": {"file_data": "B" * 8000, "filename": "a.pdf"}}
    content = read(
        "openai_chat", messages=[{"role": "user", "content": [sound, paper]}]
    )
    assert 3000 <= content.audio_bytes < 3100
    assert 6000 <= content.file_bytes < 6100
    assert content.files == 1


def test_messages_are_their_blocks() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = read(
        "anthropic",
        model="m",
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "x"}}],
        tools=[
            {"name": "weather", "input_schema": SCHEMA},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        mcp_servers=[{"url": "https://example.com"}],
        messages=[
            {"role": "user", "content": [{"type": "image", "source": source}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "x" * 99},
                    {
                        "type": "tool_use",
                        "id": "1",
                        "name": "weather",
                        "input": {"a": 1},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "cold"},
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "data": "plain"},
                    },
                ],
            },
        ],
    )
    assert content.texts == [
        "Be brief.", "Hm.", "weather", '{"a":1}', "cold", "T ", "plain",
    ]  # fmt: skip
    assert content.pictures == [Picture(640, 480)]
    assert (content.messages, content.servers, content.files) == (4, 2, 0)


def test_embeddings_are_texts_or_token_numbers() -> None:
    assert read("openai_embeddings", input="a").texts == ["a"]
    assert read("openai_embeddings", input=["a", "b"]).texts == ["a", "b"]
    assert read("openai_embeddings", input=[1, 2, 3]).opaque_bytes == 12
    assert read("openai_embeddings", input=[[1, 2], [3]]).opaque_bytes == 12


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"messages": 1}', b'{"messages": [{"content": 1}]}', b"\xff",
     b'{"messages": [{"content": "\\ud800"}]}', b"[" * 100_000],
)  # fmt: skip
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "openai_embeddings"])
def test_a_body_that_cannot_be_read_is_no_error(dialect: str, body: bytes) -> None:
    """Its dialect says what is wrong with it; a counter has no business to."""
    assert of_body(dialect, body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "content", "messages", "tools", "image_url", "source",
                 "data", "input", "name", "file", "system"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["messages", "system", "tools", "input"]), JSON))
def test_no_json_is_an_exception(body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    for dialect in ("openai_chat", "anthropic", "openai_embeddings"):
        of_body(dialect, data)


def test_both_ways_find_the_same_texts() -> None:
    """A request counts alike whether it is relayed or translated."""
    body = json.dumps(
        {
            "model": "m",
            "max_tokens": 5,
            "messages": [
                {"role": "user", "content": "Hello there"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": [{"type": "text", "text": "Go on"}]},
            ],
        }
    ).encode()
    for dialect in (CHAT, MESSAGES):
        quick = content_of(dialect, body, {})
        parsed = of_request(dialect.parse_request(body, {}))
        assert quick is not None
        assert quick.texts == parsed.texts
        assert quick.messages == parsed.messages


def test_a_content_never_shows_its_texts() -> None:
    assert "secret" not in repr(Content(texts=["secret"]))
