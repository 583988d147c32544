"""What a lease costs: `python -m bench.vault`.

From the ask to the key in a request's head and the lease's end, under an existing grant
with a cached KEK: CPU of this thread, which a busy machine does not distort much. And
its parts. Target: 150 us at the median.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from actors.auditor.actor import Auditor as RealAuditor
from actors.auditor.actor import AuditorCell
from actors.auditor.messages import Attest, Noted, Receipt
from actors.vault.actor import Vault
from actors.vault.cell import VaultCell
from actors.vault.delivery import info, seal
from actors.vault.kms.local import LocalKms
from actors.vault.locked import OS_ENTROPY, LockedMemory
from actors.vault.messages import Acquire, Deliver, DeliveryKey, KeyScope, KeySource
from actors.vault.policy import default_rules
from actors.vault.safe import Opened, Safe
from runtime import Actor, ChildSpec, Supervisor, answers, handles, open_system
from storage.audit_opening import open_log
from storage.records import RecordFiles
from storage.vault_files import VaultFiles

LEASES = 3000
WARM_UP = 300
STRICT_LEASES = 300
ROUNDS = 5
TARGET_US = 150.0
HOST = "api.main.example"
SCOPE, ENV_SCOPE = KeyScope("main"), KeyScope("env")


class Auditor(Actor):
    """Acknowledges at once: this measures the vault."""

    accepts = (Attest, Noted)

    @answers(Attest)
    def attest(self, _msg: Attest) -> Receipt:
        """Nothing is written."""
        return Receipt("bench", 0, 0, b"")

    @handles(Noted)
    def noted(self, _msg: Noted) -> None:
        """Take it."""


class Stream(Actor):
    """Whoever borrows."""


def micros(samples: list[int]) -> str:
    ordered = sorted(samples)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"{p50 / 1000:7.1f} {p99 / 1000:7.1f}"


async def lease_cost(vault: Any, stream: Any, scope: KeyScope) -> list[int]:
    head = bytearray(512)
    samples: list[int] = []
    for number in range(WARM_UP + LEASES):
        began = time.thread_time_ns()
        lease = await vault.ask(Acquire(scope, stream, "acme", "req-1", 60.0, "chat"))
        del head[:]
        lease.handle.write_key(head, host=HOST, secure=True)
        lease.handle.spent()
        if number >= WARM_UP:
            samples.append(time.thread_time_ns() - began)
        if number % 50 == 0:
            await trio.lowlevel.checkpoint()
    return samples


def part_cost(work: Callable[[], object]) -> list[int]:
    samples: list[int] = []
    for _ in range(LEASES):
        began = time.thread_time_ns()
        work()
        samples.append(time.thread_time_ns() - began)
    return samples


def bare_syncs(folder: Path) -> list[int]:
    """What the disk alone takes: append a leaf's worth of bytes, fdatasync."""
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT, 0o600)
    samples: list[int] = []
    try:
        for _ in range(STRICT_LEASES):
            began = time.perf_counter_ns()
            os.write(fd, b"x" * 600)
            os.fdatasync(fd)
            samples.append(time.perf_counter_ns() - began)
    finally:
        os.close(fd)
    return samples


async def strict_cost(vault: Any, stream: Any) -> list[int]:
    """Wall time of a lease that waits for its own event, one at a time."""
    head = bytearray(512)
    samples: list[int] = []
    for _ in range(STRICT_LEASES):
        began = time.perf_counter_ns()
        lease = await vault.ask(Acquire(SCOPE, stream, "strict", "req-1", 60.0, "chat"))
        del head[:]
        lease.handle.write_key(head, host=HOST, secure=True)
        lease.handle.spent()
        samples.append(time.perf_counter_ns() - began)
    return samples


