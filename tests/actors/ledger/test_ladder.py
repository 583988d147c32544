"""Rungs, pacing and margins: what is in force, and how much it presses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import ladder, pacing, pricing
from actors.ledger.accounts import Accounts
from actors.ledger.caps import Book
from actors.ledger.ladder import LADDER_DEFAULT, in_force, rungs_of, standing
from actors.ledger.margins import Margins, with_margin, without_margin
from actors.ledger.messages import (
    Cap,
    Hold,
    Price,
    PriceTier,
    Rates,
    Rung,
    SiteLimits,
    Standing,
    Thrift,
)
from actors.ledger.rates import MINUTE_S, Rate
from actors.router.messages import PRESETS, Weights
from actors.router.thrift import pressed
from tests.actors.ledger.asks import PRICE, USD, enter, hold

RUNGS = (
    Rung("cheap", 50, prefer_cheap=True),
    Rung("class", 70, output_nanousd_per_mtok_max=2 * USD),
    Rung("short", 80, output_tokens_max=100),
    Rung("shorter", 90, output_tokens_max=200),
    Rung("local", 95, model="local"),
    Rung("stop", 99, refuse=True),
)


@pytest.mark.parametrize(
    ("hard", "degrade", "count"),
    [
        (0, 0, 0),
        (49, 0, 0),
        (50, 0, 1),
        (98, 0, 5),
        (99, 0, 6),
        (0, 100, 5),
        (60, 85, 3),
    ],
)
def test_rungs_come_into_force_by_what_is_used(
    hard: int, degrade: int, count: int
) -> None:
    """A degrade cap stops before the refusal."""
    assert in_force(RUNGS, hard=hard, degrade=degrade) == count


def test_rungs_add_up_and_bounds_only_get_tighter() -> None:
    made = standing(RUNGS, 5, 0.25)

    assert made == Standing(
        rung=5,
        degraded="local",
        lower=False,
        thrift=Thrift(0.25, prefer_cheap=True, output_nanousd_per_mtok_max=2 * USD),
        output_tokens_max=100,
        model="local",
    )
    assert standing(RUNGS, 6, 0.0) is None


@given(st.permutations(RUNGS), st.integers(0, 100))
def test_the_order_in_the_file_does_not_matter(rungs: list[Rung], used: int) -> None:
    given = rungs_of(tuple(rungs), degradable=False)

    assert in_force(given, hard=used, degrade=0) == in_force(
        RUNGS, hard=used, degrade=0
    )


def test_a_degrade_cap_without_a_ladder_has_a_plain_one() -> None:
    assert rungs_of((), degradable=True) == LADDER_DEFAULT
    assert not any(rung.refuse for rung in LADDER_DEFAULT)
    assert ladder.shortens(LADDER_DEFAULT)


@given(st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 1))
def test_pressure_is_a_share_and_grows_with_what_is_spent(
    used: int, most: int, done: float
) -> None:
    pressure = pacing.pressure_of(used, most, done)

    assert 0.0 <= pressure <= 1.0
    assert pacing.pressure_of(used + 1, most, done) >= pressure
    if used <= most * done:
        assert not pressure or used >= most


def test_on_plan_nothing_presses_and_ahead_of_it_price_weighs_more() -> None:
    book = Book(Cap("c", 3_000, "day"), "acme", 0.0)
    noon_s = 12 * 3600.0
    book.spend(0.0, 1_500)
    assert pacing.pressure([book], noon_s) == 0.0
    book.spend(0.0, 750)
    assert pacing.pressure([book], noon_s) == 0.5
    assert pacing.pressure([book], 6 * 3600.0) > 0.5


@given(st.floats(0, 1))
def test_price_takes_the_share_that_presses(pressure: float) -> None:
    base = Weights(latency=0.4, errors=0.3, window=0.1, price=0.2)
    made = pressed(base, Thrift(pressure))

    assert made is not None
    assert made.price == pytest.approx(0.2 + 0.8 * pressure)
    assert made.latency + made.errors + made.window + made.price == pytest.approx(1.0)


def test_an_order_of_ones_own_yields_to_a_step_and_not_to_pacing() -> None:
    assert pressed(None, Thrift(0.9)) is None
    assert pressed(None, Thrift(prefer_cheap=True)) == PRESETS["cheapest"]


@given(
    st.integers(0, 10**9),
    st.integers(0, 5_000),
    st.integers(0, 2 * 10**10),
    st.integers(0, 6 * 10**10),
    st.integers(0, 4_000),
)
def test_what_money_buys_is_the_inverse_of_the_worst_case(
    money: int, prompt: int, price_in: int, price_out: int, above: int
) -> None:
    """As long an answer as fits, and not a token longer."""
    tier = PriceTier(above, Price(price_in * 2, price_out * 2))
    price = Price(price_in, price_out, tiers=(tier,))
    fits = pricing.output_within(price, money, prompt_tokens_max=prompt)

    def worst(output: int) -> int:
        return pricing.worst(price, prompt_tokens_max=prompt, output_tokens_max=output)

    if fits is None:
        assert worst(10**6) <= money
    elif fits < 0:
        assert worst(0) > money
    else:
        assert worst(fits) <= money < worst(fits + 1)


@given(st.integers(0, 10**12), st.integers(0, 3000))
def test_a_margin_taken_off_fits_when_it_is_put_on(money: int, margin: int) -> None:
    assert with_margin(without_margin(money, margin), margin) <= money


def test_an_overrun_makes_later_holds_larger_and_good_calls_take_it_back() -> None:
    accounts = Accounts([SiteLimits("acme")])
    first = accounts.take("s1", hold(), 0.0, 0.0)
    assert isinstance(first, Hold)
    accounts.settle(first.id, first.nanousd * 3 // 2, 1, 0.0, 0.0)
    second = accounts.take("s2", hold(), 0.0, 0.0)
    assert isinstance(second, Hold)
    assert second.nanousd == first.nanousd * 3 // 2
    elsewhere = accounts.take("s3", hold(model="other"), 0.0, 0.0)
    assert isinstance(elsewhere, Hold)
    assert elsewhere.nanousd == first.nanousd

    margins = Margins()
    margins.learn("p", "m", worst=100, cost=150)
    for _ in range(1000):
        margins.learn("p", "m", worst=100, cost=100)
    assert margins.of("p", "m") == 0


@given(
    st.integers(1, 600),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 30)), min_size=1, max_size=60),
)
def test_no_minute_has_more_than_two_minutes_worth_and_the_average_holds(
    per_minute: int, steps: list[tuple[float, int]]
) -> None:
    """A minute's worth at once, and then as it is paid off."""
    rate = Rate(per_minute)
    now = 0.0
    passed = 0
    largest = 0
    for step_s, count in steps:
        now += step_s
        wait_s = rate.wait_s(count, now)
        if not wait_s:
            rate.take(count, now)
            passed += count
            largest = max(largest, count)
        else:
            later = now + wait_s + 1e-6
            assert rate.wait_s(count, later) == pytest.approx(0.0, abs=1e-5)
    assert passed <= per_minute * (1 + now / MINUTE_S) + largest + 1


