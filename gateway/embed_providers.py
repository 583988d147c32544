"""Providers that follow a script, for a gateway in memory (`gateway.embed`).

    FakeProvider([Fails(503), Says("Hello")])

Owns: what an OpenAI-shaped provider does, well and badly, and counts of what tests ask
about. No socket: it is a transport, as `httpx` defines them.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from typing import Any, TypeAlias

import attrs
import httpx
import msgspec
import trio


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
    """An HTTP error, after a while."""

    status: int = 500
    message: str = "something broke"
    code: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    delay_s: float = 0.0


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
            if isinstance(behaviour, Fails) and behaviour.delay_s:
                await trio.sleep(behaviour.delay_s)
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
