"""/v1/realtime: a realtime session's client, from its handshake to its end.

Owns: nothing for longer than the socket. It opens a session, passes events both ways,
and tells the session when the client leaves. The handshake is answered when the
provider has answered its own, so a refusal is a status with an error, as for a POST.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import trio

from actors.stream.messages import (
    Begin,
    ClientGone,
    Inquiry,
    Link,
    OpenSession,
    Whole,
)
from gateway.gate import Gate
from gateway.http.inquiries import CRASHED, fault_of
from gateway.http.naming import check_name
from gateway.http.request import Headers
from gateway.http.socket import Handshake, Socket
from gateway.http11_transport import ClientGone as Disconnected
from gateway.logs import new_request_id
from gateway.sites import Caller
from runtime import AskError, Draining, ReceiverGone
from wire.dialect import ClientError, Head
from wire.realtime import REALTIME

PATH: Final = "/v1/realtime"
QUERY_FIELDS_MAX: Final = 16

NORMAL, GOING_AWAY, FAILED = 1000, 1001, 1011


class Realtime:
    """Handler of the path."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __repr__(self) -> str:
        """Where it is."""
        return f"<Realtime at {PATH}>"

    async def serve(self, handshake: Handshake, caller: Caller) -> None:
        """One session."""
        request_id = new_request_id()
        try:
            inquiry = self._inquiry(handshake, caller, request_id)
            opened = await self.gate.streams.ask(OpenSession(inquiry))
        except ClientError as error:
            shown = REALTIME.render_error(error.fault())
            await handshake.refuse(shown.status, shown.headers, shown.body, request_id)
            return
        except (Draining, AskError):
            fault = fault_of(
                503,
                "gateway_unavailable",
                "The gateway takes no new sessions now; try again in a moment.",
            )
            shown = REALTIME.render_error(fault)
            await handshake.refuse(shown.status, shown.headers, shown.body, request_id)
            return
        ref, link = opened.ref, opened.link

        def gone() -> None:
            ref.offer(ClientGone())

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, handshake, gone)
                first = await anext(link.to_client, None)
                nursery.cancel_scope.cancel(reason="answered")
            if isinstance(first, Begin):
                socket = await handshake.accept(dict(first.headers))
                await self._talk(socket, link)
            elif isinstance(first, Whole):
                await handshake.refuse(first.status, first.headers, first.body)
            elif link.to_client.cancelled is None:
                shown = REALTIME.render_error(CRASHED)
                await handshake.refuse(
                    shown.status, shown.headers, shown.body, request_id
                )
        except Disconnected:
            gone()
        except BaseException:
            ref.offer(ClientGone("aborted"))
            raise

    def _inquiry(
        self, handshake: Handshake, caller: Caller, request_id: str
    ) -> Inquiry:
        query = _query(handshake.scope["query_string"])
        model = query.get("model") or query.get("deployment") or ""
        if not model:
            raise ClientError(
                "Say which model to talk to: /v1/realtime?model=NAME.",
                param="model",
                code="missing_required_parameter",
            )
        check_name(model)
        return Inquiry(
            request_id=request_id,
            site=caller.site,
            key_id=caller.key_id,
            operation="chat",
            dialect=REALTIME,
            head=Head(model=model, stream=True),
            body=b"",
            headers=Headers(handshake.scope["headers"]),
            terms=caller.terms,
        )

    async def _talk(self, socket: Socket, link: Link) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_age, link)
            nursery.start_soon(_from_client, socket, link)
            await _to_client(socket, link)
            await socket.close(link.code or FAILED, link.reason)
            nursery.cancel_scope.cancel(reason="the session is over")

    async def _watch_age(self, link: Link) -> None:
        age_s = self.gate.config.server.sockets.age_s
        await trio.sleep(age_s)
        link.end(GOING_AWAY, f"a session lasts at most {age_s / 60:g} minutes")
        if not link.from_client.ended:
            link.from_client.close("too old")


async def _to_client(socket: Socket, link: Link) -> None:
    """Events of the provider's, until the session is over or the client has left."""
    try:
        while pieces := await link.to_client.receive_some():
            await socket.send([piece for piece in pieces if isinstance(piece, bytes)])
    except Disconnected:
        _leave(link)


async def _from_client(socket: Socket, link: Link) -> None:
    """Events of the client's, until it leaves or the session is over."""
    while (text := await socket.receive()) is not None:
        try:
            await link.from_client.send(text.encode())
        except (ReceiverGone, trio.ClosedResourceError):
            return
    _leave(link)


def _leave(link: Link) -> None:
    """The client's half is over: the session ends, and with it the provider's half."""
    link.end(NORMAL, "")
    if not link.from_client.ended:
        link.from_client.close("the client left")


async def _watch(handshake: Handshake, gone: object) -> None:
    await handshake.wait_gone()
    assert callable(gone)
    gone()


def _query(raw: bytes) -> Mapping[str, str]:
    try:
        text = raw.decode("ascii", "replace")
        return dict(parse_qsl(text, max_num_fields=QUERY_FIELDS_MAX))
    except ValueError:
        raise ClientError("The query has too many fields.") from None
