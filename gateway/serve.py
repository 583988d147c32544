"""Run a gateway: from a configuration to a served address, and back down in order.

Owns: sockets, signals, reloads, and the order of start and stop. Start: folder, sockets
(so that a taken port is a plain error), tree, addresses told. Stop, on SIGTERM or
SIGINT: drain (no new requests, streams finish until `drain_s`), then the tree from the
edge down to the auditor, then files and pools.
"""

from __future__ import annotations

import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final

import httpx
import trio

from actors.auditor.ports import AuditBook
from actors.directory.messages import DirectoryDown
from actors.directory.ports import Directory
from actors.keeper.shelf import MemoryShelf
from actors.ledger.accounts import reach_s
from actors.ledger.messages import Spend
from actors.provider.transport import Transport
from actors.router.catalogue import files as catalogue_files
from actors.router.catalogue.lookup import Lookup
from actors.tree import LedgerSpec
from actors.vault.locked import harden_process
from actors.vault.ports import WentBack
from actors.vault.safe import Safe
from gateway import assembly, collector
from gateway.admin.building import build as build_admin
from gateway.admin.office import Books
from gateway.auditing import Audit, open_audit
from gateway.bookkeeping import open_books
from gateway.cli import installed_version
from gateway.console.door import Door
from gateway.console.first import first_link
from gateway.control import Control
from gateway.core import Gateway, open_core
from gateway.deployments import open_counter
from gateway.edge import Edge
from gateway.following import Following
from gateway.gate import Gate
from gateway.keysafe import make_federated, make_minters, open_safe
from gateway.listening import listeners
from gateway.logs import Logs
from gateway.metrics import Metrics
from gateway.reloading import ask_for, follow, reloading, say
from gateway.roster import Roster
from gateway.self_test import at_start, files_wanted
from gateway.settings.config import Config
from gateway.settings.database import DatabaseConfig
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.load import Source
from gateway.settings.providers import ProviderConfig
from gateway.settings.server import ServerConfig
from gateway.settings.state_dir import prepare
from gateway.signals import Signals, WorkerSignals, listening
from gateway.tracing.opening import traced
from gateway.workers import policy
from gateway.workers.doors import Doors, open_doors
from gateway.workers.life import obey_parent
from gateway.workers.parent import Parent, Worker
from gateway.workers.peers import Peers, peers_of
from gateway.workers.shelf import shelf_of
from gateway.workers.siblings import note_siblings
from runtime import System
from storage import vault_marks
from storage.directory import SqlDirectory
from storage.epoch_keys import SqlEpochKeys
from storage.grants import SqlGrants
from storage.journal_reader import JournalFiles
from storage.records import RecordFiles, spends_since
from storage.sql.ledger import LedgerSql
from storage.sql.opening import open_database
from storage.sql.people import SqlPeople
from storage.sql.port import Database, DatabaseError
from storage.tapes import SqlTapes
from storage.vault_files import RotationTurn, VaultFiles
from storage.vault_nonces import NonceFiles

OnReady = Callable[[Sequence[str]], None]

