"""The Console with 100,000 stored requests: how fast pages come, what live views cost.

    python -m bench.console [--records 100000] [--entries 30000] [--watchers 10]

Fills a state folder (records of 30 days, an audit log), serves it in a process of its
own, sets up an owner, and asks for each page ten times over one connection: the median
and the worst, in milliseconds, with what the gateway's process spent on each. Then
browsers' worth of live views are held open, and the gateway's CPU with and without them
is compared.
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
from collections.abc import Generator
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
LIVE_SHARE_MAX: Final = 0.02  # Of one core, for all who watch.
WATCH_S: Final = 30.0
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


def watch(client: httpx.Client, url: str, stop: threading.Event) -> None:
    """A browser that is left open on the overview."""
    with client.stream("GET", f"{url}/console/live?span=1h") as events:
        for _ in events.iter_raw():
            if stop.is_set():
                return


def live(client: httpx.Client, url: str, pid: int, watchers: int) -> bool:
    """What live views cost; whether that is little."""
    began = cpu_s(pid)
    time.sleep(WATCH_S)
    without = (cpu_s(pid) - began) / WATCH_S
    stop = threading.Event()
    threads = [
        threading.Thread(target=watch, args=(client, url, stop), daemon=True)
        for _ in range(watchers)
    ]
    for one in threads:
        one.start()
    time.sleep(5)  # The first look of all.
    began = cpu_s(pid)
    time.sleep(WATCH_S)
    cost = (cpu_s(pid) - began) / WATCH_S
    stop.set()
    for one in threads:
        one.join(10)
    print(
        f"live: {watchers} browsers cost {(cost - without) * 100:.2f} % of a core "
        f"({cost * 100:.2f} % with them, {without * 100:.2f} % idle)"
    )
    return cost - without < LIVE_SHARE_MAX


def main() -> None:
    """Measure; exits with 1 when a page or the live view took too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=30_000)
    parser.add_argument("--watchers", type=int, default=10)
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
            well = pages(client, pid, request_id)
            well &= live(client, url, pid, args.watchers)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
