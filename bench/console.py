"""The Console with 100,000 stored requests: how fast pages come, what live views cost.

    python -m bench.console [--records 100000] [--entries 30000] [--only pages|live]
                            [--rate 1000] [--rounds 9]

Fills a state folder (records of 30 days, an audit log), serves it in a process of its
own, sets up an owner, and asks for each page ten times over one connection: the median
and the worst, in milliseconds, with what the gateway's process spent on each. Then it
serves requests at a steady rate, and its CPU a request is compared with one live page
left open, with five different ones, and with none.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Final

import httpx
import msgspec
import trio

from actors.archivist.ports import Chunk, Line
from actors.auditor.messages import AuditEvent, RequestRecord
from actors.auditor.ports import Place
from bench.records import CHUNK, record
from storage.audit_opening import open_log
from storage.sql.opening import open_database
from storage.sql.records import SqlRecords

ROOT: Final = Path(__file__).parents[1]
ORIGIN: Final = "bench.example/console"
DAYS_MS: Final = 30 * 86_400_000
ASKED: Final = 10
PAGE_MS_MAX: Final = 200.0  # What a page may take, on two cores.
LIVE_SHARE_MAX: Final = 0.02  # Of what a gateway at work spends, for all who watch.
WATCHED: Final = (0, 1, 5)  # Pages that are left open.
WATCH_S: Final = 10.0
SETTLE_S: Final = 4.0  # A look of each page.
KEY: Final = "sk-bench-0001"
LIVE: Final = (
    "/live?span=1h", "/providers", "/live?span=1h&site=site-3", "/actors",
    "/live?span=24h",
)  # fmt: skip
START_S: Final = 120.0
PASSWORD: Final = secrets.token_hex(16)
LINK: Final = re.compile(r"(http://\S+)/console/welcome#([0-9a-f]{64})")
CONFIG: Final = """
[server]
bind = "127.0.0.1:0"
state_dir = "{state}"
[server.audit]
origin = "{origin}"
[[sites]]
name = "site-3"
keys = ["sk-bench-0001"]
[[providers]]
name = "main"
kind = "simulated"
models = ["m"]
[[models]]
name = "model-1"
route = ["main/m"]
"""
PAGES: Final = (
    "", "?span=24h", "?span=30d", "?span=30d&site=site-3", "/requests?span=30d",
    "/requests?span=30d&site=site-3&outcome=error",
    "/requests?span=30d&provider=nobody", "/requests/{id}", "/providers",
    "/providers/main", "/actors", "/audit", "/audit?act=nothing.such",
    "/audit?act=key&actor=user:ann", "/audit/1/100", "/playground", "/sites",
    "?span=30d&route=provider-1/upstream", "/providers/+new",
    "/providers/main/settings", "/models", "/models/model-1",
    "/sites/site-3", "/vault", "/settings", "/settings/people",
)  # fmt: skip


async def fill(state: Path, count: int, now_ms: int) -> str:
    """Records as the archivist stores them; the id of one."""
    rng = Random(1)
    encode = msgspec.json.Encoder().encode
    async with _database(state) as book:
        after: Place | None = None
        made: list[RequestRecord] = []
        for start in range(0, count, CHUNK):
            made = [
                msgspec.structs.replace(
                    record(number, rng, count),
                    opened_at_ms=now_ms - DAYS_MS + number * DAYS_MS // count,
                )
                for number in range(start, min(start + CHUNK, count))
            ]
            lines = tuple(
                Line(Place("a.jsonl", start + at), encode(one))
                for at, one in enumerate(made)
            )
            end = Place("a.jsonl", start + len(made))
            await book.keep("bench", after, Chunk(lines, end))
            after = end
    return made[-1].request_id


class _database:  # noqa: N801 - a context manager, read as a function
    def __init__(self, state: Path) -> None:
        self.state = state

    async def __aenter__(self) -> SqlRecords:
        self.database = await open_database("", self.state)
        return SqlRecords(self.database)

    async def __aexit__(self, *_: object) -> None:
        await self.database.aclose()


async def write_log(state: Path, count: int, now_ms: int) -> None:
    """An audit log of leases, grants and changes."""
    book, files = open_log(state, ORIGIN)
    log = book.log
    acts = ("key.grant", "lease.use", "site.change", "records.kept", "key.rotate")
    for number in range(count):
        log.add(
            AuditEvent(
                acts[number % 5],
                actor=f"site:site-{number % 20}",
                name="default",
                provider="main",
                tenant=f"tenant-{number % 5}",
                detail=(("uses", number),),
            ),
            now_ms - DAYS_MS + number * DAYS_MS // count,
        )
        if len(log.pending) >= 1000 or number == count - 1:
            while log.pending:
                group = log.seal()
                await files.append(group.data)
                log.commit(group)
            if (shown := log.publication()) is not None:
                await files.publish(shown.files)
                await files.show(shown.note, None)
                log.publish(shown)
    files.close()


@contextmanager
def served(folder: Path, state: Path) -> Generator[tuple[str, str, int]]:
    """Its address, the secret of its link, its process id."""
    config = folder / "stagedoor.toml"
    config.write_text(CONFIG.format(state=state, origin=ORIGIN))
    told = folder / "log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + START_S
        while (found := LINK.search(told.read_text())) is None:
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"it did not start: {told.read_text()[-2000:]}")
            time.sleep(0.1)
        yield found[1], found[2], process.pid
    finally:
        process.terminate()
        process.wait(START_S)


def cpu_s(pid: int) -> float:
    """What a process has spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def owner(url: str, secret: str) -> httpx.Client:
    """Whoever followed the link; their cookie is in the client."""
    client = httpx.Client(
        base_url=f"{url}/console", headers={"origin": url}, timeout=60
    )
    entered = client.post(
        "/welcome",
        data={
            "link": secret,
            "name": "bench@owner",
            "password": PASSWORD,
            "again": PASSWORD,
        },
    )
    if entered.status_code != 303:
        raise SystemExit(f"no owner: {entered.status_code} {entered.text[-500:]}")
    return client


