"""Faults that a stream finds itself, each with who, why and what next. Pure."""

from __future__ import annotations

from typing import Final

import httpx

from actors.ledger.messages import HoldRefused
from actors.provider.messages import Deadlines, Refused
from actors.router.messages import Deployment, NoRoute
from actors.stream.messages import KEY_REVOKED, PAGE_ASTRAY, SITE_CLOSED
from runtime import ActorDown, MailboxFull
from wire.events import Fault


def ours(
    message: str,
    *,
    status: int,
    code: str,
    type: str = "server_error",  # noqa: A002 - the wire's own word
    retry_after_s: float | None = None,
) -> Fault:
    """A fault of the gateway's own making."""
    return Fault(
        kind="ours",
        message=message,
        status=status,
        code=code,
        type=type,
        retry_after_s=retry_after_s,
        source="gateway",
    )


def halted(why: str) -> Fault:
    """A hook ended the answer with an error. `why` must not quote the answer."""
    return ours(
        f"The answer was ended: {why}.",
        status=502,
        code="answer_refused",
    )


def not_admitted(error: Exception) -> Fault:
    """No record can be kept, or no plan be made: nothing is served meanwhile."""
    if isinstance(error, MailboxFull):
        return ours(
            "The gateway is overloaded; try again in a moment.",
            status=429,
            code="gateway_overloaded",
            retry_after_s=1.0,
        )
    return ours(
        f"The gateway cannot serve now ({type(error).__name__}); it keeps no request "
        "that it cannot record. Try again in a moment.",
        status=503,
        code="gateway_unavailable",
        retry_after_s=1.0,
    )


def no_route(reply: NoRoute) -> Fault:
    """The router knows nobody for this."""
    return Fault(
        kind="client",
        message=reply.message,
        status=reply.status,
        code=reply.code,
        type="invalid_request_error",
        param=reply.param,
        retry_after_s=reply.retry_after_s,
        source="gateway",
    )


def provider_gone(deployment: Deployment) -> Fault:
    """It was taken out of the config after the plan was made."""
    return ours(
        f"Provider {deployment.provider} is no longer configured.",
        status=503,
        code="provider_unavailable",
    )


def provider_open(down: ActorDown, now: float) -> Fault:
    """Its breaker is open."""
    name = down.id.rpartition("/")[2]
    wait_s = None if down.retry_at is None else max(0.0, down.retry_at - now)
    when = "soon" if wait_s is None else f"in {wait_s:.1f} s"
    return ours(
        f"Provider {name} is out of use after failures; it is tried again {when}.",
        status=503,
        code="provider_unavailable",
        retry_after_s=wait_s,
    )


def provider_busy(deployment: Deployment, error: Exception) -> Fault:
    """Its actor takes no more questions now."""
    return ours(
        f"Provider {deployment.provider} takes no more requests now: {error}.",
        status=503,
        code="provider_busy",
        retry_after_s=1.0,
    )


def refused(reply: Refused, now: float) -> Fault:
    """It is there and says no."""
    wait_s = None if reply.retry_at is None else max(0.0, reply.retry_at - now)
    if reply.reason in ("cooling", "rate_limited"):
        return Fault(
            kind="throttle",
            message=f"{reply.message[0].upper()}{reply.message[1:]}.",
            status=429,
            code="rate_limit_exceeded",
            type="requests",
            retry_after_s=wait_s,
            source=reply.provider,
        )
    busy = reply.reason == "busy"
    return ours(
        f"{reply.message[0].upper()}{reply.message[1:]}.",
        status=503,
        code="provider_busy" if busy else "provider_unavailable",
        retry_after_s=wait_s if wait_s is not None else (1.0 if busy else None),
    )


FOR_STRANGERS = "This service has reached its limit for now; please try again later."


