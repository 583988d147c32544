"""A throw-away PostgreSQL of the machine's own packages, for tests.

    server = PostgresServer.start(); url = server.database(); ...; server.stop()

As fixtures (import them into a conftest.py): `postgres_server` is one a test session,
made when the first test asks for it, `postgres_url` a fresh database a test. It listens
on a Unix socket in a folder of its own, as an unprivileged user, and is ended by its
process id. `tests/storage/sql/setup.sh` installs what is needed; without it the tests
are skipped by name, in CI they fail.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

START_S = 60.0  # On a busy machine; it takes one.
PACKAGES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
# Without what only a power failure needs; a killed server loses nothing all the same.
SPEED = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "autovacuum=off")


def binaries() -> Path | None:
    """Where initdb and postgres are."""
    found = shutil.which("initdb")
    for folder in ([Path(found).resolve().parent] if found else []) + PACKAGES:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _user() -> str | None:
    """Root may not run it: its package's user, or nobody. None: we may."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("no unprivileged user to run PostgreSQL as")


def _runs(pid: int) -> bool:
    """Whether a process is more than a name that nobody has taken note of."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class PostgresServer:
    """A server that can be killed and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._user = _user()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    @classmethod
    def start(cls) -> PostgresServer:
        """A new one, that answers."""
        programs = binaries()
        if programs is None:
            raise FileNotFoundError("run tests/storage/sql/setup.sh")
        # Short, for the socket's path; the tests' own folders may not be.
        folder = Path(tempfile.mkdtemp(prefix="stagedoor-pg-", dir="/tmp"))
        server = cls(folder, programs)
        if server._user is not None:
            shutil.chown(folder, server._user)
        server._run(
            "initdb", "-D", str(folder / "data"), "-U", "stagedoor", "-A", "trust",
            "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
        )  # fmt: skip
        server.up()
        return server

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def url(self, name: str = "postgres") -> str:
        """Of one of its databases."""
        return f"postgresql:///{name}?host={self.folder}&user=stagedoor"

    def database(self) -> str:
        """The URL of a new and empty database."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def up(self) -> None:
        """Start, and wait until it answers."""
        settings = [part for one in SPEED for part in ("-c", one)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder / "data"),
                 "-k", str(self.folder), "-c", "listen_addresses=", *settings],
                user=self._user, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        give_up = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    log_text = (self.folder / "log").read_text("utf-8", "replace")
                    raise RuntimeError(log_text[-2000:]) from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """All of it at once, as when a machine is lost.

        Its backends would finish what they have in hand after the first process died.
        """
        assert self._process is not None
        backends = self._children()
        self._process.send_signal(signal.SIGKILL)
        for backend in backends:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGKILL)
        self._process.wait(START_S)
        # Gone, too, and no longer attached to its memory: else it cannot start again.
        give_up = time.monotonic() + START_S
        while any(map(_runs, backends)) and time.monotonic() < give_up:
            time.sleep(0.01)

    def down(self) -> None:
        """Stop at once, with its backends told (SIGQUIT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(START_S)

    def stop(self) -> None:
        """End it and remove what it left."""
        if self._process is not None and self._process.poll() is None:
            self.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_up(self) -> bool:
        """Whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def _children(self) -> list[int]:
        """Of the server's first process: they are in sessions of their own."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def _run(self, program: str, *args: str) -> None:
        subprocess.run(
            [str(self._programs / program), *args],
            user=self._user, cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests of this process."""
    if binaries() is None:
        why = "PostgreSQL is not installed: run tests/storage/sql/setup.sh"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    server = PostgresServer.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A database of this test alone."""
    return postgres_server.database()