def pages(client: httpx.Client, pid: int, request_id: str) -> bool:
    """Ask for each, tell, and say whether all were in time."""
    well = True
    for path in PAGES:
        times: list[float] = []
        size = 0
        spent = cpu_s(pid)
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = client.get(path.format(id=request_id))
            times.append((time.perf_counter() - began) * 1000)
            size = len(answer.content)
            if answer.status_code != 200:
                raise SystemExit(f"{path}: {answer.status_code}")
        spent = (cpu_s(pid) - spent) / ASKED * 1000
        median = statistics.median(times)
        well &= median < PAGE_MS_MAX
        print(
            f"/console{path.format(id='ID'):50} {median:7.1f} median "
            f"{max(times):7.1f} worst {spent:7.1f} CPU {size:>7} bytes"
        )
    return well


def watch(client: httpx.Client, path: str, stop: threading.Event) -> None:
    """A browser that is left open on a page, as the page's own script looks again."""
    if path.startswith("/live"):
        with client.stream("GET", path) as events:
            for _ in events.iter_raw():
                if stop.is_set():
                    return
    while not stop.wait(5):
        client.get(path, headers={"hx-request": "true"}).raise_for_status()


@contextmanager
def watching(client: httpx.Client, paths: Sequence[str]) -> Generator[None]:
    """Browsers on these pages around the body."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=watch, args=(client, path, stop), daemon=True)
        for path in paths
    ]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        for one in threads:
            one.join(10)


class Load:
    """So many requests a second from a process of its own."""

    def __init__(self, url: str, rate: int) -> None:
        host = url.removeprefix("http://")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.lib.paced", host, KEY, "model-1", str(rate)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def answered(self) -> int:
        """How many until now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load ended")
        return int(line)

    def close(self) -> None:
        """End it with its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def live(client: httpx.Client, url: str, pid: int, rate: int, rounds: int) -> bool:
    """What live pages cost a gateway that is at work; whether that is little.

    CPU a request with some of them open and with none, one after the other, again and
    again: the machine's other work is in both. Five of them are five different ones,
    so that none is looked up for another.
    """
    costs: dict[int, list[float]] = {many: [] for many in WATCHED}
    rates: list[float] = []
    with closing(Load(url, rate)) as load:
        time.sleep(SETTLE_S)
        for number in range(rounds):
            # Another order in each round: what grows with time is in none alone.
            for many in WATCHED[number % 3 :] + WATCHED[: number % 3]:
                with watching(client, LIVE[:many]):
                    time.sleep(SETTLE_S if many else 1)
                    began, spent = load.answered(), cpu_s(pid)
                    time.sleep(WATCH_S)
                    answered = load.answered() - began
                    costs[many].append((cpu_s(pid) - spent) / answered)
                    rates.append(answered / WATCH_S)
    # By themselves, just after: what differs from round to round above is the machine.
    alone: dict[int, float] = {}
    for many in WATCHED:
        with watching(client, LIVE[:many]):
            time.sleep(SETTLE_S)
            spent = cpu_s(pid)
            time.sleep(2 * WATCH_S)
            alone[many] = (cpu_s(pid) - spent) / (2 * WATCH_S)
    well = True
    base = costs[0]
    loaded = statistics.median(base) * rate
    print(
        f"live, at {statistics.median(rates):,.0f} requests/s of {rate:,}, "
        f"{rounds} rounds of {WATCH_S:.0f} s: {statistics.median(base) * 1e6:,.0f} us "
        "CPU a request with no page open"
    )
    for many in WATCHED[1:]:
        shares = [one / none - 1 for one, none in zip(costs[many], base, strict=True)]
        own = (alone[many] - alone[0]) / loaded
        print(
            f"  {many} open: {statistics.median(shares):+.2%} of the gateway's CPU "
            f"(rounds {min(shares):+.2%} to {max(shares):+.2%}); by themselves "
            f"{(alone[many] - alone[0]) * 1000:.1f} ms a second, {own:.2%} of what "
            f"{rate:,} requests/s cost"
        )
        well &= own < LIVE_SHARE_MAX
    return well


def main() -> None:
    """Measure; exits with 1 when a page or the live view took too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=30_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=("pages", "live"), default=None)
    args = parser.parse_args()
    now_ms = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = folder / "state"
        state.mkdir(mode=0o700)
        request_id = trio.run(fill, state, args.records, now_ms)
        trio.run(write_log, state, args.entries, now_ms)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}; {args.records:,} records, "
            f"{args.entries:,} audit entries"
        )
        with (
            served(folder, state) as (url, secret, pid),
            closing(owner(url, secret)) as client,
        ):
            well = args.only == "live" or pages(client, pid, request_id)
            if args.only != "pages":
                well &= live(client, url, pid, args.rate, args.rounds)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
