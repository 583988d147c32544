"""A provider of realtime sessions in memory: it plays a recording, or a script."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
import trio.testing
import trio_websocket

from actors.provider.transport import Transport
from actors.provider.wires import Origin, PhaseHook, Take

RECORDINGS = Path(__file__).parents[1] / "recordings"

Play = Callable[[trio_websocket.WebSocketConnection], Awaitable[None]]


def frames(case: str) -> list[dict[str, Any]]:
    """A recorded session, message by message."""
    path = RECORDINGS / case / "frames.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


class MemoryWire:
    """What a dial gives, over one half of a pair of memory streams."""

    secure = True

    def __init__(self, stream: trio.abc.Stream, provider: FakeRealtime) -> None:
        self.stream = stream
        self.provider = provider

    async def send_all(self, data: bytes | bytearray) -> None:
        if not self.provider.heads or b"\r\n\r\n" not in self.provider.heads[-1]:
            self.provider.heads.append(bytes(data))
        await self.stream.send_all(bytes(data))

    async def receive(self) -> bytes:
        data = bytes(await self.stream.receive_some(32_768))
        self.provider.bytes_taken += len(data)
        return data

    async def flow(self, take: Take) -> None:
        while take(await self.receive()):
            pass

    def quiet(self) -> bool:
        return True

    def close(self) -> None:
        self.provider.closed += 1
        close = getattr(self.stream, "close", None)
        if close is not None:
            close()

    def get_extra_info(self, info: str) -> object:
        del info
        return None


class FakeRealtime:
    """Answers every dial with a server that plays."""

    def __init__(self, play: Play, *, reject: tuple[int, bytes] | None = None) -> None:
        self.play = play
        self.reject = reject
        self.heads: list[bytes] = []
        self.paths: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.bytes_taken = 0
        self.closed = 0
        self.nursery: trio.Nursery | None = None
        self.transport = Transport(dial=self.dial)

    async def dial(
        self, origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook
    ) -> MemoryWire:
        del origin, tls
        phase("connect")
        ours, theirs = trio.testing.lockstep_stream_pair()
        assert self.nursery is not None
        self.nursery.start_soon(self._serve, theirs)
        return MemoryWire(ours, self)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        if self.reject is not None:
            while b"\r\n\r\n" not in await stream.receive_some(65_536):
                pass
            status, body = self.reject
            head = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\n\r\n"
            await stream.send_all(head.encode() + body)
            return
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                self.paths.append(request.path)
                socket = await request.accept()
                await self.play(socket)
                nursery.cancel_scope.cancel()
        except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
            pass
        except* trio.ClosedResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def hear(self, socket: trio_websocket.WebSocketConnection) -> dict[str, Any]:
        """The client's next event."""
        event: dict[str, Any] = json.loads(await socket.get_message())
        self.heard.append(event)
        return event


def playing(case: str) -> FakeRealtime:
    """Plays a recording: sends what was received, and waits for what was sent."""

    async def play(socket: trio_websocket.WebSocketConnection) -> None:
        for frame in frames(case):
            if frame["kind"] != "message":
                continue
            if frame["direction"] == "received":
                await socket.send_message(json.dumps(frame["data"]))
            else:
                await fake.hear(socket)
        await trio.sleep_forever()

    fake = FakeRealtime(play)
    return fake
