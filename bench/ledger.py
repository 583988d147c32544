"""What money costs a request: `python -m bench.ledger [--rounds N] [--json]`.

In memory: a hold and its settle, with a number of caps that cover every request; a
whole request (enter, hold, settle, leave); both from slices that are leased of a store
which other processes share; and both through the actor, as a stream asks it.
Microseconds of processor time, the median over the rounds with the least and the most;
rounds of all rows take turns, so that whatever else runs hits all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import trio

from actors.ledger.accounts import Accounts
from actors.ledger.actor import Ledger, LedgerCell
from actors.ledger.escrow import Escrow
from actors.ledger.messages import (
    Cap,
    Enter,
    Hold,
    Leave,
    Meter,
    Price,
    Rates,
    Settle,
    SiteLimits,
    Standing,
    TakeHold,
)
from runtime import Actor, ChildSpec, MailboxSpec, Ref, Supervisor, System, open_system

if TYPE_CHECKING:
    from actors.stream.actor import Stream

OPS = 2_000
USD = 1_000_000_000
LIMIT_US = 30.0  # What a hold and its settle may cost.
NOW_S = 1_800_000_000.0
PRICE = Price(USD, 2 * USD)
LIMITS = SiteLimits(
    "acme",
    spend_nanousd_max=10**9 * USD,
    in_flight_max=10**6,
    requests_per_minute_max=10**9,
    each_key=Rates(tokens_per_minute_max=10**9),
)
CAPS = (
    Cap("key a day", 10**9 * USD, "day", per="key", zone="Europe/Berlin"),
    Cap("model, rolling", 10**9 * USD, "month", per="model", rolling=True),
    Cap("provider", 10**9 * USD, "month", per="provider"),
    Cap("house", 10**9 * USD, "week", per="all", kind="soft"),
)
LEASED = "hold + settle, 5 caps, from leased slices"
MUCH = 10**18
NOBODY = cast("Ref[Stream]", None)  # The pure books know streams by their id alone.


def take(stream: Ref[Stream]) -> TakeHold:
    return TakeHold(
        stream,
        "acme",
        "main",
        "m",
        1_000,
        500,
        PRICE,
        Meter(),
        key_id="acme:k",
        asked="fast",
        output_tokens_least=16,
    )


def enter(stream: Ref[Stream]) -> Enter:
    return Enter(stream, "acme", "acme:k", "fast", 1_000)


def leased(caps: tuple[Cap, ...]) -> Accounts:
    """Accounts that share all of it with other processes, with much at hand."""
    escrow = Escrow("bench")
    accounts = Accounts([LIMITS], caps, escrow)
    escrow.fenced_from_s = math.inf
    while not isinstance(accounts.take("s", take(NOBODY), NOW_S, 0.0), Hold):
        for one in escrow.slices:
            one.granted = one.most
        for rate in escrow.rates:
            rate.left = MUCH
    accounts.leave("s", NOW_S, 0.0)
    return accounts


def hold_and_settle(
    caps: tuple[Cap, ...], *, shared: bool = False
) -> Callable[[], float]:
    accounts = leased(caps) if shared else Accounts([LIMITS], caps)
    entered = accounts.enter("s", enter(NOBODY), NOW_S, 0.0)
    assert isinstance(entered, Standing), entered
    ask = take(NOBODY)

    def run() -> float:
        began = time.process_time()
        for _ in range(OPS):
            held = accounts.take("s", ask, NOW_S, 0.0)
            assert isinstance(held, Hold)
            accounts.settle(held.id, 700_000, 300, NOW_S, 0.0)
        return time.process_time() - began

    return run


def whole_request(
    caps: tuple[Cap, ...], *, shared: bool = False
) -> Callable[[], float]:
    accounts = leased(caps) if shared else Accounts([LIMITS], caps)
    ask, entering = take(NOBODY), enter(NOBODY)

    def run() -> float:
        began = time.process_time()
        for _ in range(OPS):
            accounts.enter("s", entering, NOW_S, 0.0)
            held = accounts.take("s", ask, NOW_S, 0.0)
            assert isinstance(held, Hold)
            accounts.settle(held.id, 700_000, 300, NOW_S, 0.0)
            accounts.leave("s", NOW_S, 0.0)
        return time.process_time() - began

    return run


class Customer(Actor):
    """Stands for a stream: somebody to be watched."""

    mailbox = MailboxSpec(1)
    accepts = ()


async def by_actor(system: System, *, whole: bool) -> Callable[[], Awaitable[float]]:
    ledger = system.lookup("ledger", Ledger)
    someone = system.lookup("customer", Customer)
    assert ledger is not None
    assert someone is not None
    stream = cast("Ref[Stream]", someone)
    ask, entering = take(stream), enter(stream)
    await ledger.ask(entering)

    async def run() -> float:
        began = time.process_time()
        for _ in range(OPS):
            if whole:
                await ledger.ask(entering)
            held = await ledger.ask(ask)
            assert isinstance(held, Hold)
            ledger.offer(Settle(held.id, 700_000, 300))
            if whole:
                ledger.offer(Leave(stream.id))
        return time.process_time() - began

    return run


async def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds an operation, by row, of every round."""
    root = ChildSpec(
        "system",
        lambda: Supervisor(
            [
                ChildSpec(
                    "ledger",
                    lambda: Ledger(LedgerCell(lambda: NOW_S, Accounts([LIMITS], CAPS))),
                ),
                ChildSpec("customer", Customer),
            ]
        ),
    )
    pure = {
        "hold + settle, 1 cap": hold_and_settle(()),
        "hold + settle, 5 caps": hold_and_settle(CAPS),
        "enter + hold + settle + leave, 5 caps": whole_request(CAPS),
        LEASED: hold_and_settle(CAPS, shared=True),
        "the same, a whole request": whole_request(CAPS, shared=True),
    }
    found: dict[str, list[float]] = {}
    async with open_system(root) as system:
        actors = {
            "the actor: hold + settle, 5 caps": await by_actor(system, whole=False),
            "the actor: enter + hold + settle + leave": await by_actor(
                system, whole=True
            ),
        }
        for round_ in range(rounds + 1):
            for name, run in pure.items():
                _note(found, name, run(), warm=round_ > 0)
            for name, ask in actors.items():
                _note(found, name, await ask(), warm=round_ > 0)
    return found


def _note(
    found: dict[str, list[float]], name: str, took_s: float, *, warm: bool
) -> None:
    times = found.setdefault(name, [])
    if warm:
        times.append(took_s / OPS * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = trio.run(measure, options.rounds)
    rows: dict[str, Any] = {
        name: {
            "us": round(statistics.median(times), 2),
            "least": round(min(times), 2),
            "most": round(max(times), 2),
        }
        for name, times in found.items()
    }
    if options.json:
        print(json.dumps({"unit": "us of CPU", "rows": rows}))
        return
    print(
        f"python -m bench.ledger: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; µs of processor time"
    )
    for name, row in rows.items():
        print(f"{name:44} {row['us']:7.2f}  ({row['least']:.2f} to {row['most']:.2f})")
    worst = rows[LEASED]["us"]
    verdict = "within" if worst < LIMIT_US else "OVER"
    print(f"hold + settle in memory: {verdict} its {LIMIT_US:g} µs")


if __name__ == "__main__":
    main()
