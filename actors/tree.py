"""The whole supervision tree on one screen.

    system                           one_for_one: starts top-down, stops bottom-up
    ├── auditor          permanent   single writer of the records and the log
    ├── vault            permanent   grants leases; never hands out a key
    │   └── lease-N      temporary   an actor with a deadline; its end wipes the key
    ├── tokens           permanent   keeps access tokens of service accounts fresh
    ├── ledger           permanent   money: an account a site, a hold an attempt
    ├── router           permanent   a pure policy over a snapshot; answers plans
    ├── granter          permanent   requests that wait for a browser to start them
    ├── keeper           permanent   answers that may be fetched again
    ├── tapes            permanent   answers that may be picked up, and who gives them
    ├── archivist        permanent   takes the records into the database
    ├── herald           permanent   tells people what they should know
    ├── providers        one_for_one
    │   └── NAME         permanent   admission and health; trips by exiting
    ├── streams          one_for_one
    │   └── REQUEST_ID   temporary   OWNS one request from plan to record
    ├── prober           permanent   asks idle deployments how they are
    └── edge             one_for_one the listeners; they drain with the streams

Only this file imports every `actor.py`. What outlives an incarnation is in the cells,
which are made here and closed over by each `make`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
import httpx

from actors.archivist.actor import Archivist
from actors.archivist.cell import ArchivistCell
from actors.auditor.actor import Auditor, AuditorCell
from actors.auditor.messages import RequestRecord
from actors.auditor.ports import AuditBook, Journal
from actors.granter.actor import Granter, GranterCell
from actors.granter.ports import EpochKeys, GrantStore
from actors.herald.actor import Herald
from actors.herald.cell import HeraldCell
from actors.keeper.actor import Keeper, KeeperCell
from actors.keeper.ports import Shelf
from actors.ledger.actor import Ledger, LedgerCell, open_accounts
from actors.ledger.escrow import Escrow
from actors.ledger.messages import Alert, Cap, SiteLimits
from actors.ledger.ports import LedgerStore
from actors.ledger.sharing import Sharing
from actors.prober.actor import Prober, ProberCell
from actors.prober.messages import Probed
from actors.provider.actor import Provider, ProviderCell, Providers
from actors.router.actor import Router, RouterCell
from actors.router.messages import RouteTable
from actors.router.tokens.counter import Counter
from actors.stream.hooks.placed import Hooks
from actors.stream.peers import Peers
from actors.stream.session import Sessions
from actors.tapes.actor import Tapes, TapesCell
from actors.tapes.ports import TapeStore
from actors.tapes.sharing import TapeSharing
from actors.tapes.tape import Budget
from actors.tokens.actor import Tokens, TokensCell
from actors.vault.actor import Vault
from actors.vault.cell import VaultCell
from actors.vault.federation import Federated
from actors.vault.messages import Federation, KeyScope, KeySource
from actors.vault.peppers import PepperBox
from actors.vault.policy import Rule
from actors.vault.rotation import Timing
from actors.vault.rotations import MakeMinter, MintSpec
from actors.vault.safe import Safe
from actors.vault.signatures import NonceStore
from runtime import (
    Actor,
    ActorGone,
    Backoff,
    ChildSpec,
    Context,
    Ref,
    Supervisor,
    System,
    Tracer,
    open_system,
)

A = TypeVar("A", bound=Actor)

AUDITOR_SHUTDOWN_S = 10.0  # The last batch's sync on a slow disk.
AUDITOR_BACKOFF = Backoff(first_s=0.5, factor=2, cap_s=5)  # Space may be back soon.


@attrs.frozen
class ProviderSpec:
    """One deployment, ready to be called. The caller closes its transport."""

    cell: ProviderCell
    backoff: Backoff


@attrs.frozen
class LedgerSpec:
    """The store that the ledger shares with other processes.

    `replica` is this process's life, unlike any other; `instance` is what it is a life
    of, so that the next one is known to be its heir.
    """

    store: LedgerStore
    replica: str
    instance: str = ""


@attrs.frozen
class TreeSpec:
    """Everything the tree is made of; the gateway makes it from its settings.

    `edge` makes the actor that serves clients.
    """

    providers: tuple[ProviderSpec, ...]
    keys: dict[KeyScope, KeySource]
    environ: Mapping[str, str] = attrs.field(repr=False)
    accounts: Mapping[Path, httpx.AsyncBaseTransport]
    routes: RouteTable
    limits: tuple[SiteLimits, ...]
    caps: tuple[Cap, ...]
    journal: Journal
    book: AuditBook
    safe: Safe
    rules: tuple[Rule, ...]
    strict_sites: frozenset[str]
    homes: Mapping[str, tuple[str, str]]
    peppers: PepperBox
    mints: Mapping[KeyScope, MintSpec]
    make_minter: MakeMinter | None
    rotation: Timing
    make_federated: Callable[[Federation], Federated] | None
    nonces: NonceStore | None
    shelf: Shelf
    keep_s: float
    heartbeat_s: float
    grants: GrantStore
    epoch_keys: EpochKeys
    entropy: Callable[[int], bytes]
    replay_bytes_max: int
    replay_s: float
    failed: Callable[[Exception], None]
    tape_store: TapeStore | None
    now: Callable[[], float]
    wall: Callable[[], float]
    rng: Random
    ended: Callable[[RequestRecord], None]
    alert: Callable[[Alert], None]
    home_of: Callable[[str], tuple[str, str]]
    lets: Callable[[str, str], bool]
    dropped: Callable[[str], None]
    probes: tuple[Probed, ...]
    request_id: Callable[[], str]
    counter: Counter | None = None
    hooks: Hooks = attrs.field(factory=Hooks)
    edge: Callable[[], Actor] | None = None
    archivist: ArchivistCell | None = None
    herald: HeraldCell | None = None
    ledger: LedgerSpec | None = None


@attrs.frozen
class Tree:
    """The living tree, by name."""

    system: System
    spec: TreeSpec
    sharing: Sharing | None = None

    @property
    def streams(self) -> Ref[Sessions]:
        """Opens streams."""
        return self._of("streams", Sessions)

    @property
    def router(self) -> Ref[Router]:
        """Plans."""
        return self._of("router", Router)

    @property
    def ledger(self) -> Ref[Ledger]:
        """Money."""
        return self._of("ledger", Ledger)

    @property
    def vault(self) -> Ref[Vault]:
        """Keys."""
        return self._of("vault", Vault)

    @property
    def tokens(self) -> Ref[Tokens]:
        """Access tokens."""
        return self._of("tokens", Tokens)

    @property
    def auditor(self) -> Ref[Auditor]:
        """Records."""
        return self._of("auditor", Auditor)

    @property
    def prober(self) -> Ref[Prober]:
        """Asks idle deployments."""
        return self._of("prober", Prober)

    @property
    def providers(self) -> Ref[Providers]:
        """Parent of the providers."""
        return self._of("providers", Providers)

    def provider(self, name: str) -> Ref[Provider] | None:
        """One provider, if it is configured."""
        return self.system.lookup(f"providers/{name}", Provider)

    def _of(self, name: str, kind: type[A]) -> Ref[A]:
        ref = self.system.lookup(name, kind)
        if ref is None:
            raise ActorGone(name)
        return ref


@asynccontextmanager
async def open_tree(
    spec: TreeSpec, *, tracer: Tracer | None = None
) -> AsyncGenerator[Tree]:
    """Start everything, top to bottom; leaving stops it, bottom to top."""
    grown = _Growing(spec)
    root = ChildSpec("system", lambda: Supervisor(grown.children()))
    sharing = grown.ledger.sharing
    try:
        async with open_system(root, tracer=tracer, rng=spec.rng) as system:
            yield Tree(system, spec, sharing)
    finally:
        # When no stream settles any more: what is left of the slices goes back.
        if sharing is not None:
            await sharing.finish()


class _Growing:
    """The tree while it is made: cells first, then the actors that close over them."""

    def __init__(self, spec: TreeSpec) -> None:
        self.spec = spec
        self.auditor = AuditorCell(spec.journal, spec.book, spec.wall)
        self.tokens = TokensCell(spec.accounts, spec.wall, spec.rng)
        environ = self.tokens.environ(spec.environ)
        self.vault = VaultCell(
            dict(spec.keys),
            environ,
            spec.safe,
            spec.rules,
            spec.strict_sites,
            spec.mints,
            spec.make_minter,
            spec.rotation,
            spec.make_federated,
            spec.nonces,
            spec.homes,
            spec.peppers,
        )
        self.ledger = self._ledger()
        # A generator of its own, from where the one seed stands: who is chosen then
        # depends on what was asked, and not on what else took a number meanwhile.
        routing = Random(repr(spec.rng.getstate()))  # noqa: S311 - no secret
        self.router = RouterCell(spec.routes, rng=routing)
        self.prober = ProberCell(spec.probes, spec.rng, spec.request_id)
        self.keeper = KeeperCell(spec.shelf, spec.keep_s)
        self.tapes = TapesCell(Budget(spec.replay_bytes_max), spec.replay_s)
        if spec.tape_store is not None:
            self.tapes.sharing = TapeSharing(
                spec.tape_store,
                spec.epoch_keys,
                spec.wall,
                spec.entropy,
                spec.replay_s,
                spec.replay_bytes_max,
            )
        self.granter = GranterCell(
            spec.grants, spec.epoch_keys, spec.wall, spec.entropy
        )

    def children(self) -> list[ChildSpec[Any]]:
        """In the order they start; they stop in reverse."""
        children: list[ChildSpec[Any]] = [
            ChildSpec(
                "auditor",
                lambda: Auditor(self.auditor),
                backoff=AUDITOR_BACKOFF,
                shutdown_s=AUDITOR_SHUTDOWN_S,
            ),
            ChildSpec("vault", lambda: Vault(self.vault)),
            ChildSpec("tokens", lambda: Tokens(self.tokens)),
            ChildSpec("ledger", lambda: Ledger(self.ledger)),
            ChildSpec("router", lambda: Router(self.router)),
            ChildSpec("granter", lambda: Granter(self.granter)),
            ChildSpec("keeper", lambda: Keeper(self.keeper)),
            ChildSpec("tapes", lambda: Tapes(self.tapes, self.spec.failed)),
            *self._archivist(),
            *self._herald(),
            ChildSpec("providers", self._providers),
            ChildSpec("streams", lambda: Sessions(self._peers, self.spec.heartbeat_s)),
            ChildSpec("prober", lambda: Prober(self.prober)),
        ]
        if self.spec.edge is not None:
            children.append(ChildSpec("edge", self.spec.edge))
        return children

    def _archivist(self) -> list[ChildSpec[Any]]:
        cell = self.spec.archivist
        return [] if cell is None else [ChildSpec("archivist", lambda: Archivist(cell))]

    def _ledger(self) -> LedgerCell:
        spec, shared = self.spec, self.spec.ledger
        escrow = None if shared is None else Escrow(shared.replica, shared.instance)
        accounts = open_accounts(spec.limits, spec.caps, spec.wall(), escrow)
        sharing = None
        if shared is not None:
            sharing = Sharing(shared.store, accounts, spec.wall, spec.now)
        return LedgerCell(spec.wall, accounts, spec.alert, sharing)

    def _herald(self) -> list[ChildSpec[Any]]:
        cell = self.spec.herald
        return [] if cell is None else [ChildSpec("herald", lambda: Herald(cell))]

    def _providers(self) -> Providers:
        return Providers([provider_child(provider) for provider in self.spec.providers])

    def _peers(self, ctx: Context) -> Peers:
        spec = self.spec
        return Peers(
            router=_found(ctx, "router"),
            ledger=_found(ctx, "ledger"),
            vault=_found(ctx, "vault"),
            auditor=_found(ctx, "auditor"),
            provider=lambda name: ctx.lookup(f"providers/{name}"),
            now=spec.now,
            wall=spec.wall,
            rng=spec.rng,
            ended=spec.ended,
            home_of=spec.home_of,
            lets=spec.lets,
            counter=spec.counter,
            hooks=spec.hooks,
            streams=ctx.ref,
            dropped=spec.dropped,
        )


def provider_child(provider: ProviderSpec) -> ChildSpec[Provider]:
    """One deployment; its life is the breaker, so its backoff is the open state."""
    return ChildSpec(
        provider.cell.upstream.name,
        lambda: Provider(provider.cell),
        backoff=provider.backoff,
    )


def _found(ctx: Context, name: str) -> Ref[Any]:
    ref = ctx.lookup(name)
    if ref is None:
        raise ActorGone(name)
    return ref
