"""How the gateway is at this moment, for a scrape: asked of everybody, counted nowhere.

What happens to requests is counted as it happens (`metrics/counts.py`); this is the
rest: what is open, held, waiting, late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from actors.auditor import anchoring
from actors.auditor.ports import AuditBook
from actors.ledger.messages import ReportAccounts, ReportCaps
from actors.vault.messages import CountVault
from gateway.metrics import (
    AuditGauges,
    CapGauges,
    Gauges,
    HookGauges,
    ProviderGauges,
    VaultGauges,
)
from runtime import AskError

if TYPE_CHECKING:
    from gateway.gate import Gate

SCRAPE_WAIT_S: Final = 1.0  # A scrape has about ten; the rest of it must fit too.


async def gauges_of(gate: Gate) -> Gauges:
    """Ask all that hold something. Raises AskError: the ledger does not answer."""
    providers = {
        name: ProviderGauges("open", 0, 0)
        if isinstance(vitals, str)
        else ProviderGauges(
            "half_open" if vitals.state == "probation" else "closed",
            vitals.in_flight,
            vitals.queued,
            vitals.epoch - 1,
        )
        for name, vitals in (await gate.vitals()).items()
    }
    accounts = await gate.ledger.ask(ReportAccounts())
    vault = await _vault(gate)
    return Gauges(
        streams_open=sum(account.in_flight for account in accounts),
        connections=gate.connections,
        sites_in_flight={a.site: a.in_flight for a in accounts},
        providers=providers,
        log=gate.logs.statistics(),
        caps=tuple(
            CapGauges(
                one.cap.name,
                one.cap.kind,
                one.subject,
                one.spent_nanousd,
                one.held_nanousd,
                one.cap.nanousd_max,
            )
            for one in await gate.ledger.ask(ReportCaps())
        ),
        audit=_audit(gate.book),
        vault=vault,
        traces=gate.traces() if gate.traces is not None else None,
        hooks=tuple(
            HookGauges(
                one.name,
                one.counts.calls,
                one.counts.spent_s,
                one.counts.halts,
                dict(one.counts.failures),
            )
            for one in gate.hooks.placed
        ),
    )


def _audit(book: AuditBook | None) -> AuditGauges | None:
    """From the book itself: it is there while its actor is not."""
    if book is None:
        return None
    return AuditGauges(
        entries=book.log.size,
        published=book.log.published,
        witnessed=book.witnessed,
        anchored=book.anchoring.size if book.anchoring is not None else 0,
        anchor_late_s=anchoring.late_s(
            book.anchoring, book.log.published, trio.current_time()
        ),
        waiting=len(book.log.pending),
        troubled=bool(
            book.trouble
            or book.publish_trouble
            or book.journal_trouble
            or book.disowned
        ),
        disowned=bool(book.disowned),
    )


async def _vault(gate: Gate) -> VaultGauges | None:
    """None while it does not answer: a scrape must not wait for a restart."""
    vault = gate.lookup("vault")
    if vault is None:
        return None
    try:
        counts = await vault.ask(CountVault(), timeout_s=SCRAPE_WAIT_S)
    except AskError:
        return None
    return VaultGauges(**msgspec.structs.asdict(counts))
