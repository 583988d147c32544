"""Run a gateway: from a configuration to a served address, and back down in order.

Owns: sockets, signals, reloads, and the order of start and stop. Start: folder, sockets
(so that a taken port is a plain error), what the tree stands on (opening.py), tree,
addresses told. Stop, on SIGTERM or SIGINT: drain (no new requests, streams finish until
`drain_s`), then the tree from the edge down to the auditor, then files and pools.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

from gateway import collector
from gateway.core import Gateway
from gateway.logs import Logs
from gateway.opening import open_gateway
from gateway.reloading import ask_for, follow, reloading, say
from gateway.self_test import at_start, files_wanted
from gateway.settings.config import Config
from gateway.settings.load import Source
from gateway.settings.server import ServerConfig
from gateway.settings.state_dir import prepare
from gateway.signals import Signals, WorkerSignals, listening
from gateway.workers.doors import Doors, open_doors
from gateway.workers.life import obey_parent
from gateway.workers.parent import Parent, Worker
from gateway.workers.siblings import note_siblings
from runtime import SteadyClock

OnReady = Callable[[Sequence[str]], None]

SWEEP_S: Final = 15.0  # A few times in the life of an idle connection (55 s).
# How long a thread that computes (a scrape, a batch of spans) may keep the loop waiting
# for the interpreter: Python's own 5 ms are more than a request takes. `bench.scrape`.
SWITCH_S: Final = 0.0005


def run(
    config: Config, *, source: Source | None = None, on_ready: OnReady | None = None
) -> None:
    """Serve until a signal says stop; returns after an orderly end.

    With several workers this process only watches them, and each of them is a fork that
    goes on below as if it had been started alone.

    Raises:
        ConfigError: something that only shows at the start is wrong with the config.
        OSError: an address is taken or not ours.
        SystemFailed: the tree gave up.
        WorkersFailed: a worker could not start, or died again and again.
    """
    prepare(config.server.state_dir)
    doors = open_doors(config.server)
    worker: Worker | None = None
    try:
        if config.server.workers > 1:
            parent = Parent(config, source, doors, on_ready=on_ready)
            born = parent.run()
            if born is None:
                return
            worker, config = born
            on_ready = None  # The parent tells, once all are ready.
        clock = SteadyClock()
        trio.run(serve, config, source, doors, on_ready, worker, clock=clock)
    finally:
        doors.close()


async def serve(
    config: Config,
    source: Source | None,
    doors: Doors,
    on_ready: OnReady | None,
    worker: Worker | None = None,
) -> None:
    """The same, inside trio."""
    raise_file_limit(config.server)
    sys.setswitchinterval(SWITCH_S)
    logs = Logs(worker=worker.number if worker is not None else 0)
    logs.take_over()
    urls: list[str] = []
    signals = Signals() if worker is None else WorkerSignals()
    try:
        with listening(signals):
            async with open_gateway(
                config,
                environ=os.environ,
                logs=logs,
                doors=doors,
                urls=urls,
                worker=worker,
            ) as following:
                gateway = following.gateway
                collector.settle()
                if on_ready is not None:
                    on_ready(urls)
                if gateway.console_link:
                    hand_over(
                        f"Console: set it up at {_console_url(config, urls)}"
                        f"{gateway.console_link} (works once, for a day)"
                    )
                async with trio.open_nursery() as line:
                    if isinstance(signals, WorkerSignals) and worker is not None:
                        line.start_soon(obey_parent, worker.link, signals)
                    async with trio.open_nursery() as nursery:
                        wanted, reloads = trio.open_memory_channel[None](1)
                        nursery.start_soon(following.run)
                        if gateway.pausing is not None:
                            nursery.start_soon(gateway.pausing.run)
                        if source is not None:
                            nursery.start_soon(follow, source, wanted)
                            nursery.start_soon(reloading, following, source, reloads)
                        nursery.start_soon(_sweep, gateway)
                        if worker is None or worker.is_first:
                            nursery.start_soon(
                                at_start, gateway.config, os.environ, say
                            )
                        nursery.start_soon(note_siblings, gateway)
                        await _obey(signals, gateway, wanted)
                        nursery.cancel_scope.cancel(reason="stopping")
                    await _drain(signals, gateway)
                    line.cancel_scope.cancel(reason="drained")
    finally:
        logs.close()


async def _obey(
    signals: Signals, gateway: Gateway, reload: trio.MemorySendChannel[None]
) -> None:
    """Return on SIGTERM or SIGINT. SIGHUP reloads, SIGUSR1 dumps the tree."""
    while True:
        match await signals.next():
            case signal.SIGHUP:
                ask_for(reload)
            case signal.SIGUSR1:
                say(gateway.tree.system.dump())
            case _:
                return


async def _drain(signals: Signals, gateway: Gateway) -> None:
    """Let streams finish, until `drain_s`; a second signal to stop ends that."""
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await signals.stop()
            nursery.cancel_scope.cancel(reason="told twice to stop")

        nursery.start_soon(hurry)
        await gateway.drain()
        nursery.cancel_scope.cancel(reason="drained")


async def _sweep(gateway: Gateway) -> None:
    while True:
        await trio.sleep(SWEEP_S)
        await gateway.sweep()


def hand_over(text: str) -> None:
    """To whoever started it: on standard output, for the log is on standard error."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:  # Nobody reads it there.
        say(text)


def _console_url(config: Config, urls: Sequence[str]) -> str:
    """Where the Console is."""
    server = config.server
    if server.admin_bind is None:
        return urls[0].rstrip("/")
    return f"{'https' if server.tls_cert else 'http'}://{server.admin_bind}"


def raise_file_limit(server: ServerConfig) -> None:
    """Allow as many open files as the connections need, if the system lets us."""
    wanted = files_wanted(server)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
