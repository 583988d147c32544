"""What of the vault outlives a crash of its actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from actors.vault.federation import Federated
from actors.vault.locked import LockedMemory
from actors.vault.messages import Federation, KeyScope, KeySource
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
    leases_granted: int = 0
    leases_refused: int = 0

    @property
    def memory(self) -> LockedMemory:
        """Where keys are while they are in use."""
        return self.safe.memory
