"""Does a secret occur in this process's memory? Asked without knowing it.

The secret begins with a prefix that may be known, and goes on with bytes that are kept
only under a mask: the search compares what follows each prefix byte by byte, so that
neither the test nor the search itself holds what it looks for.
"""

import gc
import os
from pathlib import Path

PREFIX = b"sk-scan-"
TAIL_BYTES = 24
WINDOW_BYTES = 4 * 1024 * 1024


class Masked:
    """A secret under a mask."""

    def __init__(self) -> None:
        self._mask = os.urandom(TAIL_BYTES)
        self._masked = os.urandom(TAIL_BYTES)

    def write_to(self, buffer: bytearray) -> None:
        """Put the secret into a buffer, with no other copy on the way."""
        buffer[:] = bytes(len(PREFIX) + TAIL_BYTES)
        buffer[: len(PREFIX)] = PREFIX
        for index in range(TAIL_BYTES):
            buffer[len(PREFIX) + index] = self._at(index)

    def _at(self, index: int) -> int:
        # Printable, as keys are, and never a line end.
        return 33 + (self._masked[index] ^ self._mask[index]) % 90

    def matches(self, data: bytearray | bytes, start: int) -> bool:
        """Whether the tail of the secret stands at `start`."""
        return len(data) >= start + TAIL_BYTES and all(
            data[start + index] == self._at(index) for index in range(TAIL_BYTES)
        )

    def count_in(self, data: bytearray | bytes, size: int | None = None) -> int:
        """How often it occurs, in all of it or in its first bytes."""
        found = 0
        at = data.find(PREFIX, 0, size)
        while at >= 0:
            found += self.matches(data, at + len(PREFIX))
            at = data.find(PREFIX, at + 1, size)
        return found

    def count_in_objects(self) -> int:
        """How often it occurs in strings and buffers that the collector can reach."""
        seen: set[int] = set()
        found = 0
        todo = list(gc.get_objects())
        for thing in todo:
            for part in gc.get_referents(thing):
                if isinstance(part, bytes | bytearray | str) and id(part) not in seen:
                    seen.add(id(part))
                    data = (
                        part.encode("utf-8", "replace")
                        if isinstance(part, str)
                        else part
                    )
                    found += self.count_in(data)
        return found

    def count_in_memory(self) -> int:
        """How often it occurs in readable memory, freed blocks included."""
        found = 0
        window = bytearray(WINDOW_BYTES)
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            for line in Path("/proc/self/maps").read_text().splitlines():
                span, rights, *_, name = (*line.split(), "")
                if not rights.startswith("rw") or name.startswith("[v"):
                    continue
                start, end = (int(part, 16) for part in span.split("-"))
                found += self._count_in_span(memory, start, end, window)
        return found

    def _count_in_span(self, memory, start: int, end: int, window: bytearray) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001
        found = 0
        overlap = len(PREFIX) + TAIL_BYTES - 1
        while start < end:
            try:
                memory.seek(start)
                size = memory.readinto(
                    memoryview(window)[: min(WINDOW_BYTES, end - start)]
                )
            except (OSError, ValueError, OverflowError):  # A guard page.
                return found
            if not size:
                return found
            # No copy of the window: it would stay in freed memory, for the next scan.
            found += self.count_in(window, size)
            window[:] = bytes(WINDOW_BYTES)
            start += size if size < WINDOW_BYTES else size - overlap
        return found
