"""From the public list to ours: exact money, and nothing free by accident."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.messages import Price, PriceTier
from actors.ledger.pricing import at, cost
from actors.router.catalogue.convert import BadSource, from_litellm
from actors.router.catalogue.schema import Catalogue, Entry
from wire.events import Usage


def converted(**models: dict[str, Any] | str) -> Catalogue:
    """A list as it is published: prices are numbers such as 1.25e-06."""
    rows = ", ".join(
        f"{json.dumps(name)}: {row if isinstance(row, str) else json.dumps(row)}"
        for name, row in {"sample_spec": {}, **models}.items()
    )
    return from_litellm(
        f"{{{rows}}}".encode(), source="test", sha256="", released_on="2026-11-24"
    )


def one(row: dict[str, Any]) -> Entry:
    full = {"litellm_provider": "openai", "mode": "chat", **row}
    return converted(x=full).kinds["openai"]["x"]


def priced(row: dict[str, Any]) -> Price | None:
    return one(row).price


@pytest.mark.parametrize(
    ("per_token", "nanousd"),
    [
        ("1.25e-06", 1_250_000_000),
        ("0.000003", 3_000_000_000),
        ("1e-09", 1_000_000),
        ("2.9999999999999997e-07", 300_000_000),  # What is left of a float.
        ("0", 0),
    ],
)
def test_money_never_is_a_float(per_token: str, nanousd: int) -> None:
    row = (
        '{"litellm_provider": "openai", "mode": "chat", '
        f'"input_cost_per_token": {per_token}, "output_cost_per_token": 1e-05}}'
    )
    price = converted(x=row).kinds["openai"]["x"].price
    assert price is not None
    assert price.input_nanousd_per_mtok == nanousd


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"input_cost_per_token": 0, "output_cost_per_token": 0},
        {"input_cost_per_token": 1e-06},
        {"input_cost_per_token": "1e-06", "output_cost_per_token": 1e-06},
        {"input_cost_per_token": -1, "output_cost_per_token": 1e-06},
        {"input_cost_per_token": True, "output_cost_per_token": True},
    ],
)
def test_what_has_no_price_is_not_free(row: dict[str, Any]) -> None:
    assert priced(row) is None


def test_a_cache_that_is_listed_as_free_costs_as_input() -> None:
    price = priced(
        {
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 2e-06,
            "cache_read_input_token_cost": 0.0,
            "cache_creation_input_token_cost": 0.0,
        }
    )
    assert price == Price(10**9, 2 * 10**9)


def test_tiers_come_in_order_and_keep_the_ratio_of_what_they_do_not_name() -> None:
    price = priced(
        {
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 4e-06,
            "cache_read_input_token_cost": 1e-07,
            "input_cost_per_token_above_200k_tokens": 3e-06,
            "output_cost_per_token_above_200k_tokens": 6e-06,
            "input_cost_per_token_above_32k_tokens": 2e-06,
        }
    )
    assert price is not None
    assert price.tiers == (
        PriceTier(32_000, Price(2 * 10**9, 4 * 10**9, 200_000_000)),
        PriceTier(200_000, Price(3 * 10**9, 6 * 10**9, 300_000_000)),
    )


def test_services_have_their_own_prices_and_tiers() -> None:
    price = priced(
        {
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 4e-06,
            "input_cost_per_token_batches": 5e-07,
            "output_cost_per_token_batches": 2e-06,
            "input_cost_per_token_above_272k_tokens": 2e-06,
            "input_cost_per_token_above_272k_tokens_batches": 1e-06,
            "output_cost_per_token_above_272k_tokens_batches": 3e-06,
        }
    )
    assert price is not None
    assert price.batch is not None
    assert price.batch.input_nanousd_per_mtok == 500_000_000
    assert at(price.batch, 300_000).input_nanousd_per_mtok == 10**9
    assert at(price.batch, 300_000).output_nanousd_per_mtok == 3 * 10**9
    assert [tier.above_tokens for tier in price.tiers] == [272_000]
    assert price.flex is None


def test_an_hour_in_the_cache_has_its_own_price_in_each_tier() -> None:
    price = priced(
        {
            "input_cost_per_token": 3e-06,
            "output_cost_per_token": 1.5e-05,
            "cache_creation_input_token_cost": 3.75e-06,
            "cache_creation_input_token_cost_above_1hr": 6e-06,
            "input_cost_per_token_above_200k_tokens": 6e-06,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
        }
    )
    assert price is not None
    used = Usage(prompt=1000, cache_write=1000, cache_write_1h=1000)
    assert cost(price, used) == 6_000_000
    long = Usage(prompt=300_000, cache_write=300_000, cache_write_1h=300_000)
    assert cost(price, long) == 3_600_000_000


def test_sound_reasoning_and_searches_are_kept() -> None:
    price = priced(
        {
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 4e-06,
            "input_cost_per_audio_token": 4e-05,
            "output_cost_per_audio_token": 8e-05,
            "output_cost_per_reasoning_token": 6e-06,
            "search_context_cost_per_query": {"search_context_size_medium": 0.01},
        }
    )
    assert price == Price(
        10**9,
        4 * 10**9,
        audio_input_nanousd_per_mtok=40 * 10**9,
        audio_output_nanousd_per_mtok=80 * 10**9,
        reasoning_nanousd_per_mtok=6 * 10**9,
        search_nanousd=10_000_000,
    )


def test_an_entry_keeps_what_routing_needs() -> None:
    entry = one(
        {
            "max_input_tokens": 272_000,
            "max_output_tokens": 128_000,
            "supports_function_calling": True,
            "supports_vision": False,
            "supports_reasoning": True,
            "deprecation_date": "2026-12-11",
        }
    )
    assert entry.capabilities == ("tools", "reasoning")
    assert entry.window_tokens == 272_000  # Of a model that nobody knows: as it says.
    assert entry.output_tokens_max == 128_000
    assert entry.deprecated_on == "2026-12-11"
    assert entry.tokenizer == "unknown"


def test_a_window_holds_prompt_and_answer() -> None:
    """The list gives the prompt's own limit for OpenAI's newer models and Google's."""
    row = {"mode": "chat", "max_input_tokens": 272_000, "max_output_tokens": 128_000}
    found = converted(**{"gpt-5": {**row, "litellm_provider": "openai"}})
    assert found.kinds["openai"]["gpt-5"].window_tokens == 400_000


