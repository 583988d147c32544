"""Was the answer right? Sans-io: bytes in, a verdict out.

``Reply`` cuts responses out of a connection's bytes, ``AnswerCheck`` judges one that
is not streamed, ``DeltaCheck`` reads a stream and finds what was lost, doubled or
out of order. A measurement that does not check is a measurement of error pages.
"""

from __future__ import annotations

from array import array
from typing import Any

import httptools
import msgspec

from bench.lib import shape

EVENT_BYTES_MAX = 1 << 20  # an event that never ends is a broken stream
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class AnswerError(Exception):
    """The response is not the one the request asked for."""


class Reply:
    """Cuts the responses of one keep-alive connection out of its bytes.

    A response that arrives whole with a content-length is cut by hand, the rest
    goes to llhttp. ``body_of`` returns None until the response is complete.
    """

    __slots__ = ("_body", "_done", "_parser", "status")

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self._body: list[bytes] = []
        self._done = False
        self.status = 0

    def body_of(self, data: bytes) -> bytes | None:
        """Take bytes of the current response; return its body when it is whole."""
        if self._parser is None:
            end = data.find(_HEAD_END)
            if end > 0:
                length = _length_of(data[:end].lower())
                if length is not None and len(data) == end + 4 + length:
                    self.status = int(data[9:12])
                    return data[end + 4 :]
            self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)
        if not self._done:
            return None
        self.status = self._parser.get_status_code()
        body = b"".join(self._body)
        self._parser = None
        self._body = []
        self._done = False
        return body

    def on_body(self, data: bytes) -> None:
        """Parser callback."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Parser callback."""
        self._done = True


class EndWatch:
    """Tells when one response is over without reading it: for a reader in a hurry."""

    __slots__ = ("_body", "_chunked", "_head", "_left", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._body = False
        self._chunked = False
        self._left = 0
        self._tail = b""

    def reached(self, piece: bytes) -> bool:
        """Take the next bytes; True at the end, which a closed connection is too."""
        if not piece:
            return True
        if not self._body:
            self._head += piece
            head, end, piece = self._head.partition(_HEAD_END)
            if not end:
                return False
            self._body = True
            length = _length_of(head.lower())
            self._chunked = length is None
            self._left = length or 0
        self._left -= len(piece)
        self._tail = (self._tail + piece[-5:])[-5:]
        return self._tail == b"0\r\n\r\n" if self._chunked else self._left <= 0


def _length_of(head: bytes) -> int | None:
    """The content-length that a head in small letters names."""
    at = head.find(_LENGTH)
    if at < 0:
        return None
    stop = head.find(b"\r\n", at)
    return int(head[at + len(_LENGTH) : stop if stop > 0 else len(head)])


class AnswerCheck:
    """Judges the answers of one connection; equal bytes are judged once."""

    __slots__ = ("_good", "_tag")

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._good = b""

    def check(self, status: int, body: bytes) -> None:
        """Raise AnswerError unless this is the 200 that ``tag`` asked for."""
        if status == 200 and body == self._good:
            return
        if status != 200:
            raise AnswerError(f"status {status}: {body[:200]!r}")
        try:
            answer: Any = msgspec.json.decode(body)
            choice = answer["choices"][0]
            found = (
                answer["object"],
                choice["message"]["role"],
                choice["message"]["content"],
                choice["finish_reason"],
                answer["usage"]["total_tokens"],
            )
        except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
            raise AnswerError(f"not a chat.completion: {body[:200]!r}") from error
        wanted = ("chat.completion", "assistant", shape.content(self._tag), "stop", 17)
        if found != wanted:
            raise AnswerError(f"{found} where {wanted} was asked")
        self._good = body


class DeltaCheck:
    """Reads one stream of server-sent events and keeps its times.

    ``delays_ns`` holds for each stamped delta the time from the upstream's write to
    the moment given to ``feed``; ``seen_ns`` those moments.
    """

    __slots__ = (
        "_buffer",
        "_content",
        "_done",
        "_expected",
        "_finished",
        "_tag",
        "delays_ns",
        "next",
        "seen_ns",
    )

    def __init__(self, tag: str, deltas: int) -> None:
        self._tag = tag
        self._content = b'"content":"%bw' % tag.encode()
        self._expected = deltas
        self._buffer = b""
        self._finished = 0
        self._done = False
        self.next = 0  # the number the next delta must have
        self.seen_ns = array("q")
        self.delays_ns = array("q")

    def __repr__(self) -> str:
        return (
            f"<DeltaCheck {self._tag} {self.next}/{self._expected} done={self._done}>"
        )

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take bytes of the body that were read at ``now_ns``."""
        if self._buffer:
            data = self._buffer + data
        *events, self._buffer = data.split(b"\n\n")
        if len(self._buffer) > EVENT_BYTES_MAX:
            raise AnswerError(f"an event of more than {EVENT_BYTES_MAX} bytes")
        for event in events:
            self._event(event, now_ns)

    def _event(self, event: bytes, now_ns: int) -> None:
        at = event.find(self._content)
        if at < 0:
            self._rare(event, now_ns)
            return
        start = at + len(self._content)
        middle = event.index(b"@", start)
        end = event.index(b'"', middle)
        self._delta(int(event[start:middle]), int(event[middle + 1 : end]), now_ns)

    def _delta(self, number: int, stamp_ns: int, now_ns: int) -> None:
        if number != self.next:
            what = "doubled or late" if number < self.next else "lost before"
            raise AnswerError(f"delta {number} where {self.next} was due: {what}")
        if self._finished or self._done:
            raise AnswerError(f"delta {number} after the end")
        self.next += 1
        self.seen_ns.append(now_ns)
        if stamp_ns:
            self.delays_ns.append(now_ns - stamp_ns)

    def _rare(self, event: bytes, now_ns: int) -> None:
        """Everything but a delta as the mock writes it: comments, role, end."""
        for line in event.split(b"\n"):
            if not line.startswith(b"data:"):
                continue  # comments (heartbeats), event names
            data = line[5:].strip()
            if data == b"[DONE]":
                self._done = True
                continue
            try:
                chunk: Any = msgspec.json.decode(data)
                choices = chunk["choices"]
            except (msgspec.DecodeError, KeyError, TypeError) as error:
                raise AnswerError(
                    f"no chunk of a completion: {data[:200]!r}"
                ) from error
            for choice in choices:
                text = choice["delta"].get("content")
                if text:
                    self._text(text, now_ns)
                if choice["finish_reason"] is not None:
                    self._finished += 1

    def _text(self, text: str, now_ns: int) -> None:
        """A delta of a gateway that writes JSON with other spaces, or a wrong one."""
        tag, found, rest = text.partition("w")
        number, _, stamp = rest.partition("@")
        if not found or tag != self._tag:
            raise AnswerError(f"{text!r} in the stream {self._tag}")
        self._delta(int(number), int(stamp), now_ns)

    def finish(self) -> None:
        """Raise AnswerError unless the stream came whole and ended once."""
        if self.next != self._expected:
            raise AnswerError(f"{self.next} deltas of {self._expected}, then the end")
        if self._finished != 1:
            raise AnswerError(f"{self._finished} finish reasons where one is due")
        if not self._done:
            raise AnswerError("no [DONE]")
