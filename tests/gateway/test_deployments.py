"""Prices, windows and tokenizers of configured deployments, and what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from actors.ledger.messages import Price, PriceTier
from actors.router.catalogue import files
from actors.router.messages import Deployment
from gateway.deployments import (
    catalogue_kind,
    facts_of,
    open_counter,
    price_of,
    prices_of,
    yardsticks_of,
)
from gateway.embed import embedded
from gateway.embed_providers import BreaksAfter, FakeProvider, Says
from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.load import Source
from gateway.settings.prices import (
    FactsConfig,
    PriceConfig,
    TierConfig,
)
from gateway.settings.providers import ProviderConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
CATALOGUE = files.lookup()
OPENAI = "https://api.openai.com/v1"


def openai(*models: str, **changes: Any) -> ProviderConfig:
    given = {"base_url": OPENAI, "models": models, "prices": {}, **changes}
    return provider("main", **given)


def serving(model: str, one: ProviderConfig, **site: Any) -> Config:
    made = config([one], **site)
    route = (Candidate(one.name, model),)
    return attrs.evolve(  # type: ignore[misc]
        made, models=(ModelConfig(name="fast", route=route),)
    )


def test_a_model_of_the_catalogue_needs_no_price_in_the_config() -> None:
    prices = prices_of(openai("gpt-4o"), CATALOGUE)
    assert prices["gpt-4o"].input_nanousd_per_mtok == 2_500_000_000


def test_an_unknown_model_is_unpriced() -> None:
    assert prices_of(openai("nobodys-model"), CATALOGUE) == {}


def test_the_operators_price_wins() -> None:
    own = PriceConfig(
        input_nanousd_per_mtok=7,
        output_nanousd_per_mtok=9,
        above={
            "200000": TierConfig(input_nanousd_per_mtok=8, output_nanousd_per_mtok=10)
        },
    )
    price = prices_of(openai("gpt-4o", prices={"gpt-4o": own}), CATALOGUE)["gpt-4o"]
    assert price.input_nanousd_per_mtok == 7
    assert price.cached_input_nanousd_per_mtok == 7
    assert [(t.above_tokens, t.price.output_nanousd_per_mtok) for t in price.tiers] == [
        (200_000, 10)
    ]
    assert isinstance(price.tiers[0], PriceTier)


def test_somebody_elses_server_has_not_openais_prices() -> None:
    """A model may be called gpt-4o anywhere; only at OpenAI it costs what it does."""
    one = openai("gpt-4o", base_url="https://gpu.example/v1")
    assert catalogue_kind(one) == "openai-compatible"
    assert prices_of(one, CATALOGUE) == {}
    assert (
        yardsticks_of(config([one]), CATALOGUE)[
            Deployment("main", "gpt-4o")
        ].family.name
        == "o200k"
    )


def test_a_simulated_model_is_free() -> None:
    one = openai("m", kind="simulated", base_url="")
    assert prices_of(one, CATALOGUE) == {"m": Price(0, 0)}


def test_a_simulated_model_costs_what_an_operator_says() -> None:
    """So that caps can be tried without anybody's money."""
    own = PriceConfig(
        input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=2_000_000_000
    )
    one = openai("m", kind="simulated", base_url="", prices={"m": own})
    assert prices_of(one, CATALOGUE) == {"m": price_of(own)}


def test_the_router_learns_windows_and_what_models_can() -> None:
    facts = facts_of(config([openai("gpt-4o")]), CATALOGUE)[
        Deployment("main", "gpt-4o")
    ]
    assert facts.window_tokens == 128_000
    assert facts.output_tokens_max == 16_384
    assert facts.capabilities is not None
    assert {
        "tools",
        "images",
        "files",
        "json_schema",
        "reasoning",
    } <= facts.capabilities
    assert "audio" not in facts.capabilities


def test_the_operators_facts_win() -> None:
    own = FactsConfig(window_tokens=5, tokenizer="qwen")
    made = config([openai("gpt-4o", facts={"gpt-4o": own})])
    at = Deployment("main", "gpt-4o")
    facts = facts_of(made, CATALOGUE)[at]
    assert (facts.window_tokens, facts.output_tokens_max) == (5, 16_384)
    assert yardsticks_of(made, CATALOGUE)[at].family.name == "qwen"


