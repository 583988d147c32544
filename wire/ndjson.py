"""Newline-delimited JSON: bytes in, lines out. Sans-io.

Owns: cutting lines and bounding them. Never: parsing them.
"""

from collections.abc import Iterator
from typing import Final

# The longest lines seen are Ollama's last ones, whose `context` lists every token of
# the prompt: 128k tokens of up to seven bytes are under 1 MiB; the rest is headroom.
LINE_BYTES_MAX: Final = 4 * 1024 * 1024


class NdjsonError(Exception):
    """A line is over its bound; the stream cannot be followed any further."""


class NdjsonDecoder:
    """Cuts a byte stream into lines, however the bytes arrive; blank lines are none.

    Like `EventStreamDecoder`: `feed` takes its bytes at once, lines come by iterating,
    those before a flaw are delivered before its error.
    """

    def __init__(self, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._at = 0  # Where the first unread line begins in the buffer.
        self._searched = 0  # No newline before here: a long line is scanned once.
        self._line_bytes_max = line_bytes_max
        self._failed = False

    def __repr__(self) -> str:
        state = "failed" if self._failed else "open"
        return f"<NdjsonDecoder {state} buffered={len(self._buffer) - self._at}B>"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data`; iterate for the lines it completes.

        Raises:
            NdjsonError: while iterating, when a line is too long.
        """
        if not self._failed:
            # Here and not in the loop: one deletion a batch, not one a line.
            del self._buffer[: self._at]
            self._searched = max(self._searched - self._at, 0)
            self._at = 0
            self._buffer += data
        return self._lines()

    def close(self) -> bytes | None:
        """The stream ended; the last line needs no newline. None when there is none.

        Raises:
            NdjsonError: a line was too long.
        """
        for line in self.feed(b"\n"):
            return line
        return None

    def _lines(self) -> Iterator[bytes]:
        while (end := self._buffer.find(b"\n", max(self._at, self._searched))) >= 0:
            self._check(end - self._at)
            line = bytes(self._buffer[self._at : end]).strip()
            self._at = self._searched = end + 1
            if line:
                yield line
        self._searched = len(self._buffer)
        self._check(self._searched - self._at)

    def _check(self, size: int) -> None:
        if self._failed or size > self._line_bytes_max:
            self._failed = True
            self._buffer.clear()
            self._at = self._searched = 0
            raise NdjsonError(f"a line is over {self._line_bytes_max} bytes")
