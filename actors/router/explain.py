"""A decision in plain words and numbers, for operators and headers. Pure."""

from __future__ import annotations

from typing import Any, Final

from actors.router.messages import Candidate, Explained, Gated, Plan
from actors.router.views import inputs_of

SHOWN_USD_DIGITS: Final = 9  # Nano-dollars: the ledger's own unit.


def explain(explained: Explained) -> dict[str, Any]:
    """Each candidate with its score by part, each dropped one with its gate."""
    plan = explained.plan
    told: dict[str, Any] = {"model": "", "candidates": [], "gated": []}
    if isinstance(plan, Plan):
        told["model"] = plan.model
        told["output_tokens_max"] = plan.output_tokens_max
        told["candidates"] = [_candidate(one) for one in plan.candidates]
    else:
        told["refused"] = {
            "status": plan.status,
            "code": plan.code,
            "message": plan.message,
        }
    told["gated"] = [_gated(one) for one in plan.gated]
    if explained.line:
        inputs = inputs_of(explained.line)
        told["model"] = inputs.model
        told["prefer"] = inputs.wishes.prefer or "ordered"
        weights = inputs.weights
        told["weights"] = (
            None
            if weights is None
            else {
                "latency": weights.latency,
                "errors": weights.errors,
                "window": weights.window,
                "price": weights.price,
            }
        )
        told["inputs"] = explained.line.decode()
    return told


def usd(nanousd: int | None) -> str:
    """Money as a header shows it; unpriced is not free."""
    return "unpriced" if nanousd is None else f"{nanousd / 1e9:.{SHOWN_USD_DIGITS}f}"


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "deployment": str(one.deployment),
        "score": round(one.score, 4),
        "parts": {name: round(part, 4) for name, part in one.parts},
        "after": one.on,
        "latency_p95_s": round(one.latency_s, 3),
        "first_content_p95_s": round(one.first_content_s, 3),
        "in_flight": one.in_flight,
        "cached_tokens": one.cached_tokens,
        "cost_usd": usd(one.cost_nanousd),
        "probe": one.probe,
    }


def _gated(one: Gated) -> dict[str, str]:
    return {"deployment": str(one.deployment), "gate": one.gate, "why": one.why}