def test_prices_and_facts_are_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "stagedoor.toml"
    file.write_text(
        """
        [[providers]]
        name = "p"
        kind = "openai"
        models = ["x"]
        [providers.prices.x]
        input_usd_per_mtok = 1
        output_usd_per_mtok = 4
        cache_write_usd_per_mtok = 1.25
        search_usd = 0.01
        [providers.prices.x.above.200000]
        input_usd_per_mtok = 2
        output_usd_per_mtok = 6
        [providers.facts.x]
        window_tokens = 1000
        tokenizer = "claude"
        [[sites]]
        name = "s"
        keys = ["sk-acme-dev-0001"]
        [[models]]
        name = "m"
        route = ["p/x"]
        """
    )
    made = Source(file, {}, {}).load()
    price = prices_of(made.providers[0])["x"]
    assert price.cache_write_1h_nanousd_per_mtok == 1_250_000_000
    assert price.search_nanousd == 10_000_000
    assert price.tiers[0].price.cache_write_nanousd_per_mtok == 2_000_000_000
    assert made.providers[0].facts["x"].tokenizer == "claude"


async def test_a_request_costs_what_the_catalogue_says(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("Hello there you", prompt_tokens=7)])
    made = serving("gpt-4o", openai("gpt-4o"), spend_max_nanousd=10**9)
    async with embedded(
        made, {"main": main}, environ=ENV, catalogue=CATALOGUE
    ) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=10), key=KEY)
        assert answer.status == 200
        [record] = await gateway.records()
        # 7 tokens at $2.50 and 3 at $10 a million.
        assert record.cost_nanousd == 7 * 2500 + 3 * 10_000
        assert record.priced


async def test_an_unpriced_model_is_refused_to_a_site_with_a_cap(
    autojump_clock: MockClock,
) -> None:
    made = serving("nobodys", openai("nobodys"), spend_max_nanousd=10**9)
    async with embedded(
        made, {"main": FakeProvider([Says()])}, environ=ENV, catalogue=CATALOGUE
    ) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=10), key=KEY)
        assert answer.status >= 400
        assert b"price" in answer.body


@pytest.mark.parametrize("words", ["Hello, world!", "Hello, world! " * 300])
async def test_a_stream_without_usage_is_billed_by_counted_tokens(
    autojump_clock: MockClock, words: str
) -> None:
    """The provider broke off before it said; the prompt was counted before it left."""
    made = serving("gpt-4o", openai("gpt-4o"))
    counter = open_counter(made, CATALOGUE)
    main = FakeProvider([BreaksAfter("Hello there")])
    async with embedded(
        made, {"main": main}, environ=ENV, catalogue=CATALOGUE, counter=counter
    ) as gateway:
        await gateway.post(CHAT, chat(words), key=KEY)
        [record] = await gateway.records()
        counted = 4 * max(1, len(words) // 14) + 4 + 3
        assert record.usage_estimated
        assert record.prompt_tokens == pytest.approx(counted, abs=1)


async def test_reported_usage_teaches_the_counter(autojump_clock: MockClock) -> None:
    made = serving("gpt-4o", openai("gpt-4o"))
    counter = open_counter(made, CATALOGUE)
    main = FakeProvider([Says("Hi", prompt_tokens=22)])
    async with embedded(
        made, {"main": main}, environ=ENV, catalogue=CATALOGUE, counter=counter
    ) as gateway:
        for _ in range(10):
            await gateway.post(CHAT, chat("Hello, world!"), key=KEY)
    correction = counter.correction(Deployment("main", "gpt-4o"))
    assert correction.calls == 10
    assert correction.ratio == pytest.approx(2.0)


async def test_a_question_for_a_prompts_length_is_counted(
    autojump_clock: MockClock,
) -> None:
    made = serving("gpt-4o", openai("gpt-4o"))
    async with embedded(
        made,
        {"main": FakeProvider([])},
        environ=ENV,
        catalogue=CATALOGUE,
        counter=open_counter(made, CATALOGUE),
    ) as gateway:
        message = {"role": "user", "content": "Hello, world!"}
        answer = await gateway.post(
            "/v1/messages/count_tokens",
            {"model": "fast", "messages": [message]},
            key=KEY,
        )
        assert answer.json() == {"input_tokens": 11}
        answer = await gateway.post(
            "/v1/responses/input_tokens",
            {"model": "fast", "input": "Hello, world!"},
            key=KEY,
        )
        assert answer.json()["input_tokens"] == 11
