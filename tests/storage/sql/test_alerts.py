"""Alerts and deliveries in the database."""

from __future__ import annotations

import itertools

import msgspec

from actors.herald.messages import Raise
from actors.herald.ports import Job, Outcome, Sealed, Webhook
from storage.sql.alerts import SqlAlerts
from storage.sql.port import Database

T0 = 1_800_000_000_000
DOWN = Raise("provider.down", "main", "provider main is taken out of use")


def webhook(number: int = 1, **changes: object) -> Webhook:
    given = Webhook(
        id=f"whk_{number}",
        url="https://hooks.example/x",
        label="",
        kinds=(),
        tenants=None,
        enabled=True,
        disabled_for="",
        version=1,
        created_ms=T0,
        created_by="token:ci",
    )
    return msgspec.structs.replace(given, **changes)


def alerts(database: Database) -> SqlAlerts:
    numbers = itertools.count(1)
    return SqlAlerts(database, lambda prefix: f"{prefix}_{next(numbers):04}")


async def with_webhook(database: Database, **changes: object) -> SqlAlerts:
    book = alerts(database)
    await book.add_webhook(webhook(**changes), Sealed("local", b"blob"))
    return book


async def claimed(book: SqlAlerts, now_ms: int = T0) -> list[Job]:
    return await book.claim(now_ms, now_ms + 60_000, 10)


async def test_one_occasion_is_told_once_however_many_notice_it(
    database: Database,
) -> None:
    book = await with_webhook(database)

    assert await book.add(DOWN, "same", T0)
    assert not await book.add(DOWN, "same", T0 + 1)

    assert len(await book.alerts(None, "", None, 10)) == 1
    assert len(await claimed(book)) == 1


async def test_a_delivery_is_one_processes_until_its_claim_lapses(
    database: Database,
) -> None:
    """Then it is tried again, under its old id, for receivers that keep ids."""
    book = await with_webhook(database)
    await book.add(DOWN, "x", T0)

    (first,) = await claimed(book)
    assert await claimed(book, T0 + 59_999) == []
    (second,) = await claimed(book, T0 + 60_000)

    assert (first.id, first.tries) == (second.id, 1)
    assert second.tries == 2
    # The first comes back late: what it says is of a try that is not its own any more.
    await book.finished(first, T0 + 60_001, Outcome(True, 200, ""))
    (shown,) = await book.deliveries("whk_1", "", None, 10)
    assert shown.state == "pending"


async def test_what_is_dead_is_seen_and_can_be_tried_again(database: Database) -> None:
    book = await with_webhook(database)
    await book.add(DOWN, "x", T0)
    (job,) = await claimed(book)

    await book.finished(job, T0, Outcome(False, 500, "it answered 500"))

    (dead,) = await book.deliveries("whk_1", "dead", None, 10)
    assert (dead.status, dead.error) == (500, "it answered 500")
    assert await claimed(book, T0 + 10**9) == []
    assert not await book.again("whk_2", dead.id, T0)
    assert await book.again("whk_1", dead.id, T0)
    assert [one.tries for one in await claimed(book)] == [1]


async def test_a_webhook_that_wants_no_more_is_told_no_more(
    database: Database,
) -> None:
    book = await with_webhook(database)
    await book.add(DOWN, "x", T0)
    (job,) = await claimed(book)

    await book.finished(job, T0, Outcome(False, 410, "gone", disable="it said 410"))
    await book.add(DOWN, "y", T0)

    found = await book.webhook("whk_1")
    assert found is not None
    assert (found.enabled, found.disabled_for) == (False, "it said 410")
    assert await claimed(book) == []


async def test_a_tenants_webhook_hears_nothing_of_others_or_of_the_operator(
    database: Database,
) -> None:
    book = await with_webhook(database, tenants=("t1",))

    await book.add(DOWN, "x", T0)
    await book.add(msgspec.structs.replace(DOWN, tenant="t2"), "y", T0)
    assert await claimed(book) == []
    await book.add(msgspec.structs.replace(DOWN, tenant="t1"), "z", T0)

    assert len(await claimed(book)) == 1
    mine = await book.alerts(frozenset({"t1"}), "", None, 10)
    assert [one.tenant for one in mine] == ["t1"]


async def test_two_admins_who_change_a_webhook_at_once_cannot_both_win(
    database: Database,
) -> None:
    book = await with_webhook(database)

    assert await book.change_webhook(webhook(version=2, label="a"), 1)
    assert not await book.change_webhook(webhook(version=2, label="b"), 1)

    found = await book.webhook("whk_1")
    assert found is not None
    assert found.label == "a"


async def test_a_webhook_goes_with_what_is_on_its_way_to_it(database: Database) -> None:
    book = await with_webhook(database)
    await book.add(DOWN, "x", T0)

    assert await book.remove_webhook("whk_1")

    assert await claimed(book) == []
    assert await book.webhooks("", 10) == []


async def test_old_alerts_go_and_what_is_pending_stays(database: Database) -> None:
    book = await with_webhook(database)
    await book.add(DOWN, "x", T0)

    await book.purge(T0 + 1)

    assert await book.alerts(None, "", None, 10) == []
    assert len(await claimed(book)) == 1
