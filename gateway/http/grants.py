"""POST /v1/stream_grants: a server leaves a request, a browser picks up its answer.

Owns: what a grant's request must be, what its URL looks like, and who may redeem it.
The server's key never reaches the browser; what waits is the whole request, so that the
browser chooses nothing of it. Everything is checked when the grant is made, so that it
is refused where somebody can mend it; nothing is spent before it is redeemed.
Never: says a token in a log, an error or a record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import attrs
import msgspec

from actors.granter.messages import (
    Check,
    Checked,
    GrantsUnavailable,
    Issue,
    NotGranted,
    NotRedeemed,
    Redeem,
    Refusal,
    Waiting,
)
from actors.granter.policy import TTL_S_MAX
from actors.router.messages import MakePlan, NoRoute
from actors.stream import faults
from actors.stream.messages import Inquiry
from actors.stream.tokens import prompt_tokens
from actors.tapes.messages import TapesUnavailable
from actors.tapes.policy import read_place
from gateway.gate import Gate
from gateway.http.cors import let_read, origin_of, preflight
from gateway.http.inquiries import (
    FEATURE_HEADER,
    Endpoint,
    check_name,
    fault_of,
    feature_of,
)
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request, TooLarge
from gateway.http.taped import PLACE_HEADER, cancel, place_in, query_of, resume
from gateway.http11_transport import ClientGone as Disconnected
from gateway.logs import new_request_id
from gateway.settings.origins import Origins, normal
from gateway.sites import Caller
from runtime import AskError
from wire.dialect import ClientError
from wire.events import Fault
from wire.jsontext import client_error
from wire.openai_chat import CHAT

PATH: Final = "/v1/stream_grants"
UNDER: Final = f"{PATH}/"
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
BODY_BYTES_MAX: Final = 4096  # Of a redeeming POST: it holds an audience at the most.

# Beside what the stream itself says: the URL is no page and leads nowhere.
PRIVATE: Final = (
    ("cache-control", "no-store, no-transform"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)

WHY: Final[dict[Refusal, str]] = {
    "grant_invalid": "This is no grant of this gateway. Ask your server for a new one.",
    "grant_expired": "This grant has expired. Ask your server for a new one.",
    "grant_origin_mismatch": "This grant is for pages of another origin.",
    "grant_audience_mismatch": "This grant is for another audience; send the one it "
    "was made for as `audience`.",
    "grant_used": "This grant has been used. Each is good for one answer; ask your "
    "server for a new one.",
    "grant_unknown": "What this grant stands for is not here any more. Ask your server "
    "for a new one.",
}


STRANGERS: Final = frozenset({"grant_invalid", "grant_origin_mismatch"})
ANSWER_S: Final = 3600.0  # An answer that is longer on its way than this is over.


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST that asks for a grant."""

    request: msgspec.Raw
    origin: str
    endpoint: str = ENDPOINT
    audience: str = ""
    ttl_s: float = TTL_S_MAX


class Shown(msgspec.Struct):
    """A body of a POST that redeems one."""

    audience: str = ""


_read_wanted: Final = msgspec.json.Decoder(Wanted).decode
_read_shown: Final = msgspec.json.Decoder(Shown).decode

EndpointAt = Callable[[Request], Endpoint | None]


