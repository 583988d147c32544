"""Lines of the log on their way to a descriptor: a bounded buffer and a thread.

Owns: that a line costs its writer an append, that a full buffer drops and counts, and
that lines of several processes on one pipe stay whole. Never: holds up the loop.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

LINES_MAX: Final = 10_000  # About two seconds of full load, and 4 MB.
FLUSH_S: Final = 0.1  # Lines are grouped for this long; nobody reads them sooner.
CLOSE_S: Final = 2.0  # How long a stop waits for the last lines to be taken.


class LineWriter:
    """Lines in, from the loop; batches out, from a thread.

    `write` never waits: it is an append and a comparison. What the descriptor does not
    take in time stays in a buffer of at most `lines_max` lines.
    """

    def __init__(
        self,
        fd: int,
        *,
        lines_max: int = LINES_MAX,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.written = 0
        self.dropped = 0
        self.failed = 0
        self._fd = fd
        self._lines_max = lines_max
        self._flush_s = flush_s
        self._is_pipe = _is_pipe(fd)
        self._lines: deque[bytes] = deque()
        self._awake = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        # A daemon: a descriptor that takes nothing must not hold up the exit.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return (
            f"<LineWriter buffered={len(self._lines)}/{self._lines_max} "
            f"written={self.written} dropped={self.dropped} failed={self.failed}>"
        )

    def write(self, line: bytes) -> None:
        """Take one line, without its newline; drop and count it if there is no room."""
        if len(self._lines) >= self._lines_max:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._awake:
            # Only the first line after a flush pays for waking the thread.
            self._awake = True
            self._wake.set()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is there, for at most `timeout_s`; further lines are dropped."""
        self._lines_max = 0
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            # Before the drain: a line that comes after this sets the event again.
            self._awake = False
            self._stop.wait(self._flush_s)
            self._drain()
        self._drain()

    def _drain(self) -> None:
        batch = [self._lines.popleft() for _ in range(len(self._lines))]
        if not batch:
            return
        if self._is_pipe:
            # Several processes may write to it, and only so much stays in one piece.
            for some in _runs(batch, select.PIPE_BUF):
                self._put(some)
        else:
            self._put(batch)

    def _put(self, batch: list[bytes]) -> None:
        try:
            self._write(b"\n".join(batch) + b"\n")
        except OSError:
            # The disk is full or the reader is gone. The next batch tries again.
            self.failed += len(batch)
        else:
            self.written += len(batch)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Somebody made our standard output non-blocking; wait for room.
                select.select([], [self._fd], [])


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False  # Writing will say what is wrong with it.


def _runs(lines: list[bytes], bytes_max: int) -> Iterator[list[bytes]]:
    """The lines in runs of at most so many bytes; a longer line is a run by itself."""
    run: list[bytes] = []
    size = 0
    for line in lines:
        if run and size + len(line) + 1 > bytes_max:
            yield run
            run, size = [], 0
        run.append(line)
        size += len(line) + 1
    if run:
        yield run
