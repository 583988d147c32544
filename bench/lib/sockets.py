"""One chat stream over a WebSocket, read as fast as it comes.

The reader takes frames apart after the clock has stopped, so that what is measured is
the gateway. Every delta is checked for order, loss and doubling, as those of SSE are.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Iterator

import msgspec

from bench.lib import shape
from bench.lib.load import BURST_READ_BYTES, READ_BYTES, SILENCE_MAX_S, Target
from bench.lib.verify import AnswerError, DeltaCheck

PATH = "/v1/chat/completions/ws"
DONE = b'{"type":"chat.completion.done"}'
_END = bytes((0x81, len(DONE))) + DONE


def socket_burst(target: Target, deltas: int, *, gap_us: int = 0) -> float | None:
    """Deltas a second, or None where the gateway has no such sockets."""
    directive = shape.Directive("burst", stream=True, deltas=deltas, gap_us=gap_us)
    with socket.create_connection((target.host, target.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SILENCE_MAX_S)
        first = upgraded(sock, target, PATH)
        if first is None:
            return None
        sock.sendall(masked(create(directive)))
        pieces = [first or sock.recv(READ_BYTES)]
        start_ns = time.monotonic_ns()
        tail = pieces[0][-len(_END) :]
        while tail != _END:
            piece = sock.recv(BURST_READ_BYTES)
            if not piece:
                raise AnswerError("the socket was closed before the answer's end")
            pieces.append(piece)
            tail = (tail + piece[-len(_END) :])[-len(_END) :]
        elapsed_s = (time.monotonic_ns() - start_ns) / 1e9
    check = DeltaCheck(directive.tag, deltas)
    for text in _texts(b"".join(pieces)):
        data = b"[DONE]" if text == DONE else text
        check.feed(b"data: " + data + b"\n\n", 0)
    if check.next != deltas:
        raise AnswerError(f"{check.next} deltas of {deltas}")
    return deltas / elapsed_s


def upgraded(sock: socket.socket, target: Target, path: str) -> bytes | None:
    """Open a WebSocket; what came behind its head, None where it is refused."""
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n"
        f"Authorization: Bearer {target.key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(READ_BYTES)
        if not piece:
            return None
        head += piece
    head, _, rest = head.partition(b"\r\n\r\n")
    return rest if head.startswith(b"HTTP/1.1 101 ") else None


def create(directive: shape.Directive) -> bytes:
    """The event that asks for it."""
    body = msgspec.json.decode(directive.body())
    del body["stream"]
    return msgspec.json.encode({"type": "response.create", **body})


def masked(data: bytes) -> bytes:
    """One text frame of a client's; its mask may be all zeros."""
    size = len(data)
    head = bytes((0x81, 0x80 | min(size, 126)))
    return head + (b"" if size < 126 else size.to_bytes(2, "big")) + bytes(4) + data


def _texts(data: bytes) -> Iterator[bytes]:
    """The texts of a server's frames, which are not masked."""
    at = 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if opcode == 1:
            yield data[at : at + size]
        at += size
