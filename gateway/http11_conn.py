"""What an HTTP/1.1 connection offers an app beside ASGI, for one request."""

from collections.abc import Callable, Sequence
from typing import Protocol


class Conn(Protocol):
    """What `scope["extensions"]["stagedoor"]` offers beside ASGI, for one request."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    @property
    def write_deadline(self) -> float:
        """When a client that stopped reading is dropped; inf while it reads."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes sent by the app that the kernel has not taken yet."""
        ...

    @property
    def body(self) -> bytes | None:
        """The whole body when it is there and untouched; taking it consumes it."""
        ...

    @property
    def heartbeats(self) -> bool:
        """Whether a silent stream is to be kept awake on its way to the client."""
        ...

    async def read_body(self) -> bytes:
        """The whole body; raises ClientGone when it will never be complete."""
        ...

    def write_now(self, body: bytes) -> bool:
        """Send some of the body without waiting; False when `send` has to.

        May be called by any task. Never the last, and never before the first.
        """
        ...

    def answer_now(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes
    ) -> bool:
        """Send a whole response without waiting; False when `send` has to.

        May be called by any task. How the body is framed is no business of `fields`.
        """
        ...

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call back once, synchronously, as soon as the client has left."""
        ...

    def remove(self, callback: Callable[[], None]) -> None:
        """Take back `on_disconnect`; harmless when it is not there any more."""
        ...
