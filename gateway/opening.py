"""Open what a gateway stands on, serve inside, and close it in order.

Owns: the folder's files, the database, the log, the vault's safe and the books, each
opened once and handed to `core.open_core`, which starts the tree on them. What cannot
be opened is a `ConfigError` that says what to do about it. They are closed after the
tree has stopped, whatever happened: nothing of it may still write.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Mapping
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
from gateway import assembly
from gateway.admin.building import build as build_admin
from gateway.admin.office import Books
from gateway.auditing import Audit, open_audit
from gateway.bookkeeping import open_books
from gateway.cli import installed_version
from gateway.console.door import Door
from gateway.console.first import first_link
from gateway.control import Control
from gateway.core import open_core
from gateway.deployments import open_counter
from gateway.edge import Edge
from gateway.following import Following
from gateway.gate import Gate
from gateway.keysafe import make_federated, make_minters, open_safe
from gateway.listening import listeners
from gateway.logs import Logs
from gateway.metrics import Metrics
from gateway.roster import Roster
from gateway.settings.config import Config
from gateway.settings.database import DatabaseConfig
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.providers import ProviderConfig
from gateway.settings.server import ServerConfig
from gateway.tracing.opening import traced
from gateway.workers import policy
from gateway.workers.doors import Doors
from gateway.workers.parent import Worker
from gateway.workers.peers import Peers, peers_of
from gateway.workers.shelf import shelf_of
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

REPLICA_BYTES: Final = 8  # Names one life of a process; it is no secret.


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
