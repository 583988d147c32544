"""A gateway without its sockets: the tree, what it is made from, and its reloads.

Owns: transports, the order in which a reload is applied, the drain. `opening.py` gives
it what it stands on, `serve.py` puts it behind sockets and signals, `embed.py` behind a
function call.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from secrets import token_bytes
from typing import Final

import attrs
import httpx
import trio

from actors.archivist.cell import ArchivistCell
from actors.auditor.messages import Attest, AuditUnavailable
from actors.auditor.ports import AuditBook, Journal, Place
from actors.auditor.privacy import PEPPER_BYTES, epoch_of
from actors.auditor.veiling import PersonVeil
from actors.granter.memory import MemoryGrants, MemoryKeys
from actors.granter.ports import EpochKeys, GrantStore
from actors.herald.cell import HeraldCell
from actors.keeper.ports import Shelf
from actors.keeper.shelf import MemoryShelf
from actors.ledger.messages import SetLimits
from actors.prober.messages import SetProbes
from actors.provider.admission import share_of
from actors.provider.messages import SetShare, SetUpstream
from actors.provider.transport import Transport
from actors.router.catalogue.lookup import Lookup
from actors.router.messages import SetRoutes
from actors.router.tokens.counter import Counter
from actors.stream.messages import (
    KEY_REVOKED,
    PAGE_ASTRAY,
    SITE_CLOSED,
    EndStreams,
)
from actors.tapes.ports import TapeStore
from actors.tokens.messages import SetAccounts
from actors.tree import LedgerSpec, Tree, TreeSpec, open_tree, provider_child
from actors.vault.federation import Federated
from actors.vault.messages import Federation, KeepPeppers, SetKeys, VaultRefused
from actors.vault.peppers import PEPPER, PepperBox
from actors.vault.rotation import DAY_S, Timing
from actors.vault.rotations import MakeMinter
from actors.vault.safe import Safe
from actors.vault.signatures import NonceStore
from gateway import assembly
from gateway.admin_events import ACTOR, reloaded
from gateway.deployments import NO_CATALOGUE, yardsticks_of
from gateway.gate import Gate
from gateway.hooks import placed
from gateway.keysafe import rules_of
from gateway.logs import new_request_id
from gateway.pausing import Pausing
from gateway.people import People
from gateway.preferences import probes_of
from gateway.settings.changes import diff
from gateway.settings.config import Config
from gateway.settings.providers import ProviderConfig
from gateway.sites import Ended
from gateway.workers.peers import FIRST
from runtime import Actor, AskError, Spawn, StopChild
from storage.sql.port import Database

PEPPERS_WAIT_S: Final = 10.0  # A slow KMS; records name nobody until it answers.


@attrs.define
class Gateway:
    """A running gateway."""

    config: Config
    tree: Tree
    gate: Gate
    transports: dict[str, httpx.AsyncBaseTransport]
    _make: assembly.MakeTransport
    _retiring: list[Retired]
    catalogue: Lookup = NO_CATALOGUE
    console_link: str = attrs.field(default="", repr=False)  # For its first owner.
    database: Database | None = None
    pausing: Pausing | None = None
    _peppers: tuple[int, frozenset[assembly.Home]] = (0, frozenset())
    _turn: trio.Lock = attrs.field(factory=trio.Lock, repr=False)

    async def drain(self) -> None:
        """Stop in order, within `drain_s`."""
        self.gate.stopping.set()
        drain_s = self.config.server.deadlines.drain_s
        await self.tree.system.drain(trio.current_time() + drain_s)

    async def reload(self, config: Config, actor: str = ACTOR) -> None:
        """Apply what can be applied while serving; say what needs a restart.

        Requests under way finish as they began: with their plan, their upstream and
        their hold. Two at once take turns. Raises AskError when an actor could not be
        told; the next reload then does what this one left. Raises AuditUnavailable,
        and changes nothing, when the audit log cannot say that it happened; so it
        does, with ConfigError, for hooks that cannot be made.
        """
        async with self._turn:
            await self._reload(config, actor)

    async def keep_peppers(self) -> None:
        """Have at hand what people are named under, for the sites that want it.

        Until it is, records name nobody. The first worker makes what is missing.
        """
        homes = assembly.pepper_homes(self.config)
        epoch = epoch_of(int(self.gate.wall() * 1000))
        wanted = (epoch, homes)
        rows = self.tree.spec.safe.holdings.live
        if wanted == self._peppers or not (
            homes or any(scope.provider == PEPPER for scope in rows)
        ):
            return
        peers = self.gate.peers
        message = KeepPeppers(
            homes,
            epoch,
            epoch - self.config.vault.pepper_epochs,
            reads=frozenset({self.config.vault.home}),
            make=peers is None or peers.worker.number == FIRST,
        )
        try:
            if await self.tree.vault.ask(message, timeout_s=PEPPERS_WAIT_S):
                self._peppers = wanted
        except (VaultRefused, AuditUnavailable, AskError) as error:
            self.gate.logs.log.warning(
                "privacy.no_pepper", error_class=type(error).__name__
            )

    async def sweep(self) -> None:
        """Close the replaced pools whose last call has been sent, and dead sockets."""
        await self.keep_peppers()
        now = trio.current_time()
        due = [retired for retired in self._retiring if retired.at <= now]
        for retired in due:
            self._retiring.remove(retired)
            await retired.transport.aclose()
        for transport in self.transports.values():
            if isinstance(transport, Transport):
                transport.sweep()

    async def _reload(self, config: Config, actor: str) -> None:
        hooks = placed(config)
        changed = diff(self.config, config)
        log = self.gate.logs.log
        for change in changed.restart:
            log.warning("reload.needs_restart", setting=change.path)
        # Before it is done, as all that must not happen unrecorded.
        for event in reloaded(changed, actor):
            await self.tree.auditor.ask(Attest(event))
        if not changed.live:
            return
        self.gate.hooks.replace(hooks)
        # First of all: who is not let in any more is out, whatever fails below.
        self.end(self.gate.sites.replace(config))
        old = {provider.name: provider for provider in self.config.providers}
        for provider in config.providers:
            await self._apply_provider(old.pop(provider.name, None), provider)
        # Keys and limits before routes: nobody is sent where no key or cap is yet.
        accounts = assembly.accounts_of(config, self.transports)
        await self.tree.tokens.ask(SetAccounts(accounts))
        await self.tree.vault.ask(
            SetKeys(
                tuple(assembly.key_sources(config).items()),
                rules_of(config.vault),
                assembly.strict_sites(config),
                assembly.homes_of(config),
            )
        )
        await self.tree.ledger.ask(
            SetLimits(assembly.site_limits(config), assembly.caps_of(config))
        )
        table = assembly.route_table(config, self.catalogue)
        await self.tree.router.ask(SetRoutes(table))
        await self.tree.prober.ask(SetProbes(probes_of(config)))
        if self.gate.counter is not None:
            yardsticks = yardsticks_of(config, self.catalogue)
            self.gate.counter.follow(yardsticks, table.routes)
        # Last: until here plans could still name them.
        for gone in old.values():
            why = "removed from the config"
            await self.tree.providers.ask(StopChild(gone.name, why))
            self._retire(gone)
        self.gate.config = config
        self.config = config
        await self.keep_peppers()
        log.info("reload.applied", count=len(changed.live))

    def end(self, ended: Ended) -> None:
        """End the streams of sites and keys that do not serve any more."""
        streams = self.gate.streams
        if ended.sites:
            streams.offer(EndStreams(SITE_CLOSED, sites=ended.sites))
        if ended.keys:
            streams.offer(EndStreams(KEY_REVOKED, keys=ended.keys))
        if ended.astray:
            streams.offer(EndStreams(PAGE_ASTRAY, astray=True))

    async def _apply_provider(
        self, old: ProviderConfig | None, new: ProviderConfig
    ) -> None:
        if old == new:
            return
        if old is not None:
            self._retire(old)
        transport = self.transports[new.name] = self._make(new)
        spec = assembly.provider_spec(
            new, transport, self.catalogue, vault=self.config.vault
        )
        ref = self.tree.provider(new.name)
        if ref is None:
            await self.tree.providers.ask(Spawn(provider_child(spec)))
            return
        ref.offer(
            SetUpstream(
                spec.cell.upstream,
                share_of(new.in_flight_max, self._processes),
                new.queue_max,
                new.breaker.failures_max,
                new.breaker.slow_call_s,
            )
        )

    @property
    def _processes(self) -> int:
        sharing = self.tree.sharing
        return 1 if sharing is None else sharing.peers

    def share(self, processes: int) -> None:
        """Others have come or gone: each has its part of a provider's calls."""
        for provider in self.config.providers:
            ref = self.tree.provider(provider.name)
            if ref is not None:
                ref.offer(SetShare(share_of(provider.in_flight_max, processes)))

    def _retire(self, old: ProviderConfig) -> None:
        """Keep a replaced pool until every call that was given it has been sent.

        Those wait for a connection or a key, at most as long as for a head. Answers
        that are open when the pool closes end by themselves.
        """
        transport = self.transports.pop(old.name, None)
        if transport is not None:
            wait_s = max(old.deadlines.connect_s, old.deadlines.headers_s)
            at = trio.current_time() + wait_s
            self._retiring.append(Retired(transport, at))


