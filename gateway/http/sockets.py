"""WebSockets: which path speaks what, who may open one, and how one is refused.

Owns: the handshake. A refusal is an HTTP answer with the error body that a POST would
get, never a socket that is opened to be closed. After it, the path's own handler has
the socket until it ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.gate import Gate
from gateway.http import realtime
from gateway.http.granted_socket import serve_grant
from gateway.http.grants import UNDER as GRANTS_PATH
from gateway.http.inquiries import Endpoint, fault_of
from gateway.http.lanes import LaneSocket
from gateway.http.request import Request
from gateway.http.responses import ResponsesEndpoint
from gateway.http.socket import Handshake
from gateway.http.socket_login import FOREIGN, Login, login, may_open
from gateway.http11_exchange import Receive, Scope, Send
from gateway.http11_transport import ClientGone
from gateway.logs import new_request_id
from gateway.sites import Caller
from wire.openai_chat import CHAT
from wire.openai_errors import render_error

if TYPE_CHECKING:
    from gateway.http.app import App

Handler = Callable[[Handshake, Caller], Awaitable[None]]

RESPONSES_PATH: Final = "/v1/responses"
CHAT_PATH: Final = "/v1/chat/completions"


class Sockets:
    """Serves every WebSocket of the client's address."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        responses, chat = ResponsesEndpoint(gate), Endpoint(gate, CHAT)

        async def lanes_of_responses(handshake: Handshake, caller: Caller) -> None:
            await LaneSocket(
                gate,
                await handshake.accept(),
                caller,
                endpoint=responses,
                dialect="responses",
                path=RESPONSES_PATH,
            ).run()

        async def lanes_of_chat(handshake: Handshake, caller: Caller) -> None:
            await LaneSocket(
                gate,
                await handshake.accept(),
                caller,
                endpoint=chat,
                dialect="chat",
                path=CHAT_PATH,
            ).run()

        self.paths: Mapping[str, Handler] = {
            RESPONSES_PATH: lanes_of_responses,
            f"{CHAT_PATH}/ws": lanes_of_chat,
            realtime.PATH: realtime.Realtime(gate).serve,
        }

    def __repr__(self) -> str:
        """What it serves."""
        return f"<Sockets at {', '.join(self.paths)}>"

    async def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket, from its handshake to its end."""
        connect = await receive()
        if connect["type"] != "websocket.connect":
            return
        found = self._admit(app, scope)
        try:
            if isinstance(found, _Refusal):
                await self._refuse(Handshake(scope, receive, send, None), found)
                return
            passed_on = {**scope, "headers": found.headers, "subprotocols": []}
            handshake = Handshake(passed_on, receive, send, found.subprotocol)
            try:
                await found.run(handshake)
            finally:
                if handshake.socket is not None:
                    # Where its handler has said so already, this is nothing.
                    await handshake.socket.close(1011, "the gateway failed; try again")
        except ClientGone:
            return

    def _admit(self, app: App, scope: Scope) -> _Admitted | _Refusal:
        handler = self.paths.get(scope["path"])
        if handler is None:
            return _Refusal(404, "unknown_url", "There is no WebSocket at this path.")
        if self.gate.draining:
            why = "The gateway is stopping; try again in a moment."
            return _Refusal(503, "gateway_unavailable", why)
        read = login(scope["headers"], scope["subprotocols"])
        if read.refused:
            return _Refusal(400, "no_subprotocol", read.refused)
        if read.grant:
            return self._granted(app, read)
        request = Request(
            {**scope, "type": "http", "method": "GET", "headers": read.headers},
            _nothing,
            _nowhere,
            0,
        )
        # Its origin is looked at below: with a WebSocket a browser asks nobody first.
        caller = app.caller(request, None)
        if not isinstance(caller, Caller):
            return _Refusal(caller.status, caller.code, caller.why)
        if not may_open(read.headers, caller.access.origins):
            return _Refusal(403, "origin_not_allowed", FOREIGN, caller.site)

        async def run(handshake: Handshake) -> None:
            await handler(handshake, caller)

        return _Admitted(run, read.subprotocol, read.headers)

    def _granted(self, app: App, read: Login) -> _Admitted | _Refusal:
        """Whoever has a grant needs no key; its own rules are those of its URL."""
        redeem, path = app.redeem, f"{GRANTS_PATH}{read.grant}"
        if redeem is None:
            return _Refusal(404, "unknown_url", "There are no stream grants here.")

        async def run(handshake: Handshake) -> None:
            await serve_grant(
                handshake,
                redeem,
                path,
                body_bytes_max=self.gate.body_bytes_max,
                silence_s=self.gate.config.server.deadlines.heartbeat_s,
            )

        return _Admitted(run, read.subprotocol, read.headers)

    async def _refuse(self, handshake: Handshake, refusal: _Refusal) -> None:
        request_id = new_request_id()
        shown = render_error(fault_of(refusal.status, refusal.code, refusal.message))
        self.gate.refused(
            request_id,
            site=refusal.site,
            dialect="websocket",
            status=refusal.status,
            code=refusal.code,
            fields=handshake.scope["headers"],
        )
        await handshake.refuse(refusal.status, shown.headers, shown.body, request_id)


class _Admitted:
    """Who speaks what, and how."""

    def __init__(
        self,
        run: Callable[[Handshake], Awaitable[None]],
        subprotocol: str | None,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.run = run
        self.subprotocol = subprotocol
        self.headers = headers


class _Refusal:
    """Why not."""

    def __init__(
        self, status: int, code: str, message: str, site: str | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.site = site


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _nowhere(message: Any) -> None:
    del message
