"""What a server may ask a grant for: the body it posts, and the request within.

Owns: that whatever cannot be served is refused here, where somebody can mend it, and
not when a page redeems the grant. Never: keeps or spends anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from actors.granter.messages import Waiting
from actors.granter.policy import TTL_S_MAX
from actors.router.messages import MakePlan, NoRoute
from actors.stream.tokens import prompt_tokens
from gateway.gate import Gate
from gateway.http.inquiries import Endpoint
from gateway.http.naming import FEATURE_HEADER, check_name, feature_of
from gateway.http.request import Request
from gateway.settings.origins import normal
from gateway.sites import Caller
from wire.dialect import ClientDialect, ClientError
from wire.jsontext import client_error

ENDPOINT: Final = "/v1/chat/completions"
PATH_CHARS_MAX: Final = 512
AUDIENCE_CHARS_MAX: Final = 128
# What of the asking server's own header goes with the request.
PASSED: Final = frozenset(
    {
        "anthropic-version",
        "anthropic-beta",
        "openai-beta",
        "content-type",
        "idempotency-key",
        FEATURE_HEADER,
    }
)

EndpointAt = Callable[[Request], Endpoint | None]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST that asks for a grant."""

    request: msgspec.Raw
    origin: str
    endpoint: str = ENDPOINT
    audience: str = ""
    ttl_s: float = TTL_S_MAX


_read: Final = msgspec.json.Decoder(Wanted).decode


def read_wanted(body: bytes, caller: Caller) -> Wanted:
    """What is asked for, if this caller may. Raises ClientError."""
    try:
        wanted = _read(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise client_error(error) from None
    origin = normal(wanted.origin)
    if origin is None:
        raise ClientError(
            "Invalid 'origin': write the page's own, such as "
            "https://www.example.org, without a path.",
            param="origin",
            code="invalid_value",
        )
    if not caller.access.origins.allow(origin):
        raise ClientError(
            "This key may give no grants for this origin. Add it to the "
            "allowed_origins of its site.",
            param="origin",
            code="origin_not_allowed",
            status=403,
        )
    if not 0 < wanted.ttl_s <= TTL_S_MAX:
        raise ClientError(
            f"Invalid 'ttl_s': more than 0, at most {TTL_S_MAX:g} seconds.",
            param="ttl_s",
            code="invalid_value",
        )
    if len(wanted.audience) > AUDIENCE_CHARS_MAX:
        raise ClientError(
            f"Invalid 'audience': at most {AUDIENCE_CHARS_MAX} characters.",
            param="audience",
            code="invalid_value",
        )
    terms = caller.terms
    allowed = terms.audiences if terms is not None else ()
    if allowed and wanted.audience not in allowed:
        raise ClientError(
            "This key may give no grants for this audience; name one of its own.",
            param="audience",
            code="audience_not_allowed",
            status=403,
        )
    wanted.origin = origin
    return wanted


async def waiting_for(
    gate: Gate,
    endpoint_at: EndpointAt,
    request: Request,
    caller: Caller,
    wanted: Wanted,
    *,
    request_id: str,
) -> Waiting:
    """The request as it will be served. Raises ClientError and AskError."""
    path = wanted.endpoint
    if not (path.isascii() and path.isprintable() and path.startswith("/v1")):
        raise _no_endpoint()
    if len(path) > PATH_CHARS_MAX or " " in path:
        raise _no_endpoint()
    fields = tuple(
        (name, request.headers[name]) for name in PASSED if name in request.headers
    )
    posted = request.at(path, fields)
    endpoint = endpoint_at(posted)
    if endpoint is None or endpoint.operation != "chat":
        raise _no_endpoint()
    feature_of(posted.headers)
    body = bytes(wanted.request)
    head = endpoint.dialect.read_head(body, posted.headers)
    check_name(head.model)
    plan = await gate.router.ask(
        MakePlan(
            site=caller.site,
            model=head.model,
            dialect=endpoint.dialect.name,
            prompt_tokens=prompt_tokens(head.prompt_bytes - head.media_bytes),
            output_tokens_max=head.max_output_tokens,
            needs=head.needs,
            stream=head.stream,
            affinity=0,
            terms=caller.terms,
        )
    )
    if isinstance(plan, NoRoute) and plan.status < 500:
        raise ClientError(
            plan.message, param=plan.param, code=plan.code, status=plan.status
        )
    return Waiting(
        request_id=request_id,
        site=caller.site,
        key_id=caller.key_id,
        path=path,
        body=body,
        streamed=head.stream,
        headers=fields,
        as_events=head.stream and _has_events(endpoint.dialect),
    )


def _has_events(dialect: ClientDialect) -> bool:
    """Whether its streams are server-sent events; Google's may be one JSON array."""
    kind = dict(dialect.stream_headers).get("content-type", "")
    return kind.startswith("text/event-stream")


def _no_endpoint() -> ClientError:
    return ClientError(
        "Invalid 'endpoint': write the path that the request would have been sent to, "
        "such as /v1/chat/completions, /v1/messages or /v1/responses.",
        param="endpoint",
        code="invalid_value",
    )
