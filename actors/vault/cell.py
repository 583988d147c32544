"""What of the vault outlives a crash of its actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from actors.vault.federation import Federated
from actors.vault.locked import LockedMemory
from actors.vault.messages import Federation, KeyScope, KeySource
from actors.vault.peppers import PepperBox
from actors.vault.policy import Rule
from actors.vault.rotation import Timing
from actors.vault.rotations import MakeMinter, MintSpec
from actors.vault.safe import Safe
from actors.vault.signatures import NonceStore


@attrs.define
class VaultCell:
    """What outlives a crash: the keys, where they are, and who may borrow them."""

    sources: dict[KeyScope, KeySource]
    environ: Mapping[str, str] = attrs.field(repr=False)
    safe: Safe
    rules: Sequence[Rule]
    strict_sites: frozenset[str] = frozenset()
    mints: Mapping[KeyScope, MintSpec] = attrs.field(factory=dict[KeyScope, MintSpec])
    make_minter: MakeMinter | None = None
    timing: Timing = attrs.field(factory=Timing)
    make_federated: Callable[[Federation], Federated] | None = None
    nonces: NonceStore | None = None  # None: of this process only.
    homes: Mapping[str, tuple[str, str]] = attrs.field(
        factory=dict[str, tuple[str, str]]
    )
    peppers: PepperBox | None = None
    leases_granted: int = 0
    leases_refused: int = 0
    _own: dict[KeyScope, KeySource] = attrs.field(
        factory=dict[KeyScope, KeySource], init=False
    )

    def source_of(self, scope: KeyScope) -> KeySource | None:
        """Where a key is; one of a site's own is sealed, for its provider's hosts."""
        return self.sources.get(scope) or self._own.get(scope)

    def scope_for(self, site: str, scope: KeyScope) -> KeyScope:
        """The site's own key of this name, where its tenant has one; else the shared.

        Only these two can come out: there is no way to a third tenant's.
        """
        home = self.homes.get(site)
        if home is None:
            return scope
        own = KeyScope(scope.provider, scope.name, *home)
        source = self.sources.get(scope)
        if own == scope or source is None or self.safe.holdings.active(own) is None:
            return scope
        if own not in self._own:
            self._own[own] = KeySource("", source.hosts, source.plain_allowed)
        return own

    def take_sources(self, sources: Mapping[KeyScope, KeySource]) -> None:
        """After a reload."""
        self.sources = dict(sources)
        self._own = {}

    @property
    def memory(self) -> LockedMemory:
        """Where keys are while they are in use."""
        return self.safe.memory
