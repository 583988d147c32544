"""What providers say about pace, in all the spellings that were recorded."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.ratelimits import (
    WAIT_S_MAX,
    RateWindow,
    lower_names,
    parse_duration_s,
    parse_wait_s,
    rate_windows,
    retry_after_s,
)

NOW_S = datetime(2025, 9, 13, 11, 19, 0, tzinfo=UTC).timestamp()
RECORDINGS = Path(__file__).parent.parent / "recordings"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("17.399999999s", 17.399999999),
        ("14m24s", 864.0),
        ("1h2m3.5s", 3723.5),
        ("7m12.3s", 432.3),
        ("1500us", 0.0015),
        ("2µs", 2e-6),
        ("2\u03bcs", 2e-6),
        ("5ns", 5e-9),
        ("1d", 86_400.0),
        (".5s", 0.5),
        ("0", 0.0),
        ("60", 60.0),
        (" 1.5 ", 1.5),
        ("", None),
        ("s", None),
        ("1x", None),
        ("-1s", None),
        ("nan", None),
        ("inf", None),
        ("1" * 400, None),
        ("1m 2s", None),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    expected = None if seconds is None else pytest.approx(seconds)

    assert parse_duration_s(text) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-09-13T11:19:08Z", 8.0),
        ("2025-09-13T13:19:08+02:00", 8.0),
        ("Sat, 13 Sep 2025 11:19:30 GMT", 30.0),
        ("2025-09-13T11:18:00Z", 0.0),  # already past
        (str(int(NOW_S) + 5), 5.0),  # a moment in Unix seconds
        (str((int(NOW_S) + 5) * 1000), 5.0),  # in milliseconds
        ("2s", 2.0),
        ("soon", None),
        ("2025-99-99T00:00:00Z", None),
    ],
)
def test_moments_become_waits(text: str, seconds: float | None) -> None:
    assert parse_wait_s(text, NOW_S) == seconds


@given(st.text(max_size=40))
def test_no_header_makes_the_parser_fail(text: str) -> None:
    wait = parse_wait_s(text, NOW_S)

    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"retry-after": "3"}, 3.0),
        (503, {"retry-after": "3"}, 3.0),
        (529, {"retry-after": "3"}, 3.0),
        (200, {"retry-after": "30"}, None),  # Anthropic does so on successes
        (400, {"retry-after": "30"}, None),
        (429, {"retry-after": "1", "retry-after-ms": "0"}, 1.0),  # Azure
        (429, {"retry-after": "1", "retry-after-ms": "250"}, 0.25),
        (429, {"retry-after": "Sat, 13 Sep 2025 11:19:30 GMT"}, 30.0),
        (429, {"retry-after": "9999999"}, WAIT_S_MAX),
        (429, {"retry-after": "-1"}, None),
        (429, {}, None),
    ],
)
def test_retry_after_counts_only_where_it_means_something(
    status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    assert retry_after_s(status, headers, None, NOW_S) == wait_s


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        ({"error": {"message": "Please retry in 48.2s."}}, 48.2),
        ({"error": {"message": "Please try again in 7m12.5s. Upgrade"}}, 432.5),
        ({"error": {"message": "Please try again in 20ms"}}, 0.02),
        ({"error": {"message": "Try later"}}, None),
        ({"error": "text"}, None),
        ({"error": {"details": [{"@type": "x"}, "y"], "message": None}}, None),
        ([{"error": {"message": "Please retry in 2s"}}], 2.0),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_the_body_is_asked_when_no_header_answers(
    body: Any, wait_s: float | None
) -> None:
    assert retry_after_s(429, {}, body, NOW_S) == wait_s
    assert retry_after_s(429, {"retry-after": "9"}, body, NOW_S) == 9.0


def test_geminis_recorded_retry_info_is_read() -> None:
    folder = RECORDINGS / "gemini/fixture-error-429-retry-info"
    body = json.loads((folder / "response.json").read_text())

    assert retry_after_s(429, {}, body, NOW_S) == 34.4


@pytest.mark.parametrize(
    ("headers", "windows"),
    [
        (
            {
                "x-ratelimit-limit-requests": "3500",
                "x-ratelimit-remaining-requests": "3498",
                "x-ratelimit-reset-requests": "17ms",
                "x-ratelimit-limit-tokens": "90000",
            },
            {
                RateWindow("requests", "", 3500, 3498, 0.017),
                RateWindow("tokens", "", 90_000),
            },
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "400000",
                "anthropic-ratelimit-input-tokens-remaining": "399000",
                "anthropic-ratelimit-input-tokens-reset": "2025-09-13T11:19:08Z",
            },
            {RateWindow("input-tokens", "", 400_000, 399_000, 8.0)},
        ),
        (
            {
                "x-ratelimit-limit-req-minute": "100",
                "x-ratelimit-remaining-tokens-minute": "98321",
                "x-ratelimit-tokens-query-cost": "31",
            },
            {
                RateWindow("requests", "minute", 100),
                RateWindow("tokens", "minute", None, 98_321),
            },
        ),
        (
            {"ratelimitbysize-limit": "500000", "ratelimitbysize-reset": "60"},
            {RateWindow("tokens", "", 500_000, None, 60.0)},
        ),
        (
            {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "0"},
            {RateWindow("requests", "", 2, 0)},
        ),
        ({"x-ratelimit-limit-requests": "many"}, {RateWindow("requests")}),
        ({"x-ratelimit-key": "gpt-5-nano", "content-type": "x"}, set[RateWindow]()),
    ],
)
def test_rate_windows_of_each_provider(
    headers: dict[str, str], windows: set[RateWindow]
) -> None:
    assert set(rate_windows(headers, NOW_S)) == windows


def test_every_recorded_rate_header_with_an_aspect_is_read() -> None:
    """One that slips through would be a provider whose limits we overrun."""
    seen = 0
    for meta in RECORDINGS.glob("*/*/meta.json"):
        for name, value in json.loads(meta.read_text())["response_headers"] or []:
            aspects = {"limit", "remaining", "reset"} & set(name.lower().split("-"))
            if "ratelimit" not in name.lower() or not aspects:
                continue
            (window,) = rate_windows({name.lower(): value}, NOW_S)
            seen += 1
            assert (window.limit, window.remaining, window.reset_s) != (None,) * 3
    assert seen > 100


def test_header_names_are_compared_without_case() -> None:
    assert lower_names([("Retry-After", "1"), ("retry-after", "2")]) == {
        "retry-after": "1"
    }


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "Mon, 01 Jan 2024 00:00:00 +999999999999",
        "9" * 5000,
    ],
)
def test_moments_beyond_every_calendar_are_no_moments(text: str) -> None:
    wait = retry_after_s(429, {"retry-after": text}, None, NOW_S)
    assert wait is None or 0 <= wait <= WAIT_S_MAX
    (window,) = rate_windows({"x-ratelimit-reset-requests": text}, NOW_S)
    assert window.reset_s is None or window.reset_s >= 0


def test_counts_are_numbers_that_every_reader_holds() -> None:
    """A limit of three hundred digits is one that is not there."""
    (window,) = rate_windows({"x-ratelimit-remaining-tokens": "9" * 300}, NOW_S)
    assert window.remaining is not None
    assert window.remaining < 2**53
