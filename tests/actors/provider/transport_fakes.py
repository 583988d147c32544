"""Wires without a network: they play a script, and remember what was done to them."""

import ssl
from collections.abc import Callable

import httpx
import trio

from actors.provider.transport import Transport
from actors.provider.wires import Origin, PhaseHook, Take

STALL = "stall"  # In a script: nothing comes, ever.
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SSE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
URL = "http://upstream.test/v1/chat"

Step = bytes | str | BaseException
Script = list[list[Step]]


class ScriptedWire:
    """Plays one list of steps for each request written to it.

    A step is bytes to read, STALL, or an exception to raise; b"" is the end of stream,
    which also comes when a script is over.
    """

    def __init__(self, *replies: list[Step], secure: bool = True) -> None:
        self.replies = [list(reply) for reply in replies]
        self.steps: list[Step] = []
        self.sent = bytearray()
        self.writes: list[int] = []
        self.reads = 0
        self.closed = False
        self.hung_up = False
        self.secure = secure
        self.on_write: Callable[[bytes], None] | None = None
        self.write_fault: BaseException | None = None
        self._answered = True

    async def send_all(self, data: bytes | bytearray) -> None:
        assert not self.closed
        if self.on_write is not None:
            self.on_write(bytes(data))
        await trio.lowlevel.checkpoint()
        if self.write_fault is not None:
            self._answered = False
            raise self.write_fault
        self.sent += data
        self.writes.append(len(data))
        self._answered = False

    async def receive(self) -> bytes:
        assert not self.closed
        self.reads += 1
        await trio.lowlevel.checkpoint()
        if not self._answered:
            self._answered = True
            self.steps = self.replies.pop(0) if self.replies else []
        step = self.steps.pop(0) if self.steps else b""
        if isinstance(step, BaseException):
            raise step
        if step == STALL:
            await trio.sleep_forever()
        assert isinstance(step, bytes)
        return step

    async def flow(self, take: Take) -> None:
        while take(await self.receive()):
            pass

    def quiet(self) -> bool:
        return not (self.closed or self.hung_up)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, info: str) -> object:
        return ("192.0.2.1", 80) if info == "server_addr" else None


class ScriptedDial:
    """Hands out wires in order; an exception in their place is raised."""

    def __init__(self, *wires: ScriptedWire | BaseException) -> None:
        self.wires = list(wires)
        self.made: list[ScriptedWire] = []
        self.origins: list[Origin] = []

    async def __call__(
        self, origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook
    ) -> ScriptedWire:
        phase("connect")
        self.origins.append(origin)
        await trio.lowlevel.checkpoint()
        wire = self.wires.pop(0)
        if isinstance(wire, BaseException):
            raise wire
        self.made.append(wire)
        return wire


def scripted(*wires: ScriptedWire | BaseException) -> tuple[Transport, ScriptedDial]:
    """A transport over scripted wires."""
    dial = ScriptedDial(*wires)
    return Transport(dial=dial), dial


def post(content: bytes = b"{}", **extensions: object) -> httpx.Request:
    """A stock request to the scripted upstream."""
    return httpx.Request("POST", URL, content=content, extensions=extensions)


async def read(response: httpx.Response) -> bytes:
    """The whole body as it came."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


class ALease:
    """A key handle of which tests know what was done to it."""

    def __init__(self, key: bytes, uses_max: int = 1) -> None:
        self.key = bytearray(key)
        self.uses_left = uses_max
        self.spent_count = 0
        self.asked: list[tuple[str, bool]] = []

    def write_key(self, head: bytearray, *, host: str, secure: bool) -> None:
        self.asked.append((host, secure))
        if not secure:
            raise PermissionError("this lease wants TLS")
        if self.uses_left == 0:
            raise PermissionError("this lease is spent")
        head += self.key

    def spent(self) -> None:
        self.spent_count += 1
        self.uses_left -= 1
        if self.uses_left == 0:
            self.key[:] = bytes(len(self.key))
