"""The verdicts of a guard: pure, so every case can be tried."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import (
    Actor,
    Backoff,
    ChildSpec,
    Crashed,
    CrashReport,
    Exit,
    Limit,
    Normal,
    Stopped,
    Tripped,
)
from runtime.spec import History, Restart, after_exit, wants_restart

CRASHED = Crashed(CrashReport("it", 1, None, "ValueError", (), 0.0))
EXITS: dict[str, Exit] = {
    "normal": Normal(),
    "stopped": Stopped("by a supervisor"),
    "tripped": Tripped("upstream"),
    "crashed": CRASHED,
}


@pytest.mark.parametrize(
    ("restart", "comes_back_after"),
    [
        ("permanent", {"normal", "tripped", "crashed"}),
        ("transient", {"tripped", "crashed"}),
        ("temporary", set()),
    ],
)
def test_who_comes_back_after_what(
    restart: Restart, comes_back_after: set[str]
) -> None:
    """The table in docs/supervision.md."""
    found = {name for name, exit_ in EXITS.items() if wants_restart(restart, exit_)}
    assert found == comes_back_after


def spec(**options: object) -> ChildSpec[Actor]:
    return ChildSpec("it", Actor, **options)  # type: ignore[arg-type]


@given(
    st.floats(0.001, 10),
    st.floats(1, 10),
    st.floats(0.001, 100),
    st.floats(0, 1),
    st.integers(0, 10_000),
)
def test_a_pause_never_passes_its_cap_nor_is_negative(
    first_s: float, factor: float, cap_s: float, jitter: float, attempt: int
) -> None:
    backoff = Backoff(first_s=first_s, factor=factor, cap_s=cap_s, jitter=jitter)
    pause_s = backoff.pause_s(attempt, Random(1))
    assert 0 <= pause_s <= cap_s


def test_without_jitter_the_pauses_are_exact() -> None:
    backoff = Backoff(first_s=0.1, factor=2, cap_s=1, jitter=0)
    pauses = [backoff.pause_s(attempt, Random()) for attempt in range(6)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1])


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.integers(1, 5))
def test_the_limit_is_crossed_exactly_when_a_window_holds_too_many(
    gaps_s: list[float], crashes: int
) -> None:
    """Compare with counting by hand."""
    limit = Limit(crashes=crashes, seconds=5)
    history, now_s, times = History(), 0.0, list[float]()
    for gap_s in gaps_s:
        now_s += gap_s
        times.append(now_s)
        verdict = after_exit(
            spec(),
            limit,
            history,
            CRASHED,
            now_s=now_s,
            lived_s=gap_s,
            rng=Random(1),
        )
        expected = sum(1 for at in times if now_s - at < 5) > crashes
        assert verdict.exceeded == expected
        assert verdict.again != expected
        history = verdict.history
        assert len(history.crashes) <= crashes + 1
        if expected:
            break


@pytest.mark.parametrize("exit_", [EXITS["normal"], EXITS["tripped"]])
def test_only_crashes_count(exit_: Exit) -> None:
    history = History()
    for _ in range(100):
        verdict = after_exit(
            spec(), Limit(1, 5), history, exit_, now_s=1, lived_s=0, rng=Random(1)
        )
        assert verdict.again
        history = verdict.history
    assert history.crashes == ()


def test_an_id_is_one_name() -> None:
    with pytest.raises(ValueError, match="without '/'"):
        ChildSpec("a/b", Actor)
    with pytest.raises(ValueError, match="one name"):
        ChildSpec("", Actor)