def hold_refused(reply: HoldRefused, *, for_page: bool = False) -> Fault:
    """The site has no room: for this answer, or for one more request.

    `for_page`: whoever reads it is no client of ours, and learns no sum.
    """
    message = f"{reply.message[0].upper()}{reply.message[1:]}."
    if for_page:
        message = FOR_STRANGERS
    if reply.reason == "in_flight":
        return ours(
            message,
            status=429,
            code="site_concurrency_exceeded",
            type="requests",
            retry_after_s=reply.retry_after_s,
        )
    if reply.reason in ("requests", "tokens"):
        return ours(
            message,
            status=429,
            code="rate_limit_exceeded",
            type=reply.reason,
            retry_after_s=reply.retry_after_s,
        )
    if reply.reason == "removed":
        return ours(message, status=403, code="site_removed")
    if reply.reason == "unbounded":
        return Fault(
            kind="client",
            message=message,
            status=400,
            code="max_tokens_required",
            type="invalid_request_error",
            param="max_tokens",
            source="gateway",
        )
    if reply.reason == "store":
        return ours(
            message,
            status=503,
            code="ledger_unavailable",
            retry_after_s=reply.retry_after_s,
        )
    return Fault(
        kind="ours",
        message=message,
        status=429,
        # OpenAI's own word, which its clients do not retry into.
        code="insufficient_quota" if reply.reason == "spend_cap" else "unpriced",
        type="insufficient_quota",
        retry_after_s=reply.retry_after_s,
        source="gateway",
    )


def no_key(provider: str, error: Exception) -> Fault:
    """The vault lends no key. The reason is for the operator's log, not the client."""
    return ours(
        f"The gateway has no usable key for provider {provider} "
        f"({type(error).__name__}); its operator has to mend it.",
        status=503,
        code="key_unavailable",
    )


def key_late(provider: str, limit_s: float) -> Fault:
    """The vault waits, for its KMS or for the audit log: nobody else is slow."""
    return ours(
        f"The key for provider {provider} was not there within {limit_s:g} s; try "
        "again in a moment.",
        status=503,
        code="key_unavailable",
        retry_after_s=1.0,
    )


def pool_full(provider: str) -> Fault:
    """All connections are taken."""
    return ours(
        f"All connections to provider {provider} are in use.",
        status=503,
        code="provider_busy",
        retry_after_s=1.0,
    )


def transport(provider: str, error: httpx.TransportError) -> Fault:
    """The connection failed. The class tells why; the text may name addresses."""
    return Fault(
        kind="transient",
        message=f"The connection to provider {provider} failed "
        f"({type(error).__name__}).",
        status=502,
        code="upstream_connection_failed",
        type="upstream_error",
        source=provider,
    )


def timed_out(provider: str, phase: str, deadlines: Deadlines) -> Fault:
    """A phase took too long."""
    what, limit_s = {
        "queue": ("had no room for this request", deadlines.connect_s),
        "connect": ("did not accept a connection", deadlines.connect_s),
        "headers": ("did not answer", deadlines.headers_s),
        "first_content": ("sent no content", deadlines.first_content_s),
        "idle": ("paused for too long in the middle of its answer", deadlines.idle_s),
        "total": ("did not finish", deadlines.total_s),
    }[phase]
    if phase == "queue":
        return ours(
            f"Provider {provider} {what} in time.",
            status=503,
            code="provider_busy",
            retry_after_s=1.0,
        )
    return Fault(
        kind="transient",
        message=f"Provider {provider} {what} within {limit_s:g} s.",
        status=504,
        code="upstream_timeout",
        type="upstream_error",
        source=provider,
    )


# Another try would be refused the same: no status that clients try again after.
_NO_MORE: Final = {
    KEY_REVOKED: (401, "invalid_api_key"),
    SITE_CLOSED: (403, "site_suspended"),
    PAGE_ASTRAY: (403, "origin_not_allowed"),
}


def ended(why: str) -> Fault:
    """The gateway, or the client, ended it."""
    if why in _NO_MORE:
        status, code = _NO_MORE[why]
        return Fault(
            kind="client",
            message=f"The request was ended: {why}.",
            status=status,
            code=code,
            type="invalid_request_error",
            source="gateway",
        )
    return ours(f"The request was ended: {why}.", status=503, code="request_ended")