class Grants:
    """Handlers of grants. `endpoint_at` finds whoever serves a path."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.endpoint_at: EndpointAt = lambda _: None

    def __repr__(self) -> str:
        """What it serves."""
        return f"<Grants at {PATH}>"

    # -- making one --------------------------------------------------------------

    async def issue(self, request: Request, caller: Caller) -> None:
        """POST by a server with its key."""
        request_id = new_request_id()
        try:
            wanted = self._wanted(await request.read(), caller)
            waiting = await self._checked(request, caller, wanted, request_id)
            granted = await self.gate.granter.ask(
                Issue(waiting, wanted.origin, wanted.audience, wanted.ttl_s)
            )
        except Disconnected:
            return
        except TooLarge as error:
            fault = fault_of(413, "request_too_large", f"{str(error).capitalize()}.")
            await self._refuse(request, request_id, caller, fault)
            return
        except ClientError as error:
            await self._refuse(request, request_id, caller, error.fault())
            return
        except (AskError, GrantsUnavailable):
            await self._refuse(request, request_id, caller, UNAVAILABLE)
            return
        if isinstance(granted, NotGranted):
            fault = faults.ours(
                f"{granted.why[0].upper()}{granted.why[1:]}; try again in a moment.",
                status=429,
                code="too_many_grants",
                retry_after_s=granted.retry_after_s,
            )
            await self._refuse(request, request_id, caller, fault)
            return
        path = f"{UNDER}{granted.token}"
        await reply_json(
            request.send,
            201,
            {
                "object": "stream_grant",
                "id": request_id,
                "url": f"{self._base(request)}{path}",
                "path": path,
                "token": granted.token,
                "expires_at": int(granted.expires_at_s),
                "expires_in_s": round(granted.expires_at_s - self.gate.wall(), 3),
                "origin": wanted.origin,
                "audience": wanted.audience or None,
                "streamed": waiting.streamed,
            },
            (*PRIVATE, ("x-request-id", request_id)),
        )

    def _wanted(self, body: bytes, caller: Caller) -> Wanted:
        """What is asked for. Raises ClientError."""
        try:
            wanted = _read_wanted(body)
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

    async def _checked(
        self, request: Request, caller: Caller, wanted: Wanted, request_id: str
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
        endpoint = self.endpoint_at(posted)
        if endpoint is None or endpoint.operation != "chat":
            raise _no_endpoint()
        feature_of(posted.headers)
        body = bytes(wanted.request)
        head = endpoint.dialect.read_head(body, posted.headers)
        check_name(head.model)
        plan = await self.gate.router.ask(
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
        )

    def _base(self, request: Request) -> str:
        """Where browsers find this gateway."""
        public = self.gate.config.server.public_url
        if public:
            return public
        host = request.headers.get("host") or request.headers.get(":authority", "")
        return f"{request.scope['scheme']}://{host}" if host else ""

    # -- redeeming one -----------------------------------------------------------

    def route(self, request: Request) -> Callable[[Request], Awaitable[None]] | None:
        """The handler of a path with a token in it, which needs no key."""
        if not request.path.startswith(UNDER):
            return None
        return self.redeem

    async def redeem_by_socket(self, request: Request) -> None:
        """The same for a WebSocket, whose answer cannot be picked up elsewhere."""
        await self.redeem(request, resumable=False)

    async def redeem(self, request: Request, *, resumable: bool = True) -> None:
        """GET or POST by a page: the answer, once; or the rest of it; or its end."""
        token, _, rest = request.path.removeprefix(UNDER).partition("/")
        origin = origin_of(request)
        if request.method == "OPTIONS":
            # GET and POST need none; whoever adds header fields gets one all the same.
            origins = self.gate.sites.origins if origin else Origins()
            await preflight(request, origin or "", origins)
            return
        fault = _unfit(request, rest)
        if fault is not None:
            await self._refuse(request, new_request_id(), None, fault)
            return
        came_from = origin or self._own(request)
        found: Waiting | Checked | NotRedeemed
        try:
            audience = await _audience(request)
            if rest or _comes_back(request):
                late_s = self.gate.config.server.limits.replay_s + ANSWER_S
                check = Check(token, came_from, audience, late_s)
                found = await self.gate.granter.ask(check)
            else:
                redeem = Redeem(token, came_from, audience)
                found = await self.gate.granter.ask(redeem)
            if origin and getattr(found, "code", "") not in STRANGERS:
                let_read(request, origin)
            if isinstance(found, Checked):
                await self._again(request, found, rest)
                return
        except Disconnected:
            return
        except ClientError as error:
            await self._refuse(request, new_request_id(), None, error.fault())
            return
        except (AskError, GrantsUnavailable, TapesUnavailable):
            await self._refuse(request, new_request_id(), None, UNAVAILABLE)
            return
        if isinstance(found, NotRedeemed):
            fault = fault_of(403, found.code, WHY[found.code])
            request_id = found.request_id or new_request_id()
            await self._refuse(request, request_id, None, fault)
            return
        await self._serve(request, found, came_from, resumable=resumable)

    async def _again(self, request: Request, found: Checked, rest: str) -> None:
        """A page that had the answer's beginning wants the rest, or wants no more.

        Raises ClientError and AskError.
        """
        if rest:
            await cancel(self.gate, request, None, found.request_id)
            return
        place = place_in(request, found.request_id)
        _keep_private(request)
        await resume(self.gate, request, None, place)

    def _own(self, request: Request) -> str:
        """This gateway's own origin, for a page that a proxy serves beside it.

        Browsers leave Origin out of a GET to where the page came from, and say so.
        """
        if request.headers.get("sec-fetch-site") != "same-origin":
            return ""
        scheme, _, rest = self._base(request).partition("://")
        return normal(f"{scheme}://{rest.partition('/')[0]}") or ""

    async def _serve(
        self, request: Request, found: Waiting, origin: str, *, resumable: bool
    ) -> None:
        caller = self.gate.sites.named(found.key_id)
        if caller is None or not caller.access.origins.allow(origin):
            fault = fault_of(
                403,
                "grant_revoked",
                "The key or the origin that this grant was made for is not allowed "
                "any more.",
            )
            await self._refuse(request, found.request_id, caller, fault)
            return
        if not resumable:
            access = attrs.evolve(caller.access, resume="off", buffered=False)
            caller = attrs.evolve(caller, access=access)
        posted = request.at(found.path, found.headers)
        posted.send = request.send
        endpoint = self.endpoint_at(posted)
        if endpoint is None:
            await self._refuse(request, found.request_id, caller, UNAVAILABLE)
            return
        _keep_private(posted)
        try:
            head = endpoint.dialect.read_head(found.body, posted.headers)
            feature = feature_of(posted.headers)
        except ClientError as error:
            await self._refuse(request, found.request_id, caller, error.fault())
            return
        await endpoint.begin(
            posted,
            caller,
            Inquiry(
                request_id=found.request_id,
                site=found.site,
                key_id=found.key_id,
                operation=endpoint.operation,
                dialect=endpoint.dialect,
                head=head,
                body=found.body,
                headers=posted.headers,
                terms=caller.terms,
                feature=feature,
                # Of the page's own visitor, not of the server that made the grant.
                people=self.gate.people_of(request, caller, head.user),
                for_page=True,
            ),
        )

    async def _refuse(
        self, request: Request, request_id: str, caller: Caller | None, fault: Fault
    ) -> None:
        error = CHAT.render_error(fault)
        self.gate.refused(
            request_id,
            site=caller.site if caller is not None else None,
            dialect="stream_grant",
            status=error.status,
            code=fault.code or fault.kind,
        )
        fields = (*error.headers, *PRIVATE, ("x-request-id", request_id))
        try:
            await reply(request.send, error.status, error.body, fields)
        except Disconnected:
            return


async def _audience(request: Request) -> str:
    """For whom the page says it is: in the query, a header, or a POST's body."""
    shown = query_of(request).get("audience") or request.headers.get(
        "x-stagedoor-audience", ""
    )
    if request.method == "POST" and not shown:
        body = await request.read()
        if len(body) > BODY_BYTES_MAX:
            raise ClientError(
                "Redeeming takes no request: it waits here already. Send nothing, or "
                '{"audience": …}.',
                status=413,
                code="request_too_large",
            )
        if body.strip():
            try:
                shown = _read_shown(body).audience
            except (msgspec.DecodeError, ValueError) as error:
                raise client_error(error) from None
    return shown


