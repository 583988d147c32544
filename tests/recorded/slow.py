"""Streams of each grammar with a word a second, to see when each word arrives.

Written by hand after the recordings: what each provider sends before the first word,
around each word and around each piece of a call's arguments, and at the end. Gemini and
Ollama send a call whole, so theirs have words alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import attrs
import httpx
import trio

from wire.eventstream import event as aws

WORDS: Final = ("alder", "birch", "cedar", "dogwood")
ARGUMENTS: Final = ('{"q": "', "elm", "fir", '"}')
SECOND: Final = 1.0


@attrs.frozen
class Spoken:
    """A stream by the second: what comes at once, and what each second brings."""

    content_type: str
    opening: bytes
    beats: tuple[bytes, ...]

    @property
    def has_call(self) -> bool:
        """Whether pieces of a call follow the words."""
        return len(self.beats) > len(WORDS) + 1


class SlowUpstream(httpx.AsyncBaseTransport):
    """Says its stream, a beat a second."""

    def __init__(self, spoken: Spoken) -> None:
        self.spoken = spoken

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer whatever is asked."""
        use = request.extensions.get("stagedoor.key")
        if use is not None:
            use.handle.spent()
        headers = {"content-type": self.spoken.content_type}
        return httpx.Response(200, headers=headers, stream=_Beats(self.spoken))


class _Beats(httpx.AsyncByteStream):
    def __init__(self, spoken: Spoken) -> None:
        self._spoken = spoken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._spoken.opening:
            yield self._spoken.opening
        for beat in self._spoken.beats:
            await trio.sleep(SECOND)
            yield beat


def _data(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _named(body: Any) -> bytes:
    return f"event: {body['type']}\n".encode() + _data(body)


def _chat() -> Spoken:
    def chunk(delta: Any, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({"id": "c", "object": "chat.completion.chunk", "created": 1,
                      "model": "m", "choices": [choice]})  # fmt: skip

    def call(first: bool, piece: str) -> bytes:
        function: dict[str, Any] = {"arguments": piece}
        tool: dict[str, Any] = {"index": 0, "function": function}
        if first:
            tool |= {"id": "call_1", "type": "function"}
            function["name"] = "f"
        return chunk({"tool_calls": [tool]})

    return Spoken(
        "text/event-stream",
        chunk({"role": "assistant", "content": ""}),
        (
            *[chunk({"content": word}) for word in WORDS],
            *[call(at == 0, piece) for at, piece in enumerate(ARGUMENTS)],
            chunk({}, "tool_calls") + b"data: [DONE]\n\n",
        ),
    )


def _anthropic() -> Spoken:
    def delta(index: int, body: Any) -> bytes:
        return _named({"type": "content_block_delta", "index": index, "delta": body})

    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}

    def start(index: int, block: Any) -> bytes:
        return _named({"type": "content_block_start", "index": index,
                       "content_block": block})  # fmt: skip

    def stop(index: int) -> bytes:
        return _named({"type": "content_block_stop", "index": index})

    pieces = [
        delta(1, {"type": "input_json_delta", "partial_json": piece})
        for piece in ARGUMENTS
    ]
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    return Spoken(
        "text/event-stream",
        _named({"type": "message_start", "message": message})
        + start(0, {"type": "text", "text": ""}),
        (
            *[delta(0, {"type": "text_delta", "text": word}) for word in WORDS],
            stop(0) + start(1, use) + pieces[0],
            *pieces[1:],
            stop(1)
            + _named({"type": "message_delta", "delta": end, "usage": usage})
            + _named({"type": "message_stop"}),
        ),
    )


def _responses() -> Spoken:
    number = iter(range(100))

    def event(kind: str, **body: Any) -> bytes:
        return _named({"type": f"response.{kind}", "sequence_number": next(number),
                       **body})  # fmt: skip

    def snapshot(status: str, *output: Any) -> Any:
        return {"id": "resp_1", "object": "response", "created_at": 1, "model": "m",
                "status": status, "output": list(output)}  # fmt: skip

    def message(status: str, *content: Any) -> Any:
        return {"type": "message", "id": "msg_1", "role": "assistant",
                "status": status, "content": list(content)}  # fmt: skip

    def call(status: str, arguments: str) -> Any:
        return {"type": "function_call", "id": "fc_1", "call_id": "call_1",
                "name": "f", "status": status, "arguments": arguments}  # fmt: skip

    text = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
    said, called = message("completed", text), call("completed", "".join(ARGUMENTS))
    part = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"item_id": "fc_1", "output_index": 1}
    opening = (
        event("created", response=snapshot("in_progress"))
        + event("output_item.added", output_index=0, item=message("in_progress"))
        + event("content_part.added", **part, part={**text, "text": ""})
    )
    words = [event("output_text.delta", **part, delta=word) for word in WORDS]
    turn = (
        event("output_text.done", **part, text=text["text"])
        + event("content_part.done", **part, part=text)
        + event("output_item.done", output_index=0, item=said)
        + event("output_item.added", output_index=1, item=call("in_progress", ""))
    )
    pieces = [
        event("function_call_arguments.delta", **item, delta=piece)
        for piece in ARGUMENTS
    ]
    end = (
        event("function_call_arguments.done", **item, arguments=called["arguments"])
        + event("output_item.done", output_index=1, item=called)
        + event("completed", response=snapshot("completed", said, called))
    )
    beats = (*words, turn + pieces[0], *pieces[1:], end)
    return Spoken("text/event-stream", opening, beats)


