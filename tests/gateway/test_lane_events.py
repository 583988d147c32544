"""From SSE to messages: every event once, its bytes as they came, its lane on it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.lane_events import BadMessage, Create, Translation, error_message
from gateway.http.lane_memory import LaneMemory
from gateway.http.socket_login import login, same_origin

VALUES = st.dictionaries(
    st.text(min_size=1, max_size=5), st.one_of(st.text(), st.integers(), st.none())
)


@settings(max_examples=40)  # Each cuts its bytes many times.
@given(st.lists(VALUES, max_size=6), st.text(max_size=8), st.data())
def test_events_cut_anywhere_are_the_same_messages(
    values: list[dict[str, Any]], lane: str, data: st.DataObject
) -> None:
    events = [msgspec.json.encode({"type": "x", **value}) for value in values]
    run = b"".join(b"event: x\n: hb\ndata: %b\n\n" % event for event in events)
    translation = Translation("responses", lane or None)
    found: list[Any] = []
    at = 0
    while at < len(run):
        step = data.draw(st.integers(1, max(1, (len(run) - at) // 2)))
        messages = translation.feed(run[at : at + step])
        found.extend(json.loads(message.data) for message in messages)
        at += step
    wanted = [{"type": "x", **v} for v in values]
    if lane:
        wanted = [{"stream_id": lane, **w} for w in wanted]
    assert found == wanted


def test_a_chunk_passes_byte_for_byte_behind_its_head() -> None:
    chunk = b'{"id":"c",  "choices":[ ] }'
    [message] = Translation("chat", "a").feed(b"data: " + chunk + b"\n\n")
    head = b'{"type":"chat.completion.chunk","stream_id":"a",'
    assert message.data == head + chunk[1:]


def test_heartbeats_are_no_messages_and_done_is_one_of_chats() -> None:
    run = b": hb\n: hb\ndata: { }\n\ndata: [DONE]\n\n"
    chat = Translation("chat", None).feed(run)
    assert [message.data for message in chat] == [
        b'{"type":"chat.completion.chunk"}',
        b'{"type":"chat.completion.done"}',
    ]
    assert [m.data for m in Translation("responses", None).feed(run)] == [b"{ }"]


def test_bytes_that_are_no_utf_8_become_text_all_the_same() -> None:
    [message] = Translation("chat", None).feed(b'data: {"x":"\xff"}\n\n')
    assert json.loads(message.data)["x"] == "\ufffd"


@pytest.mark.parametrize("body", [b"", b"nothing", b"[]", b'{"error":7}', b"\xff"])
def test_an_error_that_cannot_be_read_is_an_error_all_the_same(body: bytes) -> None:
    told = json.loads(error_message(500, body, (("content-type", "x"),), None))
    assert told["status"] == 500
    assert told["error"] == {"message": "The request failed.", "type": "server_error"}


def test_a_create_loses_its_envelope_and_streams() -> None:
    fields = msgspec.json.decode(
        b'{"type":"response.create","stream_id":"a","generate":true,"model":"m",'
        b'"background":false,"input":[ {"x":1} ]}',
        type=dict[str, msgspec.Raw],
    )
    create = Create(fields, "responses")
    assert (create.lane, create.generate) == ("a", True)
    body = json.loads(create.body)
    assert body == {"model": "m", "input": [{"x": 1}], "stream": True}


@pytest.mark.parametrize(
    "field", ['"stream_id":""', '"stream_id":1', '"generate":0', '"background":true']
)
def test_a_create_that_makes_no_sense_names_its_field(field: str) -> None:
    fields = msgspec.json.decode(f"{{{field}}}", type=dict[str, msgspec.Raw])
    with pytest.raises(BadMessage) as caught:
        Create(fields, "responses")
    assert caught.value.param == field.split('"')[1]


def test_a_memory_keeps_the_latest_of_each_lane_within_its_bytes() -> None:
    memory = LaneMemory(bytes_max=100)
    memory.remember("a", "r1", (b"x" * 40,))
    memory.remember("b", "r2", (b"x" * 40,))
    memory.remember("a", "r3", (b"x" * 40,))
    assert [memory.recall(r) is not None for r in ("r1", "r2", "r3")] == [
        False,
        True,
        True,
    ]
    memory.remember("c", "r4", (b"x" * 40,))  # The oldest goes.
    assert (memory.recall("r2"), memory.size) == (None, 80)
    memory.remember("d", "r5", (b"x" * 101,))
    assert memory.recall("r5") is None


def test_a_key_among_the_subprotocols_is_read_and_never_chosen() -> None:
    read = login(
        [(b"host", b"h"), (b"sec-websocket-protocol", b"x"), (b"upgrade", b"w")],
        ["openai-insecure-api-key.sk-1", "openai-project.p", "realtime"],
    )
    assert read.subprotocol == "realtime"
    assert read.headers == [(b"host", b"h"), (b"authorization", b"Bearer sk-1")]
    assert "sk-1" not in repr(read)


def test_a_header_with_a_key_wins_over_a_subprotocol() -> None:
    own = (b"authorization", b"Bearer sk-2")
    assert login([own], ["openai-insecure-api-key.sk-1", "x"]).headers == [own]


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (b"https://gate.example", b"gate.example", True),
        (b"https://GATE.example:8443", b"gate.example:8443", True),
        (b"https://gate.example.evil", b"gate.example", False),
        (b"https://gate.example:1", b"gate.example:2", False),
        (b"null", b"", False),
        (b"", b"", False),
    ],
)
def test_an_origin_is_the_gateways_own_by_host_and_port(
    origin: bytes, host: bytes, same: bool
) -> None:
    assert same_origin(origin, host) is same
