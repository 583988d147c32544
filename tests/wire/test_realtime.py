"""What realtime events say of money, and what is changed in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import realtime
from wire.dialect import Target
from wire.events import Fault, Usage


def event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_openais_usage_takes_cached_sound_out_of_sound() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "input_token_details": {
            "text_tokens": 30,
            "audio_tokens": 70,
            "cached_tokens": 40,
            "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 30},
        },
        "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
    }
    heard = realtime.hear(
        event(type="response.done", response={"id": "r", "usage": usage})
    )

    assert (heard.kind, heard.response_id) == ("response.done", "r")
    assert heard.usage == Usage(
        prompt=100, completion=50, cached=40, audio_in=40, audio_out=40
    )


def test_xais_usage_lies_beside_the_response() -> None:
    heard = realtime.hear(
        event(
            type="response.done",
            response={"id": "r", "usage": {}},
            usage={"input_tokens": 5, "output_tokens": 7},
        )
    )
    assert heard.usage == Usage(prompt=5, completion=7)


def test_a_response_that_took_nothing_has_no_usage() -> None:
    for usage in (None, {}, {"input_tokens": 0, "output_tokens": 0}, 7):
        told = event(type="response.done", response={"id": "r", "usage": usage})
        assert realtime.hear(told).usage is None


def test_a_transcript_is_billed_by_its_tokens() -> None:
    told = event(
        type="conversation.item.input_audio_transcription.completed",
        transcript="hi",
        usage={"type": "tokens", "input_tokens": 14, "output_tokens": 3},
    )
    assert realtime.hear(told).usage == Usage(prompt=14, completion=3)


@pytest.mark.parametrize(
    ("kind", "audio", "text"),
    [
        ("response.output_audio.delta", 8, 0),
        ("response.audio.delta", 8, 0),
        ("response.output_audio_transcript.delta", 0, 8),
        ("response.output_text.delta", 0, 8),
    ],
)
def test_deltas_of_sound_and_of_text_are_told_apart(
    kind: str, audio: int, text: int
) -> None:
    heard = realtime.hear(event(type=kind, response_id="r", delta="A" * 8))
    assert (heard.response_id, heard.audio_chars, heard.text_chars) == (
        "r",
        audio,
        text,
    )


@given(st.binary(max_size=200))
def test_no_bytes_from_outside_raise(data: bytes) -> None:
    assert realtime.hear(data).usage is None
    assert realtime.tokens_said(data) >= 0
    assert realtime.bounded(data, 10) == data or b"type" in data


@given(
    st.sampled_from(["session.update", "response.create"]),
    st.one_of(st.just("inf"), st.none(), st.integers(-5, 10_000), st.booleans()),
    st.integers(1, 4096),
)
def test_no_event_asks_for_more_than_the_bound(kind: str, own: Any, bound: int) -> None:
    place = "session" if kind == "session.update" else "response"
    out = realtime.bounded(
        event(type=kind, **{place: {"max_output_tokens": own, "voice": "ash"}}), bound
    )
    told = json.loads(out)[place]
    assert told["voice"] == "ash"
    assert isinstance(told["max_output_tokens"], int)
    assert told["max_output_tokens"] <= bound


def test_what_sets_no_bound_passes_byte_for_byte() -> None:
    for told in (
        b'{ "type": "response.create" }',
        b'{"type":"input_audio_buffer.append","audio":"AAAA"}',
        b'{"type":"conversation.item.create","item":{"max_output_tokens":"inf"}}',
    ):
        assert realtime.bounded(told, 10) == told


def test_sound_counts_by_its_length_and_words_by_theirs() -> None:
    second = "A" * 64_000  # PCM at 24 kHz: ten tokens, and never fewer here.
    sound = event(type="input_audio_buffer.append", audio=second)
    words = event(type="conversation.item.create", item={"text": "x" * 300})
    assert 10 <= realtime.tokens_said(sound) <= 61
    assert 100 <= realtime.tokens_said(words) <= 150


@pytest.mark.parametrize(
    ("flavour", "options", "path", "auth"),
    [
        ("openai", {}, "/realtime?model=gpt%2Frt", "bearer"),
        ("xai", {}, "/realtime?model=gpt%2Frt", "bearer"),
        ("azure", {}, "/openai/v1/realtime?model=gpt%2Frt", "api-key"),
        (
            "azure",
            {"api_version": "2025-04-01-preview"},
            "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt%2Frt",
            "api-key",
        ),
    ],
)
def test_each_provider_has_its_path_and_login(
    flavour: str, options: dict[str, str], path: str, auth: str
) -> None:
    target = Target("gpt/rt", flavour, None, options)
    asked = realtime.upgrade(target, {"openai-beta": "realtime=v1", "cookie": "x"})
    assert (asked.method, asked.path, asked.auth, asked.body) == (
        "GET",
        path,
        auth,
        b"",
    )
    assert asked.headers == (("openai-beta", "realtime=v1"),)


def test_an_error_is_an_event_that_hides_our_keys_trouble() -> None:
    told = json.loads(
        realtime.REALTIME.error_event(
            Fault(kind="key", message="bad key sk-1", status=401, source="main")
        )
    )
    assert told["type"] == "error"
    assert told["error"]["code"] == "upstream_credential_refused"
    assert "sk-1" not in json.dumps(told)
