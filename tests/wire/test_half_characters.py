"""An emoji that a server cut in two: each half an escape, in an event of its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire import HEAD, REPLY, REQUEST
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect, Reader, Target
from wire.jsontext import decode_any, mended
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.relay import Translation

TARGET = Target(model="m")


def event(content: bytes) -> bytes:
    return (
        b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"'
        + content
        + b'"}}]}\n\n'
    )


def told(reader: Reader, pieces: list[bytes]) -> bytes:
    out = b""
    for piece in pieces:
        reading = reader.feed(event(piece))
        assert reading.fault is None
        out += reading.out
    return out


HALVES = [b"Hi ", rb"\ud83d", rb"\ude00", b" you"]


def test_a_relay_passes_both_halves_as_they_came() -> None:
    reader = CHAT.relay(HEAD, TARGET, model=None)

    assert told(reader, HALVES) == b"".join(map(event, HALVES))


@pytest.mark.parametrize("client", [CHAT, RESPONSES, MESSAGES])
def test_a_translation_goes_on_with_replacements(client: ClientDialect) -> None:
    reader = Translation(
        CHAT.stream_decoder(REQUEST, TARGET), client.stream_encoder(REQUEST, REPLY)
    )

    out = told(reader, HALVES).decode()

    assert out.count("\ufffd") + out.count("\\ufffd") >= 2
    assert "you" in out


@given(st.text(alphabet=st.characters(), max_size=40))
def test_halves_are_replaced_and_all_else_is_read_as_it_was(text: str) -> None:
    written = json.dumps(text).encode()  # Escapes, also of halves.

    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    assert decode_any(mended(written)) == joined


def test_a_backslash_that_is_escaped_begins_no_escape() -> None:
    assert mended(rb'"\\ud83d"') == rb'"\\ud83d"'
    assert mended(rb'"\ud83d\ude00"') == rb'"\ud83d\ude00"'
    assert mended(rb'"\\\ud83dx"') == rb'"\\\ufffdx"'
