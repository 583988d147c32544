"""From records to sums: by the minute, the hour and the day. Pure.

A request is counted once, at the deployment that answered it (the last one, of one that
failed). Money is counted where it was spent: an attempt that was billed and came to
nothing is its provider's, so the sum over providers is the sum over requests. What no
client waited for (a mirror, a probe) is no request: its calls, tokens and cost count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from actors.archivist.ports import Step
from actors.auditor.messages import RequestRecord

MINUTE_S: Final = 60
GRAINS_S: Final = (MINUTE_S, 3600, 86_400)
GRAIN_OF: Final[dict[Step, int]] = {"minute": 60, "hour": 3600, "day": 86_400}
FIRST_CONTENT: Final = 0
TOTAL: Final = 1
# Four slots an octave: a quantile is known to within 9 %.
SLOTS_PER_OCTAVE: Final = 4
CALL_ERRORS: Final = frozenset({"slow", "failed", "throttled", "key"})

# Rows without some dimensions, under the negative grain: what pages ask for most is
# summed from a few thousand of them. Sums: without key, environment and feature.
# Times: without tenant and site, for the operator's own view.
NARROW_GRAINS_S: Final = (3600, 86_400)

# grain, at, then the dimensions in the table's order.
SumKey = tuple[int, int, str, str, str, str, str, str, str, str]
LatencyKey = tuple[int, int, str, str, str, str, str, int, int]

FIELDS: Final = (
    "requests", "errors", "aborted", "refused", "degraded", "calls", "call_errors",
    "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
    "cost_nanousd", "overrun_nanousd", "unpriced", "estimated", "duration_ms",
)  # fmt: skip
(
    REQUESTS, ERRORS, ABORTED, REFUSED, DEGRADED, CALLS, CALL_ERRORS_AT, PROMPT, CACHED,
    OUTPUT, REASONING, COST, OVERRUN, UNPRICED, ESTIMATED, DURATION,
) = range(len(FIELDS))  # fmt: skip


def slot_of(ms: int) -> int:
    """The slot of a duration."""
    return 0 if ms <= 1 else math.ceil(SLOTS_PER_OCTAVE * math.log2(ms))


def ms_of(slot: int) -> int:
    """A duration of this slot: its middle."""
    return max(1, round(2 ** ((slot - 0.5) / SLOTS_PER_OCTAVE)))


def quantile(slots: Sequence[tuple[int, int]], share: float) -> int | None:
    """The duration below which this share lies, of sorted (slot, how many)."""
    total = sum(count for _, count in slots)
    if not total:
        return None
    wanted = share * total
    seen = 0
    for slot, count in slots:
        seen += count
        if seen >= wanted:
            return ms_of(slot)
    return ms_of(slots[-1][0])


class Tally:
    """Sums of some records, ready to be added to what is stored."""

    def __init__(self, records: Iterable[RequestRecord]) -> None:
        self.sums: dict[SumKey, list[int]] = {}
        self.slots: dict[LatencyKey, int] = {}
        # By the minute first: all other rows are sums of a few of these.
        minutes: dict[SumKey, list[int]] = {}
        times: dict[LatencyKey, int] = {}
        for record in records:
            _add(record, minutes, times)
        for key, values in minutes.items():
            self._spread(key, values)
        for time, count in times.items():
            self._spread_time(time, count)

    def __repr__(self) -> str:
        return f"<Tally {len(self.sums)} sums {len(self.slots)} slots>"

    def _spread(self, minute: SumKey, values: list[int]) -> None:
        """Add one minute's sum to every row that it is in."""
        _, at_ms, *rest = minute
        tenant, site, env, key_id, model, provider, upstream, feature = rest
        for grain_s in GRAINS_S:
            at = at_ms - at_ms % (grain_s * 1000)
            _add_to(
                self.sums,
                (grain_s, at, tenant, site, env, key_id, model, provider, upstream,
                 feature),
                values,
            )  # fmt: skip
        for grain_s in NARROW_GRAINS_S:
            at = at_ms - at_ms % (grain_s * 1000)
            _add_to(
                self.sums,
                (-grain_s, at, tenant, site, "", "", model, provider, upstream, ""),
                values,
            )

    def _spread_time(self, minute: LatencyKey, count: int) -> None:
        """The same for how often something took so long."""
        _, at_ms, tenant, site, model, provider, upstream, what, slot = minute
        slots = self.slots
        for grain_s in GRAINS_S:
            at = at_ms - at_ms % (grain_s * 1000)
            for key in (
                (grain_s, at, tenant, site, model, provider, upstream, what, slot),
                (-grain_s, at, "", "", model, provider, upstream, what, slot),
            ):
                slots[key] = slots.get(key, 0) + count


