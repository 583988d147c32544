"""The short way to read usage says what the long way does."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from wire.jsontext import NULL
from wire.usage import from_openai, read_openai

counts = st.integers(0, 40) | st.none() | st.integers() | st.booleans() | st.text()
details = st.none() | st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "audio_tokens", "reasoning_tokens", "cache_write_tokens"]
    ),
    counts,
)
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "total_tokens": counts,
        "cached_tokens": counts,
        "cost": counts,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
    },
)


@given(usages)
def test_both_ways_agree(usage: dict[str, Any]) -> None:
    raw = Raw(msgspec.json.encode(usage))
    expected = from_openai(msgspec.json.decode(raw)) if usage else None
    assert read_openai(raw) == expected


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_both_ways_agree_on_what_openai_writes(
    prompt: int, completion: int, cached: int, reasoning: int
) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 1},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 2,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    assert read_openai(Raw(msgspec.json.encode(usage))) == from_openai(usage)


def test_no_usage_is_none() -> None:
    for nothing in (NULL, Raw(b"{}"), Raw(b"[]"), Raw(b"7")):
        assert read_openai(nothing) is None
