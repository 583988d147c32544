"""Windows by the calendar of any time zone, over its changes of clocks; and rolling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import windows
from actors.ledger.caps import Book
from actors.ledger.covering import Who
from actors.ledger.history import History
from actors.ledger.messages import Cap, Window

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # Goes back over midnight: the day has two of them.
    "Africa/Cairo",  # Goes forward at midnight: the day has none.
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # By half an hour.
    "Pacific/Apia",  # 30 December 2011 never was.
    "Pacific/Chatham",
]
moments = st.floats(
    datetime(2008, 1, 1, tzinfo=UTC).timestamp(),
    datetime(2037, 1, 1, tzinfo=UTC).timestamp(),
)
calendars = st.sampled_from(["day", "week", "month"])


@given(calendars, st.sampled_from(ZONES), moments)
def test_every_moment_is_in_its_window_and_windows_touch(
    window: Window, zone: str, at_s: float
) -> None:
    start_s, until_s = windows.calendar(window, zone, at_s)

    assert start_s <= at_s < until_s
    assert windows.calendar(window, zone, start_s) == (start_s, until_s)
    before_s = windows.calendar(window, zone, start_s - 1)[1]
    assert before_s == start_s
    assert windows.calendar(window, zone, until_s)[0] == until_s


@given(calendars, st.sampled_from(ZONES), moments)
def test_windows_begin_with_a_date_and_on_a_quarter_of_an_hour(
    window: Window, zone: str, at_s: float
) -> None:
    """So money that is remembered by quarters is counted exactly."""
    start_s, _ = windows.calendar(window, zone, at_s)
    first = datetime.fromtimestamp(start_s, ZoneInfo(zone))
    last = datetime.fromtimestamp(start_s - 1, ZoneInfo(zone))

    assert start_s % windows.QUARTER_S == 0
    assert last.date() < first.date()
    if window == "month" and zone != "Pacific/Apia":
        assert first.day == 1
    if window == "week" and zone != "Pacific/Apia":
        assert first.weekday() == 0


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("America/New_York", (2026, 11, 1), 25),
        ("America/Havana", (2026, 11, 1), 25),
        ("Africa/Cairo", (2026, 4, 24), 23),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
        ("UTC", (2026, 3, 29), 24),
    ],
)
def test_days_are_as_long_as_their_clocks_make_them(
    zone: str, day: tuple[int, int, int], hours: float
) -> None:
    noon = datetime(*day, 12, tzinfo=ZoneInfo(zone)).timestamp()
    start_s, until_s = windows.calendar("day", zone, noon)

    assert (until_s - start_s) / 3600 == hours


def test_a_total_never_ends() -> None:
    assert windows.calendar("total", "Europe/Berlin", 1e9) == (0.0, float("inf"))


def test_a_hold_settles_in_the_window_that_it_was_taken_in() -> None:
    """However late: the day that begins owes nothing to the last one."""
    zone = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 10, 25, 23, 59, tzinfo=zone).timestamp()
    book = Book(Cap("c", 100, "day", zone="Europe/Berlin"), "acme", evening)
    slot = book.hold(70, evening)
    book.roll(evening + 120)

    assert book.room_nanousd == 100
    book.close(slot, 70, 60)
    assert (book.spent_nanousd, book.held_nanousd) == (0, 0)


@given(
    st.sampled_from(["day", "week", "month"]),
    st.lists(st.tuples(st.floats(0, 200_000), st.integers(0, 50)), max_size=40),
)
def test_a_rolling_window_never_counts_less_than_was_spent_in_it(
    window: Window, spends: list[tuple[float, int]]
) -> None:
    """And no more than a quarter of an hour too much."""
    now_s = 1.8e9
    length_s = windows.rolling_s(window)
    book = Book(Cap("c", 100, window, rolling=True), "acme", now_s)
    done: list[tuple[float, int]] = []
    for step_s, nanousd in spends:
        now_s += step_s
        book.roll(now_s)
        exact = sum(n for at, n in done if at > now_s - length_s)
        most = sum(n for at, n in done if at > now_s - length_s - windows.QUARTER_S)
        assert exact <= book.spent_nanousd <= most
        book.close(book.hold(nanousd, now_s), nanousd, nanousd)
        done.append((now_s, nanousd))


def test_a_rolling_window_says_when_there_is_room_again() -> None:
    now_s = 1_800_000_000.0
    book = Book(Cap("c", 100, "day", rolling=True), "acme", now_s)
    book.spend(now_s, 60)
    book.spend(now_s + 3600, 40)

    soon = book.resets_at_s(50)
    later = book.resets_at_s(80)
    assert soon is not None
    assert later is not None
    for at_s, wanted in ((soon, 50), (later, 80)):
        book.roll(at_s)
        assert book.room_nanousd >= wanted
    assert soon < later
    assert book.resets_at_s(101) is None


@given(st.lists(st.tuples(st.integers(0, 12 * 86_400), st.integers(1, 9)), max_size=40))
def test_history_forgets_no_money_and_makes_it_no_older(
    spends: list[tuple[int, int]],
) -> None:
    """A book that is opened late counts at least what was spent."""
    history = History()
    now_s = 1.8e9
    done: list[tuple[float, int]] = []
    for step_s, nanousd in spends:
        now_s += step_s
        history.add(Who("a", "k", "m", "p"), now_s, nanousd, now_s)
        done.append((now_s, nanousd))
    remembered = list(history.all())

    assert sum(n for _, _, n in remembered) == sum(n for _, n in done)
    for days in (1, 7, 30):
        since_s = now_s - timedelta(days=days).total_seconds()
        since_s -= since_s % windows.QUARTER_S
        exact = sum(n for at, n in done if at >= since_s)
        assert sum(n for _, at, n in remembered if at >= since_s) >= exact


@given(st.sampled_from(["day", "week", "month"]), moments)
def test_money_leaves_a_rolling_window_when_its_quarter_has_left(
    window: Window, at_s: float
) -> None:
    """Not a moment too soon; and not later than the quarter needs."""
    length_s = windows.rolling_s(window)
    book = Book(Cap("c", 100, window, rolling=True), "acme", at_s)
    book.close(book.hold(60, at_s), 60, 60)

    book.roll(at_s + length_s - 0.001)
    assert book.spent_nanousd == 60
    book.roll(at_s + length_s + windows.QUARTER_S)
    assert book.spent_nanousd == 0
