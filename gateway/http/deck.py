"""A client that is a tape: it takes an answer, and leaves when it is told to stop.

Owns: what of an answer is recorded. A heartbeat is not: silence is each reader's own.
An error that came too late for a status is, but is no answer to give again.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from math import inf
from typing import Any

import trio

from actors.tapes.tape import Fields, Tape


class Deck:
    """ASGI's send and receive, and `Conn`."""

    heartbeats = True  # They begin a silent stream's answer, and are not recorded.

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._early = False  # It began for its heartbeats, not for an answer.

    def __repr__(self) -> str:
        """What it fills."""
        return f"<Deck of {self.tape!r}>"

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Record one message of the answer."""
        tape = self.tape
        if message["type"] == "http.response.start":
            fields: Fields = tuple(message["headers"])
            kind = next((v for k, v in fields if k == b"content-type"), b"")
            streamed = kind.startswith(b"text/event-stream")
            tape.begin(message["status"], fields, streamed=streamed)
            return
        body: bytes = message.get("body", b"")
        last = not message.get("more_body", False)
        if body and body == tape.heartbeat and tape.number == 0:
            self._early = True
        elif last and self._early and tape.number == 0 and _is_error(body):
            tape.failed = True  # Before any content: whoever asks again is served.
        # Silence is each reader's own.
        if body and body != tape.heartbeat:
            await tape.write(body)
        if last:
            tape.finish(complete=True)

    async def receive(self) -> MutableMapping[str, Any]:
        """Wait until it is told to stop."""
        stopped = trio.Event()
        self.tape.when_gone(stopped.set)
        await stopped.wait()
        return {"type": "http.disconnect"}

    # Conn.

    @property
    def gone(self) -> bool:
        """See Conn."""
        return self.tape.stopped

    @property
    def write_deadline(self) -> float:
        """See Conn: it takes whatever it is given."""
        return inf

    @property
    def unsent_bytes(self) -> int:
        """See Conn."""
        return 0

    @property
    def body(self) -> bytes | None:
        """See Conn: it was read before."""
        return b""

    async def read_body(self) -> bytes:
        """See Conn."""
        return b""

    def write_now(self, body: bytes) -> bool:
        """See Conn: a tape is written in order with its store."""
        del body
        return False

    def answer_now(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes
    ) -> bool:
        """See Conn: a tape is written in order with its store."""
        del status, fields, body
        return False

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        self.tape.when_gone(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        self.tape.remove(callback)


def _is_error(body: bytes) -> bool:
    """Whether a stream says that it failed. In a text, a quote would be escaped."""
    return b'"error":{' in body or b"event: error" in body
