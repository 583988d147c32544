"""What goes over the wire in a measurement: requests, answers, deltas.

The load generator and the mock upstream agree here and nowhere else, so that an
answer can be checked to the byte. What the mock should do travels in the user's
message, the one field that every gateway hands on untouched.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

MODEL = "bench"  # what clients ask a gateway for
UPSTREAM_MODEL = "gpt-mock"  # what the gateway asks the mock for
PATH = "/v1/chat/completions"

TOKENS_A_DELTA = 16  # generous: a gateway may hold the model to what was asked
DELTAS_MAX = 1_000_000  # A typing error in a directive must not eat the memory.

_CREATED = 1_760_000_000
_DIRECTIVE = re.compile(
    rb"bench tag=([a-z0-9]+)(?: deltas=([0-9]{1,7}) gap_us=([0-9]{1,9})( words)?)?"
)
_PROSE = (
    "The **quick** brown fox, born on 2024-03-01, jumps over `the lazy dog` and says "
    "that 1,250 euros are too much for [the matter](https://example.org/a). It was a "
    "bright cold day in April, and the clocks were striking thirteen.\n"
)
_WORDS = _PROSE.split(" ")
_STREAM = re.compile(rb'"stream"\s*:\s*true')


class DirectiveError(ValueError):
    """The request does not say what the mock should answer."""


@dataclass(frozen=True, slots=True)
class Directive:
    """What one request asks of the mock: an answer, or ``deltas`` of them."""

    tag: str
    stream: bool = False
    deltas: int = 0
    gap_us: int = 0  # 0: as fast as the connection takes them
    model: str = MODEL
    words: bool = False  # Prose instead of stamps, in a burst: something to edit.

    def body(self, *, prompt_bytes: int = 0) -> bytes:
        """The JSON body a client sends to ask for this, after a prompt of that size."""
        text = f"bench tag={self.tag}"
        if self.stream:
            text += f" deltas={self.deltas} gap_us={self.gap_us}"
            text += " words" * self.words
        request: dict[str, object] = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": _prompt(prompt_bytes)},
                {"role": "user", "content": text},
            ],
            "max_tokens": 64 + self.deltas * TOKENS_A_DELTA,
            "temperature": 0,
        }
        if self.stream:
            request["stream"] = True
        return msgspec.json.encode(request)


def directive_of(body: bytes) -> Directive:
    """Read a directive back from whatever JSON a gateway made of the body."""
    found = _DIRECTIVE.search(body)
    if found is None:
        raise DirectiveError("no 'bench tag=...' in the body; was the message changed?")
    tag, deltas, gap_us, words = found.groups()
    if _STREAM.search(body) is None:
        return Directive(tag.decode())
    if deltas is None:
        raise DirectiveError("a streamed request without 'deltas=... gap_us=...'")
    count = int(deltas)
    if count > DELTAS_MAX:
        raise DirectiveError(f"{count} deltas asked, {DELTAS_MAX} is the most")
    return Directive(
        tag.decode(),
        stream=True,
        deltas=count,
        gap_us=int(gap_us),
        words=words is not None,
    )


def request(
    directive: Directive, *, host: str, key: str, prompt_bytes: int = 0
) -> bytes:
    """The whole HTTP request, as the official client would shape it."""
    body = directive.body(prompt_bytes=prompt_bytes)
    accept = "text/event-stream" if directive.stream else "application/json"
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n"
        f"Accept-Encoding: identity\r\nContent-Type: application/json\r\n"
        f"User-Agent: stagedoor-bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def content(tag: str) -> str:
    """What the assistant says to a request that is not streamed."""
    return f"pong {tag}"


def answer(tag: str) -> bytes:
    """A whole response with a ``chat.completion``."""
    body = msgspec.json.encode(
        {
            "id": f"chatcmpl-{tag}",
            "object": "chat.completion",
            "created": _CREATED,
            "model": UPSTREAM_MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": content(tag),
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _usage(3),
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    )
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"x-request-id: req_bench\r\nopenai-processing-ms: 1\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def error(status: int, message: str) -> bytes:
    """A whole response in OpenAI's error shape."""
    body = msgspec.json.encode(
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }
    )
    return (
        b"HTTP/1.1 %d Error\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (status, len(body), body)
    )


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nx-request-id: req_bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def opening(tag: str) -> bytes:
    """The first event: the role, no content yet."""
    delta = b'{"role":"assistant","content":"","refusal":null}'
    return _event(tag, delta, b"null")


def delta(tag: str, number: int, stamp_ns: int) -> bytes:
    """Delta ``number`` of the stream ``tag``, stamped with the moment of its write.

    The clock is the machine's monotonic one, the same in every process, so the
    reader knows how long this very delta was under way.
    """
    text = b"%bw%d@%d" % (tag.encode(), number, stamp_ns)
    return _event(tag, b'{"content":"%b"}' % text, b"null")


def ending(tag: str, deltas: int) -> bytes:
    """Finish reason, usage, ``[DONE]`` and the last chunk."""
    usage = msgspec.json.encode(_usage(deltas))
    counted = (
        b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,'
        b'"model":"gpt-mock","service_tier":"default","system_fingerprint":"fp_bench",'
        b'"choices":[],"usage":%b}\n\n' % (tag.encode(), _CREATED, usage)
    )
    return (
        _event(tag, b"{}", b'"stop"')
        + _chunk(counted)
        + _chunk(b"data: [DONE]\n\n")
        + b"0\r\n\r\n"
    )


def word(number: int) -> str:
    """Delta ``number`` of a stream of words."""
    return f"{_WORDS[number % len(_WORDS)]} "


def burst(tag: str, deltas: int, *, words: bool = False) -> bytes:
    """A whole stream in one piece, an HTTP chunk to the event; no stamps."""
    parts = [STREAM_HEAD, opening(tag)]
    if words:
        parts += [
            _event(tag, msgspec.json.encode({"content": word(number)}), b"null")
            for number in range(deltas)
        ]
    else:
        parts += [delta(tag, number, 0) for number in range(deltas)]
    parts.append(ending(tag, deltas))
    return b"".join(parts)


def _event(tag: str, delta_json: bytes, finish: bytes) -> bytes:
    return _chunk(
        b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,'
        b'"model":"gpt-mock","service_tier":"default","system_fingerprint":"fp_bench",'
        b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
        % (tag.encode(), _CREATED, delta_json, finish)
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _prompt(size_bytes: int) -> str:
    """Text as documents have it: quotes, line ends and letters beyond ASCII."""
    start = "You answer in one short sentence."
    line = 'Chapter 7: "Überfahrt" — the ship leaves port at dawn; all is well.\n'
    return start + line * (size_bytes // len(line.encode()))


def _usage(completion_tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 14,
        "completion_tokens": completion_tokens,
        "total_tokens": 14 + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
