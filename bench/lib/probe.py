"""A client that stops reading: what a gateway takes for it shows upstream.

In the mock's counters, that is.
"""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass

import msgspec

from bench.lib import shape
from bench.lib.load import SILENCE_MAX_S, Target
from bench.lib.upstream import Counters
from bench.lib.verify import AnswerError

STALL_DELTAS = 100_000  # 30 MB: far more than kernels buffer for a small window
STALL_RECEIVE_BYTES = 32_768  # the client's own window
STILL_S = 0.5  # no byte moved for this long: everything is full
POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Stalled:
    """What was buffered for a client that read nothing, and how it ended."""

    taken_bytes: int
    abort_ms: float


def counters(mock: Target) -> Counters:
    """Ask the mock what it has seen."""
    connection = http.client.HTTPConnection(mock.host, mock.port, timeout=10.0)
    try:
        connection.request("GET", "/counters")
        return msgspec.json.decode(connection.getresponse().read(), type=Counters)
    finally:
        connection.close()


def stalled(target: Target, mock: Target) -> Stalled:
    """Ask for 30 MB of stream and read none of it; then leave."""
    before = counters(mock)
    directive = shape.Directive("stalled", stream=True, deltas=STALL_DELTAS)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALL_RECEIVE_BYTES)
        sock.settimeout(SILENCE_MAX_S)
        sock.connect((target.host, target.port))
        sock.sendall(target.request(directive))
        taken_bytes = _when_still(mock, before.bytes_written)
        if counters(mock).in_flight == before.in_flight:
            raise AnswerError(
                f"the gateway took all {taken_bytes} bytes for a client that read none"
            )
    return Stalled(taken_bytes, _until_aborted(mock, before.aborted))


def _when_still(mock: Target, before_bytes: int) -> int:
    """Bytes the mock has written once no more move."""
    last_bytes = before_bytes
    still_since_s = time.monotonic()
    while True:
        now_bytes = counters(mock).bytes_written
        # The answers to these very questions count too, half a kilobyte each.
        if now_bytes - last_bytes > 4_096:
            still_since_s = time.monotonic()
        elif now_bytes > before_bytes and time.monotonic() - still_since_s > STILL_S:
            return now_bytes - before_bytes
        last_bytes = now_bytes
        time.sleep(0.05)


def _until_aborted(mock: Target, before: int) -> float:
    start_s = time.monotonic()
    while counters(mock).aborted == before:
        if time.monotonic() - start_s > SILENCE_MAX_S:
            raise AnswerError(f"the upstream was not told in {SILENCE_MAX_S} s")
        time.sleep(POLL_S)
    return (time.monotonic() - start_s) * 1e3
