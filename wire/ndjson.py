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
        self._searched = 0  # No newline before here: a long line is scanned once.
        self._line_bytes_max = line_bytes_max
        self._failed = False

    def __repr__(self) -> str:
        state = "failed" if self._failed else "open"
        return f"<NdjsonDecoder {state} buffered={len(self._buffer)}B>"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data`; iterate for the lines it completes.

        Raises:
            NdjsonError: while iterating, when a line is too long.
        """
        if not self._failed:
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
        start = 0
        try:
            while (end := self._buffer.find(b"\n", start + self._searched)) >= 0:
                self._check(end - start)
                line = bytes(self._buffer[start:end]).strip()
                start, self._searched = end + 1, 0
                if line:
                    yield line
            self._searched = len(self._buffer) - start
            self._check(self._searched)
        finally:
            del self._buffer[:start]

    def _check(self, size: int) -> None:
        if self._failed or size > self._line_bytes_max:
            self._failed = True
            self._buffer.clear()
            raise NdjsonError(f"a line is over {self._line_bytes_max} bytes")
