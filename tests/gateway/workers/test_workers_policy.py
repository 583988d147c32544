"""When workers are started again, and who takes the next connection."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import policy
from gateway.workers.balance import WAIT_S, Balance
from gateway.workers.policy import Again, Death, GiveUp


def deaths(*at: float) -> list[Death]:
    return [Death(one, "was killed by SIGKILL") for one in at]


def test_a_first_death_is_mended_almost_at_once() -> None:
    assert policy.after(deaths(100.0)) == Again(policy.WAIT_FIRST_S)


def test_each_further_death_waits_twice_as_long() -> None:
    waits = []
    for count in range(1, policy.DEATHS_MAX):
        verdict = policy.after(deaths(*range(count)))
        assert isinstance(verdict, Again)
        waits.append(verdict.after_s)
    assert waits == [0.1, 0.2, 0.4, 0.8]


def test_five_in_a_minute_are_enough() -> None:
    verdict = policy.after(deaths(0, 10, 20, 30, 40))
    assert isinstance(verdict, GiveUp)
    assert "died 5 times within 60 s" in verdict.why


def test_a_death_a_minute_goes_on_for_ever() -> None:
    """Old ones are forgotten, and so their list is bounded."""
    kept: list[Death] = []
    for minute in range(100):
        kept = [*policy.remembered(kept, minute * 61.0), *deaths(minute * 61.0)]
        assert policy.after(kept) == Again(policy.WAIT_FIRST_S)
        assert len(kept) == 1


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20))
def test_no_wait_is_over_its_bound(at: list[float]) -> None:
    verdict = policy.after(deaths(*sorted(at)))
    if isinstance(verdict, Again):
        assert policy.WAIT_FIRST_S <= verdict.after_s <= policy.WAIT_MAX_S


def test_a_worker_that_starts_may_be_silent_for_longer() -> None:
    assert policy.is_stuck(silent_s=31.0, serves=True)
    assert not policy.is_stuck(silent_s=31.0, serves=False)
    assert policy.is_stuck(silent_s=121.0, serves=False)


def test_after_a_pause_of_the_machine_nobody_is_stuck() -> None:
    """The parent was frozen as well, and heard nothing because of that."""
    assert policy.overslept(wanted_s=1.0, slept_s=40.0)
    assert not policy.overslept(wanted_s=1.0, slept_s=1.2)


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_the_parts_of_a_bound_make_the_whole(total: int, workers: int) -> None:
    part = policy.share(total, workers)
    assert total <= part * workers < total + workers


def test_whoever_has_more_lets_the_others_go_first() -> None:
    balance = Balance(3)
    balance.note(1, 4)
    balance.note(2, 5)
    assert balance.wait_s(1) == 0.0
    assert balance.wait_s(2) == WAIT_S


def test_nobody_waits_for_a_worker_that_is_gone() -> None:
    balance = Balance(2)
    balance.note(1, 9)
    balance.note(2, 0)
    assert balance.wait_s(1) == WAIT_S
    balance.gone(2)
    assert balance.wait_s(1) == 0.0


def test_the_numbers_are_seen_by_other_processes() -> None:
    """A fork has the same page, not a copy."""
    balance = Balance(2)
    balance.note(1, 1)
    pid = os.fork()
    if pid == 0:
        balance.note(2, 7)
        os._exit(0)
    os.waitpid(pid, 0)
    balance.note(1, 8)
    assert balance.wait_s(1) == WAIT_S
    assert "[8, 7]" in repr(balance)