class TappedJournal:
    """A journal that says when it has more."""

    def __init__(self, journal: Journal, appended: Callable[[], None]) -> None:
        self._journal = journal
        self._appended = appended

    def __repr__(self) -> str:
        """Whose."""
        return f"<TappedJournal {self._journal!r}>"

    async def append(self, lines: bytes) -> Place:
        """See Journal."""
        place = await self._journal.append(lines)
        self._appended()
        return place


@attrs.frozen
class Retired:
    """A pool that no new call is given, and when it can be closed."""

    transport: httpx.AsyncBaseTransport
    at: float


@asynccontextmanager
async def open_core(
    config: Config,
    gate: Gate,
    *,
    environ: Mapping[str, str],
    journal: Journal,
    book: AuditBook,
    safe: Safe,
    make_minter: MakeMinter | None = None,
    make_federated: Callable[[Federation], Federated] | None = None,
    nonces: NonceStore | None = None,
    shelf: Shelf | None = None,
    grants: GrantStore | None = None,
    epoch_keys: EpochKeys | None = None,
    tape_store: TapeStore | None = None,
    make_transport: assembly.MakeTransport,
    edge: Callable[[], Actor] | None = None,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
    catalogue: Lookup = NO_CATALOGUE,
    counter: Counter | None = None,
    archivist: ArchivistCell | None = None,
    herald: HeraldCell | None = None,
    ledger: LedgerSpec | None = None,
) -> AsyncGenerator[Gateway]:
    """Run the tree around the body; leaving stops it and closes the pools.

    With an `archivist`, what the journal has is taken into a database.
    Raises ConfigError for hooks that cannot be made.
    """
    gate.hooks.replace(placed(config))
    if archivist is not None:
        journal = TappedJournal(journal, gate.appended)
    peppers = PepperBox(safe)
    gate.people = People(peppers, wall)
    book.log.veil = gate.veil = PersonVeil(
        peppers, config.vault.tenant, token_bytes(PEPPER_BYTES)
    )
    gate.counter = counter
    gate.book = book
    transports = {p.name: make_transport(p) for p in config.providers}
    spec = TreeSpec(
        providers=tuple(
            assembly.provider_spec(
                provider,
                transports[provider.name],
                catalogue,
                vault=config.vault,
            )
            for provider in config.providers
        ),
        keys=assembly.key_sources(config),
        environ=environ,
        accounts=assembly.accounts_of(config, transports),
        routes=assembly.route_table(config, catalogue),
        limits=assembly.site_limits(config),
        caps=assembly.caps_of(config),
        journal=journal,
        book=book,
        safe=safe,
        rules=rules_of(config.vault),
        mints=assembly.mints_of(config),
        make_minter=make_minter,
        make_federated=make_federated,
        nonces=nonces,
        rotation=Timing(
            period_s=config.vault.rotate_days * DAY_S,
            overlap_s=config.vault.rotate_overlap_s,
            watch_s=config.vault.rotate_watch_s,
        ),
        strict_sites=assembly.strict_sites(config),
        homes=assembly.homes_of(config),
        peppers=peppers,
        shelf=shelf
        or MemoryShelf(config.server.limits.kept_bytes_max, trio.current_time),
        keep_s=config.server.limits.keep_s,
        heartbeat_s=config.server.deadlines.heartbeat_s,
        grants=grants or MemoryGrants(wall),
        epoch_keys=epoch_keys or MemoryKeys(os.urandom),
        entropy=os.urandom,
        replay_bytes_max=config.server.limits.replay_bytes_max,
        replay_s=config.server.limits.replay_s,
        failed=gate.failed,
        tape_store=tape_store,
        now=trio.lowlevel.current_clock().current_time,
        wall=wall,
        rng=rng or Random(),  # noqa: S311 - jitter, not secrets
        ended=gate.ended,
        alert=gate.alert,
        home_of=gate.sites.home_of,
        lets=gate.sites.lets,
        probes=probes_of(config),
        request_id=new_request_id,
        dropped=lambda kind: gate.metrics.aside(kind, "dropped"),
        counter=counter,
        hooks=gate.hooks,
        edge=edge,
        archivist=archivist,
        herald=herald,
        ledger=ledger,
    )
    retiring: list[Retired] = []
    try:
        async with open_tree(spec) as tree:
            gate.sharing = tree.sharing
            gate.attach(tree.system.lookup)
            gateway = Gateway(
                config, tree, gate, transports, make_transport, retiring, catalogue
            )
            await gateway.keep_peppers()
            if tree.sharing is not None:
                tree.sharing.on_peers = gateway.share
            yield gateway
    finally:
        with trio.CancelScope(shield=True):
            for transport in (*transports.values(), *(r.transport for r in retiring)):
                await transport.aclose()