def _gemini() -> Spoken:
    def chunk(*parts: Any, **more: Any) -> bytes:
        candidate = {"content": {"role": "model", "parts": list(parts)}, **more}
        body = {"candidates": [candidate], "modelVersion": "m"}
        return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"

    end = chunk({"text": ""}, finishReason="STOP")
    beats = (*[chunk({"text": word}) for word in WORDS], end)
    return Spoken("text/event-stream", b"", beats)


def _converse() -> Spoken:
    def event(kind: str, **body: Any) -> bytes:
        return aws(kind, json.dumps(body).encode())

    def delta(index: int, **body: Any) -> bytes:
        return event("contentBlockDelta", contentBlockIndex=index, delta=body)

    use = {"toolUse": {"toolUseId": "t1", "name": "f"}}
    pieces = [delta(1, toolUse={"input": piece}) for piece in ARGUMENTS]
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    return Spoken(
        "application/vnd.amazon.eventstream",
        event("messageStart", role="assistant"),
        (
            *[delta(0, text=word) for word in WORDS],
            event("contentBlockStop", contentBlockIndex=0)
            + event("contentBlockStart", contentBlockIndex=1, start=use)
            + pieces[0],
            *pieces[1:],
            event("contentBlockStop", contentBlockIndex=1)
            + event("messageStop", stopReason="tool_use")
            + event("metadata", usage=usage),
        ),
    )


def _invoke() -> Spoken:
    """Claude's events, one by one, in InvokeModel's envelope."""
    spoken = _anthropic()

    def wrapped(events: bytes) -> bytes:
        out = b""
        for event in events.split(b"\n\n"):
            data = event.partition(b"data: ")[2]
            if data:
                chunk = {"bytes": base64.b64encode(data).decode()}
                out += aws("chunk", json.dumps(chunk).encode())
        return out

    return Spoken(
        "application/vnd.amazon.eventstream",
        wrapped(spoken.opening),
        tuple(map(wrapped, spoken.beats)),
    )


def _cohere() -> Spoken:
    def delta(kind: str, index: int, message: Any) -> bytes:
        return _named({"type": kind, "index": index, "delta": {"message": message}})

    def text(word: str) -> Any:
        return {"content": {"text": word}}

    def call(**function: str) -> Any:
        tool: dict[str, Any] = {"function": function}
        if "name" in function:
            tool |= {"id": "f_1", "type": "function"}
        return {"tool_calls": tool}

    tokens = {"input_tokens": 1, "output_tokens": 1}
    end = {"finish_reason": "TOOL_CALL", "usage": {"tokens": tokens}}
    return Spoken(
        "text/event-stream",
        _named({"type": "message-start", "id": "x",
                "delta": {"message": {"role": "assistant"}}})
        + delta("content-start", 0, {"content": {"type": "text", "text": ""}}),
        (
            *[delta("content-delta", 0, text(word)) for word in WORDS],
            _named({"type": "content-end", "index": 0})
            + delta("tool-call-start", 0, call(name="f", arguments=ARGUMENTS[0])),
            *[
                delta("tool-call-delta", 0, call(arguments=piece))
                for piece in ARGUMENTS[1:]
            ],
            _named({"type": "tool-call-end", "index": 0})
            + _named({"type": "message-end", "delta": end}),
        ),
    )  # fmt: skip


def _ollama() -> Spoken:
    def line(word: str, **more: Any) -> bytes:
        message = {"role": "assistant", "content": word}
        body = {"model": "m", "message": message, "done": False, **more}
        return json.dumps(body).encode() + b"\n"

    end = line("", done=True, done_reason="stop", prompt_eval_count=1, eval_count=1)
    return Spoken("application/x-ndjson", b"", (*map(line, WORDS), end))


SPOKEN: Final[dict[str, Callable[[], Spoken]]] = {
    "chat": _chat,
    "anthropic": _anthropic,
    "responses": _responses,
    "gemini": _gemini,
    "converse": _converse,
    "invoke": _invoke,
    "cohere": _cohere,
    "ollama": _ollama,
}
