"""What the router remembers of one deployment: speed, errors, when it last heard.

Pure: time is an argument. The breaker (actors/provider/breaker.py) decides whether a
provider may be called; this decides how much it is liked.
"""

from __future__ import annotations

from math import exp
from typing import Final

from actors.provider.messages import OutcomeKind
from actors.router.latency import Latency
from actors.router.messages import DeploymentFacts, Observed

ERROR_STEP: Final = 0.12  # The last eight calls make up two thirds of the rate.
ERROR_FORGET_S: Final = 60.0  # Old errors say little: the breaker guards the present.

# Outcomes that say something about the deployment, and what.
_ERRORS: Final[dict[OutcomeKind, float]] = {
    "ok": 0.0,
    "slow": 1.0,
    "failed": 1.0,
    "throttled": 1.0,
    "key": 1.0,
}


class Known:
    """One deployment, as far as its calls have told."""

    __slots__ = ("error_at", "error_rate", "latency", "probed_at")

    def __init__(self, facts: DeploymentFacts | None = None) -> None:
        self.latency = Latency(
            first_content_s=facts.first_content_s if facts else None,
            per_token_s=facts.per_token_s if facts else None,
            prefill_tokens_per_s=facts.prefill_tokens_per_s if facts else None,
        )
        self.error_rate = 0.0
        self.error_at = 0.0
        self.probed_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Known errors={self.error_rate:.2f} {self.latency!r}>"

    def errors(self, now: float) -> float:
        """The decayed share of failed calls."""
        rate = self.error_rate
        if not rate:
            return 0.0
        return rate * exp((self.error_at - now) / ERROR_FORGET_S)

    def observe(self, seen: Observed, now: float) -> None:
        """Take the end of one attempt."""
        error = _ERRORS.get(seen.outcome)
        if error is None:
            return
        rate = self.errors(now)
        self.error_rate = rate + ERROR_STEP * (error - rate)
        self.error_at = now
        latency = self.latency
        tokens = max(0, seen.prompt_tokens - seen.cached_tokens)
        if seen.outcome == "ok" and not seen.streamed:
            latency.whole(tokens, seen.output_tokens, seen.in_flight, seen.total_s, now)
        elif seen.first_content_s is not None:
            latency.first_content(tokens, seen.in_flight, seen.first_content_s, now)
            if seen.outcome == "ok" and seen.output_tokens > 1:
                latency.tokens(
                    seen.prompt_tokens,
                    seen.in_flight,
                    (seen.total_s - seen.first_content_s) / (seen.output_tokens - 1),
                    now,
                )
        elif seen.outcome == "slow":
            latency.timed_out(tokens, seen.total_s, now)

    def renewed(self) -> None:
        """Its breaker closed: what went before it opened is over."""
        self.error_rate = 0.0
        self.latency.renewed()
