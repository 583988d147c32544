"""A steady load, in a process of its own: so many requests a second, and no more.

    python -m bench.lib.paced HOST:PORT KEY MODEL RATE

Each of some connections asks when its turn comes, and as soon as it can if that has
passed. One line goes out for each line that comes in: how many were answered until now.
It ends with its input. An answer that is no 200 ends it with what was said.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from typing import Final

CONNECTIONS: Final = 16  # A turn of 16 ms each at 1,000 a second: above an answer's.
READ_BYTES: Final = 65_536
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


def request(host: str, key: str, model: str) -> bytes:
    """A small one that is not streamed."""
    asked = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Line:
    """One connection and its turns."""

    def __init__(self, host: str, sent: bytes, first_s: float, every_s: float) -> None:
        name, _, port = host.rpartition(":")
        self.answered = 0
        self.failed = ""
        self._socket = socket.create_connection((name, int(port)), 10)
        self._sent = sent
        self._next_s = first_s
        self._every_s = every_s

    def run(self) -> None:
        """Ask until the process ends."""
        while True:
            wait_s = self._next_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            elif wait_s < -1:
                self._next_s = time.monotonic()  # It cannot keep up: no burst later.
            self._next_s += self._every_s
            self._socket.sendall(self._sent)
            if not self._answer():
                return
            self.answered += 1

    def _answer(self) -> bool:
        data = b""
        while True:
            piece = self._socket.recv(READ_BYTES)
            data += piece
            head, end, body = data.partition(b"\r\n\r\n")
            if end and not head.startswith(b"HTTP/1.1 200"):
                self.failed = data[:300].decode(errors="replace")
                return False
            if not piece:
                self.failed = "it closed the connection"
                return False
            found = _LENGTH.search(head + b"\r\n") if end else None
            if found and len(body) >= int(found[1]):
                return True


def main() -> None:
    """Run it until the input ends."""
    host, key, model, rate = sys.argv[1:]
    every_s = CONNECTIONS / float(rate)
    began = time.monotonic()
    sent = request(host, key, model)
    lines = [
        Line(host, sent, began + number * every_s / CONNECTIONS, every_s)
        for number in range(CONNECTIONS)
    ]
    for line in lines:
        threading.Thread(target=line.run, daemon=True).start()
    for _ in sys.stdin:
        failed = next((line.failed for line in lines if line.failed), "")
        if failed:
            sys.exit(failed)
        sys.stdout.write(f"{sum(line.answered for line in lines)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
