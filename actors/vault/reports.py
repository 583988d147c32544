"""How the vault stands: numbers for metrics, and words for operators."""

from __future__ import annotations

from actors.vault.cell import VaultCell
from actors.vault.desk import Desk
from actors.vault.lending import Lender
from actors.vault.messages import VaultCounts, VaultReport
from actors.vault.peppers import PEPPER
from actors.vault.ports import KmsError


def counts(cell: VaultCell, lender: Lender, desk: Desk) -> VaultCounts:
    """Its numbers; nobody is asked."""
    overdue, failing = desk.rotations()
    return VaultCounts(
        secrets=_secrets(cell),
        leases=lender.live,
        grants=len(lender.book),
        keks_cached=len(cell.safe.keks),
        rotation_overdue=overdue,
        rotation_failing=failing,
        locked_bytes=cell.memory.held_bytes,
        leases_granted=cell.leases_granted,
        leases_refused=cell.leases_refused,
    )


async def report(cell: VaultCell, lender: Lender) -> VaultReport:
    """How it is, and what the KMS says of itself."""
    fault = ""
    try:
        await cell.safe.health()
    except KmsError as error:
        fault = str(error)
    return VaultReport(
        memory=cell.memory.kind,
        seals_with=cell.safe.seals_with,
        kms_fault=fault,
        secrets=_secrets(cell),
        leases=lender.live,
        grants=len(lender.book),
    )


def _secrets(cell: VaultCell) -> int:
    """The keys that somebody stored: peppers are the vault's own."""
    return sum(scope.provider != PEPPER for scope in cell.safe.holdings.secrets)