def _add(
    record: RequestRecord,
    minutes: dict[SumKey, list[int]],
    times: dict[LatencyKey, int],
) -> None:
    """Add one record to the sums and the times of its minute."""
    attempts = record.attempts
    last = attempts[-1] if attempts else None
    provider = last.provider if last is not None else ""
    upstream = last.model if last is not None else ""
    ok = record.outcome == "ok"
    waited = not record.aside  # No client asked for the others.
    own = _sum_at(minutes, _minute(record, provider, upstream))
    if waited:
        own[REQUESTS] += 1
        own[DURATION] += record.duration_ms
        if not ok:
            own[ERRORS] += record.outcome in {"error", "cut", "crashed"}
            own[ABORTED] += record.outcome == "aborted"
            own[REFUSED] += last is None
        if record.degraded:
            own[DEGRADED] += 1
    own[PROMPT] += record.prompt_tokens
    own[CACHED] += record.cached_tokens
    own[OUTPUT] += record.output_tokens
    own[REASONING] += record.reasoning_tokens
    own[OVERRUN] += record.overrun_nanousd
    own[UNPRICED] += not record.priced
    own[ESTIMATED] += record.usage_estimated
    # What no attempt accounts for (there is none, as a rule) stays in the sum.
    own[COST] += record.cost_nanousd
    for attempt in attempts:
        at = own
        if attempt.provider != provider or attempt.model != upstream:
            at = _sum_at(minutes, _minute(record, attempt.provider, attempt.model))
            at[COST] += attempt.cost_nanousd
            own[COST] -= attempt.cost_nanousd
        at[CALLS] += 1
        at[CALL_ERRORS_AT] += attempt.outcome in CALL_ERRORS
    if waited and last is not None and (ok or record.first_content_ms):
        at_ms = record.opened_at_ms
        at_ms -= at_ms % (MINUTE_S * 1000)
        took = ((TOTAL, record.duration_ms), (FIRST_CONTENT, record.first_content_ms))
        for what, ms in took:
            if what == TOTAL or ms:
                time = (
                    MINUTE_S, at_ms, record.tenant, record.site, record.model,
                    provider, upstream, what, slot_of(ms),
                )  # fmt: skip
                times[time] = times.get(time, 0) + 1


def _sum_at(sums: dict[SumKey, list[int]], key: SumKey) -> list[int]:
    found = sums.get(key)
    if found is None:
        found = sums[key] = [0] * len(FIELDS)
    return found


def _minute(record: RequestRecord, provider: str, upstream: str) -> SumKey:
    at_ms = record.opened_at_ms
    return (
        MINUTE_S,
        at_ms - at_ms % (MINUTE_S * 1000),
        record.tenant,
        record.site,
        record.env,
        record.key_id,
        record.model,
        provider,
        upstream,
        record.feature,
    )


def _add_to(sums: dict[SumKey, list[int]], key: SumKey, values: Sequence[int]) -> None:
    found = sums.get(key)
    if found is None:
        sums[key] = list(values)
    else:
        for place, value in enumerate(values):
            found[place] += value