def _unfit(request: Request, rest: str) -> Fault | None:
    """What is wrong with a request whatever its token."""
    if rest not in {"", "cancel"}:
        return fault_of(404, "unknown_url", "Under a grant there is only cancel.")
    allowed = {"POST"} if rest else {"GET", "POST"}
    if request.method not in allowed:
        told = f"A grant takes {' and '.join(sorted(allowed))} here."
        return fault_of(405, "method_not_allowed", told)
    if _is_prefetch(request):
        # Whatever guesses that a page may want it later must not use it up.
        return fault_of(403, "grant_prefetch", "A grant is not for prefetching.")
    return None


def _comes_back(request: Request) -> bool:
    """Whether it says what it has seen already."""
    told = request.field(PLACE_HEADER)
    if told is not None and read_place(told.decode("latin-1")) is not None:
        return True
    return "starting_after=" in request.target[1]


def _is_prefetch(request: Request) -> bool:
    purpose = request.headers.get("sec-purpose") or request.headers.get("purpose", "")
    return "prefetch" in purpose


def _keep_private(request: Request) -> None:
    """See to it that nobody keeps the answer, or tells where it came from."""
    send = request.send
    private = {name.encode(): value.encode() for name, value in PRIVATE}

    async def privately(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            fields = message["headers"]
            kept = [(name, value) for name, value in fields if name not in private]
            message["headers"] = [*kept, *private.items()]
        await send(message)

    request.send = privately


def _no_endpoint() -> ClientError:
    return ClientError(
        "Invalid 'endpoint': write the path that the request would have been sent to, "
        "such as /v1/chat/completions, /v1/messages or /v1/responses.",
        param="endpoint",
        code="invalid_value",
    )


UNAVAILABLE: Final = Fault(
    kind="ours",
    message="The gateway cannot look up grants now; try again in a moment.",
    status=503,
    code="gateway_unavailable",
    type="server_error",
    retry_after_s=1.0,
    source="gateway",
)
