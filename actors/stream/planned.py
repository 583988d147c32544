"""What a record keeps of a plan: each candidate's score, or what kept it out. Pure."""

from __future__ import annotations

from typing import Final

from actors.auditor.messages import PlannedRecord
from actors.router.messages import Candidate, Gated, NoRoute, Plan

PLANNED_MAX: Final = 16  # A record stays small; routes have two or three candidates.
WHY_CHARS_MAX: Final = 160


def planned(plan: Plan | NoRoute) -> tuple[PlannedRecord, ...]:
    """The candidates in order, then those that were kept out."""
    chosen = plan.candidates if isinstance(plan, Plan) else ()
    if not plan.gated and len(chosen) == 1 and not chosen[0].parts:
        return (_candidate(chosen[0]),)  # As most requests are: one deployment.
    found = [_candidate(one) for one in chosen[:PLANNED_MAX]]
    found += [_gated(one) for one in plan.gated[: PLANNED_MAX - len(found)]]
    return tuple(found)


def _candidate(one: Candidate) -> PlannedRecord:
    return PlannedRecord(
        provider=one.deployment.provider,
        model=one.deployment.model,
        score=round(one.score, 4),
        parts=tuple([(name, round(part, 4)) for name, part in one.parts]),
        after="" if one.on == "any" else one.on,
        latency_ms=round(one.latency_s * 1000),
        first_content_ms=round(one.first_content_s * 1000),
        cost_nanousd=one.cost_nanousd,
        probe=one.probe,
    )


def _gated(one: Gated) -> PlannedRecord:
    return PlannedRecord(
        provider=one.deployment.provider,
        model=one.deployment.model,
        gate=one.gate,
        why=one.why[:WHY_CHARS_MAX],
    )
