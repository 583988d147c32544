"""Clients that shut their sending side: taken for gone, and told nothing untrue."""

from __future__ import annotations

import socket
from pathlib import Path

from bench.lib import shape
from tests.e2e.stage import KEY, staged


def rest_of(sock: socket.socket) -> bytes:
    """All that still comes."""
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def test_half_a_close_is_leaving_and_gets_no_good_end(tmp_path: Path) -> None:
    """Neither a 500 for a request that is well, nor the end of half an answer."""
    with staged(tmp_path) as stage:
        slow = shape.Directive("t1", stream=True, deltas=10_000, gap_us=200_000)
        host = f"127.0.0.1:{stage.port}"
        with socket.create_connection(("127.0.0.1", stage.port), timeout=30) as sock:
            sock.sendall(shape.request(slow, host=host, key=KEY))
            sock.shutdown(socket.SHUT_WR)
            answer = rest_of(sock)
        assert not answer.startswith(b"HTTP/1.1 500")
        assert not answer.endswith(b"0\r\n\r\n")

        with stage.open_stream("t2", deltas=10_000, gap_us=20_000) as sock:
            sock.shutdown(socket.SHUT_WR)
            answer = rest_of(sock)
        assert not answer.endswith(b"0\r\n\r\n")
        stage.until("all is back", stage.is_idle)
        assert b'"outcome":"aborted"' in stage.log.read_bytes()
