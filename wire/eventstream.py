"""AWS event streams (`application/vnd.amazon.eventstream`): bytes in, frames out.

Sans-io and strict. A frame is

    total length, headers length, CRC-32 of those eight bytes    the prelude
    headers                                                      typed name/values
    payload
    CRC-32 of everything before it

Owns: framing, checksums, header types, size caps. Never: what a payload means.
The prelude's checksum is checked before its lengths are believed, so a damaged
length cannot make us wait for bytes that never come. A frame is handed out only
after its own checksum: what is damaged is an error, never a shorter answer.
"""

import struct
import uuid
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NoReturn, TypeAlias
from zlib import crc32

import msgspec

# Both caps are those of AWS's own C implementation (aws-c-event-stream).
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
HEADERS_BYTES_MAX: Final = 128 * 1024

# A header name's length is one byte, a value's two with the top bit reserved
# (AWS's C and Java readers take 32,767 at most).
NAME_BYTES_MAX: Final = 255
VALUE_BYTES_MAX: Final = 2**15 - 1

# A provider repeats a handful of header blocks for the whole stream, so parsed
# blocks are kept; the bound is only against a peer that invents new ones.
HEADER_BLOCKS_KEPT_MAX: Final = 32

_PRELUDE: Final = struct.Struct("!III")
_LENGTHS: Final = struct.Struct("!II")
_U16: Final = struct.Struct("!H")
_U32: Final = struct.Struct("!I")
_FRAME_BYTES_MIN: Final = _PRELUDE.size + _U32.size

Kind: TypeAlias = Literal[
    "bool", "byte", "short", "int", "long", "bytes", "string", "timestamp_ms", "uuid"
]
Value: TypeAlias = bool | int | bytes | str | uuid.UUID

_NUMBERS: Final[dict[int, tuple[Kind, struct.Struct]]] = {
    2: ("byte", struct.Struct("!b")),
    3: ("short", struct.Struct("!h")),
    4: ("int", struct.Struct("!i")),
    5: ("long", struct.Struct("!q")),
    8: ("timestamp_ms", struct.Struct("!q")),
}
_NUMBER_CODES: Final = {kind: code for code, (kind, _) in _NUMBERS.items()}
_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9


class EventStreamError(Exception):
    """The bytes are not a sound event stream; nothing after them can be trusted."""


class Header(msgspec.Struct, frozen=True):
    """One typed header."""

    name: str
    kind: Kind
    value: Value


class Frame(msgspec.Struct, frozen=True):
    """One message whose checksums were right."""

    headers: tuple[Header, ...]
    payload: bytes

    def text(self, name: str) -> str | None:
        """The string header `name`; None when it is absent or of another type."""
        for header in self.headers:
            if header.name == name:
                return header.value if isinstance(header.value, str) else None
        return None

    def __repr__(self) -> str:
        # Values may quote a prompt (an exception's message does), names never do.
        names = ",".join(header.name for header in self.headers)
        return f"<Frame {names} payload={len(self.payload)}B>"


