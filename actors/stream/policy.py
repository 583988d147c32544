"""What a stream does next. Pure: no trio, no clock, chance as an argument.

One rule above all: until the first content has gone to the client any failure may move
on; after it, never.

| fault      | next candidate                  | same target, when none is left |
|------------|---------------------------------|--------------------------------|
| client     | no                              | no                             |
| - content  | those that are kept for it      | no                             |
| context    | larger ones, those kept for it  | no                             |
| key        | yes                             | no                             |
| throttle   | yes                             | after Retry-After              |
| transient  | yes                             | with jitter                    |
| ours       | as `code` says                  | no                             |

Calls of the same target again are paid from the retry budget (`budget.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.provider.messages import OnAbort
from actors.router.explain import usd
from actors.router.messages import Candidate
from wire.events import Fault, FaultKind

RETRIES_MAX = 2  # As the SDKs: a third try of a sick target only adds load.
TRIES_MAX = 32  # Of candidates and retries: no client is still there after more.
RETRY_FIRST_S = 0.25
RETRY_CAP_S = 8.0
REOPENS_WITHIN_S = 5.0  # Of several that are left alone, one is tried again so soon.
RETRY_AFTER_MAX_S = 10.0  # A client waits that long for a throttle, not a minute.

DRAIN_TOKENS_MAX = 2_000  # What a client that left may still cost, at most,
DRAIN_S = 20.0  # and how long it may keep an upstream call.

# Of "ours": these say that this deployment cannot, not that the request may not.
MOVES_ON: frozenset[str] = frozenset(
    {
        "provider_unavailable",
        "provider_busy",
        "unpriced",
        "insufficient_quota",  # Of the ledger: a cheaper candidate may still fit.
        "key_unavailable",
        "upstream_timeout",
        "unsupported",
    }
)
GOES_DOWN: frozenset[str] = frozenset({"insufficient_quota", "too_dear"})
RETRYABLE: frozenset[FaultKind] = frozenset({"throttle", "transient"})
# The provider is being left alone on purpose; asking it again at once is pointless.
PATIENT_CODES: frozenset[str] = frozenset({"provider_unavailable", "provider_busy"})


# A model's refusal for what is said, not for how it is asked.
CONTENT_CODES: frozenset[str] = frozenset(
    {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
)

PATIENCE_FACTOR = 4.0  # Of the p95: one call in thousands, unless something is wrong.
HEDGE_AFTER_MIN_S = 0.5  # Sooner, a hedge costs more than it saves.
PATIENCE_MIN_S = 3.0  # Predictions of fast models are too short to be exact.

GATES_CHARS_MAX = 1_000  # Of a message; a dozen providers are named in it.

TURN_MIN_S = 5.0  # With others that have room, a queue is worth a moment.
ELSEWHERE_AFTER_S = 5.0  # As long for those that are full: they are next, not first.
TURN_MAX_S = 100.0  # In all: after that long most proxies cut a silent answer.


class Failure(Struct, frozen=True):
    """One attempt that failed before content."""

    candidate: int
    fault: Fault


class Step(Struct, frozen=True):
    """Try `candidate`, after `pause_s`. A `retry` is paid from the budget."""

    candidate: int
    pause_s: float = 0.0
    retry: bool = False


class Final(Struct, frozen=True):
    """No more: answer with this fault."""

    fault: Fault


def next_step(
    candidates: Sequence[Candidate],
    failures: Sequence[Failure],
    rng: Random,
    *,
    may_retry: bool = True,
) -> Step | Final:
    """Decide after the failures so far (none: begin).

    Args:
        candidates: of the plan, in its order.
        failures: in the order they happened.
        rng: chance, for jitter.
        may_retry: whether the budget can pay a retry.
    """
    if not failures:
        return Step(0)
    last = failures[-1]
    fault = last.fault
    content = fault.code in CONTENT_CODES
    if not content and not moves_on(fault):
        return Final(fault)
    if len(failures) >= TRIES_MAX:
        return Final(tell_client(failures))
    tried = {failure.candidate for failure in failures}
    too_small = _largest_that_failed(candidates, failures)
    refused_for = _refused_for(failures)
    for index, candidate in enumerate(candidates):
        if index not in tried and _may_follow(candidate, refused_for, too_small):
            return Step(index)
    if content:
        return Final(fault)
    retries = len(failures) - len(tried)
    if retries < RETRIES_MAX and may_retry:
        best = _retryable(failures, len(candidates))
        if best is not None:
            pause_s = _pause_s(best.fault, retries, rng)
            if pause_s is not None:
                return Step(best.candidate, pause_s, retry=True)
    if retries < RETRIES_MAX and len(candidates) > 1:
        soonest = _reopening(failures)
        if soonest is not None:
            wait_s = (soonest.fault.retry_after_s or 0.0) + RETRY_FIRST_S * rng.random()
            return Step(soonest.candidate, wait_s)
    return Final(tell_client(failures))


def _refused_for(failures: Sequence[Failure]) -> Literal["content", "context", ""]:
    """What is wrong with the request itself, for some: that does not pass again.

    So when one of those that are kept for it is down, the others of them still follow.
    """
    if any(failure.fault.code in CONTENT_CODES for failure in failures):
        return "content"
    too_long = any(failure.fault.kind == "context" for failure in failures)
    return "context" if too_long else ""


def _may_follow(candidate: Candidate, refused_for: str, too_small: int) -> bool:
    """Whether this candidate may try after what was said of the request so far."""
    if refused_for == "content":
        return candidate.on == "content"
    window = candidate.window_tokens
    if too_small and window is not None and window <= too_small:
        return False
    return candidate.on in {"any", refused_for}


def _largest_that_failed(
    candidates: Sequence[Candidate], failures: Sequence[Failure]
) -> int:
    """The largest window that the prompt is known not to fit; 0 is none."""
    return max(
        (
            candidates[failure.candidate].window_tokens or 0
            for failure in failures
            if failure.fault.kind == "context"
        ),
        default=0,
    )


def goes_down(fault: Fault | None, *, lower: bool) -> bool:
    """Whether the request tries the next step of its site's ladder, and not refuses.

    There was no room for its holds, or nobody is as cheap as the step wants.
    """
    if not lower or fault is None:
        return False
    # A provider's own quota is another matter.
    return fault.source == "gateway" and fault.code in GOES_DOWN


def patience_s(candidate: Candidate, *, others_left: bool) -> float | None:
    """How long to wait for its first content before somebody else is tried.

    None leaves it to the deadline: where nobody else is left, or nothing is known.
    """
    if not others_left or not candidate.first_content_s:
        return None
    return max(PATIENCE_MIN_S, PATIENCE_FACTOR * candidate.first_content_s)


def turn_s(
    candidates: Sequence[Candidate],
    place: int,
    failures: Sequence[Failure],
    waited_s: float,
) -> float:
    """How long to wait in this candidate's queue before another one is tried.

    Where all others are full too, leaving is only going to the end of another queue:
    under a burst those who came first would be served last, or never. A queue whose
    provider fails is dissolved at once, so nobody waits there in vain.
    """
    tried = {failure.candidate for failure in failures}
    for index, other in enumerate(candidates):
        untried = index != place and index not in tried
        if untried and other.on == "any" and not other.full:
            return TURN_MIN_S
    return max(TURN_MIN_S, TURN_MAX_S - waited_s)


def elsewhere(
    candidates: Sequence[Candidate], place: int, failures: Sequence[Failure]
) -> tuple[Candidate, ...]:
    """Whose places it may have as well, when it has waited in this one's queue.

    Where all are full the next place that is free anywhere is the best one: a queue of
    each candidate alone leaves some idle while others' queues are long. Those with room
    have their own turn.
    """
    if not failures and not candidates[place].full:
        return ()
    last_of = {failure.candidate: failure.fault.code for failure in failures}
    return tuple(
        other
        for index, other in enumerate(candidates)
        if index != place
        and other.on == "any"
        and (last_of[index] == "provider_busy" if index in last_of else other.full)
    )


def moves_on(fault: Fault) -> bool:
    """Whether another candidate may do better."""
    match fault.kind:
        case "client":
            return False
        case "ours":
            return fault.code in MOVES_ON
        case "context" | "key" | "throttle" | "transient":
            return True


def tell_client(failures: Sequence[Failure]) -> Fault:
    """The fault that tells the client most.

    Throttles win, for they say when to come back; then what a model said; last, what
    the gateway itself could not do. Of two of a kind the one that passes sooner; and
    where nobody could be asked at all, each says why.
    """
    order: dict[FaultKind, int] = {
        "context": 0,
        "throttle": 1,
        "transient": 2,
        "key": 3,
        "ours": 4,
        "client": 5,
    }

    def rank(fault: Fault) -> tuple[int, float]:
        wait_s = fault.retry_after_s
        return order[fault.kind], inf if wait_s is None else wait_s

    told = min((failure.fault for failure in failures), key=rank)
    if told.code not in PATIENT_CODES:
        return told
    gates = dict.fromkeys(
        failure.fault.message
        for failure in failures
        if failure.fault.code in PATIENT_CODES
    )
    why = " ".join([told.message, *(one for one in gates if one != told.message)])
    return replace(told, message=why[:GATES_CHARS_MAX])


def _retryable(failures: Sequence[Failure], candidates: int) -> Failure | None:
    """The most preferred target whose last fault may pass."""
    last_of: dict[int, Failure] = {f.candidate: f for f in failures}
    for index in range(candidates):
        failure = last_of.get(index)
        if failure is None:
            continue
        if failure.fault.kind in RETRYABLE and failure.fault.code not in PATIENT_CODES:
            return failure
    return None


def _reopening(failures: Sequence[Failure]) -> Failure | None:
    """The open provider that is tried again first, if that is soon.

    Asking it once more is no call: its breaker decides whether there will be one.
    """
    last_of: dict[int, Failure] = {f.candidate: f for f in failures}
    soon = [
        failure
        for failure in last_of.values()
        if failure.fault.code == "provider_unavailable"
        and failure.fault.retry_after_s is not None
        and failure.fault.retry_after_s <= REOPENS_WITHIN_S
    ]
    return min(soon, key=lambda f: f.fault.retry_after_s or 0.0, default=None)


def _pause_s(fault: Fault, retries: int, rng: Random) -> float | None:
    """Full jitter, never before Retry-After; None when that is too long to wait."""
    grown: float = RETRY_FIRST_S * 2**retries
    pause_s = min(grown, RETRY_CAP_S) * rng.uniform(0.5, 1.0)
    if fault.retry_after_s is None:
        return pause_s
    if fault.retry_after_s > RETRY_AFTER_MAX_S:
        return None
    # Everybody was told the same time: spread them behind it.
    return fault.retry_after_s + pause_s


def hedge_with(
    candidates: Sequence[Candidate], failures: Sequence[Failure]
) -> int | None:
    """Who could serve beside the first one: the second, while nothing has failed."""
    if failures or len(candidates) < 2 or candidates[1].on != "any":
        return None
    return 1


def routed(candidate: Candidate, attempts: int) -> tuple[tuple[str, str], ...]:
    """What a site may see of its routing, as response headers."""
    return (
        ("x-stagedoor-route", str(candidate.deployment)),
        ("x-stagedoor-attempts", str(attempts)),
        ("x-stagedoor-cost", usd(candidate.cost_nanousd)),
    )


Abort = Literal["cancel", "drain"]


def on_client_gone(on_abort: OnAbort, *, sent: bool) -> Abort:
    """Drain only where cancelling would not stop the bill: once the request is out.

    Whole answers too: leaving before the end of one must not make it free.
    """
    return "drain" if on_abort == "drain" and sent else "cancel"


def drained_enough(tokens_since: int, seconds_since: float) -> bool:
    """Whether a drain has come to its bound."""
    return tokens_since >= DRAIN_TOKENS_MAX or seconds_since >= DRAIN_S


def first_at(candidates: tuple[Candidate, ...], provider: str) -> tuple[Candidate, ...]:
    """The candidates, those at this provider before all others."""
    return tuple(sorted(candidates, key=lambda c: c.deployment.provider != provider))