def test_a_request_counts_at_its_site_and_its_key_or_at_none() -> None:
    limits = SiteLimits(
        "acme", requests_per_minute_max=10, each_key=Rates(requests_per_minute_max=1)
    )
    accounts = Accounts([limits])
    one = [accounts.enter(f"a{n}", enter(key="acme:1"), 0.0, 0.0) for n in range(5)]
    two = [accounts.enter(f"b{n}", enter(key="acme:2"), 0.0, 0.0) for n in range(5)]

    assert [isinstance(said, Standing) for said in one] == [True] + 4 * [False]
    # The refused ones took nothing of the site's ten.
    assert [isinstance(said, Standing) for said in two] == [True] + 4 * [False]
    many = [accounts.enter(f"c{n}", enter(key=f"k{n}"), 0.0, 0.0) for n in range(9)]
    assert sum(isinstance(said, Standing) for said in many) == 8


def test_a_part_of_the_answer_is_held_where_the_whole_does_not_fit() -> None:
    short = SiteLimits("acme", spend_nanousd_max=50_000, ladder=RUNGS[2:3])
    plain = SiteLimits("acme", spend_nanousd_max=50_000)
    ask = hold(output_tokens_max=100, output_tokens_least=16)
    held = Accounts([short]).take("s", ask, 0.0, 0.0)

    assert isinstance(held, Hold)
    assert held.output_tokens_max == 20  # 10,000 for the prompt, 2,000 each.
    assert held.nanousd == 50_000
    assert not isinstance(Accounts([plain]).take("s", ask, 0.0, 0.0), Hold)
    least = hold(output_tokens_max=100, output_tokens_least=21)
    assert not isinstance(Accounts([short]).take("s", least, 0.0, 0.0), Hold)


def test_going_down_ends_before_the_refusal() -> None:
    """A reload may have taken away the step that was meant."""
    accounts = Accounts([SiteLimits("acme", ladder=RUNGS)])
    accounts.enter("s", enter(), 0.0, 0.0)
    said = accounts.enter("s", enter(rung_min=6), 0.0, 0.0)

    assert isinstance(said, Standing)
    assert (said.degraded, said.lower) == ("local", False)


def test_a_question_opens_no_book() -> None:
    """Its model is whatever a client wrote: memory must not grow with it."""
    accounts = Accounts([SiteLimits("acme")], [Cap("c", USD, per="model")])
    for number in range(100):
        ask = enter(model=f"made-up-{number}")
        accounts.enter(f"s{number}", ask, 0.0, 0.0)

    assert accounts.cap_accounts(0.0) == ()
    accounts.take("s1", hold(price=PRICE), 0.0, 0.0)
    assert [one.subject for one in accounts.cap_accounts(0.0)] == ["fast"]