class EventStreamDecoder:
    """Cuts a byte stream into frames, however the bytes arrive.

    `feed` takes all of its bytes at once; the frames come by iterating, so those
    before a damaged one are delivered before its error, wherever the cuts fell.
    After an error the decoder stays failed: a stream cannot be resynchronised.
    """

    def __init__(self, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._at = 0  # Where the first unread frame begins in the buffer.
        self._frame_bytes_max = frame_bytes_max
        self._frames_read = 0
        self._flaw: str | None = None
        self._blocks: dict[bytes, tuple[Header, ...]] = {}

    def __repr__(self) -> str:
        state = "failed" if self._flaw else "open"
        return (
            f"<EventStreamDecoder {state} frames={self._frames_read}"
            f" buffered={len(self._buffer) - self._at}B>"
        )

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data`; iterate for the frames it completes.

        Raises:
            EventStreamError: while iterating, at the first flaw.
        """
        if self._flaw is None:
            # Here and not in the loop: one deletion a batch, not one a frame.
            del self._buffer[: self._at]
            self._at = 0
            self._buffer += data
        return self._frames()

    def close(self) -> None:
        """The stream ended.

        Raises:
            EventStreamError: it ended inside a frame, or had already failed.
        """
        if self._flaw is not None:
            raise EventStreamError(self._flaw)
        left = len(self._buffer) - self._at
        if left:
            self._fail(f"the stream ended {left} bytes into a frame")

    def _frames(self) -> Iterator[Frame]:
        if self._flaw is not None:
            raise EventStreamError(self._flaw)
        while len(self._buffer) - self._at >= _PRELUDE.size:
            total = self._check_prelude()
            if len(self._buffer) - self._at < total:
                return
            frame = self._read(total)
            self._at += total
            self._frames_read += 1
            yield frame

    def _check_prelude(self) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer, self._at)
        lengths = self._buffer[self._at : self._at + _LENGTHS.size]
        if crc32(lengths) != checksum:
            self._fail("a prelude's checksum does not match")
        if total > self._frame_bytes_max:
            self._fail(f"a frame of {total} bytes is over {self._frame_bytes_max}")
        if headers > HEADERS_BYTES_MAX:
            self._fail(f"headers of {headers} bytes are over {HEADERS_BYTES_MAX}")
        if total < _FRAME_BYTES_MIN + headers:
            self._fail(f"a frame of {total} bytes cannot hold its headers")
        return int(total)

    def _read(self, total: int) -> Frame:
        frame = bytes(self._buffer[self._at : self._at + total])
        body_end = total - _U32.size
        if crc32(memoryview(frame)[:body_end]) != _U32.unpack_from(frame, body_end)[0]:
            self._fail("a frame's checksum does not match")
        headers_end = _PRELUDE.size + _LENGTHS.unpack_from(frame)[1]
        block = frame[_PRELUDE.size : headers_end]
        headers = self._blocks.get(block)
        if headers is None:
            headers = self._parse(block)
            if len(self._blocks) < HEADER_BLOCKS_KEPT_MAX:
                self._blocks[block] = headers
        return Frame(headers, frame[headers_end:body_end])

    def _parse(self, block: bytes) -> tuple[Header, ...]:
        try:
            headers = tuple(_parse_headers(block))
        except (struct.error, IndexError):
            self._fail("a header runs past the end of its block")
        except UnicodeDecodeError:
            self._fail("a header is not UTF-8")
        except ValueError as flaw:
            self._fail(str(flaw))
        if len({header.name for header in headers}) != len(headers):
            self._fail("a header name occurs twice")
        return headers

    def _fail(self, flaw: str) -> NoReturn:
        self._flaw = f"event stream after frame {self._frames_read}: {flaw}"
        self._buffer.clear()
        self._at = 0
        raise EventStreamError(self._flaw) from None


def _parse_headers(block: bytes) -> Iterator[Header]:
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        if name_end == at + 1:
            raise ValueError("a header has an empty name")
        name = block[at + 1 : name_end].decode()
        code = block[name_end]
        at = name_end + 1
        if code in (_TRUE, _FALSE):
            yield Header(name, "bool", code == _TRUE)
        elif code in _NUMBERS:
            kind, layout = _NUMBERS[code]
            yield Header(name, kind, int(layout.unpack_from(block, at)[0]))
            at += layout.size
        elif code in (_BYTES, _STRING):
            size = int(_U16.unpack_from(block, at)[0])
            raw = block[at + 2 : at + 2 + size]
            if len(raw) != size or size > VALUE_BYTES_MAX:
                raise IndexError
            at += 2 + size
            yield (
                Header(name, "string", raw.decode())
                if code == _STRING
                else Header(name, "bytes", raw)
            )
        elif code == _UUID:
            raw = block[at : at + 16]
            if len(raw) != 16:
                raise IndexError
            at += 16
            yield Header(name, "uuid", uuid.UUID(bytes=raw))
        else:
            raise ValueError(f"header type {code} is unknown")


def encode(headers: Iterable[Header], payload: bytes) -> bytes:
    """Build one frame.

    Raises:
        ValueError: a part is over its cap or a value does not fit its kind. That
            is a bug of the caller's, not of a peer.
    """
    block = b"".join(_encode_header(header) for header in headers)
    total = _FRAME_BYTES_MIN + len(block) + len(payload)
    if len(block) > HEADERS_BYTES_MAX or total > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {total} bytes is over an event stream's caps")
    lengths = _LENGTHS.pack(total, len(block))
    body = lengths + _U32.pack(crc32(lengths)) + block + payload
    return body + _U32.pack(crc32(body))


def event(kind: str, payload: bytes) -> bytes:
    """Build the frame of an ordinary JSON event, headers in AWS's own order."""
    return encode(
        (
            Header(":event-type", "string", kind),
            Header(":content-type", "string", "application/json"),
            Header(":message-type", "string", "event"),
        ),
        payload,
    )


def exception(kind: str, payload: bytes) -> bytes:
    """Build the frame of a modelled exception, which ends a stream."""
    return encode(
        (
            Header(":exception-type", "string", kind),
            Header(":content-type", "string", "application/json"),
            Header(":message-type", "string", "exception"),
        ),
        payload,
    )


def _encode_header(header: Header) -> bytes:
    name = header.name.encode()
    if not 0 < len(name) <= NAME_BYTES_MAX:
        raise ValueError(f"a header name of {len(name)} bytes cannot be sent")
    return bytes((len(name),)) + name + _encode_value(header)


def _encode_value(header: Header) -> bytes:
    value = header.value
    if header.kind == "bool" and isinstance(value, bool):
        return bytes((_TRUE if value else _FALSE,))
    if header.kind in _NUMBER_CODES and type(value) is int:
        code = _NUMBER_CODES[header.kind]
        try:
            return bytes((code,)) + _NUMBERS[code][1].pack(value)
        except struct.error as error:
            raise ValueError(f"header {header.name}: {error}") from None
    if header.kind == "string" and isinstance(value, str):
        return _encode_sized(_STRING, value.encode(), header.name)
    if header.kind == "bytes" and isinstance(value, bytes):
        return _encode_sized(_BYTES, value, header.name)
    if header.kind == "uuid" and isinstance(value, uuid.UUID):
        return bytes((_UUID,)) + value.bytes
    raise ValueError(f"header {header.name}: not a value of kind {header.kind}")


def _encode_sized(code: int, raw: bytes, name: str) -> bytes:
    if len(raw) > VALUE_BYTES_MAX:
        raise ValueError(f"header {name}: {len(raw)} bytes are over {VALUE_BYTES_MAX}")
    return bytes((code,)) + _U16.pack(len(raw)) + raw
