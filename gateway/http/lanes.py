"""A socket of lanes: OpenAI's Responses WebSocket mode, and the same for chat.

Owns: the order on each lane, how many run side by side, what the socket remembers, and
how it ends (the client, 60 minutes, a stop, a key that is gone). Each `response.create`
is a request of its own (`LaneCall`); what becomes of it is its stream's business.

    reader      one message after the other: create, cancel
    a lane      its creates, first come first served; a task while it has any
    watchers    the age of the socket; the stop of the gateway
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

import attrs
import msgspec
import trio

from actors.keeper.messages import Recall, Recalled
from gateway.gate import Gate
from gateway.http.buffered import FIELDS
from gateway.http.inquiries import Endpoint
from gateway.http.lane_call import LaneCall
from gateway.http.lane_events import (
    BadMessage,
    Create,
    SocketDialect,
    read_text,
    refusal,
)
from gateway.http.lane_memory import LaneMemory
from gateway.http.request import Request
from gateway.http.socket import Close, Socket
from gateway.http.socket_login import may_open
from gateway.http.warm_up import warm_up
from gateway.http11_transport import ClientGone
from gateway.sites import Caller
from runtime import AskError
from wire import openai_responses_stored as stored
from wire.dialect import ClientError
from wire.openai_responses import expand

# OpenAI's own: more named lanes than a page or an agent has, and what may run at once.
LANES_MAX: Final = 32
RUNNING_MAX: Final = 16
# Creates that wait for their turn: a few for each lane. Their bytes are bounded as one
# body is: whoever needs more at once opens another socket.
WAITING_MAX: Final = 64
FIELDS_MAX: Final = 128  # Top-level fields of a create; the API has some forty.

AGE_CODE: Final = "websocket_connection_limit_reached"
STOPPING: Final = "The gateway is stopping; open a new WebSocket in a moment."


class Lane:
    """One lane: what runs, and what waits behind it."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.waiting: deque[Create] = deque()
        self.running: LaneCall | None = None
        self.busy = False

    def __repr__(self) -> str:
        return f"<Lane {self.name!r} {self.running!r} waiting={len(self.waiting)}>"