@pytest.mark.parametrize(
    ("key", "provider", "kind", "name"),
    [
        ("gemini/gemini-2.5-pro", "gemini", "gemini", "gemini-2.5-pro"),
        ("vertex_ai/claude-x@1", "vertex_ai-anthropic_models", "vertex", "claude-x@1"),
        ("azure/eu/gpt-5", "azure", "azure", "eu/gpt-5"),
        ("together_ai/Qwen/Q", "together_ai", "together", "qwen/q"),
        ("us.anthropic.c", "bedrock_converse", "bedrock", "us.anthropic.c"),
        ("openrouter/openai/gpt-5", "openrouter", "openrouter", "openai/gpt-5"),
    ],
)
def test_models_stand_under_their_own_kind(
    key: str, provider: str, kind: str, name: str
) -> None:
    row = {"litellm_provider": provider, "mode": "chat"}
    assert converted(**{key: row}).kinds.keys() == {kind}
    assert name in converted(**{key: row}).kinds[kind]


def test_prices_of_a_region_or_a_commitment_are_left_out() -> None:
    row = {"litellm_provider": "bedrock", "mode": "chat"}
    assert not converted(**{"bedrock/us-east-1/1-month-commitment/x": row}).kinds


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"a": 1}'])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(BadSource):
        from_litellm(data, source="", sha256="", released_on="")


NUMBER = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "input_cost_per_token", "output_cost_per_token", "max_input_tokens",
                "cache_read_input_token_cost", "input_cost_per_token_above_200k_tokens",
                "output_cost_per_token_batches", "search_context_cost_per_query",
                "deprecation_date", "supports_vision", "max_output_tokens",
            ]
        ),
        NUMBER,
    )
)  # fmt: skip
def test_no_row_breaks_the_conversion(row: dict[str, Any]) -> None:
    one(row)
