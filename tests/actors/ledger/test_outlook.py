"""Where a cap's spending stands in its window, and where it is heading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.messages import Cap
from actors.ledger.outlook import NONE, outlook

USD = 1_000_000_000
DAY_S = 86_400
BEGAN_S = 1_798_761_600.0  # 2027-01-01, UTC.
MONTH = Cap("c", 31 * USD)


def test_on_the_tenth_day_a_third_is_the_plan_and_the_forecast_goes_on() -> None:
    found = outlook(MONTH, 20 * USD, BEGAN_S + 10 * DAY_S)

    assert found.began_s == BEGAN_S
    assert found.resets_at_s == BEGAN_S + 31 * DAY_S
    assert found.plan_nanousd == 10 * USD
    assert found.forecast_nanousd == 62 * USD
    assert found.runs_out_s == BEGAN_S + 15.5 * DAY_S


def test_spending_within_the_pace_does_not_run_out() -> None:
    found = outlook(MONTH, 5 * USD, BEGAN_S + 10 * DAY_S)

    assert found.runs_out_s is None


def test_one_request_in_the_first_hour_forecasts_nothing() -> None:
    found = outlook(MONTH, USD, BEGAN_S + 3600)

    assert found.forecast_nanousd is None
    assert found.runs_out_s is None


def test_a_window_without_an_end_has_no_plan() -> None:
    assert outlook(Cap("c", USD, rolling=True), 5, BEGAN_S) == NONE
    assert outlook(Cap("c", USD, window="total"), 5, BEGAN_S) == NONE


@given(
    st.integers(0, 10**15),
    st.integers(0, 10**15),
    st.floats(0, 31 * DAY_S, allow_nan=False),
)
def test_no_cap_runs_out_before_now_or_after_its_window(
    most: int, used: int, gone_s: float
) -> None:
    now_s = BEGAN_S + gone_s
    found = outlook(Cap("c", most), used, now_s)

    if found.runs_out_s is not None:
        assert found.resets_at_s is not None
        assert now_s <= found.runs_out_s <= max(now_s, found.resets_at_s)
    assert found.plan_nanousd is None or 0 <= found.plan_nanousd <= most
