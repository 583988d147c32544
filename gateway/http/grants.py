"""POST /v1/stream_grants: a server leaves a request, a browser picks up its answer.

Owns: what a grant's URL looks like, and who may redeem it. The server's key never
reaches the browser; what waits is the whole request, so that the browser chooses
nothing of it. Everything is checked when the grant is made, so that it
is refused where somebody can mend it; nothing is spent before it is redeemed.
Never: says a token in a log, an error or a record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

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
from actors.stream import faults
from actors.stream.messages import Inquiry
from actors.tapes.messages import TapesUnavailable
from actors.tapes.tape import Tape
from gateway.gate import Gate
from gateway.http.cors import let_read, origin_of, preflight
from gateway.http.grant_shown import (
    PRIVATE,
    audience_of,
    comes_back,
    keep_private,
    unfit,
)
from gateway.http.grant_wishes import EndpointAt, read_wanted, waiting_for
from gateway.http.inquiries import fault_of
from gateway.http.naming import feature_of
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request, TooLarge
from gateway.http.streams import cancel, place_in
from gateway.http.taped import resume
from gateway.http11_transport import ClientGone as Disconnected
from gateway.logs import new_request_id
from gateway.settings.origins import Origins, normal
from gateway.sites import Caller
from runtime import AskError
from wire.dialect import ClientError
from wire.events import Fault
from wire.openai_chat import CHAT

PATH: Final = "/v1/stream_grants"
UNDER: Final = f"{PATH}/"
WHY: Final[dict[Refusal, str]] = {
    "grant_invalid": "This is no grant of this gateway. Ask your server for a new one.",
    "grant_expired": "This grant has expired. Ask your server for a new one.",
    "grant_origin_mismatch": "This grant is for pages of another origin.",
    "grant_audience_mismatch": "This grant is for another audience; send the one it "
    "was made for as `audience`.",
    "grant_not_streamed": "This grant's answer is one body and no events, which a "
    "WebSocket cannot carry; redeem it with a GET of its URL.",
    "grant_used": "This grant has been used. Each is good for one answer; ask your "
    "server for a new one.",
    "grant_unknown": "What this grant stands for is not here any more. Ask your server "
    "for a new one.",
}


REVOKED: Final = ClientError(
    "The key or the origin that this grant was made for is not allowed any more.",
    code="grant_revoked",
    status=403,
)
STRANGERS: Final = frozenset({"grant_invalid", "grant_origin_mismatch"})
ANSWER_S: Final = 3600.0  # An answer that is longer on its way than this is over.


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
            wanted = read_wanted(await request.read(), caller)
            waiting = await waiting_for(
                self.gate,
                self.endpoint_at,
                request,
                caller,
                wanted,
                request_id=request_id,
            )
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
        await self.redeem(request, by_socket=True)

    async def redeem(self, request: Request, *, by_socket: bool = False) -> None:
        """GET or POST by a page: the answer, once; or the rest of it; or its end."""
        token, _, rest = request.path.removeprefix(UNDER).partition("/")
        origin = origin_of(request)
        if request.method == "OPTIONS":
            # GET and POST need none; whoever adds header fields gets one all the same.
            origins = self.gate.sites.origins if origin else Origins()
            await preflight(request, origin or "", origins)
            return
        fault = unfit(request, rest)
        if fault is not None:
            await self._refuse(request, new_request_id(), None, fault)
            return
        came_from = origin or self._own(request)
        found: Waiting | Checked | NotRedeemed
        try:
            audience = await audience_of(request)
            if rest or comes_back(request):
                late_s = self.gate.config.server.limits.replay_s + ANSWER_S
                check = Check(token, came_from, audience, late_s)
                found = await self.gate.granter.ask(check)
            else:
                redeem = Redeem(token, came_from, audience, by_socket=by_socket)
                found = await self.gate.granter.ask(redeem)
            if origin and getattr(found, "code", "") not in STRANGERS:
                let_read(request, origin)
            if isinstance(found, Checked):
                await self._again(request, found, rest, came_from)
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
        await self._serve(request, found, came_from, by_socket=by_socket)

    async def _again(
        self, request: Request, found: Checked, rest: str, origin: str
    ) -> None:
        """A page that had the answer's beginning wants the rest, or wants no more.

        Raises ClientError and AskError.
        """

        def check(tape: Tape) -> None:
            if not self.gate.sites.lets(tape.key_id, origin):
                raise REVOKED

        if rest:
            await cancel(self.gate, request, None, found.request_id)
            return
        place = place_in(request, found.request_id)
        keep_private(request)
        await resume(self.gate, request, None, place, check)

    def _own(self, request: Request) -> str:
        """This gateway's own origin, for a page that a proxy serves beside it.

        Browsers leave Origin out of a GET to where the page came from, and say so.
        """
        if request.headers.get("sec-fetch-site") != "same-origin":
            return ""
        scheme, _, rest = self._base(request).partition("://")
        return normal(f"{scheme}://{rest.partition('/')[0]}") or ""

    async def _serve(
        self, request: Request, found: Waiting, origin: str, *, by_socket: bool
    ) -> None:
        caller = self.gate.sites.named(found.key_id)
        if caller is None or not self.gate.sites.lets(found.key_id, origin):
            fault = REVOKED.fault()
            await self._refuse(request, found.request_id, caller, fault)
            return
        if by_socket:
            access = attrs.evolve(caller.access, resume="off", buffered=False)
            caller = attrs.evolve(caller, access=access)
        posted = request.at(found.path, found.headers)
        posted.send = request.send
        endpoint = self.endpoint_at(posted)
        if endpoint is None:
            await self._refuse(request, found.request_id, caller, UNAVAILABLE)
            return
        keep_private(posted)
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
                page=origin,
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
            fields=request.scope["headers"],
        )
        fields = (*error.headers, *PRIVATE, ("x-request-id", request_id))
        try:
            await reply(request.send, error.status, error.body, fields)
        except Disconnected:
            return


UNAVAILABLE: Final = Fault(
    kind="ours",
    message="The gateway cannot look up grants now; try again in a moment.",
    status=503,
    code="gateway_unavailable",
    type="server_error",
    retry_after_s=1.0,
    source="gateway",
)
