"""The built-in simulated model: OpenAI's chat and embeddings without a provider.

For trying the gateway out with no key. It says in every answer that it is simulated;
its vectors are a hash of the text, the same each time, and mean nothing. It is an httpx
transport like any other, so the whole request path is the real one.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import shake_128
from math import hypot
from typing import Any, Final

import httpx
import msgspec
import trio

DELTA_S: Final = 0.03  # About 35 tokens a second: visibly a stream.
WORDS_MAX: Final = 4096
DIMENSIONS: Final = 256  # Of a vector, where the request does not say.
DIMENSIONS_MAX: Final = 4096
TEXT: Final = (
    "This is Stagedoor's simulated model, not a real one: it lets you see requests, "
    "streams, caps and breakers at work without a provider key. Your message had {n} "
    "characters. Set OPENAI_API_KEY, or write providers into a config file, and the "
    "same request goes to a real model."
)


class _Message(msgspec.Struct):
    content: Any = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _EmbedRequest(msgspec.Struct):
    model: str
    input: str | list[Any]
    encoding_format: str = "float"
    dimensions: int | None = None


class SimulatedModel(httpx.AsyncBaseTransport):
    """Answers POST …/chat/completions and …/embeddings."""

    def __init__(
        self, *, delta_s: float = DELTA_S, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.delta_s = delta_s
        self.clock = clock
        self.answered = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = await request.aread()
        if request.url.path.endswith("/embeddings"):
            return self._embed(body)
        try:
            asked = msgspec.json.decode(body, type=_Request)
        except msgspec.MsgspecError:
            return _error(400, "the simulated model could not read the request")
        if not request.url.path.endswith("/chat/completions"):
            return _error(404, "the simulated model knows chat and embeddings only")
        self.answered += 1
        answer = _Answer(asked, f"chatcmpl-sim{self.answered}", int(self.clock()))
        if asked.stream:
            return httpx.Response(
                200,
                headers={"content-type": "text/event-stream; charset=utf-8"},
                stream=_Deltas(answer, self.delta_s),
            )
        await trio.sleep(self.delta_s)
        return httpx.Response(
            200,
            headers={"content-type": "application/json"},
            content=answer.whole(),
        )

    def _embed(self, body: bytes) -> httpx.Response:
        try:
            asked = msgspec.json.decode(body, type=_EmbedRequest)
        except msgspec.MsgspecError:
            return _error(400, "the simulated model could not read the request")
        size = DIMENSIONS if asked.dimensions is None else asked.dimensions
        if not 1 <= size <= DIMENSIONS_MAX:
            return _error(400, f"dimensions must be 1 to {DIMENSIONS_MAX}")
        self.answered += 1
        given = asked.input
        # One text, one list of tokens, or a list of either.
        texts = given if isinstance(given, list) else [given]
        if texts and isinstance(texts[0], int):
            texts = [texts]
        packed = asked.encoding_format == "base64"
        rows: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            vector = _vector(msgspec.json.encode(text), size)
            shown = b64encode(vector.tobytes()).decode() if packed else vector.tolist()
            rows.append({"object": "embedding", "index": index, "embedding": shown})
        tokens = sum(len(text) // 4 + 1 for text in texts)
        told = {
            "object": "list",
            "model": asked.model,
            "data": rows,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return httpx.Response(
            200,
            headers={"content-type": "application/json"},
            content=msgspec.json.encode(told),
        )


def _vector(text: bytes, size: int) -> array[float]:
    """Numbers of a hash, of length one together, as float32."""
    drawn = [byte - 127.5 for byte in shake_128(text).digest(size)]
    length = hypot(*drawn)
    return array("f", (number / length for number in drawn))


class _Answer:
    """What the model says, and how OpenAI's API would wrap it."""

    def __init__(self, asked: _Request, answer_id: str, created: int) -> None:
        chars = sum(_chars(message.content) for message in asked.messages)
        words = TEXT.format(n=chars).split(" ")
        asked_max = asked.max_completion_tokens or asked.max_tokens or WORDS_MAX
        self.words = words[: max(1, asked_max)]
        self.finish = "stop" if len(self.words) == len(words) else "length"
        self.prompt_tokens = chars // 4 + 8
        self.head = {"id": answer_id, "created": created, "model": asked.model}
        options = asked.stream_options
        self.include_usage = options is not None and options.include_usage

    def usage(self) -> dict[str, int]:
        completion = len(self.words)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def whole(self) -> bytes:
        message = {"role": "assistant", "content": " ".join(self.words)}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return msgspec.json.encode(
            {
                **self.head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": self.usage(),
            }
        )

    def chunk(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._event({"choices": [choice]})

    def usage_chunk(self) -> bytes:
        return self._event({"choices": [], "usage": self.usage()})

    def _event(self, rest: dict[str, Any]) -> bytes:
        body = {**self.head, "object": "chat.completion.chunk", **rest}
        return b"data: " + msgspec.json.encode(body) + b"\n\n"


class _Deltas(httpx.AsyncByteStream):
    """One word a chunk."""

    def __init__(self, answer: _Answer, delta_s: float) -> None:
        self.answer = answer
        self.delta_s = delta_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        answer = self.answer
        yield answer.chunk({"role": "assistant", "content": ""})
        for place, word in enumerate(answer.words):
            await trio.sleep(self.delta_s)
            yield answer.chunk({"content": word if place == 0 else f" {word}"})
        yield answer.chunk({}, answer.finish)
        if answer.include_usage:
            yield answer.usage_chunk()
        yield b"data: [DONE]\n\n"


def _chars(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(len(str(part.get("text", ""))) for part in content if part)
    return 0


def _error(status: int, message: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
    )
