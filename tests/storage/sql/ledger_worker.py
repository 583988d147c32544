"""One process of a gateway, as far as money goes: its ledger, and streams that spend.

    python -m tests.storage.sql.ledger_worker URL STATE_DIR INSTANCE INVOICES STREAMS

Each stream takes a hold, is billed (a line in INVOICES: what its provider will charge,
whatever happens to this process afterwards), and settles. Ends in order when the cap
has refused its streams for good; says "done", and what came of its questions.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

import trio

from actors.ledger.actor import Ledger, LedgerCell, open_accounts
from actors.ledger.escrow import Escrow
from actors.ledger.messages import (
    Enter,
    Hold,
    HoldRefused,
    Leave,
    Meter,
    Price,
    Settle,
    SiteLimits,
    TakeHold,
)
from actors.ledger.sharing import Sharing
from runtime import (
    Actor,
    ChildSpec,
    MailboxSpec,
    Ref,
    Spawn,
    Supervisor,
    System,
    open_system,
)
from storage.sql.ledger import LedgerSql
from storage.sql.opening import open_database

if TYPE_CHECKING:
    from actors.stream.actor import Stream

CAP_NANOUSD = 1_000_000_000
# A prompt of 100 tokens and an answer of 200: at most $0.0005.
PRICE = Price(1_000_000_000, 2_000_000_000)
PROMPT, OUTPUT = 100, 200
REFUSALS_MAX = 3  # In a row, by the cap: then there is nothing left for this stream.
LIMITS = (SiteLimits("acme", spend_nanousd_max=CAP_NANOUSD),)


class Customer(Actor):
    """Stands for a stream: somebody to be watched."""

    mailbox = MailboxSpec(1)
    accepts = ()


class Customers(Supervisor):
    """Their parent."""


async def spend(
    system: System,
    ledger: Ref[Ledger],
    name: str,
    invoices: int,
    counts: dict[str, int],
) -> None:
    """Call until the cap refuses."""
    rng = Random(name)
    parent = system.lookup("customers", Customers)
    assert parent is not None
    refused = number = 0
    while refused < REFUSALS_MAX:
        number += 1
        child = ChildSpec(f"{name}-{number}", Customer, restart="temporary")
        stream = cast("Ref[Stream]", await parent.ask(Spawn(child)))
        entered = await ledger.ask(Enter(stream, "acme", "acme:k", "fast", PROMPT))
        assert not isinstance(entered, HoldRefused), entered
        held = await ledger.ask(
            TakeHold(
                stream, "acme", "main", "m", PROMPT, OUTPUT, PRICE, Meter(),
                key_id="acme:k", asked="fast",
            )
        )  # fmt: skip
        if isinstance(held, Hold):
            refused = 0
            await trio.sleep(rng.random() * 0.02)
            cost = held.nanousd * rng.randrange(20, 101) // 100
            os.write(invoices, b"%d\n" % cost)
            await trio.sleep(rng.random() * 0.02)
            ledger.offer(Settle(held.id, cost, OUTPUT))
        else:
            counts[held.reason] = counts.get(held.reason, 0) + 1
            refused += held.reason == "spend_cap"
            await trio.sleep(0.05)
        ledger.offer(Leave(stream.id))


async def main(
    url: str, state_dir: str, instance: str, invoices: str, streams: int
) -> None:
    """Open all of it, and spend."""
    database = await open_database(url, Path(state_dir))
    accounts = open_accounts(
        LIMITS, (), time.time(), Escrow(secrets.token_hex(8), instance)
    )
    now = trio.lowlevel.current_clock().current_time
    sharing = Sharing(LedgerSql(database), accounts, time.time, now)
    cell = LedgerCell(time.time, accounts, sharing=sharing)
    root = ChildSpec(
        "system",
        lambda: Supervisor(
            [
                ChildSpec("ledger", lambda: Ledger(cell)),
                ChildSpec("customers", Customers),
            ]
        ),
    )
    bills = os.open(invoices, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    counts: dict[str, int] = {}
    async with open_system(root) as system:
        ledger = system.lookup("ledger", Ledger)
        assert ledger is not None
        async with trio.open_nursery() as nursery:
            for one in range(streams):
                name = f"{sharing.escrow.replica}.{one}"
                nursery.start_soon(spend, system, ledger, name, bills, counts)
    await sharing.finish()
    await database.aclose()
    sys.stdout.write(f"done {counts}\n")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:5], int(sys.argv[5]))
