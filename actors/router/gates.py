"""What drops a candidate, each with its reason. Pure.

| gate       | a candidate is dropped when                                   | kind |
|------------|---------------------------------------------------------------|------|
| region     | it runs where this site's prompts may not go, or nobody knows | hard |
| capability | it lacks something that the request needs                     | hard |
| window     | prompt (at its worst) and answer do not fit its window        | hard |
| unpriced   | it has no price and the site has a spend cap or a ceiling     | hard |
| price      | it may cost more than one request may                         | hard |
| class      | it is dearer than the site's ladder allows now (thrift.py)    | hard |
| open       | its breaker is open, or one call is testing it                | soft |
| key        | it refused the gateway's key                                  | soft |
| rate       | its rate limit has no room left                               | soft |
| paused     | an operator has taken it out of use                           | soft |

A hard gate holds for this request for good: the candidate is in no plan. A soft one
passes with time: such candidates come last, and the provider's own actor refuses them
as long as the gate holds; so none is called that fails a gate.
"""

from __future__ import annotations

from typing import Final

from actors.router.messages import DeploymentFacts, Wishes
from wire.dialect import Need

# Where the client leaves the bound open, room for at least a short answer.
ANSWER_TOKENS_MIN: Final = 256


def hard(
    facts: DeploymentFacts,
    wishes: Wishes,
    *,
    needs: frozenset[Need],
    prompt_tokens_max: int,
    output_tokens_max: int | None,
    worst_nanousd: int | None,
    capped: bool,
) -> tuple[str, str] | None:
    """The gate that drops it for good and why, or None."""
    if wishes.regions and facts.region not in wishes.regions:
        where = f"in {facts.region}" if facts.region else "in an unknown region"
        return "region", f"runs {where}; allowed: {', '.join(wishes.regions)}"
    if needs and facts.capabilities is not None and not needs <= facts.capabilities:
        missing = ", ".join(sorted(needs - facts.capabilities))
        return "capability", f"cannot do: {missing}"
    window = facts.window_tokens
    if window is not None:
        answer = ANSWER_TOKENS_MIN if output_tokens_max is None else output_tokens_max
        if prompt_tokens_max + answer > window:
            return "window", (
                f"up to {prompt_tokens_max} prompt and {answer} output tokens do not "
                f"fit its window of {window}"
            )
    ceiling = wishes.cost_nanousd_max
    if worst_nanousd is None:
        if capped or ceiling is not None:
            return "unpriced", "has no price, and what it costs must be bounded"
        return None
    if ceiling is not None and worst_nanousd > ceiling:
        return "price", (
            f"may cost ${worst_nanousd / 1e9:.6f}, over the ceiling of "
            f"${ceiling / 1e9:.6f} a request"
        )
    return None
