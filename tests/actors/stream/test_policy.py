"""What a stream does next, and what it may spend on trying again."""

from __future__ import annotations

from itertools import cycle, islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.messages import Candidate, Deployment
from actors.stream.budget import RETRY_SHARE, SAVED_MAX, TRICKLE_PER_S, Budget
from actors.stream.policy import (
    PATIENCE_MIN_S,
    RETRIES_MAX,
    TRIES_MAX,
    TURN_MAX_S,
    TURN_MIN_S,
    Failure,
    Final,
    Step,
    elsewhere,
    next_step,
    patience_s,
    tell_client,
    turn_s,
)
from wire.events import Fault, FaultKind

TRANSIENT = Fault(kind="transient", message="", status=500)
CONTENT = Fault(kind="client", message="", status=400, code="content_filter")


def candidate(name: str = "a", **more: object) -> Candidate:
    return Candidate(Deployment(name, "m"), **more)  # type: ignore[arg-type]


def fault(kind: FaultKind, **more: object) -> Fault:
    return Fault(kind=kind, message="", status=500, **more)  # type: ignore[arg-type]


FAULTS = st.builds(
    fault,
    st.sampled_from(["client", "context", "key", "throttle", "transient", "ours"]),
    code=st.sampled_from(
        [None, "provider_unavailable", "provider_busy", "content_filter", "spend_cap"]
    ),
    retry_after_s=st.one_of(st.none(), st.floats(0, 100)),
)
ONS = st.sampled_from(["any", "any", "context", "content"])


@given(
    st.lists(ONS, min_size=0, max_size=5),
    st.lists(FAULTS, min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_stream_always_ends_and_keeps_to_its_bounds(
    ons: list[str], given_faults: list[Fault], may_retry: bool, seed: int
) -> None:
    candidates = [candidate(), *(candidate(str(i), on=on) for i, on in enumerate(ons))]
    failures: list[Failure] = []
    rng = Random(seed)
    retries = 0
    for one in islice(cycle(given_faults), 40):
        step = next_step(candidates, failures, rng, may_retry=may_retry)
        if isinstance(step, Final):
            break
        retries += step.retry
        chosen = candidates[step.candidate]
        if failures and chosen.on != "any":
            said = {failure.fault.code for failure in failures}
            kinds = {failure.fault.kind for failure in failures}
            assert "context" in kinds or "content_filter" in said
        assert 0.0 <= step.pause_s <= 20.0
        failures.append(Failure(step.candidate, one))
    else:
        raise AssertionError("it went on for ever")
    assert len(failures) <= len(candidates) + RETRIES_MAX
    assert retries <= (RETRIES_MAX if may_retry else 0)


def test_the_first_is_tried_first() -> None:
    assert next_step([candidate()], [], Random(1)) == Step(0)


def test_without_budget_nobody_is_called_twice() -> None:
    step = next_step([candidate()], [Failure(0, TRANSIENT)], Random(1), may_retry=False)

    assert step == Final(TRANSIENT)


def test_a_refusal_of_content_goes_only_where_it_was_meant_to() -> None:
    plain = [candidate("a"), candidate("b")]
    kept = [*plain, candidate("c", on="content")]

    assert next_step(plain, [Failure(0, CONTENT)], Random(1)) == Final(CONTENT)
    assert next_step(kept, [Failure(0, CONTENT)], Random(1)) == Step(2)


def test_what_was_too_long_goes_to_larger_windows_only() -> None:
    sizes = [candidate("a", window_tokens=8000), candidate("b", window_tokens=8000)]
    sizes += [candidate("c", window_tokens=32_000), candidate("d", on="context")]
    long = [Failure(0, fault("context"))]

    assert next_step(sizes, long, Random(1)) == Step(2)
    assert next_step(sizes, [*long, Failure(2, fault("context"))], Random(1)) == Step(3)


def test_of_several_that_are_open_the_first_to_return_is_waited_for() -> None:
    opens = [
        Failure(i, fault("ours", code="provider_unavailable", retry_after_s=s))
        for i, s in enumerate((9.0, 2.0, 30.0))
    ]
    step = next_step([candidate(n) for n in "abc"], opens, Random(1), may_retry=False)

    assert isinstance(step, Step)
    assert step.candidate == 1
    assert 2.0 <= step.pause_s <= 2.25
    assert not step.retry


def test_patience_needs_a_prediction_and_somebody_else() -> None:
    known = candidate(first_content_s=2.0)

    assert patience_s(known, others_left=True) == 8.0
    assert patience_s(known, others_left=False) is None
    assert patience_s(candidate(), others_left=True) is None
    quick = candidate(first_content_s=0.1)
    assert patience_s(quick, others_left=True) == PATIENCE_MIN_S


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5)), max_size=200))
def test_retries_never_exceed_the_budget(steps: list[tuple[float, int]]) -> None:
    """Whatever the order of requests and retries."""
    budget = Budget()
    now = requests = taken = 0.0
    for pause_s, wanted in steps:
        now += pause_s
        budget.request(now)
        requests += 1
        for _ in range(wanted):
            taken += budget.take(now)
        allowed = SAVED_MAX + RETRY_SHARE * requests + TRICKLE_PER_S * now
        assert taken <= allowed + 1e-6


