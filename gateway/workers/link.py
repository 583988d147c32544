"""The line between the parent and one worker: a socket pair, a byte a word.

The parent says `Order`s, the worker says that it is ready and that its loop turns. The
end of the line is a word too: a parent that is gone means stop, so no worker outlives
it. Signals would not do: whoever sends SIGTERM to a whole group (a terminal, systemd)
reaches the workers as well, and the second one must not cut what the first lets finish.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from enum import Enum
from typing import Final

import trio

WORDS_MAX: Final = 4096  # Unread words: a worker that reads none is stuck anyway.


class Order(Enum):
    """What a parent says."""

    STOP = b"S"  # Finish what runs, until the drain deadline.
    HURRY = b"H"  # Do not wait for it.
    RELOAD = b"R"
    DUMP = b"D"


READY: Final = b"r"
BEAT: Final = b"."


class ParentEnd:
    """The parent's end: synchronous, never waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    def __repr__(self) -> str:
        return f"<ParentEnd fd={self.sock.fileno()}>"

    def say(self, order: Order) -> None:
        """Say it, if anybody is there to hear it."""
        with suppress(OSError):
            self.sock.send(order.value)

    def heard(self) -> bytes | None:
        """What the worker has said since; None when it is gone."""
        try:
            return self.sock.recv(WORDS_MAX) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def close(self) -> None:
        """Hang up: to the worker that is an order to stop."""
        self.sock.close()


class WorkerEnd:
    """The worker's end, inside trio."""

    def __init__(self, sock: socket.socket) -> None:
        self._plain = sock
        self._sock: trio.socket.SocketType | None = None

    def __repr__(self) -> str:
        return f"<WorkerEnd fd={self._plain.fileno()}>"

    async def orders(self) -> list[Order] | None:
        """Wait for the next; None when the parent is gone."""
        try:
            words = await self._inside().recv(WORDS_MAX)
        except OSError:
            return None
        return [Order(bytes([word])) for word in words] if words else None

    async def say(self, word: bytes) -> None:
        """Say it. A parent that is gone is noticed by `orders`."""
        with suppress(OSError):
            await self._inside().send(word)

    def close(self) -> None:
        """Hang up."""
        self._plain.close()

    def _inside(self) -> trio.socket.SocketType:
        if self._sock is None:
            self._sock = trio.socket.from_stdlib_socket(self._plain)
        return self._sock


def pair() -> tuple[ParentEnd, WorkerEnd]:
    """A new line."""
    ours, theirs = socket.socketpair()
    return ParentEnd(ours), WorkerEnd(theirs)
