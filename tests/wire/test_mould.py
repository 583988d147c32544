"""Events that are known without being decoded: those that decoding would tell so."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import openai_chat_relay
from wire.dialect import Reading
from wire.flavours import flavour
from wire.mould import mould_of
from wire.openai_chat_relay import ChatRelay

EVENT = b'data: {"id":"1","model":"m","choices":[{"delta":{"content":"Hi"}}]}'


def chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "gpt", "service_tier": "flex", **fields}


def choice(delta: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": None, **fields}


TEXTS = st.one_of(
    st.sampled_from(
        [" the", "Hello", "", 'say "hi"', "a\\b", "é", "\n", "😀", "x" * 99]
    ),
    st.text(max_size=8),
)
CHUNKS = st.one_of(
    st.builds(lambda text: chunk(choices=[choice({"content": text})]), TEXTS),
    st.builds(
        lambda text: chunk(choices=[choice({"content": text, "note": "content"})]),
        TEXTS,
    ),
    st.builds(
        lambda text, place: chunk(choices=[choice({"content": text}, index=place)]),
        TEXTS,
        st.integers(0, 1),
    ),
    st.builds(
        lambda text, other: chunk(
            choices=[choice({"content": text, "reasoning_content": other})]
        ),
        TEXTS,
        TEXTS,
    ),
    st.builds(
        lambda text, pad: chunk(choices=[choice({"content": text})], obfuscation=pad),
        TEXTS,
        TEXTS,
    ),
    st.builds(
        lambda text: chunk(choices=[choice({"content": text}, finish_reason="stop")]),
        TEXTS,
    ),
    st.just(chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 5})),
    st.builds(
        lambda text: {"model": text, "choices": [choice({"content": "a"})]}, TEXTS
    ),
)


def read(events: list[bytes], model: str | None, moulds: int) -> list[Reading]:
    """What a relay reads of a stream, event by event, and how it would end it."""
    before = openai_chat_relay.MOULDS_MAX
    openai_chat_relay.MOULDS_MAX = moulds
    try:
        relay = ChatRelay("p", flavour("openai"), swallow_usage=True, model=model)
        readings = [relay.feed(event + b"\n\n") for event in events]
        readings.append(Reading(out=relay.cut()))
    finally:
        openai_chat_relay.MOULDS_MAX = before
    return readings


@given(
    st.lists(st.tuples(CHUNKS, st.integers(1, 4)), max_size=8),
    st.sampled_from([None, "gpt", "mine"]),
    st.booleans(),
)
def test_a_relay_with_moulds_reads_and_relays_the_same_as_one_without(
    told: list[tuple[dict[str, Any], int]], model: str | None, spaced: bool
) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    events = [
        b"data: " + json.dumps(one, separators=separators).encode()
        for one, times in told
        for _ in range(times)
    ]
    with_moulds = read(events, model, openai_chat_relay.MOULDS_MAX)
    without = read(events, model, 0)
    for readings in (with_moulds, without):
        _tell_service_once(readings)
    assert with_moulds == without


def _tell_service_once(readings: list[Reading]) -> None:
    last = None
    for one in readings:
        if one.service == last:
            one.service = None
        last = one.service or last


@pytest.mark.parametrize(
    ("event", "chars"),
    [
        (EVENT, 2),
        (EVENT.replace(b"Hi", b" there"), 6),
        (EVENT.replace(b"Hi", b""), 0),
        (EVENT.replace(b"Hi", b'a"b'), 0),
        (EVENT.replace(b"Hi", b"a\\nb"), 0),
        (EVENT.replace(b"Hi", "é".encode()), 0),
        (EVENT.replace(b"Hi", b"a\nb"), 0),
        (EVENT.replace(b'"1"', b'"2"'), 0),
        (EVENT[:-1], 0),
        (EVENT[: len(EVENT) // 2], 0),
        (b"", 0),
    ],
)
def test_only_plain_text_fits(event: bytes, chars: int) -> None:
    mould = mould_of(EVENT, b"content", "Hi", EVENT)
    assert mould is not None
    assert mould.chars(event) == chars
    if chars:
        assert mould.told(event) is event


def test_what_was_renamed_once_is_renamed_in_those_that_follow() -> None:
    told = EVENT.replace(b'"model":"m"', b'"model":"mine"')
    mould = mould_of(EVENT, b"content", "Hi", told)
    assert mould is not None
    following = EVENT.replace(b"Hi", b"again")
    assert mould.told(following) == told.replace(b"Hi", b"again")


@pytest.mark.parametrize(
    "event",
    [
        EVENT.replace(b'"id":"1"', b'"content":"Hi"'),  # Which of the two is it?
        EVENT.replace(b"content", b"\\u0063ontent"),
        EVENT.replace(b"Hi", b"\\u0048i"),
        EVENT.replace(b'"content"', b'"text"'),
    ],
)
def test_no_mould_is_made_where_the_text_is_not_found_for_certain(event: bytes) -> None:
    assert mould_of(event, b"content", "Hi", event) is None


def test_a_server_whose_deltas_are_padded_is_given_up() -> None:
    events = [
        b"data: "
        + msgspec.json.encode(
            chunk(choices=[choice({"content": "a"})], obfuscation=str(number))
        )
        for number in range(10)
    ]
    relay = ChatRelay("p", flavour("openai"))
    for event in events:
        assert relay.feed(event + b"\n\n").output_chars == 1
    assert relay.moulds_left == 0
