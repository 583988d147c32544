"""Processes under measurement: pinned to a core, read through /proc, ended by us.

Linux only, like the numbers.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO

START_MAX_S = 30.0  # a gateway that is not up by then is broken
STOP_MAX_S = 10.0  # then it is killed, and the run says so
LOG_TAIL_BYTES = 4_000  # of a gateway that did not start


class StartError(RuntimeError):
    """A process ended or stayed silent instead of listening."""


def cores() -> tuple[int, int]:
    """The core for what is measured and the one for everything else.

    On a machine with a single core both are the same, and the numbers are poor.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def pin_self(core: int) -> None:
    """Keep this process, the load, off the measured core."""
    os.sched_setaffinity(0, {core})


def free_port() -> int:
    """A port that was free a moment ago; for programs that must be told one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One started program and what /proc says about it and its children."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], log: IO[bytes]
    ) -> None:
        self.name = name
        self.popen = popen
        self._log = log

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.popen.pid} rc={self.popen.returncode}>"

    @property
    def pids(self) -> list[int]:
        """The process and all its descendants."""
        parents = {
            int(path.name): _parent(path.name)
            for path in Path("/proc").iterdir()
            if path.name.isdigit()
        }
        found = [self.popen.pid]
        for pid in found:  # grows while we go: children of children
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system."""
        return sum(_cpu_s(pid) for pid in self.pids)

    def rss_bytes(self) -> int:
        """Resident memory right now."""
        return sum(_rss_bytes(pid) for pid in self.pids)

    def files(self) -> int:
        """How many files and sockets it has open."""
        return sum(_files(pid) for pid in self.pids)

    def log_tail(self, most_bytes: int = LOG_TAIL_BYTES) -> str:
        """The last of what it printed."""
        log = self._log.fileno()
        size = os.fstat(log).st_size
        # pread, as a seek would move the position at which the child writes.
        tail = os.pread(log, most_bytes, max(0, size - most_bytes))
        return tail.decode(errors="replace")

    def wait_listening(self, port: int) -> None:
        """Return once it accepts connections on ``port``."""
        until_s = time.monotonic() + START_MAX_S
        while time.monotonic() < until_s:
            if self.popen.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=1.0),
            ):
                return
            time.sleep(0.05)
        raise StartError(
            f"{self.name} does not listen on 127.0.0.1:{port} "
            f"(exit code {self.popen.poll()}); it said:\n{self.log_tail()}"
        )

    def stop(self) -> int:
        """Ask it to end, insist after STOP_MAX_S; return its exit code."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            code = self.popen.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            print(f"{self.name} ignored SIGTERM for {STOP_MAX_S} s", file=sys.stderr)
            self.popen.kill()
            code = self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self._log.close()
        return code


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    *,
    core: int | None,
    env: Mapping[str, str] | None = None,
    pipe_stdout: bool = False,
) -> Generator[Process, None, None]:
    """Run a program, on one core if one is given, for the length of the block."""
    log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by Process.stop
    popen = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # its end tells ours (upstream.py) to leave
        stdout=subprocess.PIPE if pipe_stdout else log,
        stderr=log,
        env={**os.environ, **(env or {})},
        cwd=Path(__file__).parents[2],
    )
    process = Process(name, popen, log)
    try:
        if core is not None:
            os.sched_setaffinity(popen.pid, {core})  # before it has threads
        yield process
    finally:
        process.stop()


def machine() -> str:
    """One line about where the numbers come from."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.+)", info)
    kernel = os.uname().release.split("-")[0]
    python = ".".join(map(str, sys.version_info[:3]))
    load = os.getloadavg()[0]
    return (
        f"{model[1].strip() if model else os.uname().machine}, "
        f"{os.cpu_count()} cores, Linux {kernel}, Python {python}, load {load:.1f}"
    )


def _parent(pid: str) -> int:
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[1])
    return 0  # it ended while we looked


def _cpu_s(pid: int) -> float:
    """The process's CPU clock, to the nanosecond, its ended threads included.

    The number of that clock is what clock_getcpuclockid(3) computes on Linux.
    """
    return time.clock_gettime((~pid << 3) | 2)


def _files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except FileNotFoundError:
        return 0  # It has ended meanwhile.


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
