"""Acknowledged entries of the audit log, against a bare write and fdatasync.

    python -m bench.audit [--folder DIR] [--seconds 1.5] [--rounds 5] [--json]

The whole auditor in one process: asks through its mailbox, a group commit, a signed
checkpoint, a real file. `bare` appends 400 bytes and syncs, one after another: what the
disk can do for one who waits alone. Run it on the disk that will hold the log.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from random import Random

import msgspec
import trio

from actors.auditor.actor import Auditor, AuditorCell
from actors.auditor.messages import Attest, AuditEvent
from actors.auditor.ports import Place
from runtime import ChildSpec, Ref, Supervisor, open_system
from storage.audit_opening import open_log

WRITERS = (1, 8, 32)
TARGET = 5.0  # At 32 writers, times the bare rate.
EVENT = AuditEvent(
    "key.grant",
    actor="site:acme",
    tenant="acme",
    env="prod",
    provider="main",
    name="default",
    req="req_cc638a89fc6702c775545fef",
    detail=(("route", "chat"), ("ttl_s", 600), ("uses", 1)),
)


class NoRecords:
    """The other book is not measured here."""

    async def append(self, lines: bytes) -> Place:  # noqa: ARG002
        """Keep nothing."""
        await trio.lowlevel.checkpoint()
        return Place("none", 0)


def bare(folder: Path, seconds: float) -> float:
    """Appends of 400 bytes a second, each synced."""
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.write(fd, b"x" * 400)
            os.fdatasync(fd)
            count += 1
        return count / seconds
    finally:
        os.close(fd)


async def acknowledged(
    folder: Path, writers: int, seconds: float
) -> tuple[float, float, float]:
    """Acknowledgements a second, and the median and 99th percentile wait in ms."""
    book, files = open_log(folder, f"bench.example/{writers}")
    cell = AuditorCell(NoRecords(), book, time.time)
    root = ChildSpec(
        "system",
        lambda: Supervisor([ChildSpec("auditor", lambda: Auditor(cell))]),
    )
    waits: list[float] = []
    async with open_system(root, rng=Random(1)) as system:
        ref = system.lookup("auditor", Auditor)
        assert ref is not None
        async with trio.open_nursery() as nursery:
            end = time.perf_counter() + seconds
            for _ in range(writers):
                nursery.start_soon(_write, ref, end, waits)
    files.close()
    waits.sort()
    return (
        len(waits) / seconds,
        waits[len(waits) // 2] * 1000,
        waits[len(waits) * 99 // 100] * 1000,
    )


async def _write(ref: Ref[Auditor], end: float, waits: list[float]) -> None:
    while (begun := time.perf_counter()) < end:
        await ref.ask(Attest(EVENT))
        waits.append(time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        # Interleaved, so that a busy neighbour hits all alike.
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            before = bare(folder, args.seconds / 2)
            found = [trio.run(acknowledged, folder, n, args.seconds) for n in WRITERS]
            # Before and after: the disk of a shared machine is not the same all along.
            alone = (before + bare(folder, args.seconds / 2)) / 2
            rows.setdefault("bare fdatasync, 1/s", []).append(alone)
            for writers, (rate, p50, p99) in zip(WRITERS, found, strict=True):
                who = f"{writers} writers"
                rows.setdefault(f"{who}, ack/s", []).append(rate)
                rows.setdefault(f"{who}, times bare", []).append(rate / alone)
                rows.setdefault(f"{who}, p50 ms", []).append(p50)
                rows.setdefault(f"{who}, p99 ms", []).append(p99)
    if args.json:
        print(msgspec.json.encode(rows).decode())
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python "
          f"{platform.python_version()}, {args.rounds} rounds of {args.seconds:g} s; "
          f"median (smallest .. largest)\n")  # fmt: skip
    for name, values in rows.items():
        middle = statistics.median(values)
        print(f"{name:28} {middle:10.2f}  ({min(values):.2f} .. {max(values):.2f})")
    reached = statistics.median(rows["32 writers, times bare"])
    verdict = "reached" if reached >= TARGET else "MISSED"
    print(f"\n32 writers at least {TARGET:g} times bare: {verdict} ({reached:.1f})")


if __name__ == "__main__":
    main()