SWEEP_S: Final = 15.0  # A few times in the life of an idle connection (55 s).
REPLICA_BYTES: Final = 8  # Names one life of a process; it is no secret.
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
        trio.run(serve, config, source, doors, on_ready, worker)
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
                    say(
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


@asynccontextmanager
async def open_gateway(
    config: Config,
    *,
    environ: Mapping[str, str],
    logs: Logs,
    doors: Doors,
    urls: list[str],
    worker: Worker | None = None,
) -> AsyncGenerator[Following]:
    """A gateway that serves inside this block, and stops in order after it.

    `urls` is filled with the addresses that clients may use.

    Raises:
        ConfigError: something that only shows at the start is wrong with the config.
        OSError: a folder or a socket cannot be used.
    """
    state_dir = config.server.state_dir
    number = worker.number if worker is not None else 1
    peers = peers_of(worker, state_dir)
    metrics = Metrics(worker=worker.number if worker is not None else 0)
    gate = Gate(config, logs, metrics, peers=peers)
    gate.shelf = _shelf(config.server, peers)
    spans = traced(gate, number if worker is not None else 0)
    control = Control(gate)

    def running() -> System:
        assert control.system is not None
        return control.system

    books = Books()
    admin = build_admin(gate, running, version=installed_version(), books=books)
    control.admin = admin.control.answer
    console = Door(admin)
    cells = listeners(
        config,
        gate,
        control,
        (admin.public.answer, console.answer),
        doors=doors,
        urls=urls,
        worker=worker,
    )
    journal = RecordFiles(state_dir, time.time, number)
    audit: Audit | None = None
    database: Database | None = None
    # For the KMS, minting and anchors: apart from the providers' own pools.
    keys_transport = Transport(tls=ssl.create_default_context())
    # The first worker's alone: it also keeps the vault's desk (see workers/peers.py).
    turn = RotationTurn(state_dir) if number == 1 else None
    try:
        audit = await open_audit(config.server, number, environ, keys_transport)
        books.audit = audit.reader
        database = await _open_database(config.database, state_dir)
        roster = Roster(config)
        directory = SqlDirectory(database, time.time, roster.judge)
        books.directory, books.base = directory, lambda: roster.base
        config = await _with_directory(roster, directory, gate)
        books.people = SqlPeople(database)
        ledger = await _ledger(database, config, audit.book.log.origin)
        store = VaultFiles(state_dir)
        await trio.to_thread.run_sync(_check_store, config, audit.book, store)
        safe = await trio.to_thread.run_sync(
            _safe, config, store, environ, keys_transport
        )
        kept = open_books(
            books,
            gate,
            database,
            safe,
            journal=JournalFiles(state_dir, audit.book.log.origin, number),
        )
        catalogue = await trio.to_thread.run_sync(_catalogue, state_dir)
        # Before anybody is served: building an encoding holds the interpreter.
        counter = await trio.to_thread.run_sync(open_counter, config, catalogue)
        async with open_core(
            config,
            gate,
            environ=environ,
            journal=journal,
            book=audit.book,
            safe=safe,
            make_federated=make_federated(safe, keys_transport, time.time),
            nonces=NonceFiles(state_dir, time.time),
            grants=SqlGrants(database, time.time),
            tape_store=SqlTapes(database),
            epoch_keys=SqlEpochKeys(
                database,
                safe,
                tenant=config.vault.tenant,
                environment=config.vault.environment,
            ),
            make_minter=(
                make_minters(safe, keys_transport, time.time)
                if turn is not None and turn.ours
                else None
            ),
            make_transport=_transports(),
            edge=lambda: Edge(cells, gate.attach),
            ledger=ledger,
            shelf=shelf_of(gate.shelf, peers),
            catalogue=catalogue,
            counter=counter,
            archivist=kept.archivist,
            herald=kept.herald,
        ) as gateway:
            gateway.database = database
            control.system = gateway.tree.system
            await gate.until_bound(len(cells))
            # One link: the first worker's, which is there before any other.
            if config.console.enabled and (worker is None or worker.is_first):
                now_ms = int(time.time() * 1000)
                gateway.console_link = await first_link(books.people, now_ms) or ""
            gateway.pausing = kept.pausing
            yield Following(gateway, directory, roster)
    finally:
        for cell in cells:
            cell.close()
        journal.close()
        with trio.CancelScope(shield=True):
            await keys_transport.aclose()
        if turn is not None:
            turn.close()
        if peers is not None:
            await peers.aclose()
        if audit is not None:
            await audit.close()
        if database is not None:
            await database.aclose()
        if spans is not None:
            await trio.to_thread.run_sync(spans.close)


async def _open_database(settings: DatabaseConfig, state_dir: Path) -> Database:
    """With its tables up to date. Raises ConfigError."""
    try:
        return await open_database(
            settings.url.text,
            state_dir,
            settings.connections_max,
            file=settings.file,
        )
    except DatabaseError as error:
        raise ConfigError((Problem("", "database", str(error)),)) from None


async def _with_directory(roster: Roster, directory: Directory, gate: Gate) -> Config:
    """What is served from the start. Raises ConfigError."""
    try:
        moved = roster.take(await directory.changes())
    except DirectoryDown as error:
        raise ConfigError((Problem("", "database", str(error)),)) from None
    config = await trio.to_thread.run_sync(roster.merged)
    gate.directory = directory
    gate.config = config
    gate.sites.replace(config)
    gate.sites.follow(moved.keys)
    return config


def _check_store(config: Config, book: AuditBook, store: VaultFiles) -> None:
    """Raise ConfigError when the vault's rows are older than the log knows."""
    accepted = config.vault.accept_commits
    try:
        vault_marks.check(book, store, int(time.time() * 1000), accepted=accepted)
    except WentBack as error:
        raise ConfigError((Problem("", "vault", str(error)),)) from None


def _safe(
    config: Config,
    store: VaultFiles,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
) -> Safe:
    """The vault's safe. Memory is locked before the first key is in it."""
    if not config.vault.core_dumps:
        harden_process()
    return open_safe(
        config.vault,
        store=store,
        state_dir=config.server.state_dir,
        environ=environ,
        wall=time.time,
        transport=lambda: transport,
    )


def _shelf(server: ServerConfig, peers: Peers | None) -> MemoryShelf:
    """What this process keeps of answers: its part of what all may."""
    workers = peers.worker.count if peers is not None else 1
    kept_bytes_max = policy.share(server.limits.kept_bytes_max, workers)
    return MemoryShelf(kept_bytes_max, trio.current_time)


def _transports() -> assembly.MakeTransport:
    tls = ssl.create_default_context()

    def make(provider: ProviderConfig) -> httpx.AsyncBaseTransport:
        return assembly.transport_of(provider, tls, time.time)

    return make


def _catalogue(state_dir: Path) -> Lookup:
    try:
        return catalogue_files.lookup(state_dir)
    except (catalogue_files.BadCatalogue, OSError) as error:
        why = f"cannot be used: {error}; run `stagedoor catalogue update` or remove it"
        path = str(state_dir / catalogue_files.REFRESHED)
        raise ConfigError((Problem(path, "", why),)) from error


async def _ledger(database: Database, config: Config, instance: str) -> LedgerSpec:
    """The store of the money; what was spent before there was one is put into it."""
    store = LedgerSql(database)
    if await store.is_new():
        await store.adopt(await trio.to_thread.run_sync(_spends, config, time.time()))
    return LedgerSpec(store, token_hex(REPLICA_BYTES), instance)


def _spends(config: Config, now_s: float) -> tuple[Spend, ...]:
    """What the records say of the current windows."""
    since_s = reach_s(assembly.site_limits(config), assembly.caps_of(config), now_s)
    if since_s is None:
        return ()
    return spends_since(config.server.state_dir, since_s)


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
