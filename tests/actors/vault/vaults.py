"""A vault with an auditor, in a small tree: for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from actors.auditor.messages import (
    Attest,
    AuditEvent,
    AuditUnavailable,
    Noted,
    Receipt,
)
from actors.vault.actor import Vault
from actors.vault.cell import VaultCell
from actors.vault.delivery import info, seal
from actors.vault.keks import KekLimits
from actors.vault.kms.local import LocalKms
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.messages import (
    Acquire,
    Deliver,
    DeliveryKey,
    KeyScope,
    KeySource,
    Lease,
    SecretFacts,
)
from actors.vault.policy import Rule, default_rules
from actors.vault.ports import Kms, KmsContext, KmsUnavailable, Wrapped
from actors.vault.safe import Safe
from runtime import Actor, ChildSpec, Ref, Supervisor, answers, handles, open_system
from storage.vault_files import VaultMemory

HOST = "api.main.example"
SCOPE = KeyScope("main")
KEY = b"sk-made-up-0123456789"
OPERATOR = "operator:control"
MEMORY = LockedMemory()


@attrs.define
class Log:
    """What the auditor of these tests was told; `broken` refuses, `slow_s` delays."""

    attested: list[AuditEvent] = attrs.field(factory=list[AuditEvent])
    noted: list[AuditEvent] = attrs.field(factory=list[AuditEvent])
    broken: bool = False
    slow_s: float = 0.0

    def acts(self) -> list[str]:
        return [event.act for event in self.attested]


class Auditor(Actor):
    """Attests at once, or after a while, or not."""

    accepts = (Attest, Noted)

    def __init__(self, log: Log) -> None:
        self.log = log

    @answers(Attest)
    async def attest(self, msg: Attest) -> Receipt:
        await trio.sleep(self.log.slow_s)
        if self.log.broken:
            raise AuditUnavailable("no space left on device")
        self.log.attested.append(msg.event)
        return Receipt("test", len(self.log.attested), len(self.log.attested), b"")

    @handles(Noted)
    def noted(self, msg: Noted) -> None:
        self.log.noted.extend(msg.events)


class Stream(Actor):
    """Whoever borrows."""


class FlakyKms:
    """The local KMS that can be down, slow, and counts what it is asked."""

    def __init__(self) -> None:
        root = MEMORY.hold(bytes(range(32)))
        self._inner: Kms = LocalKms(root, MEMORY)
        self.down = False
        self.slow_s = 0.0
        self.unwrapped = 0

    @property
    def name(self) -> str:
        return "local"

    async def generate(self, context: KmsContext) -> Wrapped:
        await self._wait()
        return await self._inner.generate(context)

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        await self._wait()
        self.unwrapped += 1
        return await self._inner.unwrap(blob, context)

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        await self._wait()
        return await self._inner.rewrap(blob, context, new_context)

    async def health(self) -> None:
        await self._wait()

    async def _wait(self) -> None:
        await trio.sleep(self.slow_s)
        if self.down:
            raise KmsUnavailable("local", "does not answer")


@attrs.define
class Bench:
    """A running vault and what surrounds it."""

    vault: Ref[Any]
    stream: Ref[Any]
    system: Any
    log: Log
    kms: FlakyKms
    store: VaultMemory
    safe: Safe
    cell: VaultCell

    async def put(
        self,
        key: bytes = KEY,
        scope: KeyScope = SCOPE,
        *,
        hosts: tuple[str, ...] = (HOST,),
        principal: str = OPERATOR,
        replace: bool = False,
    ) -> SecretFacts:
        box = await self.vault.ask(DeliveryKey())
        bound_to = info(scope.tenant, scope.environment, scope.provider, scope.name)
        delivery = seal(key, box, bound_to)
        facts: SecretFacts = await self.vault.ask(
            Deliver(scope, delivery, hosts, principal, replace=replace)
        )
        return facts

    async def lend(
        self,
        scope: KeyScope = SCOPE,
        *,
        site: str = "acme",
        ttl_s: float = 60,
        route: str = "chat",
        stream: Ref[Any] | None = None,
    ) -> Lease:
        lease: Lease = await self.vault.ask(
            Acquire(scope, stream or self.stream, site, "req-1", ttl_s, route)
        )
        return lease

    def borrower(self, name: str) -> ChildSpec[Any]:
        return ChildSpec(name, Stream, restart="temporary")


def written(lease: Lease, host: str = HOST, *, secure: bool = True) -> bytes:
    """What the transport would write; the copy here is the test's."""
    head = bytearray()
    lease.handle.write_key(head, host=host, secure=secure)
    return bytes(head)


def source(**changes: Any) -> KeySource:
    given = {"env": "", "hosts": frozenset({HOST}), "plain_allowed": False}
    return KeySource(**{**given, **changes})


@asynccontextmanager
async def running(
    *,
    sources: Mapping[KeyScope, KeySource] | None = None,
    environ: Mapping[str, str] | None = None,
    rules: Sequence[Rule] | None = None,
    strict_sites: frozenset[str] = frozenset(),
    limits: KekLimits | None = None,
    store: VaultMemory | None = None,
    kms: FlakyKms | None = None,
    log: Log | None = None,
) -> AsyncGenerator[Bench]:
    """A vault, an auditor and one stream."""
    kms, store, log = kms or FlakyKms(), store or VaultMemory(), log or Log()
    safe = Safe(
        store,
        {"local": kms},
        MEMORY,
        seals_with="local",
        wall=lambda: 1_800_000_000 + trio.current_time(),
        limits=limits,
    )
    cell = VaultCell(
        dict(sources or {SCOPE: source()}),
        environ or {},
        safe,
        tuple(rules or default_rules("default", "default")),
        strict_sites,
    )
    children: list[ChildSpec[Any]] = [
        ChildSpec("auditor", lambda: Auditor(log)),
        ChildSpec("vault", lambda: Vault(cell)),
        ChildSpec("stream", Stream),
    ]
    root = ChildSpec("system", lambda: Supervisor(children))
    async with open_system(root) as system:
        vault, stream = system.lookup("vault"), system.lookup("stream")
        assert vault is not None
        assert stream is not None
        yield Bench(vault, stream, system, log, kms, store, safe, cell)
