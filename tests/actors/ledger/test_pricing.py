"""Invoices, worked out by hand from the prices that the makers publish.

Each is a price, a usage, and the bill in nano-dollars with the sum beside it.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.messages import NANOUSD_PER_USD, Price, PriceTier
from actors.ledger.pricing import at, cost, for_service, to_hold, worst
from wire.events import Usage

USD = NANOUSD_PER_USD
CENT = USD // 100

# $1.25 in, $10 out, $0.125 cached; half of it in batches and flex, twice as priority.
GPT_5 = Price(
    input_nanousd_per_mtok=1_250_000_000,
    output_nanousd_per_mtok=10 * USD,
    cached_input_nanousd_per_mtok=125_000_000,
    batch=Price(625_000_000, 5 * USD, 62_500_000),
    flex=Price(625_000_000, 5 * USD, 62_500_000),
    priority=Price(2_500_000_000, 20 * USD, 250_000_000),
)
# $3 in, $15 out, $0.30 read, $3.75 written for 5 minutes, $6 for an hour; dearer >200k.
SONNET = Price(
    input_nanousd_per_mtok=3 * USD,
    output_nanousd_per_mtok=15 * USD,
    cached_input_nanousd_per_mtok=300_000_000,
    cache_write_nanousd_per_mtok=3_750_000_000,
    cache_write_1h_nanousd_per_mtok=6 * USD,
    search_nanousd=CENT,
    tiers=(
        PriceTier(
            200_000,
            Price(
                6 * USD,
                22_500_000_000,
                600_000_000,
                7_500_000_000,
                12 * USD,
                search_nanousd=CENT,
            ),
        ),
    ),
)
# $2.50 in, $10 out; sound $40 in, $80 out.
AUDIO = Price(
    input_nanousd_per_mtok=2_500_000_000,
    output_nanousd_per_mtok=10 * USD,
    audio_input_nanousd_per_mtok=40 * USD,
    audio_output_nanousd_per_mtok=80 * USD,
)
# $1 in, $2 out, $6 for each million tokens of thought.
THINKER = Price(USD, 2 * USD, reasoning_nanousd_per_mtok=6 * USD)
# $1 and $4, from 32k $2 and $8, from 128k $3 and $12.
THREE = Price(
    USD,
    4 * USD,
    tiers=(
        PriceTier(32_000, Price(2 * USD, 8 * USD)),
        PriceTier(128_000, Price(3 * USD, 12 * USD)),
    ),
)
PLAIN = Price(USD, 2 * USD)
EMBEDDING = Price(20_000_000, 0)


def usage(prompt: int, completion: int = 0, **more: int) -> Usage:
    return Usage(prompt=prompt, completion=completion, **more)


INVOICES = {
    "plain input and output": (
        GPT_5,
        usage(1_000_000, 1_000_000),
        11_250_000_000,  # $1.25 + $10
    ),
    "a short call": (GPT_5, usage(1_000, 200), 1_250_000 + 2_000_000),
    "one token of each": (GPT_5, usage(1, 1), 1_250 + 10_000),
    "nothing at all": (GPT_5, usage(0, 0), 0),
    "a fraction of a nano-dollar counts as one": (Price(1, 0), usage(1), 1),
    "rounded once, not by the kind": (Price(1, 1), usage(1, 1), 1),
    "half of the prompt from the cache": (
        GPT_5,
        usage(10_000, 0, cached=5_000),
        6_250_000 + 625_000,  # 5,000 x $1.25/M + 5,000 x $0.125/M
    ),
    "all of it from the cache": (GPT_5, usage(8_000, 0, cached=8_000), 1_000_000),
    "more cached than there was": (
        GPT_5,
        usage(1_000, 0, cached=1_200),
        150_000,  # 1,200 x $0.125/M; the plain rest is not negative.
    ),
    "a cache without a price of its own": (
        PLAIN,
        usage(1_000, 0, cached=400),
        1_000_000,
    ),
    "a five-minute cache write": (
        SONNET,
        usage(10_000, 0, cache_write=10_000),
        37_500_000,
    ),
    "an hour-long cache write": (
        SONNET,
        usage(10_000, 0, cache_write=10_000, cache_write_1h=10_000),
        60_000_000,
    ),
    "both kinds of cache write": (
        SONNET,
        usage(10_000, 0, cache_write=8_000, cache_write_1h=3_000),
        6_000_000 + 18_750_000 + 18_000_000,  # 2,000 x 3 + 5,000 x 3.75 + 3,000 x 6
    ),
    "written, read and plain": (
        SONNET,
        usage(10_000, 1_000, cached=6_000, cache_write=3_000),
        3_000_000 + 1_800_000 + 11_250_000 + 15_000_000,
    ),
    "a write without a price of its own": (
        PLAIN,
        usage(1_000, 0, cache_write=1_000, cache_write_1h=500),
        1_000_000,
    ),
    "an hour costs as other writes where unknown": (
        Price(USD, USD, cache_write_nanousd_per_mtok=2 * USD),
        usage(1_000, 0, cache_write=1_000, cache_write_1h=1_000),
        2_000_000,
    ),
    "a prompt of just the tier's bound": (
        SONNET,
        usage(200_000, 0),
        600_000_000,  # Not above it: $3.
    ),
    "a token above the tier's bound, all of it dearer": (
        SONNET,
        usage(200_001, 1_000),
        1_200_006_000 + 22_500_000,
    ),
    "a long prompt that was mostly cached is long all the same": (
        SONNET,
        usage(300_000, 0, cached=290_000),
        60_000_000 + 174_000_000,
    ),
    "an hour's write in the upper tier": (
        SONNET,
        usage(250_000, 0, cache_write=250_000, cache_write_1h=250_000),
        3_000_000_000,
    ),
    "the middle of three tiers": (THREE, usage(100_000, 1_000), 208_000_000),
    "the last of three tiers": (THREE, usage(200_000, 1_000), 612_000_000),
    "the first of three tiers": (THREE, usage(32_000, 1_000), 36_000_000),
    "output alone reaches no tier": (THREE, usage(10, 500_000), 10_000 + 2_000_000_000),
    "sound in": (
        AUDIO,
        usage(1_500, 0, audio_in=1_000),
        1_250_000 + 40_000_000,
    ),
    "sound out": (
        AUDIO,
        usage(0, 600, audio_out=500),
        1_000_000 + 40_000_000,
    ),
    "sound both ways, with a cached beginning": (
        AUDIO,
        usage(2_000, 1_000, cached=500, audio_in=1_000, audio_out=800),
        500 * 2_500 + 500 * 2_500 + 1_000 * 40_000 + 200 * 10_000 + 800 * 80_000,
    ),
    "sound where it has no price of its own": (
        PLAIN,
        usage(1_000, 1_000, audio_in=1_000, audio_out=1_000),
        3_000_000,
    ),
    "reasoning at its own price": (
        THINKER,
        usage(0, 10_000, reasoning=8_000),
        4_000_000 + 48_000_000,
    ),
    "reasoning at the output's price": (
        GPT_5,
        usage(0, 10_000, reasoning=8_000),
        100_000_000,
    ),
    "more reasoning than output": (
        THINKER,
        usage(0, 1_000, reasoning=9_000),
        6_000_000,
    ),
    "three searches": (SONNET, usage(1_000, 0, searches=3), 3_000_000 + 3 * CENT),
    "embeddings": (EMBEDDING, usage(1_000_000), 20_000_000),
    "in a batch": (
        for_service(GPT_5, "batch"),
        usage(1_000_000, 100_000, cached=200_000),
        500_000_000 + 12_500_000 + 500_000_000,
    ),
    "with priority": (
        for_service(GPT_5, "priority"),
        usage(1_000, 1_000),
        2_500_000 + 20_000_000,
    ),
    "flexible": (for_service(GPT_5, "flex"), usage(1_000, 1_000), 5_625_000),
    "a service without a price of its own": (
        for_service(SONNET, "batch"),
        usage(1_000, 0),
        3_000_000,
    ),
}


@pytest.mark.parametrize("name", INVOICES)
def test_an_invoice_is_what_a_person_works_out(name: str) -> None:
    price, used, nanousd = INVOICES[name]
    assert cost(price, used) == nanousd


def test_there_are_enough_invoices() -> None:
    assert len(INVOICES) >= 30


@pytest.mark.parametrize(
    ("tokens", "tier"), [(0, THREE), (32_000, THREE), (32_001, THREE.tiers[0].price)]
)
def test_a_tier_begins_above_its_bound(tokens: int, tier: Price) -> None:
    assert at(THREE, tokens) == tier


def test_a_hold_is_at_the_worst_tier_that_the_prompt_can_reach() -> None:
    held = worst(THREE, prompt_tokens_max=40_000, output_tokens_max=1_000)
    assert held == 80_000_000 + 8_000_000


def test_a_hold_counts_sound_and_long_caches_only_where_they_may_come() -> None:
    """Sound is sixteen times as dear as text: holding it for all would stop sites."""
    assert (
        worst(AUDIO, prompt_tokens_max=1_000, output_tokens_max=0, audio=False)
        == 2_500_000
    )
    assert worst(AUDIO, prompt_tokens_max=1_000, output_tokens_max=0) == 40_000_000
    assert (
        worst(SONNET, prompt_tokens_max=1_000, output_tokens_max=0, cache_1h=False)
        == 3_750_000
    )
    assert worst(SONNET, prompt_tokens_max=1_000, output_tokens_max=0) == 6_000_000


def test_a_hold_for_a_cheap_service_is_at_the_standard_price() -> None:
    """Where the cheap service has no room, the request is served as any other."""
    assert to_hold(GPT_5, "flex") == GPT_5
    assert to_hold(GPT_5, "priority") == GPT_5.priority
    assert to_hold(GPT_5, None) == GPT_5
    assert to_hold(GPT_5, "standard_only") == GPT_5


PRICES = st.sampled_from([GPT_5, SONNET, AUDIO, THINKER, THREE, PLAIN, EMBEDDING])
COUNT = st.integers(0, 400_000)


@given(PRICES, COUNT, COUNT, st.data())
def test_no_usage_within_its_bounds_costs_more_than_its_hold(
    price: Price, prompt: int, completion: int, data: st.DataObject
) -> None:
    """Whatever kinds of tokens it turns out to be; searches are not tokens."""
    cached = data.draw(st.integers(0, prompt))
    write = data.draw(st.integers(0, prompt - cached))
    used = Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=write,
        cache_write_1h=data.draw(st.integers(0, write)),
        reasoning=data.draw(st.integers(0, completion)),
        audio_in=data.draw(st.integers(0, prompt)),
        audio_out=data.draw(st.integers(0, completion)),
    )
    held = worst(price, prompt_tokens_max=prompt, output_tokens_max=completion)
    assert cost(price, used) <= held
