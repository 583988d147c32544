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
        # By the minute first: hours and days are sums of a few of these.
        minutes: dict[SumKey, list[int]] = {}
        for record in records:
            self._add(record, minutes)
        for key, values in minutes.items():
            self._spread(key, values)

    def __repr__(self) -> str:
        return f"<Tally {len(self.sums)} sums {len(self.slots)} slots>"

    def _add(self, record: RequestRecord, minutes: dict[SumKey, list[int]]) -> None:
        last = record.attempts[-1] if record.attempts else None
        provider = last.provider if last is not None else ""
        upstream = last.model if last is not None else ""
        ok = record.outcome == "ok"
        own = [0] * len(FIELDS)
        waited = int(not record.aside)  # No client asked for the others.
        own[REQUESTS] = waited
        own[ERRORS] = waited * int(record.outcome in {"error", "cut", "crashed"})
        own[ABORTED] = waited * int(record.outcome == "aborted")
        own[REFUSED] = waited * int(last is None and not ok)
        own[DEGRADED] = waited * int(bool(record.degraded))
        own[PROMPT] = record.prompt_tokens
        own[CACHED] = record.cached_tokens
        own[OUTPUT] = record.output_tokens
        own[REASONING] = record.reasoning_tokens
        own[OVERRUN] = record.overrun_nanousd
        own[UNPRICED] = int(not record.priced)
        own[ESTIMATED] = int(record.usage_estimated)
        own[DURATION] = waited * record.duration_ms
        # What no attempt accounts for (there is none, as a rule) stays in the sum.
        own[COST] = record.cost_nanousd
        for attempt in record.attempts:
            failed = int(attempt.outcome in CALL_ERRORS)
            if attempt.provider == provider and attempt.model == upstream:
                own[CALLS] += 1
                own[CALL_ERRORS_AT] += failed
                continue
            other = [0] * len(FIELDS)
            other[CALLS] = 1
            other[CALL_ERRORS_AT] = failed
            other[COST] = attempt.cost_nanousd
            own[COST] -= attempt.cost_nanousd
            _add_to(minutes, _minute(record, attempt.provider, attempt.model), other)
        _add_to(minutes, _minute(record, provider, upstream), own)
        if waited and last is not None and (ok or record.first_content_ms):
            at = (provider, upstream)
            self._time(record, at, TOTAL, record.duration_ms)
            if record.first_content_ms:
                self._time(record, at, FIRST_CONTENT, record.first_content_ms)

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

    def _time(
        self, record: RequestRecord, by: tuple[str, str], what: int, ms: int
    ) -> None:
        """Count how long it took, by the provider and the model that answered."""
        at_ms, slot = record.opened_at_ms, slot_of(ms)
        for grain_s in GRAINS_S:
            at = at_ms - at_ms % (grain_s * 1000)
            model = record.model
            for key in (
                (grain_s, at, record.tenant, record.site, model, *by, what, slot),
                (-grain_s, at, "", "", model, *by, what, slot),
            ):
                self.slots[key] = self.slots.get(key, 0) + 1


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
