"""The breaker: its table is whole, and each verdict is the one in the table."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.provider import breaker
from actors.provider.admission import Limits, admit
from actors.provider.breaker import NEXT, Event, Health, State, born, event_of, record
from actors.provider.limits import Allowances
from actors.provider.messages import Outcome, OutcomeKind
from wire.ratelimits import RateWindow

KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)


def outcome(kind: OutcomeKind, **more: float | None) -> Outcome:
    return Outcome(permit=1, epoch=1, kind=kind, **more)  # type: ignore[arg-type]


def test_the_table_says_something_for_every_state_and_event() -> None:
    assert set(NEXT) == set(product(get_args(State), get_args(Event)))
    assert set(breaker.EVENTS) == set(KINDS)
    assert set(breaker.EVENTS.values()) == set(get_args(Event))


def test_the_table_in_the_docstring_is_the_table() -> None:
    """Who reads the module's head reads what runs."""
    doc = breaker.__doc__ or ""
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in doc.splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]
    told = {
        (row[0], event): action
        for row in rows
        for event, action in zip(head[1:], row[1:], strict=True)
    }
    assert told == {key: str(action) for key, action in NEXT.items()}


@given(
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from(KINDS),
    st.one_of(st.none(), st.floats(0, 4000)),
)
def test_a_verdict_follows_from_state_and_outcome_alone(
    probation: bool, failures: int, kind: OutcomeKind, retry_after_s: float | None
) -> None:
    health = Health(failures=failures, probation=probation)
    after, verdict = record(
        health, outcome(kind, retry_after_s=retry_after_s), 10.0, failures_max=5
    )

    bad = kind in ("slow", "failed")
    assert (verdict == "trip") == (bad and (probation or failures + 1 >= 5))
    assert (verdict == "promote") == (probation and kind == "ok")
    assert after.key_refused == (kind == "key")
    assert (after.cooling_until is not None) == (kind == "throttled")
    if after.cooling_until is not None:
        assert 10.0 <= after.cooling_until <= 10.0 + breaker.COOL_MAX_S
    if kind in ("client", "cancelled"):
        assert after == health


def test_every_second_call_failing_is_not_forgiven_for_ever() -> None:
    """Three bad of four trip; one bad of two stays where it is."""
    health, tripped = born(probation=False), False
    for _ in range(8):
        for kind in ("failed", "failed", "ok", "failed"):
            health, verdict = record(health, outcome(kind), 0.0)
            tripped = tripped or verdict == "trip"
    assert tripped


def test_an_answer_slower_than_the_limit_is_no_success() -> None:
    slow = outcome("ok", first_content_s=12.0)

    assert event_of(slow) == "good"
    assert event_of(slow, slow_call_s=10.0) == "bad"
    assert record(born(probation=True), slow, 0.0, slow_call_s=10.0)[1] == "trip"


def test_a_probes_first_content_promotes() -> None:
    assert breaker.proven(born(probation=True)) == (Health(), "promote")
    assert breaker.proven(Health(failures=3)) == (Health(failures=3), "same")


@pytest.mark.parametrize("probing", [0, 1])
def test_probation_admits_one(probing: int) -> None:
    decision = admit(
        born(probation=True),
        Limits(10),
        in_flight=0,
        probing=probing,
        queued=0,
        now=0.0,
        key_retry_at=0.0,
    )

    assert decision == ("probing" if probing else "probe")


def window(of: str, limit: int | None, remaining: int, reset_s: float) -> RateWindow:
    return RateWindow(of, "minute", limit, remaining, reset_s)


def test_an_allowance_is_counted_down_between_answers() -> None:
    allowances = Allowances()
    allowances.learn("k", (window("requests", None, 2, 30.0),), 0.0)

    assert allowances.full_until("k", 1, 0.0) is None
    allowances.take("k", 1, 0.0)
    allowances.take("k", 1, 0.0)
    assert allowances.full_until("k", 1, 1.0) == 30.0
    assert allowances.full_until("k", 1, 30.0) is None
    assert allowances.full_until("other", 1, 1.0) is None


def test_a_window_that_is_over_begins_anew_with_its_limit() -> None:
    allowances = Allowances()
    allowances.learn("k", (window("tokens", 1000, 0, 10.0),), 0.0)

    assert allowances.full_until("k", 500, 5.0) == 10.0
    allowances.take("k", 800, 10.0)
    assert allowances.full_until("k", 500, 10.0) == 70.0
    assert allowances.full_until("k", 100, 10.0) is None


def test_a_limit_that_is_told_as_nothing_lets_one_call_find_out() -> None:
    """It was never meant, or is lifted by now: without a call nobody would hear."""
    allowances = Allowances()
    allowances.learn("k", (window("requests", 0, 0, 10.0),), 0.0)

    assert allowances.full_until("k", 1, 5.0) == 10.0
    assert allowances.full_until("k", 1, 10.0) is None
    allowances.take("k", 1, 10.0)
    assert allowances.full_until("k", 1, 11.0) == 70.0


def test_a_prompt_above_the_whole_limit_is_the_providers_to_refuse() -> None:
    allowances = Allowances()
    allowances.learn("k", (window("tokens", 1000, 400, 10.0),), 0.0)

    assert allowances.full_until("k", 5000, 5.0) == 10.0
    assert allowances.full_until("k", 5000, 10.0) is None


def test_the_tightest_window_counts() -> None:
    allowances = Allowances()
    windows = (window("requests", 100, 50, 1.0), window("requests", 1000, 0, 40.0))
    allowances.learn("k", windows, 0.0)

    assert allowances.full_until("k", 1, 0.0) == 40.0


def test_what_is_left_is_told_until_it_is_too_old() -> None:
    allowances = Allowances()
    allowances.learn(
        "k",
        (
            RateWindow("requests", "minute", limit=60, remaining=10, reset_s=30.0),
            RateWindow("tokens", "minute", limit=None, remaining=500, reset_s=5.0),
        ),
        100.0,
    )
    allowances.take("k", 200, 101.0)

    requests, tokens = allowances.room("k", 101.0)
    assert (requests.kind, requests.left, requests.limit) == ("requests", 9, 60)
    assert (tokens.kind, tokens.left, tokens.limit) == ("tokens", 300, None)
    assert requests.resets_at == 130.0
    # A window that is over begins anew where its limit is known, and is unknown else.
    (later,) = allowances.room("k", 131.0)
    assert (later.kind, later.left) == ("requests", 60)
    assert allowances.room("another", 101.0) == ()
