"""`stagedoor serve --workers 4` in front of one dollar: hammered, and killed meanwhile.

500 streams of real clients against the simulated model, which has a price here. What
counts is what the clients were given: each counts the words that reached it, whoever
died under it, and that is what a provider would have charged at least.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from bench.lib import gateways, procs
from gateway.cli.control import ControlError, get
from storage.sql.opening import open_database
from tests.support_postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

KEY = "sk-one-dollar-made-up-0001"
CAP_NANOUSD = 1_000_000_000
# $100 and $300 a million: a call is some $0.0034, so the dollar is about 290 calls.
INPUT_NANOUSD, OUTPUT_NANOUSD = 100_000, 300_000
PROMPT, WORDS = "Hello there", 8
PROMPT_TOKENS = len(PROMPT) // 4 + 8  # As the simulated model counts.
STREAMS = 500
START_S = 40.0  # Four processes on a busy machine.
BOUND_S = 55.0
PAUSE_S = 0.05

CONFIG = """
[server]
bind = "127.0.0.1:{port}"
state_dir = "{state_dir}"
workers = 4
{database}
[[sites]]
name = "acme"
keys = ["{key}"]
spend_usd_max = 1
[[providers]]
name = "sim"
kind = "simulated"
models = ["simulated"]
in_flight_max = 1000
[providers.prices.simulated]
input_usd_per_mtok = 100
output_usd_per_mtok = 300
[[models]]
name = "chat"
route = ["sim/simulated"]
"""
BODY = json.dumps(
    {
        "model": "chat",
        "stream": True,
        "max_tokens": WORDS,
        "messages": [{"role": "user", "content": PROMPT}],
    }
).encode()


@attrs.define
class Bill:
    """What all clients were given, and how their calls ended."""

    words: int = 0
    begun: int = 0
    ended: int = 0
    cut: int = 0
    refused: int = 0
    other: list[bytes] = attrs.field(factory=list[bytes])

    def nanousd(self) -> int:
        """At the least: a prompt is charged when its answer has begun."""
        return self.begun * PROMPT_TOKENS * INPUT_NANOUSD + self.words * OUTPUT_NANOUSD


@attrs.define
class Gateway:
    """The processes, from outside."""

    port: int
    state_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    def workers(self) -> dict[str, int]:
        """The pids of those that serve, by their names."""
        try:
            children = get(self.state_dir / "control.sock", "/tree")["children"]
        except (OSError, LookupError, ControlError):
            return {}
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        alive = [int(pid) for pid in pids.read_text().split()]
        return dict(zip((one["id"] for one in children), alive, strict=False))

    async def request(self) -> bytes:
        """One call of a client, all that came of it."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                b"authorization: Bearer %s\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
                % (KEY.encode(), len(BODY), BODY)
            )
            pieces: list[bytes] = []
            try:
                while piece := await stream.receive_some(65_536):
                    pieces.append(piece)
            except trio.BrokenResourceError:
                pass
            return b"".join(pieces)


async def hammer(gateway: Gateway, bill: Bill) -> None:
    """One stream after the other, until the cap says no."""
    while not bill.other:
        try:
            answer = await gateway.request()
        except (OSError, trio.BrokenResourceError):
            await trio.sleep(PAUSE_S)  # A worker died with the connection.
            continue
        if answer.startswith(b"HTTP/1.1 200 "):
            bill.begun += 1
            # Each word is one delta; the first delta has the role and no word.
            bill.words += max(0, answer.count(b'"content":"') - answer.count(b'""'))
            if b"data: [DONE]" in answer:
                bill.ended += 1
            else:
                bill.cut += 1
        elif answer.startswith(b"HTTP/1.1 429 "):
            assert b"insufficient_quota" in answer, answer
            bill.refused += 1
            return
        elif answer.startswith(b"HTTP/1.1 503 ") or not answer:
            await trio.sleep(PAUSE_S)  # Its worker is going, or its store is.
        else:
            bill.other.append(answer)


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """Four workers that serve, on either database."""
    database = ""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = f'[database]\nurl = "{server.database()}"'
    port, state_dir = procs.free_port(), tmp_path / "state"
    config = tmp_path / "stagedoor.toml"
    config.write_text(
        CONFIG.format(port=port, state_dir=state_dir, key=KEY, database=database)
    )
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [gateways.stagedoor(), "serve", "--config", str(config)],
            stdout=sink,
            stderr=sink,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    made = Gateway(port, state_dir, process, log)
    until = time.monotonic() + START_S
    try:
        while len(made.workers()) < 4 or b"serves on" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(PAUSE_S)
        yield made
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def killer(gateway: Gateway, bill: Bill, killed: list[int]) -> None:
    """Kill a worker at a fifth of the dollar, and another at two fifths.

    What the first one had leased is lost; if that was most, the second fifth never is
    given away.
    """
    for share in (CAP_NANOUSD // 5, CAP_NANOUSD * 2 // 5):
        while bill.nanousd() < share:
            if bill.refused == STREAMS:
                return
            await trio.sleep(PAUSE_S / 5)
        pids = [pid for pid in gateway.workers().values() if pid not in killed]
        os.kill(pids[-1], signal.SIGKILL)
        killed.append(pids[-1])


def recorded(gateway: Gateway) -> int:
    """What the records of all attempts come to."""
    return sum(
        attempt.get("cost_nanousd", 0)
        for path in (gateway.state_dir / "records").rglob("*.jsonl")
        for line in path.read_text().splitlines()
        for attempt in json.loads(line).get("attempts", ())
    )


async def test_four_workers_give_away_one_dollar_and_no_more(
    gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    bill, killed = Bill(), list[int]()
    with trio.move_on_after(BOUND_S) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(killer, gateway, bill, killed)
            for _ in range(STREAMS):
                nursery.start_soon(hammer, gateway, bill)

    assert not scope.cancelled_caught, (bill, killed, gateway.log.read_text()[-2000:])
    assert not bill.other
    assert bill.refused == STREAMS
    assert killed
    assert bill.nanousd() <= CAP_NANOUSD, bill
    # A stop writes what is settled. Then the store, records and clients agree.
    gateway.process.terminate()
    assert gateway.process.wait(30) == 0, gateway.log.read_text()[-2000:]
    database = ""
    if "postgresql" in request.node.name:
        text = (gateway.log.parent / "stagedoor.toml").read_text()
        database = text.partition('url = "')[2].partition('"')[0]
    opened = await open_database(database, gateway.state_dir)
    try:
        [(spent, leased)] = await opened.read(
            "SELECT spent, leased FROM ledger_sum WHERE cap LIKE 'acme:spend#%'"
        )
        [(lines,)] = await opened.read("SELECT SUM(nanousd) FROM ledger_line")
    finally:
        await opened.aclose()
    told = recorded(gateway)
    assert spent == lines
    assert spent + leased <= CAP_NANOUSD
    # What the dead had counts as spent: it covers what they gave and never told.
    assert bill.nanousd() <= spent + leased
    # The cap stopped them because all of it was given, or leased by the dead.
    assert spent + leased > CAP_NANOUSD // 2, (spent, leased, bill)
    # The living have told all; only the dead may have kept some to themselves.
    assert told <= lines + leased
