"""The whole gateway inside a test: in memory, on any clock, with fake providers.

    async with embedded(config, {"main": FakeProvider([Says("Hello")])}) as gateway:
        answer = await gateway.post("/v1/chat/completions", {...}, key="sk-acme-dev")

Everything is the real thing but the edges: providers are scripts, clients call the ASGI
app, records go to a list. No socket, no file, no thread that the clock would wait for,
so it runs on a virtual clock (`runtime.testing.run_sim`, trio's MockClock).
"""

from __future__ import annotations

import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final
from urllib.parse import unquote

import attrs
import httpx
import msgspec
import trio

from actors.archivist.messages import CatchUp
from actors.auditor.messages import Flush, RequestRecord
from actors.granter.memory import MemoryGrants, MemoryKeys
from actors.granter.ports import EpochKeys, GrantStore
from actors.herald.ports import Post
from actors.ledger.ports import LedgerStore
from actors.router.catalogue.lookup import Lookup
from actors.router.tokens.counter import Counter
from actors.tapes.memory import MemoryTapes
from actors.tapes.ports import TapeStore
from actors.tree import LedgerSpec
from actors.vault.kms.local import LocalKms
from actors.vault.locked import OS_ENTROPY, LockedMemory
from actors.vault.ports import VaultStore
from actors.vault.rotations import MakeMinter
from actors.vault.safe import Safe
from actors.vault.sealing import KEY_BYTES
from gateway.admin.building import Admin
from gateway.admin.building import build as build_admin
from gateway.admin.office import Books
from gateway.bookkeeping import open_books
from gateway.core import Gateway, open_core
from gateway.deployments import NO_CATALOGUE
from gateway.embed_books import MemoryJournal, nowhere
from gateway.following import Following
from gateway.gate import Gate
from gateway.http.app import App
from gateway.http.routes import client_app
from gateway.http11_transport import ClientGone
from gateway.logs import Logs
from gateway.metrics import Metrics
from gateway.roster import Roster
from gateway.settings.config import Config
from gateway.settings.providers import ProviderConfig
from storage.audit_memory import memory_book
from storage.directory import SqlDirectory
from storage.sql.ledger import LedgerSql
from storage.sql.memory import open_memory
from storage.sql.port import Database
from storage.vault_files import VaultMemory

PIECES_IN_FLIGHT_MAX: Final = 1  # As a socket whose client reads nothing: at once full.
MEMORY: Final = LockedMemory()  # One for all gateways of a process: it is bounded.
EPOCH_S: Final = 1_800_000_000.0  # A wall clock that starts here and follows trio's.


@attrs.define
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a value."""
        return msgspec.json.decode(self.body)


class Embedded:
    """A gateway in memory."""

    def __init__(
        self,
        gateway: Gateway,
        app: App,
        journal: MemoryJournal,
        log_fd: int,
        admin: Admin | None = None,
    ) -> None:
        self.gateway = gateway
        self.app = app
        self.journal = journal
        self.admin = admin
        self._log_fd = log_fd
        self.following: Following | None = None  # With a directory.

    def __repr__(self) -> str:
        """What runs."""
        return f"<Embedded {self.gateway.tree.system!r}>"

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, read to its end."""
        async with self.open(method, path, body, key=key, headers=headers) as call:
            return await call.read()

    async def post(self, path: str, body: Any, *, key: str | None = None) -> Answer:
        """POST a value (or raw bytes)."""
        return await self.request("POST", path, body, key=key)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Call]:
        """One request, to be read as it comes; leaving the block is leaving."""
        fields = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            fields["authorization"] = f"Bearer {key}"
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        call = Call(raw if body is not None else b"")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path.partition("?")[0]),
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "headers": [(k.encode(), v.encode()) for k, v in fields.items()],
            "extensions": {"stagedoor": call},
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.run, self.app, scope)
            try:
                yield call
            finally:
                call.leave()

    async def records(self) -> list[RequestRecord]:
        """All records so far, once they are kept."""
        await self.gateway.tree.auditor.ask(Flush())
        return self.journal.records

    async def archived(self) -> None:
        """Until every record so far is in the database."""
        await self.gateway.tree.auditor.ask(Flush())
        archivist = self.gateway.gate.lookup("archivist")
        assert archivist is not None, "it needs a database"
        await archivist.ask(CatchUp())

    def logged(self) -> bytes:
        """Everything logged so far."""
        self.gateway.gate.logs.close()
        size = os.lseek(self._log_fd, 0, os.SEEK_END)
        return os.pread(self._log_fd, size, 0)


