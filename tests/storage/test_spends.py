"""What the ledger is told at its start: the records, summed up, to the last unit."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
from trio.testing import MockClock

from actors.auditor.messages import AttemptRecord, RequestRecord
from actors.ledger.accounts import Accounts, reach_s
from actors.ledger.actor import open_accounts
from actors.ledger.messages import Cap, CapAccount, SiteLimits, Spend
from storage.records import RecordFiles, spends_since
from tests.actors.ledger.shared_store import now, open_store

NOW_S = 1_800_000_000.0
LIMITS = (SiteLimits("acme", spend_nanousd_max=10**12, spend_window="day"),)
CAPS = (
    Cap("keys", 10**12, "week", per="key", zone="Asia/Kathmandu"),
    Cap("rolling", 10**12, "month", per="all", rolling=True),
    Cap("b", 10**12, "month", per="provider", providers=("b",)),
)


def record(rng: Random, at_s: float) -> RequestRecord:
    """A request of two attempts, the second a while later."""
    costs = (rng.randrange(1000), rng.randrange(1000))
    attempts = tuple(
        AttemptRecord(
            provider=provider,
            model="m",
            outcome="ok",
            route="fast",
            cost_nanousd=cost,
            held_at_ms=int((at_s + later_s) * 1000),
        )
        for provider, cost, later_s in zip("ab", costs, (1, 700), strict=True)
    )
    return RequestRecord(
        request_id="req_1",
        site="acme",
        key_id=rng.choice(["acme:1", "acme:2"]),
        dialect="openai_chat",
        model="an-alias",
        opened_at_ms=int(at_s * 1000),
        outcome="ok",
        status=200,
        streamed=True,
        cost_nanousd=sum(costs),
        attempts=attempts,
    )


async def test_a_restart_forgets_no_money_and_invents_none(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Each cost in the window of its hold, whatever the window and its time zone."""
    rng = Random(5)
    clock = [NOW_S - 40 * 86_400]
    files = RecordFiles(tmp_path, lambda: clock[0])
    plain = Accounts()
    plain.set_limits(LIMITS, CAPS, NOW_S)
    while clock[0] < NOW_S - 800:
        one = record(rng, clock[0])
        for attempt in one.attempts:
            at_s = attempt.held_at_ms / 1000
            spend = Spend(
                one.site,
                one.key_id,
                attempt.route,
                attempt.provider,
                at_s,
                attempt.cost_nanousd,
            )
            plain.spend(spend, NOW_S)
        clock[0] += rng.choice([5, 1_000, 20_000])
        await files.append(msgspec.json.encode(one) + b"\n")
    files.close()

    since_s = reach_s(LIMITS, CAPS, NOW_S)
    assert since_s is not None
    read = spends_since(tmp_path, since_s)
    again = open_accounts(LIMITS, CAPS, NOW_S)
    for one in read:
        again.spend(one, NOW_S)

    def named(accounts: Accounts) -> dict[tuple[str, str], CapAccount]:
        return {(a.cap.name, a.subject): a for a in accounts.cap_accounts(NOW_S)}

    assert named(again) == named(plain)
    assert again.site_accounts(NOW_S) == plain.site_accounts(NOW_S)
    assert any(one.spent_nanousd for one in again.cap_accounts(NOW_S))


def test_without_caps_nothing_is_read(tmp_path: Path) -> None:
    assert reach_s([SiteLimits("acme")], [], NOW_S) is None
    assert spends_since(tmp_path, 0.0) == ()


def test_a_new_ledger_takes_in_what_the_records_say_once() -> None:
    """However many processes start at the same time."""
    store, database = open_store()
    spends = (
        Spend("acme", "acme:k", "fast", "a", NOW_S, 5),
        Spend("acme", "acme:k", "fast", "a", NOW_S + 1, 7),
        Spend("acme", "acme:k", "fast", "b", NOW_S, 9),
    )

    assert now(store.is_new())
    now(store.adopt(spends))
    now(store.adopt(spends))

    assert not now(store.is_new())
    rows = database.rows("SELECT provider, nanousd FROM ledger_line ORDER BY provider")
    assert rows == [("a", 12), ("b", 9)]
