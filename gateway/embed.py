"""The whole gateway inside a test: in memory, on any clock, with fake providers.

    async with embedded(config, {"main": FakeProvider([Says("Hello")])}) as gateway:
        answer = await gateway.post("/v1/chat/completions", {...}, key="sk-acme-dev")

Everything is the real thing but the edges: providers are scripts, clients call the ASGI
app, records go to a list. No socket, no file, no thread that the clock would wait for,
so it runs on a virtual clock (`runtime.testing.run_sim`, trio's MockClock).
"""

from __future__ import annotations

import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import attrs
import httpx
import msgspec
import trio

from actors.auditor.messages import Flush, RequestRecord
from actors.auditor.ports import Place
from actors.router.catalogue.lookup import Lookup
from actors.router.tokens.counter import Counter
from actors.vault.kms.local import LocalKms
from actors.vault.locked import OS_ENTROPY, LockedMemory
from actors.vault.ports import VaultStore
from actors.vault.rotations import MakeMinter
from actors.vault.safe import Safe
from actors.vault.sealing import KEY_BYTES
from gateway.core import Gateway, open_core
from gateway.deployments import NO_CATALOGUE
from gateway.gate import Gate
from gateway.http.app import App
from gateway.http.routes import client_app
from gateway.http11_transport import ClientGone
from gateway.logs import Logs
from gateway.metrics import Metrics
from gateway.settings.config import Config, ProviderConfig
from storage.audit_memory import memory_book
from storage.vault_files import VaultMemory

PIECES_IN_FLIGHT_MAX: Final = 1  # As a socket whose client reads nothing: at once full.
MEMORY: Final = LockedMemory()  # One for all gateways of a process: it is bounded.
EPOCH_S: Final = 1_800_000_000.0  # A wall clock that starts here and follows trio's.


# -- fake providers ------------------------------------------------------------------


@attrs.frozen
class Says:
    """A good answer, a word a delta; streamed or whole as asked."""

    text: str = "Hello there"
    delta_s: float = 0.0
    prompt_tokens: int = 7
    finish: str = "stop"
    usage: bool = True


@attrs.frozen
class Fails:
    """An HTTP error."""

    status: int = 500
    message: str = "something broke"
    code: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class Refuses:
    """No connection."""


@attrs.frozen
class Silent:
    """Connects and never answers."""


@attrs.frozen
class Mute:
    """A good head, a role chunk, and then no content."""


@attrs.frozen
class BreaksFirst:
    """A good head, then an error event before any content."""

    message: str = "overloaded"


@attrs.frozen
class BreaksAfter:
    """Some content, then an error event."""

    text: str = "Hello"
    message: str = "overloaded"


@attrs.frozen
class CutAfter:
    """Some content, then the connection is gone; `clean` ends the body in order."""

    text: str = "Hello"
    clean: bool = True


@attrs.frozen
class PausesAfter:
    """Some content, then nothing for ever."""

    text: str = "Hello"


@attrs.frozen
class Floods:
    """Content for as long as somebody reads."""

    chunk_chars: int = 64


Behaviour: TypeAlias = (
    Says
    | Fails
    | Refuses
    | Silent
    | Mute
    | BreaksFirst
    | BreaksAfter
    | CutAfter
    | PausesAfter
    | Floods
)


class FakeProvider(httpx.AsyncBaseTransport):
    """An OpenAI-shaped provider that follows a script; its last line repeats.

    Counts what tests ask about: calls, calls open now, chunks that were pulled.
    """

    def __init__(self, script: Sequence[Behaviour] = (Says(),)) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self.authorizations: list[str] = []
        self.open = 0
        self.cancelled = 0
        self.chunks_pulled = 0
        self.closed = False

    def __repr__(self) -> str:
        """How far it is."""
        return f"<FakeProvider calls={len(self.requests)} open={self.open}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Act the next line of the script."""
        phase = request.extensions.get("stagedoor.phase")
        if phase is not None:
            phase("connect")
        behaviour = self.script[min(len(self.requests), len(self.script) - 1)]
        self.requests.append(await request.aread())
        self._take_key(request)
        if isinstance(behaviour, Refuses):
            raise httpx.ConnectError("refused")
        if phase is not None:
            phase("headers")
        self.open += 1
        try:
            if isinstance(behaviour, Silent):
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self.open -= 1
            self.cancelled += 1
            raise
        return self._answer(behaviour, msgspec.json.decode(self.requests[-1]))

    async def aclose(self) -> None:
        """Nothing to close."""
        self.closed = True

    def _take_key(self, request: httpx.Request) -> None:
        use = request.extensions.get("stagedoor.key")
        if use is None:
            return
        head = bytearray(use.prefix)
        try:
            use.handle.write_key(head, host=request.url.host, secure=True)
            self.authorizations.append(bytes(head).decode())
        finally:
            use.handle.spent()

    def _answer(self, behaviour: Behaviour, asked: Any) -> httpx.Response:
        if isinstance(behaviour, Fails):
            error = {
                "message": behaviour.message,
                "type": "x",
                "param": None,
                "code": behaviour.code,
            }
            body = msgspec.json.encode({"error": error})
            return self._response(
                behaviour.status,
                {"content-type": "application/json", **behaviour.headers},
                _Once(body),
            )
        if not asked.get("stream"):
            assert isinstance(behaviour, Says), "this behaviour is for streams"
            return self._response(
                200,
                {"content-type": "application/json"},
                _Once(_whole(behaviour), behaviour.delta_s),
            )
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        return self._response(
            200,
            {"content-type": "text/event-stream"},
            _Acted(behaviour, include_usage=usage),
        )

    def whole(self, body: bytes) -> httpx.Response:
        """A whole answer, for fakes that speak something else."""
        return self._response(200, {"content-type": "application/json"}, _Once(body))

    def _response(
        self,
        status: int,
        headers: dict[str, str],
        act: Callable[[], AsyncGenerator[bytes, None]],
    ) -> httpx.Response:
        return httpx.Response(status, headers=headers, stream=_Body(self, act))