class Call:
    """One request in memory: the app's `Conn`, its `send`, and the client's reading."""

    heartbeats = True

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.gone = False
        self.done = False
        self._body: bytes | None = body
        self._callbacks: list[Callable[[], None]] = []
        self._pieces: list[bytes] = []
        self._moved = trio.Event()

    def __repr__(self) -> str:
        """How far it is."""
        return f"<Call {self.status} done={self.done} gone={self.gone}>"

    # The client's side.

    async def head(self) -> int:
        """Wait for the status."""
        while not self.status and not self.done:
            await self._wait()
        return self.status

    async def chunk(self) -> bytes:
        """The next piece; empty at the end."""
        while not self._pieces and not self.done:
            await self._wait()
        piece = self._pieces.pop(0) if self._pieces else b""
        self._move()
        return piece

    async def read(self) -> Answer:
        """Everything."""
        await self.head()
        body = bytearray()
        while piece := await self.chunk():
            body += piece
        return Answer(self.status, self.headers, bytes(body))

    def leave(self) -> None:
        """Hang up."""
        if self.gone or self.done:
            return
        self.gone = True
        for callback in self._callbacks:
            callback()
        self._move()

    # The app's side.

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Call the app."""
        try:
            await app(scope, self._receive, self._send)
        finally:
            self.done = True
            self._callbacks = []
            self._move()

    @property
    def body(self) -> bytes | None:
        """See Conn."""
        body, self._body = self._body, None
        return body

    async def read_body(self) -> bytes:
        """See Conn."""
        return self.body or b""

    def write_now(self, body: bytes) -> bool:
        """See Conn."""
        if self.gone or len(self._pieces) >= PIECES_IN_FLIGHT_MAX:
            return False
        self._pieces.append(body)
        self._move()
        return True

    def answer_now(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes
    ) -> bool:
        """See Conn."""
        if self.gone or self.status:
            return False
        self.status = status
        self.headers = {**dict(fields), "content-length": str(len(body))}
        self._pieces.append(body)
        self._move()
        return True

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if self.gone:
            callback()
        else:
            self._callbacks.append(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    async def _receive(self) -> dict[str, Any]:
        while not self.gone:
            await self._wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self._move()
            return
        await trio.lowlevel.checkpoint()
        while len(self._pieces) >= PIECES_IN_FLIGHT_MAX and not self.gone:
            await self._wait()
        if self.gone:
            raise ClientGone("the client left")
        if message.get("body"):
            self._pieces.append(message["body"])
        self._move()

    async def _wait(self) -> None:
        await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def wall() -> float:
    """Unix time that starts at `EPOCH_S` and follows trio's clock."""
    return EPOCH_S + trio.current_time()


@attrs.define
class Shared:
    """What the workers of one gateway share, in memory."""

    grants: GrantStore = attrs.field(factory=lambda: MemoryGrants(wall))
    epoch_keys: EpochKeys = attrs.field(factory=lambda: MemoryKeys(os.urandom))
    tapes: TapeStore = attrs.field(factory=MemoryTapes)


def memory_safe(*, wall: Callable[[], float], store: VaultStore | None = None) -> Safe:
    """A safe with rows in memory, under a root key that nobody keeps."""
    root = MEMORY.take(KEY_BYTES)
    OS_ENTROPY.fill(root.view)
    kms = LocalKms(root, MEMORY)
    return Safe(
        store or VaultMemory(), {"local": kms}, MEMORY, seals_with="local", wall=wall
    )


