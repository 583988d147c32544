"""The ASGI app: one dictionary of routes, no middleware.

Owns: which path is whose, who may call it, and that every answer has an error shape its
client reads. Never: what an answer says; endpoints do that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import attrs

from actors.directory.messages import Scope as KeyScope
from gateway.gate import Gate
from gateway.http.cors import FOREIGN, is_preflight, let_read, origin_of, preflight
from gateway.http.inquiries import Endpoint, fault_of
from gateway.http.models import LISTS, client_of
from gateway.http.replies import reply
from gateway.http.request import Request
from gateway.http11_exchange import Receive, Scope, Send
from gateway.http11_transport import ClientGone
from gateway.sites import Caller

Handler = Callable[[Request], Awaitable[None]]
HandlerOf = Callable[[Request], Handler | None]
EndpointOf = Callable[[Request], Endpoint | None]
CallerHandler = Callable[[Request, Caller], Awaitable[None]]
CallerHandlerOf = Callable[[Request], CallerHandler | None]
SocketHandler = Callable[["App", Scope, Receive, Send], Awaitable[None]]

BEARER: Final = b"bearer "
# Anthropic's, Azure's and Google's clients. Never a query: URLs end up in logs.
KEY_HEADERS: Final = frozenset({b"x-api-key", b"api-key", b"x-goog-api-key"})


@attrs.frozen
class Denied:
    """Why somebody is not let in."""

    status: int
    code: str
    why: str


NO_KEY: Final = Denied(
    401,
    "invalid_api_key",
    "No API key was given. Send your site's key as `Authorization: Bearer KEY` or "
    "`x-api-key: KEY`.",
)
WRONG_KEY: Final = Denied(
    401,
    "invalid_api_key",
    "The API key is not known here. Check it, or ask for a new one.",
)
CLOSED_SITE: Final = Denied(
    403,
    "site_suspended",
    "The site of this API key is suspended; ask whoever runs this gateway.",
)
FOREIGN_ORIGIN: Final = Denied(403, "origin_not_allowed", FOREIGN)


class App:
    """Routes requests.

    Args:
        gate: what the endpoints need.
        open_routes: (method, path) to handlers that need no key.
        key_routes: the same for handlers that get a caller.
        endpoints: path to the dialect's endpoint; all are POST.
        by_path: finds the endpoint where the path says more (Google's clients).
        open_by_path: the same for handlers that need no key, and do their own CORS.
        under_path: the same for key routes whose path holds a name.
        scopes: what a key must be allowed to, by path, where its path does not tell.
        below: prefixes of paths to handlers that know their own paths and callers.
        sockets: serves WebSockets.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        open_routes: Mapping[tuple[str, str], Handler],
        key_routes: Mapping[tuple[str, str], CallerHandler],
        endpoints: Mapping[str, Endpoint],
        by_path: EndpointOf | None = None,
        open_by_path: HandlerOf | None = None,
        under_path: tuple[CallerHandlerOf, ...] = (),
        below: Mapping[str, Handler] | None = None,
        sockets: SocketHandler | None = None,
        scopes: Mapping[str, KeyScope] | None = None,
    ) -> None:
        self.gate = gate
        self.open_routes = dict(open_routes)
        self.key_routes = dict(key_routes)
        self.endpoints = dict(endpoints)
        self.by_path = by_path
        self.open_by_path = open_by_path
        self.under_path = under_path
        self.below = dict(below or {})
        self.sockets = sockets
        self.redeem: Handler | None = None
        self.scopes: dict[str, KeyScope] = dict(scopes or {})
        self.methods: dict[str, list[str]] = {path: ["POST"] for path in endpoints}
        for method, path in (*open_routes, *key_routes):
            self.methods.setdefault(path, []).append(method)

    def __repr__(self) -> str:
        """How much it serves."""
        return f"<App {len(self.methods)} paths>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request, or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            request = Request(scope, receive, send, self.gate.body_bytes_max)
            try:
                await self._route(request)
            except ClientGone:
                return  # Nobody is there to be told anything.
        elif kind == "lifespan":
            await _lifespan(receive, send)
        elif self.sockets is not None:
            await self.sockets(self, scope, receive, send)
        else:
            # Refused before the upgrade: a client sees 403, not a socket that hangs.
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def endpoint_of(self, request: Request) -> Endpoint | None:
        """The dialect's endpoint at a request's path, if there is one."""
        endpoint = self.endpoints.get(request.path)
        if endpoint is None and self.by_path is not None:
            endpoint = self.by_path(request)
        return endpoint

    async def _route(self, request: Request) -> None:
        origin = origin_of(request)
        endpoint = self.endpoint_of(request)
        if endpoint is None and self.open_by_path is not None:
            open_handler = self.open_by_path(request)
            if open_handler is not None:
                await open_handler(request)
                return
        if origin is not None:
            origins = self.gate.sites.origins
            if is_preflight(request):
                await preflight(request, origin, origins)
                return
            if origins.allow(origin):
                let_read(request, origin)
        if endpoint is not None and request.method == "POST":
            caller = self.caller(request, origin)
            if isinstance(caller, Denied):
                await endpoint.refuse(request, caller.status, caller.code, caller.why)
                return
            await endpoint.serve(request, caller)
            return
        method = "GET" if request.method == "HEAD" else request.method
        handler = self.open_routes.get((method, request.path))
        if handler is not None:
            await handler(request)
            return
        key_handler = self.key_routes.get((method, request.path))
        if key_handler is None:
            found = (of(request) for of in self.under_path)
            key_handler = next((one for one in found if one is not None), None)
        if key_handler is not None:
            caller = self.caller(request, origin)
            if isinstance(caller, Denied):
                await _refuse(request, caller.status, caller.code, caller.why)
                return
            await key_handler(request, caller)
            return
        for prefix, below in self.below.items():
            if request.path.startswith(prefix):
                await below(request)
                return
        await self._lost(request)

    def caller(self, request: Request, origin: str | None) -> Caller | Denied:
        """The caller, or why there is none."""
        other = b""
        for name, value in request.scope["headers"]:
            if name == b"authorization":
                if value[: len(BEARER)].lower() != BEARER:
                    return NO_KEY
                other = value[len(BEARER) :].strip()
                break
            if name in KEY_HEADERS and not other:
                other = value
        if not other:
            return NO_KEY
        caller = self.gate.sites.find(other)
        if caller is None:
            return WRONG_KEY
        if not self.gate.sites.is_open(caller.site):
            return CLOSED_SITE
        terms = caller.terms
        if terms is not None and terms.scopes:
            scope: KeyScope = self.scopes.get(request.path) or scope_of(request.path)
            if scope not in terms.scopes:
                return _out_of_scope(scope)
        if origin is not None:
            allowed = caller.access.origins
            request.readable = request.readable and allowed.allow(origin)
            if allowed and not allowed.allow(origin):
                return FOREIGN_ORIGIN
        return caller

    async def _lost(self, request: Request) -> None:
        methods = self.methods.get(request.path)
        if methods is None:
            told = f"There is nothing at {request.method} {_shown(request.path)}."
            await _refuse(request, 404, "unknown_url", told)
            return
        allowed = ", ".join(methods)
        told = f"{_shown(request.path)} takes {allowed}, not {request.method}."
        await _refuse(request, 405, "method_not_allowed", told, [("allow", allowed)])


async def _refuse(
    request: Request,
    status: int,
    code: str,
    message: str,
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    """An error of the edge, in the dialect that its client most likely reads."""
    shown = client_of(request).render_error(fault_of(status, code, message))
    await reply(request.send, shown.status, shown.body, (*shown.headers, *headers))


def scope_of(path: str) -> KeyScope:
    """What a key must be allowed to, for a path that no table names."""
    return "models" if path.startswith(LISTS) else "inference"


def _out_of_scope(scope: KeyScope) -> Denied:
    return Denied(
        403,
        "insufficient_scope",
        f"This API key is not for this: it lacks the scope `{scope}`. Use another key, "
        "or have its scopes changed.",
    )


def _shown(path: str) -> str:
    """A path as an error message may repeat it."""
    shown = path if len(path) <= 128 else f"{path[:128]}…"
    return "".join(c if c.isprintable() else "?" for c in shown)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