class _Body(httpx.AsyncByteStream):
    """A body that counts what is pulled and notices when it is left early."""

    def __init__(
        self, provider: FakeProvider, act: Callable[[], AsyncGenerator[bytes, None]]
    ) -> None:
        self._provider = provider
        self._chunks = act()
        self._ended = False
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._ended = True
            raise
        self._provider.chunks_pulled += 1
        return chunk

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._provider.open -= 1
            self._provider.cancelled += not self._ended
            await self._chunks.aclose()


@attrs.frozen
class _Once:
    body: bytes
    after_s: float = 0.0

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        await trio.sleep(self.after_s)
        yield self.body


@attrs.frozen
class _Acted:
    behaviour: Behaviour
    include_usage: bool

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        """The stream of each behaviour. One table, so that a script reads as one."""
        yield _chunk({"role": "assistant", "content": ""})
        match self.behaviour:
            case Says(text, delta_s, prompt_tokens, finish, usage):
                words = text.split(" ")
                for place, word in enumerate(words):
                    await trio.sleep(delta_s)
                    yield _chunk({"content": word if not place else f" {word}"})
                yield _chunk({}, finish)
                if usage and self.include_usage:
                    yield _event({"choices": [], "usage": _usage(prompt_tokens, words)})
                yield b"data: [DONE]\n\n"
            case Mute():
                await trio.sleep_forever()
            case BreaksFirst(message):
                yield _event({"error": {"message": message, "type": "server_error"}})
            case BreaksAfter(text, message):
                yield _chunk({"content": text})
                yield _event({"error": {"message": message, "type": "server_error"}})
            case CutAfter(text, clean):
                yield _chunk({"content": text})
                await trio.lowlevel.checkpoint()
                if not clean:
                    raise httpx.RemoteProtocolError("cut in the middle of the body")
            case PausesAfter(text):
                yield _chunk({"content": text})
                await trio.sleep_forever()
            case Floods(chars):
                while True:
                    await trio.lowlevel.checkpoint()
                    yield _chunk({"content": "x" * chars})
            case Fails() | Refuses() | Silent():
                raise AssertionError("has no stream")


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode({"id": "chatcmpl-1", **body}) + b"\n\n"


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event(
        {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    )


def _usage(prompt_tokens: int, words: list[str]) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": len(words),
        "total_tokens": prompt_tokens + len(words),
    }


def _whole(says: Says) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": says.text},
        "finish_reason": says.finish,
    }
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": _usage(says.prompt_tokens, says.text.split(" ")),
        }
    )


# -- the gateway ---------------------------------------------------------------------


class MemoryJournal:
    """Records in a list; `broken` makes the disk fail."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.broken = False

    async def append(self, lines: bytes) -> Place:
        """Keep them, or fail as a disk does."""
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError(28, "no space left on device")
        place = Place("memory", sum(len(line) + 1 for line in self.lines))
        self.lines.extend(lines.splitlines())
        return place

    @property
    def records(self) -> list[RequestRecord]:
        """What was recorded."""
        return [msgspec.json.decode(line, type=RequestRecord) for line in self.lines]


@attrs.define
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a value."""
        return msgspec.json.decode(self.body)


