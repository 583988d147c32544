"""Which rows a total is summed from: every hour once, whatever its ends."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from storage.sql.record_filters import EDGES_MAX_MS, spans

HOUR = 3_600_000


@given(st.integers(0, 10_000), st.integers(1, EDGES_MAX_MS // HOUR))
def test_the_parts_of_a_total_meet_and_do_not_overlap(start: int, hours: int) -> None:
    since, until = start * HOUR, (start + hours) * HOUR

    parts = [one for one in spans("total", since, until) if one[1] < one[2]]

    assert parts[0][1] == since
    assert parts[-1][2] == until
    for before, after in pairwise(parts):
        assert before[2] == after[1]
    for grain_s, at, _ in parts:
        assert at % (grain_s * 1000) == 0


@given(st.integers(0, 10**13), st.integers(1, 10**12))
def test_a_beginning_is_cut_to_a_row_and_an_end_is_kept(since: int, long: int) -> None:
    parts = spans("total", since, since + long)

    assert parts[0][1] <= since
    assert parts[-1][2] == since + long
