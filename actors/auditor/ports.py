"""What the auditor needs from storage."""

from typing import Protocol


class Journal(Protocol):
    """An append-only file of lines. Raises OSError when it cannot keep them."""

    async def append(self, lines: bytes) -> None:
        """Write; return when durable.

        All or nothing after a crash: a torn tail is cut off when it is opened again.
        """
        ...
