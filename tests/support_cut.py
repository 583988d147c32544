"""A TCP proxy on a thread that breaks its first connection, and no other.

with cut_once(port, after=2000) as proxied: ...     after so many bytes of an answer
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

RESET = struct.pack("ii", 1, 0)
WAIT_MAX_S = 30.0
READ_BYTES = 65_536


@contextmanager
def cut_once(target: int, *, after: int) -> Generator[int, None, None]:
    """Its port. The first answer is reset behind `after` bytes, the others pass."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []
        over = threading.Event()

        def serve() -> None:
            left: int | None = after
            with suppress(OSError):
                while not over.is_set():
                    client, _ = listener.accept()
                    one = threading.Thread(
                        target=_pass, args=(client, target, left), daemon=True
                    )
                    left = None
                    threads.append(one)
                    one.start()

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(WAIT_MAX_S)


def _pass(client: socket.socket, target: int, left: int | None) -> None:
    client.settimeout(WAIT_MAX_S)
    with (
        client,
        suppress(OSError),
        socket.create_connection(("127.0.0.1", target), timeout=WAIT_MAX_S) as up,
    ):
        threading.Thread(target=_pump, args=(client, up), daemon=True).start()
        while data := up.recv(READ_BYTES):
            if left is not None and len(data) >= left:
                client.sendall(data[:left])
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            client.sendall(data)
            left = None if left is None else left - len(data)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            sink.sendall(data)
