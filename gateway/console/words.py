"""Numbers and times as people read them. Pure; the templates' filters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

NOTHING: Final = "\u2013"  # A dash, where there is no number.
NANOUSD: Final = 1_000_000_000


def usd(nanousd: int | None) -> str:
    """Money: cents where there are dollars, more digits where there are none."""
    if nanousd is None:
        return "no price"
    sign = "-" if nanousd < 0 else ""
    amount = abs(nanousd) / NANOUSD
    if amount == 0:
        return "$0"
    if amount >= 1000:
        return f"{sign}${amount:,.0f}"
    if amount >= 1:
        return f"{sign}${amount:,.2f}"
    digits = 4 if amount >= 0.01 else 6
    text = f"{amount:.{digits}f}".rstrip("0")
    if len(text.partition(".")[2]) == 1:
        text += "0"  # $0.50, not $0.5.
    return f"{sign}${text}" if float(text) else f"{sign}<$0.000001"


def count(number: float | None) -> str:
    """A count: whole up to ten thousand, then in thousands and millions."""
    if number is None:
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:,.0f}"


def span(ms: float | None) -> str:
    """How long something took."""
    if ms is None:
        return NOTHING
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s" if ms < 10_000 else f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one."""
    return NOTHING if share is None else f"{share * 100:.{digits}f} %"


def change(now: float, before: float) -> str:
    """How much more or less than before; nothing where that says nothing."""
    if not before or now == before:
        return ""
    more = (now - before) / before
    if abs(more) >= 10:
        return f"\u00d7{now / before:,.0f}"
    return f"{more * 100:+.0f} %".replace("-", "\u2212")


def ago(ms: int | None, now_ms: int) -> str:
    """A moment of the past, or of the future, seen from now."""
    if ms is None:
        return "never"
    gap = now_ms - ms
    if abs(gap) < 5_000:
        return "just now"
    text = _rough(abs(gap))
    return f"{text} ago" if gap > 0 else f"in {text}"


def exact(ms: int | None) -> str:
    """The same moment in full, for a title."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(ms: int | None) -> str:
    """For `datetime` of `<time>`; the browser shows it in its own zone."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _rough(ms: int) -> str:
    for size, unit in (
        (365 * 86_400_000, "year"),
        (30 * 86_400_000, "month"),
        (86_400_000, "day"),
        (3_600_000, "hour"),
        (60_000, "minute"),
    ):
        if ms >= size:
            many = ms // size
            return f"{many} {unit}{'s' if many > 1 else ''}"
    return f"{ms // 1000} s"
