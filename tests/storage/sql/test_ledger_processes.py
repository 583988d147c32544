"""Real processes that spend from one dollar, killed in the middle, and their store too.

What counts is the invoices: every call writes what its provider will charge before its
process knows whether it lives to settle it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import attrs
import pytest

from storage.sql.opening import open_database
from tests.storage.sql.ledger_worker import CAP_NANOUSD
from tests.support_postgres import PostgresServer

WORKERS = 4
STREAMS = 125  # Of each: 500 in all.
BOUND_S = 55.0
LOOK_S = 0.02


@attrs.define
class Spenders:
    """The processes."""

    url: str
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = attrs.field(
        factory=dict[str, "subprocess.Popen[bytes]"]
    )
    lives: int = 0

    def start(self, instance: str) -> None:
        """One more life of this instance."""
        self.lives += 1
        with (self.folder / f"{self.lives}.said").open("wb") as said:
            self.running[instance] = self._run(instance, said)

    def _run(self, instance: str, said: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable, "-m", "tests.storage.sql.ledger_worker", self.url,
                str(self.folder), instance, str(self.folder / f"{self.lives}.bills"),
                str(STREAMS),
            ],
            stdout=said,
            stderr=said,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def kill(self, instance: str) -> None:
        """As the kernel does when memory is short."""
        process = self.running.pop(instance)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def spent(self) -> int:
        """What all providers will charge."""
        return sum(
            int(line)
            for path in self.folder.glob("*.bills")
            for line in path.read_bytes().splitlines()
        )

    def until_spent(self, nanousd: int, until: float) -> None:
        """Wait until so much is."""
        while self.spent() < nanousd:
            for process in self.running.values():
                assert process.poll() is None, self.said()
            assert time.monotonic() < until, "too slow"
            time.sleep(LOOK_S)

    def until_open(self, until: float) -> None:
        """Wait until the last life has found its store: then it has a file of bills."""
        while not (self.folder / f"{self.lives}.bills").exists():
            assert time.monotonic() < until, self.said()
            time.sleep(LOOK_S)

    def until_done(self, until: float) -> list[str]:
        """Wait until the cap has stopped all of them; what they say."""
        for process in self.running.values():
            assert process.wait(max(0.1, until - time.monotonic())) == 0, self.said()
        return self.said()

    def said(self) -> list[str]:
        """By all lives."""
        return [path.read_text("utf-8") for path in self.folder.glob("*.said")]

    def end(self) -> None:
        """Whatever still runs."""
        for process in self.running.values():
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def spenders(database_url: str, tmp_path: Path) -> Iterator[Spenders]:
    """None runs yet."""
    made = Spenders(database_url, tmp_path)
    try:
        yield made
    finally:
        made.end()


async def sums(spenders: Spenders) -> tuple[int, int, int]:
    """Spent, leased, and what the lines come to: by the store."""
    database = await open_database(spenders.url, spenders.folder)
    try:
        [(spent, leased)] = await database.read(
            "SELECT spent, leased FROM ledger_sum WHERE cap LIKE 'acme:spend#%'"
        )
        [(lines,)] = await database.read("SELECT SUM(nanousd) FROM ledger_line")
    finally:
        await database.aclose()
    return int(spent), int(leased), int(lines)


async def test_five_hundred_streams_of_four_processes_spend_a_dollar_and_no_more(
    spenders: Spenders, request: pytest.FixtureRequest
) -> None:
    """Two are killed, one of them comes back; so is PostgreSQL, and comes back."""
    until = time.monotonic() + BOUND_S
    for place in range(WORKERS):
        spenders.start(f"worker {place}")

    spenders.until_spent(CAP_NANOUSD // 5, until)
    spenders.kill("worker 0")
    spenders.start("worker 0")
    spenders.until_open(until)
    spenders.until_spent(CAP_NANOUSD * 2 // 5, until)
    if spenders.url:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.kill()
        again(server.up, until)
    spenders.until_spent(CAP_NANOUSD * 3 // 5, until)
    spenders.kill("worker 1")
    said = spenders.until_done(until)

    billed = spenders.spent()
    spent, leased, lines = await sums(spenders)
    # To the last unit: what was billed fits, and so does what the store says.
    assert billed <= CAP_NANOUSD, (billed, said)
    assert spent == lines <= billed
    assert spent + leased <= CAP_NANOUSD
    # What the dead had counts as spent; it covers what they were billed and never said.
    assert billed <= spent + leased
    # A process spends this cap in seconds, so what two had at hand is much of it.
    assert leased < CAP_NANOUSD * 45 // 100, (spent, leased, said)
    assert spent + leased > CAP_NANOUSD * 95 // 100


def again(work: Callable[[], None], until: float) -> None:
    """A killed server's memory is freed when its last process has noticed."""
    while True:
        try:
            work()
        except RuntimeError:
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return