class LaneSocket:
    """See the module."""

    def __init__(
        self,
        gate: Gate,
        socket: Socket,
        caller: Caller,
        *,
        endpoint: Endpoint,
        dialect: SocketDialect,
        path: str,
    ) -> None:
        self.gate = gate
        self.endpoint = endpoint
        self.dialect: SocketDialect = dialect
        self.path = path
        # A lane's answer cannot be picked up elsewhere: its socket is its only reader.
        # And it is events, whatever the site's other clients are given.
        access = attrs.evolve(caller.access, resume="off", buffered=False)
        self.caller = attrs.evolve(caller, access=access)
        self.socket = socket
        self.memory = LaneMemory()
        self.lanes: dict[str | None, Lane] = {}
        self.slots = trio.CapacityLimiter(RUNNING_MAX)
        self.waiting_bytes = 0
        self.waiting = 0
        self._refuse: tuple[int, str, str] | None = None
        self._quiet = trio.Event()
        self._reading = trio.CancelScope()

    def __repr__(self) -> str:
        """Whose, and how busy."""
        busy = sum(lane.busy for lane in self.lanes.values())
        return f"<LaneSocket {self.caller.site} {busy}/{len(self.lanes)} lanes>"

    async def run(self) -> None:
        """Serve until the socket ends."""
        async with trio.open_nursery() as watchers:
            watchers.start_soon(self._watch_age)
            watchers.start_soon(self._watch_stop)
            async with trio.open_nursery() as lanes:
                with self._reading:
                    await self._read(lanes)
                # Whoever left takes nothing more; their streams decide what that means.
                for lane in self.lanes.values():
                    lane.waiting.clear()
                    if lane.running is not None:
                        lane.running.leave()
            watchers.cancel_scope.cancel(reason="the socket is closed")

    # -- reading -----------------------------------------------------------------

    async def _read(self, lanes: trio.Nursery) -> None:
        while True:
            text = await self.socket.receive()
            if text is None:
                return
            try:
                await self._take(text, lanes)
            except BadMessage as error:
                await self._say(
                    refusal(
                        400, "invalid_request", error.why, error.lane, param=error.param
                    )
                )
            except Close as close:
                await self.socket.close(close.code, close.why)
                return

    async def _take(self, text: str, lanes: trio.Nursery) -> None:
        fields = _fields(text)
        kind = _kind(fields)
        if kind == "response.create":
            self._check_key()
            create = Create(fields, self.dialect)
            answer = self._admit(create, lanes)
            if answer:
                await self._say(answer)
        elif kind == "response.cancel":
            await self._cancel(fields)
        elif kind == "response.steer":
            raise BadMessage(
                "Steering is not supported: cancel the response, and create another "
                "with what you want to add.",
                "type",
            )
        else:
            raise BadMessage(
                "Unknown event type: send response.create or response.cancel.", "type"
            )

    def _check_key(self) -> None:
        """A key or an origin that was taken back begins nothing more. Raises Close."""
        caller = self.gate.sites.named(self.caller.key_id)
        if caller is None:
            raise Close(4401, "the API key is not valid any more")
        if not may_open(self.socket.scope["headers"], caller.access.origins):
            raise Close(4403, "pages of this origin may not use this key any more")

    def _admit(self, create: Create, lanes: trio.Nursery) -> bytes:
        """Put it on its lane, or say why not."""
        if self._refuse is not None:
            status, code, why = self._refuse
            return refusal(status, code, why, create.lane)
        lane = self.lanes.get(create.lane)
        if lane is None:
            named = len(self.lanes) - (None in self.lanes)
            if create.lane is not None and named >= LANES_MAX:
                why = f"A WebSocket has at most {LANES_MAX} lanes; use one again."
                return refusal(
                    400,
                    "websocket_stream_limit_reached",
                    why,
                    create.lane,
                    param="stream_id",
                )
            lane = self.lanes[create.lane] = Lane(create.lane)
        bytes_max = self.gate.body_bytes_max
        full = self.waiting_bytes + create.size > bytes_max
        if full or self.waiting >= WAITING_MAX:
            why = (
                f"At most {WAITING_MAX} requests of {bytes_max} bytes together wait on "
                "a WebSocket; wait for an answer, or open another."
            )
            return refusal(429, "websocket_queue_full", why, create.lane)
        self.waiting += 1
        self.waiting_bytes += create.size
        lane.waiting.append(create)
        if not lane.busy:
            lane.busy = True
            lanes.start_soon(self._drive, lane)
        return b""

    async def _cancel(self, fields: dict[str, msgspec.Raw]) -> None:
        lane_name = read_text(fields.get("stream_id"), "stream_id")
        answer_id = read_text(fields.get("response_id"), "response_id")
        for lane in self.lanes.values():
            call = lane.running
            if call is None or call.gone:
                continue
            if answer_id is not None:
                if not call.is_response(answer_id):
                    continue
            elif lane.name != lane_name:
                continue
            call.cancel()
            return
        why = "Nothing runs on this lane that could be cancelled."
        await self._say(refusal(400, "response_cancel_not_active", why, lane_name))

    # -- one lane ----------------------------------------------------------------

    async def _drive(self, lane: Lane) -> None:
        while lane.waiting:
            async with self.slots:
                if not lane.waiting:
                    break
                create = lane.waiting.popleft()
                self.waiting -= 1
                self.waiting_bytes -= create.size
                await self._serve(lane, create)
        lane.busy = False
        self._quiet.set()

    async def _serve(self, lane: Lane, create: Create) -> None:
        earlier = self._go_on_here(create)
        call = lane.running = LaneCall(create, self.dialect, self.socket.send)
        scope = self._scope(call)
        request = Request(scope, call.receive, call.send, self.gate.body_bytes_max)
        try:
            if not create.generate:
                await self._warm_up(request, call, earlier)
            else:
                await self.endpoint.serve(request, self.caller)
                await self._remember(call, earlier)
        except ClientGone:
            return
        finally:
            lane.running = None
        if call.cancelled:
            await self._say(call.farewell())

    def _scope(self, call: LaneCall) -> dict[str, Any]:
        scope = self.socket.scope
        raw_path = self.path.encode("ascii")
        fields = [field for field in scope["headers"] if field[0] not in FIELDS]
        return {
            **scope,
            "type": "http",
            "method": "POST",
            "path": unquote(self.path),
            "raw_path": raw_path,
            "headers": [*fields, (b"content-type", b"application/json")],
            "extensions": {"stagedoor": call},
        }

    async def _say(self, event: bytes) -> None:
        """Tell the client; one that has left is no trouble: the reader sees it."""
        with suppress(ClientGone):
            await self.socket.send([event])

    # -- what the socket remembers -----------------------------------------------

    def _go_on_here(self, create: Create) -> tuple[bytes, ...] | None:
        """Put in what this socket knows of the answer that it goes on from."""
        if not create.previous:
            return ()
        earlier = self.memory.recall(create.previous)
        if earlier is not None:
            create.local = True
            create.body = expand(create.body, stored.portable(earlier))
        return earlier

    async def _remember(
        self, call: LaneCall, earlier: tuple[bytes, ...] | None
    ) -> None:
        create = call.create
        if call.failed and create.local:
            self.memory.forget(create.previous)
        if create.store is not False or not call.completed or call.failed:
            return
        answer = call.answer()
        answer_id = stored.id_of(answer)
        if not answer_id:
            return
        if earlier is None:  # It went on from an answer that is stored elsewhere.
            try:
                found = await self.gate.keeper.ask(
                    Recall(self.caller.site, create.previous)
                )
            except AskError:
                return  # As if it had been forgotten: the other lanes go on.
            if not isinstance(found, Recalled):
                return
            earlier = found.items
        items = self._own_items(create, answer_id)
        self.memory.remember(
            create.lane,
            answer_id,
            (*(() if create.local else earlier), *items, *stored.output_items(answer)),
        )

    def _own_items(self, create: Create, answer_id: str) -> tuple[bytes, ...]:
        """What it was asked; of a body that was expanded here, that is everything."""
        try:
            return stored.input_items(create.body, answer_id)
        except ClientError:
            return ()

    async def _warm_up(
        self, request: Request, call: LaneCall, earlier: tuple[bytes, ...] | None
    ) -> None:
        if self.dialect != "responses":
            why = "'generate' is a field of /v1/responses."
            await self._say(
                refusal(400, "unsupported_parameter", why, call.lane, param="generate")
            )
            return
        answer_id, items = await warm_up(self.gate, request, self.caller, call)
        if answer_id:
            earlier = () if call.create.local else earlier or ()
            self.memory.remember(call.lane, answer_id, (*earlier, *items))

    # -- how it ends ---------------------------------------------------------------

    async def _watch_age(self) -> None:
        age_s = self.gate.config.server.sockets.age_s
        await trio.sleep(age_s)
        why = (
            f"Responses websocket connection limit reached ({age_s / 60:g} minutes). "
            "Create a new websocket connection to continue."
        )
        await self._say(refusal(400, AGE_CODE, why, None))
        await self._retire((400, AGE_CODE, why), "the connection is too old")

    async def _watch_stop(self) -> None:
        await self.gate.stopping.wait()
        await self._retire((503, "gateway_unavailable", STOPPING), "the gateway stops")

    async def _retire(self, refuse: tuple[int, str, str], why: str) -> None:
        """Take nothing more, let what runs finish, close."""
        self._refuse = refuse
        for lane in self.lanes.values():
            await self._turn_away(lane.waiting)
        while any(lane.busy for lane in self.lanes.values()):
            self._quiet = trio.Event()
            await self._quiet.wait()
        await self.socket.close(1001, why)
        self._reading.cancel(reason=why)

    async def _turn_away(self, waiting: deque[Create]) -> None:
        assert self._refuse is not None
        status, code, why = self._refuse
        while waiting:
            create = waiting.popleft()
            self.waiting -= 1
            self.waiting_bytes -= create.size
            await self._say(refusal(status, code, why, create.lane))


def _fields(text: str) -> dict[str, msgspec.Raw]:
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise BadMessage("The message is not a JSON object.", None) from None
    if len(fields) > FIELDS_MAX:
        raise BadMessage(f"The message has more than {FIELDS_MAX} fields.", None)
    return fields


def _kind(fields: dict[str, msgspec.Raw]) -> str:
    try:
        return msgspec.json.decode(fields.get("type", msgspec.Raw(b'""')), type=str)
    except msgspec.ValidationError:
        raise BadMessage("Invalid 'type': expected a string.", "type") from None
