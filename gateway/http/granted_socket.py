"""A WebSocket that a stream grant opens: one answer, whose events come as messages.

The token travels as a subprotocol (`stagedoor-grant.TOKEN`), so it is in no URL. What
is answered was left with the grant; the page can only stop it. The grant's own rules
(origin, audience, one use) are those of its URL: the same handler redeems it.

The handshake waits for the answer's beginning, so that a refusal is one of HTTP; but no
longer than a stream may be silent, since proxies give up on it as well. Then the socket
is opened for its pings, and an error comes as an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from gateway.http.lane_call import LaneCall
from gateway.http.lane_events import Create
from gateway.http.request import Request
from gateway.http.socket import Handshake, Socket
from gateway.http11_transport import ClientGone

Redeem = Callable[[Request], Awaitable[None]]


class GrantCall(LaneCall):
    """The answer on its way to the socket, which its first event opens."""

    def __init__(self, handshake: Handshake) -> None:
        super().__init__(Create({}, "responses"), "responses", self._deliver)
        self.handshake = handshake
        self.socket: Socket | None = None
        self.opened = trio.Event()
        self.refused = False
        self._answering = trio.Lock()

    async def open(self) -> Socket | None:
        """The socket, which is opened now if it is not; None where it was refused."""
        async with self._answering:
            if self.socket is None and not self.refused:
                self.socket = await self.handshake.accept(dict(self._headers))
                self.opened.set()
        return self.socket

    async def _deliver(self, texts: list[bytes]) -> None:
        socket = self.socket or await self.open()
        assert socket is not None, "events come after no refusal"
        await socket.send(texts)

    async def _send_whole(self) -> None:
        async with self._answering:
            if self.socket is None:
                self.failed = self.refused = True
                fields = [(k, v) for k, v in self._headers if k != "content-length"]
                await self.handshake.refuse(self.status, fields, bytes(self._whole))
                return
        await super()._send_whole()


async def serve_grant(
    handshake: Handshake,
    redeem: Redeem,
    path: str,
    *,
    body_bytes_max: int,
    silence_s: float,
) -> None:
    """Redeem it, and pass its answer on to its end."""
    call = GrantCall(handshake)
    scope: dict[str, Any] = {
        **handshake.scope,
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode("ascii", "replace"),
        "extensions": {"stagedoor": call},
    }
    request = Request(scope, call.receive, call.send, body_bytes_max)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, call)
        nursery.start_soon(_open_late, call, silence_s)
        try:
            await redeem(request)
            if call.socket is not None:
                if call.cancelled:
                    await call.socket.send([call.farewell()])
                await call.socket.close(1011 if call.failed else 1000)
        except ClientGone:
            call.leave()
        nursery.cancel_scope.cancel(reason="answered")


async def _open_late(call: GrantCall, silence_s: float) -> None:
    """Open the socket before whatever lies between takes it for dead."""
    await trio.sleep(silence_s)
    try:
        await call.open()
    except ClientGone:
        call.leave()


async def _watch(call: GrantCall) -> None:
    """The page leaves, or stops the answer."""
    async with trio.open_nursery() as nursery:

        async def before() -> None:
            await call.handshake.wait_gone()
            call.leave()

        nursery.start_soon(before)
        await call.opened.wait()
        nursery.cancel_scope.cancel(reason="the socket is open")
    socket = call.socket
    assert socket is not None
    while (text := await socket.receive()) is not None:
        try:
            told = msgspec.json.decode(text, type=dict[str, Any]).get("type")
        except (msgspec.DecodeError, RecursionError):
            continue
        if told == "response.cancel":
            call.cancel()
    call.leave()