@pytest.mark.parametrize(
    ("on", "refusal"),
    [
        ("content", fault("client", code="content_filter")),
        ("context", fault("context")),
    ],
)
@pytest.mark.parametrize("outage", ["throttle", "transient", "key"])
def test_the_next_of_those_kept_for_a_refusal_follows_when_the_first_is_down(
    on: str, refusal: Fault, outage: FaultKind
) -> None:
    """That one of them is down does not make the prompt shorter or tamer."""
    candidates = [candidate(), candidate("1", on=on), candidate("2", on=on)]
    failures = [Failure(0, refusal), Failure(1, fault(outage))]

    assert next_step(candidates, failures, Random(1)) == Step(2)


def test_a_queue_is_worth_a_moment_while_somebody_else_has_room() -> None:
    candidates = [candidate(full=True), candidate("b")]

    assert turn_s(candidates, 0, [], 0.0) == TURN_MIN_S


def test_where_all_are_full_whoever_waits_stays() -> None:
    """Another queue's end is no better place; those kept for special cases are none."""
    candidates = [candidate(full=True), candidate("b", full=True)]
    special = [candidate(full=True), candidate("b", on="content")]

    assert turn_s(candidates, 0, [], 0.0) == TURN_MAX_S
    assert turn_s(special, 0, [], 0.0) == TURN_MAX_S
    assert turn_s(candidates, 0, [], 30.0) == TURN_MAX_S - 30.0
    assert turn_s(candidates, 0, [], 1e6) == TURN_MIN_S


def test_who_has_failed_is_nobody_to_go_to() -> None:
    candidates = [candidate(full=True), candidate("b")]

    assert turn_s(candidates, 0, [Failure(1, TRANSIENT)], 0.0) == TURN_MAX_S


def test_however_many_candidates_there_are_a_request_ends() -> None:
    candidates = [candidate(str(i)) for i in range(200)]
    failures: list[Failure] = []
    while isinstance(step := next_step(candidates, failures, Random(1)), Step):
        failures.append(Failure(step.candidate, TRANSIENT))

    assert len(failures) == TRIES_MAX


def test_it_stands_by_at_those_that_are_full_and_have_not_failed() -> None:
    """Those with room have their own turn; others are for requests of another kind."""
    full = {"full": True}
    candidates = [
        candidate("a", **full),
        candidate("b", **full),
        candidate("c"),
        candidate("d", **full),
        candidate("e", on="context", **full),
    ]
    busy = Failure(2, fault("ours", code="provider_busy"))
    broken = Failure(3, TRANSIENT)

    def named(place: int, *failures: Failure) -> list[str]:
        found = elsewhere(candidates, place, failures)
        return [one.deployment.provider for one in found]

    assert named(0) == ["b", "d"]
    assert named(2) == []
    assert named(0, busy, broken) == ["b", "c"]


def test_when_nobody_could_be_asked_each_says_why_and_the_soonest_when() -> None:
    def shut(message: str, wait_s: float | None) -> Fault:
        return Fault(
            "ours", message, 503, code="provider_unavailable", retry_after_s=wait_s
        )

    told = tell_client(
        [
            Failure(0, shut("A is open.", 60.0)),
            Failure(1, shut("B is paused.", None)),
            Failure(2, shut("C is open.", 7.0)),
            Failure(0, shut("A is open.", 60.0)),
        ]
    )
    assert told.message == "C is open. A is open. B is paused."
    assert told.retry_after_s == 7.0
