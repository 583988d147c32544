# ruff: noqa: D101, D102 - the table's labels say what each row measures
"""What the actor kernel costs: `python -m bench.kernel [--rounds N]`.

Each row is measured in rounds, interleaved, so that a noisy neighbour hits all rows;
the table shows the median with the least and the most. Microseconds of CPU time an
operation (one thread, never waiting, so on a quiet machine they are microseconds of
the wall clock), kibibytes an actor.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from runtime import (
    Actor,
    ChildSpec,
    MailboxSpec,
    Ref,
    Request,
    Spawn,
    StreamChannel,
    Supervisor,
    System,
    Tell,
    answers,
    handles,
    open_system,
)

OPS = 5000
ACTORS = 2000


class Plan(Request["Worker", int], frozen=True):
    n: int


class Slow(Request["Worker", int], frozen=True):
    n: int


class Note(Tell["Worker"], frozen=True):
    n: int


class Worker(Actor):
    """One of each kind of handler."""

    mailbox = MailboxSpec(1024)

    def __init__(self) -> None:
        self.total = 0

    @answers(Plan)
    def plan(self, msg: Plan) -> int:
        self.total += msg.n
        return self.total

    @answers(Slow)
    async def slow(self, msg: Slow) -> int:
        self.total += msg.n
        return self.total

    @handles(Note)
    def note(self, msg: Note) -> None:
        self.total += msg.n


class Finish(Request["Brief", None], frozen=True):
    pass


class Brief(Actor):
    """A temporary actor: starts, answers once, ends."""

    mailbox = MailboxSpec(1)

    def on_start(self) -> None:
        self.began = True

    @answers(Finish)
    def finish(self, msg: Finish) -> None:  # noqa: ARG002
        self.ctx.stop_self()


class Ping(Tell["Full"], frozen=True):
    pass


class Full(Actor):
    """With an asynchronous start, a task and a queue that was used."""

    async def on_start(self) -> None:
        self.began = True

    @handles(Ping)
    def ping(self, msg: Ping) -> None:
        pass


class Bench:
    def __init__(self, system: System) -> None:
        self.system = system
        worker = system.lookup("worker", Worker)
        assert worker is not None
        self.worker: Ref[Worker] = worker
        self.streams: Ref[Supervisor] = system.lookup("streams")  # type: ignore[assignment]
        self.serial = 0

    def name(self) -> str:
        self.serial += 1
        return f"s{self.serial}"

    async def ask_inline(self) -> float:
        ask, msg = self.worker.ask, Plan(1)
        began = time.process_time()
        for _ in range(OPS):
            await ask(msg)
        return (time.process_time() - began) / OPS

    async def ask_queued_def(self) -> float:
        """Two askers at once on a busy actor: every ask takes the mailbox."""
        return await self._queued(Plan(1))

    async def ask_queued_async(self) -> float:
        return await self._queued(Slow(1))

    async def _queued(self, msg: Any) -> float:
        ask = self.worker.ask
        began = time.process_time()
        if isinstance(msg, Slow):
            for _ in range(OPS):
                await ask(msg)
            return (time.process_time() - began) / OPS
        offer, note = self.worker.offer, Note(0)
        for _ in range(OPS):
            offer(note)
            await ask(msg)
        return (time.process_time() - began) / OPS

    async def ask_timeout(self) -> float:
        ask, msg = self.worker.ask, Slow(1)
        began = time.process_time()
        for _ in range(OPS):
            await ask(msg, timeout_s=60)
        return (time.process_time() - began) / OPS

    async def tell_batch(self) -> float:
        tell, note = self.worker.tell, Note(1)
        began = time.process_time()
        for _ in range(OPS):
            await tell(note)
        await self.worker.ask(Plan(0))
        return (time.process_time() - began) / OPS

    async def tell_single(self) -> float:
        """One tell at a time: the actor wakes for each."""
        tell, note = self.worker.tell, Note(1)
        began = time.process_time()
        for _ in range(OPS):
            await tell(note)
            await trio.lowlevel.cancel_shielded_checkpoint()
        return (time.process_time() - began) / OPS

    async def spawn_stop(self) -> float:
        names = [self.name() for _ in range(500)]
        began = time.process_time()
        for name in names:
            spec = ChildSpec(name, Brief, restart="temporary")
            ref = await self.streams.ask(Spawn(spec))
            await ref.ask(Finish())
        while self.system.lookup(names[-1]) is not None:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        return (time.process_time() - began) / len(names)

    async def spawn_stop_async(self) -> float:
        names = [self.name() for _ in range(500)]
        refs = []
        began = time.process_time()
        for name in names:
            spec = ChildSpec(name, Full, restart="temporary")
            refs.append(await self.streams.ask(Spawn(spec)))
            refs[-1].cell.request_stop("bench")
        await trio.testing.wait_all_tasks_blocked()
        return (time.process_time() - began) / len(names)

    async def hop_single(self) -> float:
        channel: StreamChannel[int] = StreamChannel(16)
        began = time.process_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, channel)
            async for _ in channel:
                pass
        return (time.process_time() - began) / OPS

    async def hop_batch(self) -> float:
        channel: StreamChannel[int] = StreamChannel(16)
        began = time.process_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, channel)
            while await channel.receive_some():
                pass
        return (time.process_time() - began) / OPS

    async def _pump(self, channel: StreamChannel[int]) -> None:
        for at in range(OPS):
            await channel.send(at)
        channel.close()

    async def memory(self, make: Callable[[], Actor], *, used: bool) -> float:
        """Kibibytes an actor, by what Python allocates for it."""
        gc.collect()
        specs = [
            ChildSpec(self.name(), make, restart="temporary") for _ in range(ACTORS)
        ]
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        refs: list[Ref[Any]] = [await self.streams.ask(Spawn(spec)) for spec in specs]
        if used:
            for ref in refs:
                await ref.tell(Ping())
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for ref in refs:
            ref.cell.request_stop("bench")
        await trio.testing.wait_all_tasks_blocked()
        return taken / ACTORS / 1024


ROWS: list[tuple[str, str, float | None]] = [
    ("ask_inline", "ask, idle actor, def handler (inline)", 3),
    ("ask_queued_def", "tell + ask, def handler, through the mailbox", None),
    ("ask_queued_async", "ask, async handler, through the mailbox", 15),
    ("ask_timeout", "ask, async handler, with timeout_s", None),
    ("tell_batch", "tell, in a burst", 6),
    ("tell_single", "tell, the actor wakes for each, + 1 checkpoint", None),
    ("spawn_stop", "spawn + on_start + ask + end, temporary actor", 30),
    ("spawn_stop_async", "the same with async on_start and a task", None),
    ("hop_single", "StreamChannel hop, item by item", None),
    ("hop_batch", "StreamChannel hop, drained in batches", None),
]


async def main(rounds: int) -> None:
    root = Supervisor([ChildSpec("worker", Worker), ChildSpec("streams", Supervisor)])
    found: dict[str, list[float]] = {name: [] for name, _, _ in ROWS}
    async with open_system(ChildSpec("system", lambda: root)) as system:
        bench = Bench(system)
        for _ in range(rounds):
            for name, _, _ in ROWS:
                gc.collect()
                run: Callable[[], Awaitable[float]] = getattr(bench, name)
                found[name].append(await run() * 1e6)
        minimal = await bench.memory(Brief, used=False)
        full = await bench.memory(Full, used=True)
    print(f"{platform.python_implementation()} {platform.python_version()}, ", end="")
    print(f"trio {trio.__version__}, {os.cpu_count()} cores, {rounds} rounds\n")
    print(f"| {'operation, CPU time':50} | median us |   min |   max | goal |")
    print(f"|{'-' * 52}|{'-' * 11}|{'-' * 7}|{'-' * 7}|{'-' * 6}|")
    for name, label, goal in ROWS:
        values = found[name]
        print(
            f"| {label:50} | {statistics.median(values):9.2f} "
            f"| {min(values):5.2f} | {max(values):5.2f} "
            f"| {goal if goal is not None else '':>4} |"
        )
    print(f"\nmemory an actor, {ACTORS} of them (bytes Python allocates):")
    print(f"  minimal, 1-slot mailbox, no task yet: {minimal:.2f} KiB")
    print(f"  full, with a task and a used mailbox: {full:.2f} KiB (goal 9)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    trio.run(main, parser.parse_args().rounds)