class Embedded:
    """A gateway in memory."""

    def __init__(
        self, gateway: Gateway, app: App, journal: MemoryJournal, log_fd: int
    ) -> None:
        self.gateway = gateway
        self.app = app
        self.journal = journal
        self._log_fd = log_fd

    def __repr__(self) -> str:
        """What runs."""
        return f"<Embedded {self.gateway.tree.system!r}>"

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, read to its end."""
        async with self.open(method, path, body, key=key, headers=headers) as call:
            return await call.read()

    async def post(self, path: str, body: Any, *, key: str | None = None) -> Answer:
        """POST a value (or raw bytes)."""
        return await self.request("POST", path, body, key=key)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Call]:
        """One request, to be read as it comes; leaving the block is leaving."""
        fields = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            fields["authorization"] = f"Bearer {key}"
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        call = Call(raw if body is not None else b"")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path.partition("?")[0]),
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "headers": [(k.encode(), v.encode()) for k, v in fields.items()],
            "extensions": {"stagedoor": call},
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.run, self.app, scope)
            try:
                yield call
            finally:
                call.leave()

    async def records(self) -> list[RequestRecord]:
        """All records so far, once they are kept."""
        await self.gateway.tree.auditor.ask(Flush())
        return self.journal.records

    def logged(self) -> bytes:
        """Everything logged so far."""
        self.gateway.gate.logs.close()
        size = os.lseek(self._log_fd, 0, os.SEEK_END)
        return os.pread(self._log_fd, size, 0)


class Call:
    """One request in memory: the app's `Conn`, its `send`, and the client's reading."""

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.gone = False
        self.done = False
        self._body: bytes | None = body
        self._callbacks: list[Callable[[], None]] = []
        self._pieces: list[bytes] = []
        self._moved = trio.Event()

    def __repr__(self) -> str:
        """How far it is."""
        return f"<Call {self.status} done={self.done} gone={self.gone}>"

    # The client's side.

    async def head(self) -> int:
        """Wait for the status."""
        while not self.status and not self.done:
            await self._wait()
        return self.status

    async def chunk(self) -> bytes:
        """The next piece; empty at the end."""
        while not self._pieces and not self.done:
            await self._wait()
        piece = self._pieces.pop(0) if self._pieces else b""
        self._move()
        return piece

    async def read(self) -> Answer:
        """Everything."""
        await self.head()
        body = bytearray()
        while piece := await self.chunk():
            body += piece
        return Answer(self.status, self.headers, bytes(body))

    def leave(self) -> None:
        """Hang up."""
        if self.gone or self.done:
            return
        self.gone = True
        for callback in self._callbacks:
            callback()
        self._move()

    # The app's side.

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Call the app."""
        try:
            await app(scope, self._receive, self._send)
        finally:
            self.done = True
            self._move()

    @property
    def body(self) -> bytes | None:
        """See Conn."""
        body, self._body = self._body, None
        return body

    async def read_body(self) -> bytes:
        """See Conn."""
        return self.body or b""

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if self.gone:
            callback()
        else:
            self._callbacks.append(callback)

    async def _receive(self) -> dict[str, Any]:
        while not self.gone:
            await self._wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self._move()
            return
        await trio.lowlevel.checkpoint()
        while len(self._pieces) >= PIECES_IN_FLIGHT_MAX and not self.gone:
            await self._wait()
        if self.gone:
            raise ClientGone("the client left")
        if message.get("body"):
            self._pieces.append(message["body"])
        self._move()

    async def _wait(self) -> None:
        await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def memory_safe(*, wall: Callable[[], float], store: VaultStore | None = None) -> Safe:
    """A safe with rows in memory, under a root key that nobody keeps."""
    root = MEMORY.take(KEY_BYTES)
    OS_ENTROPY.fill(root.view)
    kms = LocalKms(root, MEMORY)
    return Safe(
        store or VaultMemory(), {"local": kms}, MEMORY, seals_with="local", wall=wall
    )


@asynccontextmanager
async def embedded(
    config: Config,
    providers: Mapping[str, httpx.AsyncBaseTransport],
    *,
    environ: Mapping[str, str] | None = None,
    journal: MemoryJournal | None = None,
    seed: int = 0,
    safe: Safe | None = None,
    catalogue: Lookup = NO_CATALOGUE,
    counter: Counter | None = None,
    make_minter: MakeMinter | None = None,
) -> AsyncGenerator[Embedded]:
    """Run a gateway around the body."""
    log_fd = os.memfd_create("log")
    logs = Logs(log_fd)
    gate = Gate(config, logs, Metrics(), lambda: EPOCH_S + trio.current_time())
    kept = journal or MemoryJournal()

    def transport(provider: ProviderConfig) -> httpx.AsyncBaseTransport:
        return providers[provider.name]

    try:
        async with open_core(
            config,
            gate,
            environ=environ or {},
            journal=kept,
            book=memory_book()[0],
            safe=safe or memory_safe(wall=lambda: EPOCH_S + trio.current_time()),
            make_transport=transport,
            wall=lambda: EPOCH_S + trio.current_time(),
            rng=Random(seed),  # noqa: S311 - a test's chance, from its seed
            catalogue=catalogue,
            counter=counter,
            make_minter=make_minter,
        ) as gateway:
            app = client_app(gate, created=int(EPOCH_S), with_operations=True)
            yield Embedded(gateway, app, kept, log_fd)
    finally:
        logs.close()
        os.close(log_fd)


def events(body: bytes) -> Iterator[Any]:
    """The data of each SSE event, decoded; "[DONE]" as it is."""
    for block in body.split(b"\n\n"):
        if block.startswith(b"data: "):
            data = block[6:]
            yield data.decode() if data == b"[DONE]" else msgspec.json.decode(data)


def text_of(body: bytes) -> str:
    """The text that an OpenAI client would show of a streamed answer."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(body)
        if isinstance(event, dict)
        for choice in event.get("choices", ())
    )
