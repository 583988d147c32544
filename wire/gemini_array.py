"""A JSON array that arrives in pieces: what Google streams without `alt=sse`.

Owns: cutting the array's elements out of bytes, whatever is inside their strings, and
writing one. A body that is one object instead (an error) is one element. Sans-io.
"""

import re
from typing import Final

ELEMENT_BYTES_MAX: Final = 24 * 1024 * 1024
"""As an SSE event's: a picture in base64 is the longest honest element."""

_TOKENS = re.compile(rb'["\\{}]')


class ArrayError(ValueError):
    """The bound was passed, or the bytes are no array of objects."""


class ArraySplitter:
    """Bytes into the objects at the top of one array."""

    def __init__(self, *, element_bytes_max: int = ELEMENT_BYTES_MAX) -> None:
        self.done = False
        self._max = element_bytes_max
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._begun = False

    def __repr__(self) -> str:
        return f"<ArraySplitter {len(self._buffer)} bytes unfinished>"

    def feed(self, data: bytes) -> list[bytes]:
        """Answer the objects now complete. Raises ArrayError."""
        elements: list[bytes] = []
        self._buffer += data
        while not self.done and self._step(elements):
            pass
        if len(self._buffer) > self._max:
            raise ArrayError(f"an element is longer than {self._max} bytes")
        return elements

    def _step(self, elements: list[bytes]) -> bool:
        """Go on by one token; False when more bytes are needed."""
        if self._depth == 0:
            return self._between()
        buffer = self._buffer
        found = _TOKENS.search(buffer, self._scanned)
        if found is None:
            self._scanned = len(buffer)
            return False
        at = found.start()
        byte = buffer[at]
        if byte == ord("\\"):
            if at + 1 >= len(buffer):
                self._scanned = at  # Its other half is still on the way.
                return False
            self._scanned = at + 2
            return True
        self._scanned = at + 1
        if byte == ord('"'):
            self._in_string = not self._in_string
        elif not self._in_string:
            self._depth += 1 if byte == ord("{") else -1
            if self._depth == 0:
                elements.append(bytes(buffer[: at + 1]))
                del buffer[: at + 1]
                self._scanned = 0
        return True

    def _between(self) -> bool:
        """Between elements: white space, a comma, the brackets."""
        buffer = self._buffer
        at = 0
        while at < len(buffer) and buffer[at] in b" \t\r\n,":
            at += 1
        del buffer[:at]
        if not buffer:
            return False
        if buffer[0] == ord("[") and not self._begun:
            del buffer[:1]
        elif buffer[0] == ord("]"):
            buffer.clear()
            self.done = True
        elif buffer[0] == ord("{"):
            self._depth = 1
            self._scanned = 1
        else:
            raise ArrayError("not an array of objects")
        self._begun = True
        return True


class ArrayWriter:
    """Objects into the bytes of one array, element by element."""

    def __init__(self) -> None:
        self._begun = False
        self._ended = False

    def add(self, element: bytes) -> bytes:
        """The element, with what goes before it."""
        before = b",\r\n" if self._begun else b"["
        self._begun = True
        return before + element

    def end(self) -> bytes:
        """The closing bracket, once."""
        if self._ended:
            return b""
        self._ended = True
        return b"\r\n]" if self._begun else b"[]"
