"""What of the records a question is about, as SQL. Pure.

Owns: which rows of sums answer it: the fewest that are still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from actors.archivist.ports import Filter, Step
from actors.archivist.sums import GRAIN_OF
from storage.sql.port import Value

MINUTES_MAX_MS: Final = 6 * 3_600_000
HOURS_MAX_MS: Final = 48 * 3_600_000
EDGES_MAX_MS: Final = 100 * 86_400_000  # Hours are kept for 120 days, if not said so.


def spans(step: Step, since_ms: int, until_ms: int) -> list[tuple[int, int, int]]:
    """The rows that a question is answered from: (grain, since, until) of each part.

    A total over some hours is summed from minutes, over two days from hours, over
    months from days with hours at both ends. The beginning is cut to a whole row.
    """
    if step != "total":
        grain_s = GRAIN_OF[step]
        return [(grain_s, _floor(since_ms, grain_s), until_ms)]
    span_ms = until_ms - since_ms
    if span_ms <= MINUTES_MAX_MS:
        return [(60, _floor(since_ms, 60), until_ms)]
    if span_ms <= HOURS_MAX_MS:
        return [(3600, _floor(since_ms, 3600), until_ms)]
    if span_ms > EDGES_MAX_MS:  # The hours of its beginning may be gone.
        return [(86_400, _floor(since_ms, 86_400), until_ms)]
    first = -_floor(-since_ms, 86_400)
    last = _floor(until_ms, 86_400)
    return [
        (3600, _floor(since_ms, 3600), first),
        (86_400, first, last),
        (3600, last, until_ms),
    ]


def _floor(at_ms: int, grain_s: int) -> int:
    return at_ms - at_ms % (grain_s * 1000)


def where_sums(
    step: Step, wanted: Filter, narrow: Sequence[int]
) -> tuple[str, list[Value]]:
    """A filter over sums: of the narrow rows, at the grains that have them."""
    times: list[str] = []
    args: list[Value] = []
    for grain_s, since_ms, until_ms in spans(step, wanted.since_ms, wanted.until_ms):
        if since_ms < until_ms:
            times.append("(grain_s = ? AND at_ms >= ? AND at_ms < ?)")
            args += [-grain_s if grain_s in narrow else grain_s, since_ms, until_ms]
    # How a request ended is no dimension of sums.
    plain = msgspec.structs.replace(wanted, outcome="", code="")
    parts, more = _parts(plain)
    return " AND ".join([f"({' OR '.join(times)})", *parts]), [*args, *more]


def where_rows(wanted: Filter, at: str, prefix: str = "") -> tuple[str, list[Value]]:
    """A filter as SQL."""
    parts, args = _parts(wanted, prefix)
    times = [f"{at} >= ?", f"{at} < ?"]
    return " AND ".join([*times, *parts]), [wanted.since_ms, wanted.until_ms, *args]


def _parts(wanted: Filter, prefix: str = "") -> tuple[list[str], list[Value]]:
    """All but the times. Only what is set is in it, so that an index fits."""
    parts: list[str] = []
    args: list[Value] = []
    for value, column in (
        (wanted.tenant, "tenant"),
        (wanted.site, "site"),
        (wanted.environment, "env"),
        (wanted.key, "key_id"),
        (wanted.model, "model"),
        (wanted.provider, "provider"),
        (wanted.upstream_model, "upstream_model"),
        (wanted.feature, "feature"),
        (wanted.outcome, "outcome"),
        (wanted.code, "code"),
    ):
        if value:
            parts.append(f"{prefix}{column} = ?")
            args.append(value)
    if wanted.tenants is not None:
        names = sorted(wanted.tenants)
        marks = ", ".join("?" * len(names)) or "NULL"
        parts.append(f"{prefix}tenant IN ({marks})")
        args += names
    return parts, args
