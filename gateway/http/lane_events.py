"""What goes over a socket instead of SSE: one event, one text message. Pure.

Owns: the rule that makes a message of an event, for each dialect of sockets; and the
shape of errors, which is OpenAI's for its Responses WebSocket mode: `type`, `status`,
`error` and the lane. Deltas are spliced, not parsed: their bytes pass as they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from wire.jsontext import decode_object, mapping
from wire.sse import SseSplitter, parse_event, split_events

SocketDialect = Literal["responses", "chat"]

CHUNK: Final = "chat.completion.chunk"
DONE: Final = "chat.completion.done"

_encode: Final = msgspec.json.Encoder().encode


class Message:
    """One message, and the name of the event that it was."""

    __slots__ = ("data", "name")

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name

    def __repr__(self) -> str:
        return f"<Message {self.name} {len(self.data)} bytes>"


class Translation:
    """One streamed answer on its way to a socket."""

    def __init__(self, dialect: SocketDialect, lane: str | None) -> None:
        self.dialect: SocketDialect = dialect
        self._splitter = SseSplitter()
        head: dict[str, Any] = {} if dialect == "responses" else {"type": CHUNK}
        if lane is not None:
            head["stream_id"] = lane
        # `{"stream_id":"a",`, to which the rest of an object is joined.
        self._head = _encode(head)[:-1] + b"," if head else b"{"
        self._lane = lane
        self.last = ""  # The name of the last event.

    def __repr__(self) -> str:
        return f"<Translation {self.dialect} lane={self._lane!r} last={self.last!r}>"

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete. Raises SseError past its bounds."""
        run = self._splitter.feed(data)
        if not run:
            return []
        found = [self._message(event) for event in split_events(run)]
        return [message for message in found if message is not None]

    def _message(self, event: bytes) -> Message | None:
        frame = parse_event(event)
        if frame is None or not frame.data.startswith(b"{"):
            # A heartbeat, or `[DONE]`: chat says that in an event of its own.
            if frame is None or self.dialect == "responses":
                return None
            self.last = DONE
            return Message(named(DONE, self._lane), DONE)
        data = frame.data
        if not data.isascii():
            data = data.decode("utf-8", "replace").encode()
        name = self.last = frame.event or CHUNK
        if data.startswith(b'{"error"'):  # Chat's errors have no event's name.
            name = self.last = "error"
            if self.dialect == "chat":
                return Message(error_message(502, data, (), self._lane), name)
        if self._head == b"{":
            return Message(data, name)
        if data[1:2] != b'"' and data[1:].lstrip().startswith(b"}"):  # Empty: no comma.
            return Message(self._head[:-1] + b"}", name)
        return Message(self._head + data[1:], name)


def named(name: str, lane: str | None, fields: Iterable[tuple[str, Any]] = ()) -> bytes:
    """An event that has no stream behind it."""
    head = {"type": name} if lane is None else {"type": name, "stream_id": lane}
    return _encode({**head, **dict(fields)})


def error_message(
    status: int,
    body: bytes,
    headers: Iterable[tuple[str, str]],
    lane: str | None,
) -> bytes:
    """An error's body and header fields as one event."""
    error: dict[str, Any] = dict(mapping((decode_object(body) or {}).get("error")))
    if not error:
        error = {"message": "The request failed.", "type": "server_error"}
    shown = {name: value for name, value in headers if not name.startswith("content-")}
    if shown:
        error["headers"] = shown
    return named("error", lane, (("status", status), ("error", error)))


def refusal(
    status: int,
    code: str,
    message: str,
    lane: str | None,
    *,
    param: str | None = None,
) -> bytes:
    """An error of the socket itself."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"type": kind, "code": code, "message": message, "param": param}
    return named("error", lane, (("status", status), ("error", error)))


class Create:
    """A `response.create`: which lane, and the body that a POST would have."""

    __slots__ = ("body", "generate", "lane", "local", "previous", "size", "store")

    def __init__(self, fields: dict[str, msgspec.Raw], dialect: SocketDialect) -> None:
        """Take the envelope off. Raises BadMessage."""
        fields.pop("type", None)
        self.lane = read_text(fields.pop("stream_id", None), "stream_id")
        self.generate = _flag(fields.pop("generate", None), "generate") is not False
        if _flag(fields.get("background"), "background"):
            raise BadMessage(
                "'background' is not supported over a WebSocket; POST the request.",
                "background",
                self.lane,
            )
        fields.pop("background", None)
        self.store = _flag(fields.get("store"), "store")
        self.previous = ""
        if dialect == "responses":
            given = read_text(
                fields.get("previous_response_id"), "previous_response_id"
            )
            self.previous = given or ""
        fields["stream"] = _TRUE
        self.body = _encode(fields)
        self.size = len(self.body)
        self.local = False  # What it goes on from is known to this socket alone.

    def __repr__(self) -> str:
        """Without the prompt."""
        return f"<Create lane={self.lane!r} {self.size} bytes>"


class BadMessage(Exception):
    """A client's event that cannot be served: why, and which field of it."""

    def __init__(self, why: str, param: str | None, lane: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.param = param
        self.lane = lane


LANE_CHARS_MAX: Final = 128  # A uuid has 36.
_TRUE: Final = msgspec.Raw(b"true")
_NULLS: Final = frozenset({b"null", b""})


def read_text(raw: msgspec.Raw | None, name: str) -> str | None:
    """A field that is a string, or is not there. Raises BadMessage."""
    if raw is None or bytes(raw) in _NULLS:
        return None
    try:
        told = msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise BadMessage(f"Invalid '{name}': expected a string.", name) from None
    if name == "stream_id" and not 1 <= len(told) <= LANE_CHARS_MAX:
        why = f"Invalid 'stream_id': expected 1 to {LANE_CHARS_MAX} characters."
        raise BadMessage(why, name)
    return told


def _flag(raw: msgspec.Raw | None, name: str) -> bool | None:
    if raw is None or bytes(raw) in _NULLS:
        return None
    try:
        return msgspec.json.decode(raw, type=bool)
    except msgspec.ValidationError:
        raise BadMessage(f"Invalid '{name}': expected a boolean.", name) from None
