"""What providers say about pace: how long to wait, and how much is left. Pure.

Owns: Retry-After in all its spellings, rate windows out of headers. Never: whether to
wait; that is the provider actor's policy. Nothing here fails: a header we cannot read
is a header that was not sent.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

# Anthropic and the Hugging Face router send retry-after on ordinary successes too.
RETRY_AFTER_STATUSES: Final = frozenset({429, 503, 529})

# A day: daily quotas exist, longer waits are a mistake or an attack on our clock.
WAIT_S_MAX: Final = 86_400.0

# More requests or tokens than any window has; beyond it a count says "no limit".
COUNT_MAX: Final = 1e15

# A number above this is a moment, not a wait: seconds, or else milliseconds, of Unix
# time (OpenRouter sends the latter).
_UNIX_S_MIN: Final = 1e9
_UNIX_MS_MIN: Final = 1e11

_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "\u03bcs": 1e-6,  # Greek mu: Go reads both
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,  # Not Go, but Groq's daily limits and a few proxies say so.
}
_UNIT: Final = r"(?:ns|us|µs|\u03bcs|ms|s|m|h|d)"
_TERM: Final = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({_UNIT})")
_DURATION: Final = re.compile(rf"(?:(?:\d+(?:\.\d*)?|\.\d+){_UNIT})+")
_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_IN_MESSAGE: Final = re.compile(
    rf"(?:try again|retry) (?:in|after) ((?:(?:\d+(?:\.\d*)?|\.\d+){_UNIT})+)",
    re.IGNORECASE,
)
# Longer texts are not searched: a provider's own error message is a sentence or two.
_MESSAGE_CHARS_MAX: Final = 4096

_KINDS: Final = {"req": "requests", "": "requests"}
_PERIODS: Final = frozenset({"second", "minute", "hour", "day", "month"})
_ASPECTS: Final = frozenset({"limit", "remaining", "reset"})
_PREFIX: Final = re.compile(r"(?:x-|anthropic-)?ratelimit(bysize)?-(.+)")


class RateWindow(msgspec.Struct, frozen=True):
    """One allowance of ours: of what, how much, how much is left, when it refills."""

    of: str  # "requests", "tokens", "input-tokens", "output-tokens", "input-images"
    per: str = ""  # "minute", "hour", … where the provider says so.
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


def parse_duration_s(text: str) -> float | None:
    """A Go duration ("1m30s", "17.399999999s", "20ms") or bare seconds, in seconds."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _finite(float(text))
    if not _DURATION.fullmatch(text):
        return None
    return _finite(
        sum(float(number) * _UNITS_S[unit] for number, unit in _TERM.findall(text))
    )


def parse_wait_s(text: str, now_s: float | None) -> float | None:
    """How long from now: a duration, or a moment in any of the usual spellings.

    A moment without a `now_s` says nothing.
    """
    wait = parse_duration_s(text)
    if wait is None:
        moment = _parse_moment_s(text.strip())
    elif wait >= _UNIX_MS_MIN:
        moment = wait / 1000
    elif wait >= _UNIX_S_MIN:
        moment = wait
    else:
        return wait
    return None if moment is None or now_s is None else max(0.0, moment - now_s)


def server_now_s(headers: Mapping[str, str]) -> float | None:
    """The provider's own clock, from its Date header: Unix seconds, None without one.

    A moment it names is best measured by the clock it read: no skew between us counts.
    """
    return _parse_moment_s(headers.get("date", ""))


def retry_after_s(
    status: int, headers: Mapping[str, str], body: Any, now_s: float | None
) -> float | None:
    """How long the provider asks us to leave it alone; None when it does not ask.

    Headers first (`headers` has lower-case names), then Gemini's RetryInfo in the
    parsed `body`, then the words of its message. Never negative, at most `WAIT_S_MAX`.
    """
    if status not in RETRY_AFTER_STATUSES:
        return None
    # Azure sends "retry-after-ms: 0" beside "retry-after: 1": zero says nothing.
    millis = _number(headers.get("retry-after-ms"))
    if millis:
        return min(millis / 1000, WAIT_S_MAX)
    header = headers.get("retry-after")
    wait = None if header is None else parse_wait_s(header, now_s)
    if wait is None:
        wait = _retry_info_s(body)
    return None if wait is None else min(wait, WAIT_S_MAX)


def rate_windows(
    headers: Mapping[str, str], now_s: float | None
) -> tuple[RateWindow, ...]:
    """Every allowance the headers speak of (`headers` has lower-case names)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in headers.items():
        match = _PREFIX.fullmatch(name)
        if match is None:
            continue
        words = match[2].split("-")
        aspects = _ASPECTS.intersection(words)
        if len(aspects) != 1:
            continue
        (aspect,) = aspects
        words.remove(aspect)
        per = words.pop() if words and words[-1] in _PERIODS else ""
        of = "-".join(words)
        # Mistral's older "bysize" headers count tokens without saying so.
        of = "tokens" if match[1] and not of else _KINDS.get(of, of)
        found.setdefault((of, per), {})[aspect] = value
    return tuple(
        RateWindow(
            of,
            per,
            _whole(said.get("limit")),
            _whole(said.get("remaining")),
            parse_wait_s(said["reset"], now_s) if "reset" in said else None,
        )
        for (of, per), said in found.items()
    )


def lower_names(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; of a repeated one the first counts."""
    named: dict[str, str] = {}
    for name, value in headers:
        named.setdefault(name.lower(), value)
    return named


def _retry_info_s(body: Any) -> float | None:
    # Vertex and Gemini may wrap a streamed call's error in a list of one.
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return None
    error = body.get("error", body)
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(
            "google.rpc.RetryInfo"
        ):
            wait = parse_duration_s(str(detail.get("retryDelay", "")))
            if wait is not None:
                return wait
    message = error.get("message")
    if isinstance(message, str):
        match = _IN_MESSAGE.search(message[:_MESSAGE_CHARS_MAX])
        if match is not None:
            return parse_duration_s(match[1])
    return None


def _parse_moment_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # A year of twenty digits.
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _number(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    return _finite(float(text))


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(min(number, COUNT_MAX))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
