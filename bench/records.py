"""100,000 stored requests: how fast they go in, and how fast dashboards are answered.

    python -m bench.records [--records 100000] [--database URL]

Prints records a second taken in (in chunks as the archivist reads them), and for each
question that a page asks the median and the worst of ten answers, in milliseconds.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import trio

from actors.archivist.ports import Chunk, Filter, LatencyAsked, Line, UsageAsked
from actors.auditor.messages import AttemptRecord, PlannedRecord, RequestRecord
from actors.auditor.ports import Place
from storage.sql.opening import open_database
from storage.sql.records import SqlRecords

T0 = 1_800_000_000_000
DAYS = 30
CHUNK = 250  # Records: about 128 KiB.
ASKED = 10


def record(number: int, rng: Random, total: int) -> RequestRecord:
    """One of a gateway with twenty sites and five models."""
    site = f"site-{rng.randrange(20)}"
    provider = rng.choice(["main", "spare", "third"])
    first = round(rng.lognormvariate(6, 0.5))
    cost = rng.randrange(10**6, 10**8)
    return RequestRecord(
        request_id=f"req_{rng.getrandbits(96):024x}",
        site=site,
        key_id=f"{site}:key{rng.randrange(3)}",
        dialect="openai_chat",
        model=f"model-{rng.randrange(5)}",
        opened_at_ms=T0 + number * DAYS * 86_400_000 // total,
        outcome=rng.choices(["ok", "error", "aborted"], [96, 3, 1])[0],
        status=200,
        streamed=True,
        duration_ms=first * 4,
        first_content_ms=first,
        prompt_tokens=rng.randrange(100, 5000),
        output_tokens=rng.randrange(10, 900),
        cost_nanousd=cost,
        finish="stop",
        tenant=f"tenant-{hash(site) % 5}",
        env="prod",
        feature=rng.choice(["", "summary", "chat", "seo"]),
        attempts=(
            AttemptRecord(provider, "m", "ok", 200, cost_nanousd=cost, total_ms=first),
        ),
        plan=(PlannedRecord(provider, "m", 0.9), PlannedRecord("other", "m", 0.7)),
    )


async def measure(count: int, url: str, folder: Path) -> None:
    """Fill a new database, and ask."""
    rng = Random(1)
    database = await open_database(url, folder)
    book = SqlRecords(database)
    encode = msgspec.json.Encoder().encode
    after: Place | None = None
    began = time.perf_counter()
    cpu = time.process_time()
    spent = 0.0
    for start in range(0, count, CHUNK):
        made = [record(start + one, rng, count) for one in range(CHUNK)]
        end = Place("a.jsonl", start + CHUNK)
        lines = tuple(
            Line(Place("a.jsonl", start + at), encode(one))
            for at, one in enumerate(made)
        )
        at = time.perf_counter()
        await book.keep("bench", after, Chunk(lines, end))
        spent += time.perf_counter() - at
        after = end
    print(f"{platform.machine()}, Python {platform.python_version()}, {database.kind}")
    print(
        f"taken in: {count / spent:,.0f} records/s "
        f"({spent / count * 1e6:.0f} us each; all {time.perf_counter() - began:.1f} s, "
        f"{time.process_time() - cpu:.1f} s of CPU with making them)"
    )
    now = T0 + DAYS * 86_400_000
    day = Filter(now - 86_400_000, now)
    month = Filter(T0, now)
    narrow = Filter(T0, now, site="site-3", outcome="error")
    rare = Filter(T0, now, provider="nobody")
    one = (await book.search(month, None, 1))[0].id

    async def ask(name: str, question: Callable[[], Awaitable[Any]]) -> None:
        times: list[float] = []
        rows: Any = ()
        for _ in range(ASKED):
            at = time.perf_counter()
            rows = await question()
            times.append((time.perf_counter() - at) * 1000)
        size = len(rows) if isinstance(rows, list) else 1
        print(
            f"{name:42} {statistics.median(times):7.1f} median {max(times):7.1f} worst"
            f"  {size} rows"
        )

    await ask("newest 50", lambda: book.search(month, None, 50))
    await ask("newest 50 errors of a site", lambda: book.search(narrow, None, 50))
    await ask("a search that finds nothing", lambda: book.search(rare, None, 50))
    await ask("one record", lambda: book.find(one))
    await ask("a day by the minute", lambda: book.usage(UsageAsked(day, "minute")))
    await ask(
        "a month by the hour and site",
        lambda: book.usage(UsageAsked(month, "hour", ("site",))),
    )
    await ask(
        "a month by the day, model, provider",
        lambda: book.usage(UsageAsked(month, "day", ("model", "provider"))),
    )
    await ask("a month, total", lambda: book.usage(UsageAsked(month)))
    await ask(
        "p50 and p95 of a day by the minute",
        lambda: book.latency(LatencyAsked(day, "minute")),
    )
    await ask(
        "p50 and p95 of a month by provider",
        lambda: book.latency(LatencyAsked(month, by="provider")),
    )
    await database.aclose()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--database", default="", help="of PostgreSQL; else SQLite")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trio.run(measure, args.records, args.database, Path(folder))


if __name__ == "__main__":
    main()