async def strict() -> None:
    """A strict site's lease with the real log on this disk, beside bare fdatasyncs."""
    memory = LockedMemory()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        book, files = open_log(folder, "bench")
        journal = RecordFiles(folder, time.time)
        safe = safe_in(folder, memory)
        cell = cell_of(safe)
        audit = AuditorCell(journal, book, time.time)
        try:
            async with running(lambda: RealAuditor(audit), cell) as (vault, stream):
                await put(vault)
                bare, own = bare_syncs(folder), await strict_cost(vault, stream)
                bare += bare_syncs(folder)
        finally:
            files.close()
            journal.close()
    print(f"{'wall us, one at a time':36}{'p50':>7} {'p99':>7}")
    print(f"{'a bare fdatasync':36}{micros(bare)}")
    print(f"{'a lease of a strict site':36}{micros(own)}")
    ratio = statistics.median(own) / statistics.median(bare)
    print(f"strict lease: {ratio:.2f} x a bare fdatasync at the median")


def safe_in(folder: Path, memory: LockedMemory) -> Safe:
    root = memory.take(32)
    OS_ENTROPY.fill(root.view)
    return Safe(
        VaultFiles(folder),
        {"local": LocalKms(root, memory)},
        memory,
        seals_with="local",
        wall=time.time,
    )


def cell_of(safe: Safe) -> VaultCell:
    hosts = frozenset({HOST})
    return VaultCell(
        {
            SCOPE: KeySource("", hosts, plain_allowed=False),
            ENV_SCOPE: KeySource("KEY", hosts, plain_allowed=False),
        },
        {"KEY": "sk-made-up-0123456789-0123456789-0123456789"},
        safe,
        default_rules("default", "default"),
        frozenset({"strict"}),
    )


@asynccontextmanager
async def running(
    auditor: Callable[[], Actor], cell: VaultCell
) -> AsyncGenerator[tuple[Any, Any]]:
    children: list[ChildSpec[Any]] = [
        ChildSpec("auditor", auditor),
        ChildSpec("vault", lambda: Vault(cell)),
        ChildSpec("stream", Stream),
    ]
    async with open_system(ChildSpec("system", lambda: Supervisor(children))) as system:
        yield system.lookup("vault"), system.lookup("stream")


async def put(vault: Any) -> None:
    box = await vault.ask(DeliveryKey())
    bound_to = info("default", "default", "main", "default")
    delivery = seal(b"sk-made-up-" + b"0123456789" * 5, box, bound_to)
    await vault.ask(Deliver(SCOPE, delivery, (HOST,), "operator:control"))


async def main() -> float:
    memory = LockedMemory()
    best = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        safe = safe_in(Path(folder), memory)
        async with running(Auditor, cell_of(safe)) as (vault, stream):
            await put(vault)
            print(f"{platform.platform()}, Python {sys.version.split()[0]}")
            print(f"memory: {memory.kind}, {LEASES} leases a round")
            print(f"{'CPU us':36}{'p50':>7} {'p99':>7}")
            for number in range(ROUNDS):
                sealed = await lease_cost(vault, stream, SCOPE)
                best = min(best, statistics.median(sealed) / 1000)
                label = f"lease of a sealed key, round {number + 1}"
                print(f"{label:36}{micros(sealed)}")
            env = await lease_cost(vault, stream, ENV_SCOPE)
            print(f"{'lease of a key in a variable':36}{micros(env)}")

            def opened() -> None:
                found = safe.open(SCOPE, trio.current_time())
                assert isinstance(found, Opened)
                found.memory.wipe()

            parts = {
                "  of that: opening the record": part_cost(opened),
                "  of that: a locked slot": part_cost(lambda: memory.take(64).wipe()),
            }
            for label, samples in parts.items():
                print(f"{label:36}{micros(samples)}")
    await strict()
    return best


if __name__ == "__main__":
    found = trio.run(main)
    print(f"best median {found:.1f} us of CPU; target {TARGET_US:.0f} us")
    sys.exit(found > TARGET_US)
