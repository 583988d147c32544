"""The latency model and its sketch: what is predicted from what was seen."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.latency import BUCKETS, Latency, bucket_of, bucket_tokens
from actors.router.sketch import Sketch

SECONDS = st.floats(0.002, 3000.0)


@given(st.lists(SECONDS, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_within_five_percent_of_a_value_that_was_seen(
    values: list[float], share: float
) -> None:
    sketch = Sketch(60.0, 0.0)
    for value in values:
        sketch.add(value, 0.0)

    found = sketch.quantile(share)

    ordered = sorted(values)
    rank = min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))
    near = ordered[max(0, rank - 1) : rank + 2]
    assert found is not None
    assert any(abs(found - value) <= 0.051 * value for value in near)


def test_old_values_are_forgotten() -> None:
    sketch = Sketch(60.0, 0.0)
    for _ in range(100):
        sketch.add(10.0, 0.0)
    for _ in range(10):
        sketch.add(1.0, 600.0)  # Ten half-lives later.

    assert sketch.quantile(0.5) == pytest.approx(1.0, rel=0.05)
    assert sketch.weight(600.0) == pytest.approx(10 + 100 / 1024, rel=0.01)


def test_years_do_not_overflow_the_weights() -> None:
    sketch = Sketch(60.0, 0.0)
    for day in range(400):
        sketch.add(2.0, day * 86_400.0)

    assert sketch.quantile(0.95) == pytest.approx(2.0, rel=0.05)


@given(st.integers(1, 4_000_000))
def test_each_prompt_has_one_bucket_and_fits_it(tokens: int) -> None:
    bucket = bucket_of(tokens)

    assert 0 <= bucket < BUCKETS
    if tokens <= bucket_tokens(BUCKETS - 1):
        assert tokens <= bucket_tokens(bucket)
        assert bucket == 0 or tokens > bucket_tokens(bucket - 1)


def test_a_size_never_seen_is_guessed_from_its_neighbour() -> None:
    latency = Latency(first_content_s=0.5, prefill_tokens_per_s=5000)
    for _ in range(20):
        latency.first_content(1000, 0, 0.2, 1.0)

    small, large = latency.first_p95_s[bucket_of(1000)], latency.first_p95_s[8]
    assert small < 0.5
    # It scales as the prior does: a longer prompt takes longer, also here.
    assert large > 5 * small


def test_a_brownout_in_short_calls_counts_for_long_ones_at_once() -> None:
    latency = Latency()
    now = 0.0
    for _ in range(50):
        now += 1
        latency.first_content(500, 0, 0.5, now)
        latency.first_content(30_000, 0, 5.0, now)
    assert latency.pace(now) == 1.0

    for _ in range(4):
        now += 1
        latency.first_content(500, 0, 4.0, now)

    assert latency.pace(now) > 3.0


def test_news_that_nobody_confirms_fades() -> None:
    latency = Latency()
    for _ in range(20):
        latency.first_content(500, 0, 0.5, 1.0)
    for _ in range(4):
        latency.first_content(500, 0, 5.0, 1.0)

    assert latency.pace(1.0) > 2.0
    assert latency.pace(1000.0) == 1.0


def test_the_slope_of_load_is_learned() -> None:
    """Two servers, one of which slows down with each call."""
    rng = Random(7)
    steep, flat = Latency(), Latency()
    for second in range(400):
        in_flight = rng.randrange(10)
        noise = rng.lognormvariate(0, 0.1)
        steep.first_content(1000, in_flight, (1 + 0.1 * in_flight) * noise, second)
        flat.first_content(1000, in_flight, noise, second)

    assert steep.slope == pytest.approx(0.1, abs=0.04)
    assert flat.slope < 0.03


def test_whole_answers_teach_both_parts() -> None:
    latency = Latency()
    for second in range(30):
        latency.whole(1000, 100, 0, 10.0, float(second))

    predicted = latency.first_p95_s[2] + 100 * latency.token_p95_s[2]
    assert 10.0 <= predicted <= 20.0


def test_hours_of_brownout_do_not_become_what_is_usual() -> None:
    """Or its end would be no news, and nobody would come back."""
    latency = Latency()
    now = 0.0
    for _ in range(100):
        now += 5
        latency.first_content(500, 0, 0.5, now)
        latency.tokens(500, 0, 0.02, now)
    usual = latency.first_p95_s[1]
    for _ in range(1800):  # Six hours of probes.
        now += 12
        latency.first_content(500, 0, 4.0, now)
        latency.tokens(500, 0, 0.16, now)

    assert latency.pace(now) > 3.0
    assert latency.first_p95_s[1] <= 2 * usual
    for _ in range(3):
        now += 12
        latency.first_content(500, 0, 0.5, now)
    assert latency.pace(now) < 1.5


def test_half_a_day_of_slowness_is_what_is_usual() -> None:
    latency = Latency()
    now = 0.0
    for step in range(8000):
        now += 12
        latency.first_content(500, 0, 0.5 if step < 100 else 4.0, now)

    assert latency.pace(now) < 1.5
    assert latency.first_p95_s[1] > 3.0
