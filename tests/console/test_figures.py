"""What pages work out by themselves: waterfalls, quantiles, series, words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.pages.audit import label
from gateway.console.pages.overview import (
    SPANS,
    STEP_MS,
    narrowing,
    series,
    spans_of,
    table,
)
from gateway.console.pages.providers import by_size, quantile
from gateway.console.pages.requests import waterfall
from gateway.console.words import change

MINUTE_MS = 60_000


def row(prompt: int, first: int, total: int, outcome: str = "ok") -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "first_content_ms": first,
        "duration_ms": total,
        "outcome": outcome,
    }


def test_times_are_told_by_the_length_of_the_prompt() -> None:
    rows = [row(10, 100, 200), row(20, 300, 400), row(5000, 900, 4000)]
    short, long = by_size(rows)
    assert (short["label"], short["requests"]) == ("up to 1k", 2)
    assert (short["first_p50_ms"], short["total_p95_ms"]) == (100, 400)
    assert (long["label"], long["share"], long["first_share"]) == ("4k to 16k", 100, 22)


def test_failures_do_not_make_a_provider_look_fast() -> None:
    assert by_size([row(10, 0, 1, "error"), row(10, 0, 1, "aborted")]) == []


def test_an_answer_in_one_piece_has_its_first_content_at_its_end() -> None:
    assert by_size([row(10, 0, 700)])[0]["first_p95_ms"] == 700


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_a_time_that_was_measured(times: list[int], share: float) -> None:
    found = quantile(times, share)
    assert found in times
    assert sum(one <= found for one in times) >= share * len(times) - 1e-6


TIMES = st.integers(0, 10_000)


@given(
    st.fixed_dictionaries(
        {
            "duration_ms": TIMES,
            "planned_ms": TIMES,
            "attempts": st.lists(
                st.fixed_dictionaries(
                    {
                        "provider": st.just("p"),
                        "model": st.just("m"),
                        "outcome": st.sampled_from(["ok", "failed"]),
                    },
                    optional={
                        "began_ms": TIMES,
                        "queued_ms": TIMES,
                        "leased_ms": TIMES,
                        "head_ms": TIMES,
                        "first_content_ms": TIMES,
                        "total_ms": TIMES,
                    },
                ),
                max_size=3,
            ),
        }
    )
)
def test_no_bar_of_a_waterfall_leaves_its_rail(record: dict[str, Any]) -> None:
    """Whatever the clocks of a crashed request have left in its record."""
    for bar in waterfall(record):
        assert 0 <= bar["start"] < 100
        assert 1 <= bar["share"] <= 100 - bar["start"]
        assert bar["ms"] >= 0


def test_minutes_without_a_request_are_in_a_chart_too() -> None:
    sums = {"requests": 4, "errors": 1, "prompt_tokens": 10, "output_tokens": 5,
            "cost_nanousd": 2_000_000_000}  # fmt: skip
    found = series(
        [{"at_ms": 2 * MINUTE_MS, "sums": sums}],
        [
            {
                "at_ms": 2 * MINUTE_MS,
                "first_p50_ms": 7,
                "first_p95_ms": 9,
                "total_p50_ms": 20,
                "total_p95_ms": 30,
            }
        ],
        (MINUTE_MS, 4 * MINUTE_MS),
        "minute",
    )
    assert found["at_s"] == [60, 120, 180]
    assert found["requests"] == [0, 4, 0]
    assert found["usd"] == [0, 2, 0]
    assert found["error_share"] == [None, 0.25, None]
    assert found["first_p95_ms"] == [None, 9, None]
    assert found["total_p95_ms"] == [None, 30, None]


@given(st.integers(0, 10**8), st.sampled_from(sorted(SPANS)))
def test_two_spans_that_follow_each_other_are_as_long_and_share_no_step(
    now_ms: int, span: str
) -> None:
    """So the one before can be drawn beside this one, step by step."""
    now_ms += 1_800_000_000_000
    length, step = SPANS[span]
    this, before = spans_of(now_ms, span)
    shown = series([], [], this, step)["at_s"]
    past = series([], [], before, step)["at_s"]
    assert len(shown) == len(past) == length // STEP_MS[step]
    assert past[-1] < shown[0]
    assert shown[-1] * 1000 <= now_ms < shown[-1] * 1000 + STEP_MS[step]


def test_tables_are_of_one_look_and_know_what_was_before() -> None:
    def one(site: str, provider: str, model: str, requests: int) -> dict[str, Any]:
        group = {"site": site, "model": "m", "provider": provider,
                 "upstream_model": model}  # fmt: skip
        sums = {"requests": requests, "errors": 1, "cost_nanousd": requests * 5}
        return {"group": group, "sums": sums}

    now = [one("a", "p", "x", 3), one("b", "p", "y", 4), one("a", "", "", 9)]
    then = [one("a", "p", "x", 2)]
    routes = table(now, then, ("provider", "upstream_model"))
    assert [
        (row["name"], row["sums"]["requests"], row["before"]) for row in routes
    ] == [
        ("p/y", 4, 0),
        ("p/x", 3, 2),
    ]
    sites = table(now, then, ("site",))
    assert [(row["name"], row["sums"]["requests"]) for row in sites] == [
        ("a", 12),
        ("b", 4),
    ]


@pytest.mark.parametrize(("chosen", "asked"), [
    ({"route": "main/a/b"}, {"provider": "main", "upstream_model": "a/b"}),
    ({"route": "main"}, {"provider": "main", "upstream_model": ""}),
    ({"route": "", "provider": "p"}, {"provider": "p"}),
    ({"route": "main/m", "provider": "main"},
     {"provider": "main", "upstream_model": "m"}),
    ({"route": "main/m", "provider": "spare"},
     {"provider": "main/m", "upstream_model": "m"}),
])  # fmt: skip
def test_a_route_is_a_provider_and_what_it_calls_the_model(
    chosen: dict[str, str], asked: dict[str, str]
) -> None:
    assert narrowing(chosen) == asked


@pytest.mark.parametrize(("now", "before", "told"), [
    (110, 100, "+10 %"), (50, 100, "\u221250 %"), (100, 100, ""), (5, 0, ""),
    (0, 5, "\u2212100 %"), (1500, 100, "\u00d715"),
])  # fmt: skip
def test_a_change_is_told_against_before(now: int, before: int, told: str) -> None:
    assert change(now, before) == told


def test_an_entry_of_the_audit_log_says_what_it_was_about() -> None:
    nothing = dict.fromkeys(("name", "provider", "tenant", "env"), "") | {"version": 0}
    assert label(nothing) == ""
    assert label(nothing | {"tenant": "t1", "env": "prod"}) == "t1/prod"
    assert (
        label(
            nothing
            | {"name": "default", "provider": "main", "version": 2, "tenant": "t1"}
        )
        == "default main v2 of t1"
    )