@asynccontextmanager
async def embedded(
    config: Config,
    providers: Mapping[str, httpx.AsyncBaseTransport],
    *,
    environ: Mapping[str, str] | None = None,
    journal: MemoryJournal | None = None,
    seed: int = 0,
    safe: Safe | None = None,
    catalogue: Lookup = NO_CATALOGUE,
    counter: Counter | None = None,
    make_minter: MakeMinter | None = None,
    ledger: LedgerStore | None = None,
    replica: str = "embedded",
    database: Database | None = None,
    shared: Shared | None = None,
    post: Post | None = None,
) -> AsyncGenerator[Embedded]:
    """Run a gateway around the body.

    With one `ledger`, two gateways (each a `replica`) share their caps and limits; with
    one `shared`, what they can pick up of each other. With a `database`
    (`storage.sql.memory.open_memory`) it has a directory too, and follows it, and the
    admin API; webhooks then go to `post`.
    """
    log_fd = os.memfd_create("log")
    logs = Logs(log_fd)
    gate = Gate(config, logs, Metrics(), lambda: EPOCH_S + trio.current_time())
    kept = journal or MemoryJournal()

    def transport(provider: ProviderConfig) -> httpx.AsyncBaseTransport:
        return providers[provider.name]

    roster, directory = Roster(config), None
    books, kept_books = Books(), None
    admin = build_admin(gate, lambda: gateway.tree.system, version="0", books=books)
    safe = safe or memory_safe(wall=gate.wall)
    store = database or await open_memory()
    try:
        if database is not None:
            directory = SqlDirectory(database, gate.wall, roster.judge)
            gate.directory = directory
            moved = roster.take(await directory.changes())
            config = gate.config = roster.merged()
            gate.sites.replace(config)
            gate.sites.follow(moved.keys)
            books.directory, books.base = directory, lambda: roster.base
            kept_books = open_books(
                books,
                gate,
                database,
                safe,
                journal=kept,
                post=post or nowhere,
                wall=gate.wall,
                rng=Random(seed),  # noqa: S311 - a test's chance, from its seed
            )
        async with open_core(
            config,
            gate,
            environ=environ or {},
            journal=kept,
            book=memory_book()[0],
            safe=safe,
            make_transport=transport,
            wall=lambda: EPOCH_S + trio.current_time(),
            rng=Random(seed),  # noqa: S311 - a test's chance, from its seed
            catalogue=catalogue,
            counter=counter,
            make_minter=make_minter,
            ledger=LedgerSpec(ledger or LedgerSql(store), replica),
            grants=shared.grants if shared is not None else None,
            epoch_keys=shared.epoch_keys if shared is not None else None,
            tape_store=shared.tapes if shared is not None else None,
            archivist=kept_books.archivist if kept_books is not None else None,
            herald=kept_books.herald if kept_books is not None else None,
        ) as gateway:
            gateway.database = store
            app = client_app(
                gate,
                created=int(EPOCH_S),
                with_operations=True,
                admin=admin.public.answer,
            )
            made = Embedded(gateway, app, kept, log_fd, admin)
            if directory is None:
                yield made
                return
            following = made.following = Following(gateway, directory, roster)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(following.run)
                assert kept_books is not None
                nursery.start_soon(kept_books.pausing.run)
                yield made
                nursery.cancel_scope.cancel(reason="closing")
    finally:
        if database is None:
            await store.aclose()
        logs.close()
        os.close(log_fd)


def events(body: bytes) -> Iterator[Any]:
    """The data of each SSE event, decoded; "[DONE]" as it is."""
    for block in body.split(b"\n\n"):
        if block.startswith(b"data: "):
            data = block[6:]
            yield data.decode() if data == b"[DONE]" else msgspec.json.decode(data)


def text_of(body: bytes) -> str:
    """The text that an OpenAI client would show of a streamed answer."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(body)
        if isinstance(event, dict)
        for choice in event.get("choices", ())
    )
