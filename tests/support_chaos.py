"""A TCP proxy that does what networks do, from a seed.

    async with chaos(target, seed=7) as port: ...      one fate a connection, in order

What a connection suffers follows from the seed and its number, so that a run can be
played again. Fates: `clean`, `latency`, `trickle` (a few bytes at a time), `cut` (an
end in order), `reset`, `half_open` (nothing passes any more, nobody is told), `repeat`
(bytes come twice, as from a broken middlebox), `refuse`. They befall what the server
says; three befall the request: `cut_request`, `stall_request`, `repeat_request`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final, Literal

import attrs
import trio

Fate = Literal[
    "clean", "latency", "trickle", "cut", "reset", "half_open", "repeat", "refuse",
    "cut_request", "stall_request", "repeat_request",
]  # fmt: skip
FATES: Final[tuple[Fate, ...]] = (
    "clean", "latency", "trickle", "cut", "reset", "half_open", "repeat", "refuse",
)  # fmt: skip
# `repeat_request` is not for every server: one that is asked twice may answer twice.
REQUEST_FATES: Final[tuple[Fate, ...]] = ("cut_request", "stall_request")
PASSING: Final = frozenset({"clean", "latency", "trickle", "repeat_request"}).union(
    REQUEST_FATES
)
REQUEST_BYTES: Final = 400  # As long as they are here: they are hit anywhere.
LINGER_RESET: Final = struct.pack("ii", 1, 0)
READ_BYTES: Final = 4096


@attrs.define
class Plan:
    """What happens to one connection, after so many bytes of what the server says."""

    fate: Fate
    after: int
    rng: Random


@attrs.define
class Chaos:
    """A proxy; `target` may be named late."""

    seed: int
    fates: Sequence[Fate]
    bytes_max: int
    target: int = 0
    port: int = 0
    plans: list[Plan] = attrs.field(factory=list)

    def plan(self) -> Plan:
        """The next connection's."""
        rng = Random(f"{self.seed}/{len(self.plans)}")
        made = Plan(rng.choice(list(self.fates)), rng.randrange(1, self.bytes_max), rng)
        self.plans.append(made)
        return made

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection, to its end."""
        plan = self.plan()
        async with client:
            if plan.fate == "refuse":
                _reset(client)
                return
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self.target)
            except OSError:
                return
            async with server, trio.open_nursery() as nursery:

                def over() -> None:
                    nursery.cancel_scope.cancel(reason="one side has ended")

                nursery.start_soon(self._up, client, server, plan, over)
                nursery.start_soon(self._down, server, client, plan, over)

    async def _up(
        self,
        client: trio.SocketStream,
        server: trio.SocketStream,
        plan: Plan,
        over: Callable[[], None],
    ) -> None:
        # Of every request or event on it, for a connection that is kept.
        at = plan.after % REQUEST_BYTES if plan.fate.endswith("_request") else -1
        passed = 0
        try:
            while data := await client.receive_some(READ_BYTES):
                left, passed = at - passed, passed + len(data)
                if not 0 <= left < len(data):
                    await server.send_all(data)
                    continue
                await server.send_all(data[:left])
                if plan.fate == "stall_request":
                    await trio.sleep_forever()
                if plan.fate == "cut_request":
                    break
                await server.send_all(data)
        except trio.BrokenResourceError:
            pass
        over()

    async def _down(
        self,
        server: trio.SocketStream,
        client: trio.SocketStream,
        plan: Plan,
        over: Callable[[], None],
    ) -> None:
        passed = 0
        try:
            while data := await server.receive_some(READ_BYTES):
                left = plan.after - passed
                passed += len(data)
                if passed < plan.after or plan.fate in PASSING:
                    await self._pass(client, data, plan)
                    continue
                await client.send_all(data[:left])
                if plan.fate == "half_open":
                    await trio.sleep_forever()
                if plan.fate == "repeat":
                    await client.send_all(data[:left] + data[left:])
                    continue
                if plan.fate == "reset":
                    _reset(client)
                break
        except trio.BrokenResourceError:
            pass
        over()

    async def _pass(self, client: trio.SocketStream, data: bytes, plan: Plan) -> None:
        if plan.fate == "latency":
            await trio.sleep(plan.rng.uniform(0, 0.03))
        if plan.fate != "trickle":
            await client.send_all(data)
            return
        while data:
            size = plan.rng.randrange(1, 200)
            await client.send_all(data[:size])
            data = data[size:]


def _reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)


@asynccontextmanager
async def chaos(
    target: int, *, seed: int, fates: Sequence[Fate] = FATES, bytes_max: int = 8000
) -> AsyncGenerator[Chaos]:
    """Run a proxy before a port of this machine."""
    made = Chaos(seed, fates, bytes_max, target)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        made.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, made.serve, [listener])
        yield made
        nursery.cancel_scope.cancel(reason="done")
