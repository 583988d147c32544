"""Stub providers: the simulation's deployments behind sockets, on a real clock.

Each speaks OpenAI's chat completions over HTTP/1.1, streamed, as fast as its
`world.Server` says. What a request is, its first line tells.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import h11
import msgspec
import trio

from bench.routing.load import Arrival
from bench.routing.world import Call, Fault, Server

BODY_BYTES: Final = 65_536
WORD: Final = "word "  # One token of every tokenizer.


class Told(msgspec.Struct, frozen=True):
    """What a stub has to know of a request, in its first words."""

    id: int
    prompt: int
    output: int
    blocks: tuple[int, ...] = ()


class Stub:
    """One deployment behind a socket."""

    def __init__(self, server: Server, clock: Callable[[], float], pace: float) -> None:
        self.server = server
        self.clock = clock
        self.pace = pace
        self.moved = trio.Event()
        self.waiting: dict[Call, tuple[trio.Event, trio.Event]] = {}
        self.calls = 0
        self.port = 0

    def __repr__(self) -> str:
        return f"<Stub {self.server!r} port={self.port}>"

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Listen, and let time pass."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(self._live)
            serve = partial(
                trio.serve_listeners,
                self._connection,
                listeners,
                handler_nursery=nursery,
            )
            nursery.start_soon(serve)
            task_status.started()

    def fault(self, fault: Fault, *, begins: bool) -> None:
        """It begins, or ends."""
        server = self.server
        server.advance(self.clock())
        (server.faults.append if begins else server.faults.remove)(fault)
        if fault.kind == "brownout":
            server.speed = fault.factor if begins else 1.0
        if fault.kind == "outage" and begins:
            for call in list(server.calls):
                server.leave(call, self.clock())
                self._wake(call)
        self._move()

    async def _live(self) -> None:
        while True:
            server = self.server
            server.advance(self.clock())
            while (popped := server.pop()) is not None:
                moment, call = popped
                first, end = self.waiting[call]
                if moment == "first":
                    server.went_on(call)
                    first.set()
                else:
                    server.leave(call, self.clock())
                    call.first_at = call.first_at or self.clock()
                    end.set()
            next_at = server.next_at()
            wait_s = 3600.0 if next_at is None else (next_at - self.clock()) / self.pace
            moved = self.moved
            with trio.move_on_after(max(0.0005, wait_s)):
                await moved.wait()

    def _move(self) -> None:
        self.moved.set()
        self.moved = trio.Event()

    def _wake(self, call: Call) -> None:
        first, end = self.waiting[call]
        first.set()
        end.set()

    async def _connection(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while await self._request(stream, connection):
                    connection.start_next_cycle()

    async def _request(
        self, stream: trio.SocketStream, connection: h11.Connection
    ) -> bool:
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(BODY_BYTES))
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                return False
        refused = self.server.refuses(self.clock())
        if refused is not None:
            kind, after_s, retry_after_s = refused
            if kind == "refused":
                return False
            if kind == "hang":
                await trio.sleep_forever()
            await trio.sleep(after_s / self.pace)
            headers = [("content-type", "application/json")]
            if retry_after_s is not None:
                headers.append(
                    ("retry-after", str(round(retry_after_s / self.pace + 1)))
                )
            status = 429 if kind == "throttled" else 500
            out = b'{"error":{"message":"no","type":"server_error"}}'
            await stream.send_all(_whole(connection, status, headers, out))
            return True
        return await self._serve(stream, connection, bytes(body))

    async def _serve(
        self, stream: trio.SocketStream, connection: h11.Connection, body: bytes
    ) -> bool:
        self.calls += 1
        told = _told_of(body)
        arrival = Arrival(told.id, 0.0, told.prompt, told.output, told.blocks, 0)
        call = Call(arrival, self.server, self.clock())
        self.waiting[call] = first, end = trio.Event(), trio.Event()
        self.server.start(call, self.clock())
        self._move()
        try:
            await first.wait()
            if call.ended and call.first_at is None:
                return False  # An outage: the connection breaks.
            call.first_at = self.clock()
            head = h11.Response(
                status_code=200, headers=[("content-type", "text/event-stream")]
            )
            await stream.send_all(
                (connection.send(head) or b"") + _event(connection, _delta("Well"))
            )
            await end.wait()
            # All words at once: what counts is when they end, and how many they are.
            done = _delta(" " + WORD * told.output, finish="stop")
            usage = {"prompt_tokens": told.prompt, "completion_tokens": told.output}
            last = {**_delta(""), "choices": [], "usage": usage}
            await stream.send_all(
                _event(connection, done)
                + _event(connection, last)
                + (connection.send(h11.Data(data=b"data: [DONE]\n\n")) or b"")
                + (connection.send(h11.EndOfMessage()) or b"")
            )
        finally:
            if not call.ended:
                self.server.leave(call, self.clock())  # The caller left.
            del self.waiting[call]
            self._move()
        return True


def _delta(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


def _event(connection: h11.Connection, value: dict[str, Any]) -> bytes:
    data = b"data: " + msgspec.json.encode(value) + b"\n\n"
    return connection.send(h11.Data(data=data)) or b""


def _whole(
    connection: h11.Connection, status: int, headers: list[tuple[str, str]], out: bytes
) -> bytes:
    head = h11.Response(
        status_code=status, headers=[*headers, ("content-length", str(len(out)))]
    )
    pieces = (head, h11.Data(data=out), h11.EndOfMessage())
    return b"".join(connection.send(piece) or b"" for piece in pieces)


def _told_of(body: bytes) -> Told:
    content = msgspec.json.decode(body)["messages"][-1]["content"]
    return msgspec.json.decode(content.partition("\n")[0].encode(), type=Told)


def asked(arrival: Arrival, bound: int) -> bytes:
    told = Told(
        arrival.id,
        arrival.prompt_tokens,
        min(arrival.output_tokens, bound),
        arrival.blocks,
    )
    text = msgspec.json.encode(told).decode() + "\n" + WORD * arrival.prompt_tokens
    return msgspec.json.encode(
        {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": bound,
            "messages": [{"role": "user", "content": text}],
        }
    )
