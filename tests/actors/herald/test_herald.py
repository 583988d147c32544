"""The herald: alerts into the book, webhooks out, whatever is down meanwhile."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
import msgspec
import trio
from trio.testing import MockClock

from actors.archivist.ports import Unavailable
from actors.herald import policy
from actors.herald.actor import TRY_S, WAITING_MAX, Herald
from actors.herald.cell import HeraldCell
from actors.herald.messages import Raise, ReportHerald
from actors.herald.ports import (
    Alert,
    Job,
    Outcome,
    PostFailed,
    Sealed,
    SecretUnavailable,
    Webhook,
)
from runtime import ChildSpec, Ref, Supervisor, open_system

DOWN = Raise("provider.down", "main", "provider main is taken out of use")
SECRET = b"s" * 32


class FakeBook:
    """One webhook; deliveries in a list."""

    def __init__(self) -> None:
        self.down = False
        self.seen: set[str] = set()
        self.pending: dict[str, tuple[Job, int]] = {}
        self.outcomes: list[Outcome] = []
        self.purged: list[int] = []

    async def add(self, raised: Raise, dedupe: str, now_ms: int) -> bool:
        await trio.lowlevel.checkpoint()
        self._reach()
        if dedupe in self.seen:
            return False
        self.seen.add(dedupe)
        name = f"msg_{len(self.seen)}"
        job = Job(name, "whk", "https://h.example", b"{}", 0, Sealed("local", b""))
        self.pending[name] = (job, now_ms)
        return True

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> list[Job]:
        await trio.lowlevel.checkpoint()
        self._reach()
        jobs: list[Job] = []
        for name, (job, due_ms) in self.pending.items():
            if due_ms <= now_ms and len(jobs) < limit:
                jobs.append(msgspec.structs.replace(job, tries=job.tries + 1))
                self.pending[name] = (jobs[-1], until_ms)
        return jobs

    async def finished(self, job: Job, now_ms: int, outcome: Outcome) -> None:
        self._reach()
        self.outcomes.append(outcome)
        if outcome.due_ms is None:
            del self.pending[job.id]
        else:
            self.pending[job.id] = (job, outcome.due_ms)

    async def next_due_ms(self) -> int | None:
        return min((due for _, due in self.pending.values()), default=None)

    async def purge(self, since_ms: int) -> int:
        self.purged.append(since_ms)
        return 0

    def _reach(self) -> None:
        if self.down:
            raise Unavailable("the database is gone")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the herald does not need {name}")


class FakeSecrets:
    def __init__(self) -> None:
        self.locked = False

    async def open(self, webhook_id: str, sealed: Sealed) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.locked:
            raise SecretUnavailable("KmsUnavailable")
        return SECRET

    async def make(self, webhook_id: str) -> tuple[bytes, Sealed]:
        raise AssertionError


class FakeReceiver:
    """Answers by a script; its last line repeats."""

    def __init__(self, *script: str | float) -> None:
        self.script = script or (200,)
        self.heard: list[tuple[Mapping[str, str], bytes]] = []

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        line = self.script[min(len(self.heard), len(self.script) - 1)]
        self.heard.append((headers, body))
        if isinstance(line, str):
            raise PostFailed(line)
        if isinstance(line, float):
            await trio.sleep(line)
            return 200
        return line


@attrs.define
class Stage:
    ref: Ref[Herald]
    book: FakeBook
    secrets: FakeSecrets


@asynccontextmanager
async def herald(
    receiver: FakeReceiver, watch: Sequence[Raise] = ()
) -> AsyncIterator[Stage]:
    async def look() -> Sequence[Raise]:
        await trio.lowlevel.checkpoint()
        return watch

    book, secrets = FakeBook(), FakeSecrets()
    cell = HeraldCell(
        book,  # type: ignore[arg-type] - what operators read is not needed here
        secrets,
        receiver,
        look,
        lambda: 90,
        lambda: 1_800_000_000 + trio.current_time(),
        Random(3),
    )
    root = ChildSpec(
        "root", lambda: Supervisor([ChildSpec("herald", lambda: Herald(cell))])
    )
    async with open_system(root, rng=Random(1)) as system:
        ref = system.lookup("herald", Herald)
        assert ref is not None
        yield Stage(ref, book, secrets)


async def test_an_alert_reaches_its_receiver_signed(autojump_clock: MockClock) -> None:
    """Checked as the Standard Webhooks libraries do."""
    receiver = FakeReceiver()
    async with herald(receiver) as stage:
        stage.ref.offer(DOWN)
        await trio.sleep(1)

    ((headers, body),) = receiver.heard
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(SECRET, signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["webhook-timestamp"] == "1800000000"


async def test_a_receiver_that_fails_is_tried_again_ever_later_and_then_given_up(
    autojump_clock: MockClock,
) -> None:
    receiver = FakeReceiver(500, "no connection: OSError", 302)
    async with herald(receiver) as stage:
        stage.ref.offer(DOWN)
        await trio.sleep(sum(policy.RETRIES_S) * 1.5)

        assert len(receiver.heard) == len(policy.RETRIES_S) + 1
        assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
        assert stage.book.outcomes[-1].due_ms is None
        assert not stage.book.outcomes[-1].delivered
        assert stage.book.outcomes[1].error == "no connection: OSError"
        # A redirect is an answer like any other: it is not followed.
        assert stage.book.outcomes[2].error == "it answered 302"
        report = await stage.ref.ask(ReportHerald())
        assert (report.delivered, report.failed) == (0, 8)


async def test_a_receiver_that_hangs_holds_up_no_other_for_long(
    autojump_clock: MockClock,
) -> None:
    receiver = FakeReceiver(3600.0, 200)
    async with herald(receiver) as stage:
        stage.ref.offer(DOWN)
        stage.ref.offer(msgspec.structs.replace(DOWN, subject="spare"))
        await trio.sleep(TRY_S + 3)

        errors = sorted(outcome.error for outcome in stage.book.outcomes)
        assert errors == ["", f"no answer within {TRY_S:g} s"]


async def test_alerts_wait_for_a_database_that_is_gone_and_no_more_than_fit(
    autojump_clock: MockClock,
) -> None:
    receiver = FakeReceiver()
    async with herald(receiver) as stage:
        stage.book.down = True
        for number in range(WAITING_MAX + 5):
            assert stage.ref.offer(msgspec.structs.replace(DOWN, subject=f"p{number}"))
            await trio.sleep(0.01)
        await trio.sleep(30)
        report = await stage.ref.ask(ReportHerald())
        assert (report.waiting, report.dropped) == (WAITING_MAX, 5)
        assert report.trouble == "the database is gone"
        stage.book.down = False
        await trio.sleep(300)
        assert (await stage.ref.ask(ReportHerald())).waiting == 0

    assert len(receiver.heard) == WAITING_MAX


async def test_what_is_noticed_again_within_the_hour_is_told_once(
    autojump_clock: MockClock,
) -> None:
    receiver = FakeReceiver()
    async with herald(receiver, watch=[DOWN]):
        await trio.sleep(600)

    assert len(receiver.heard) == 1


async def test_a_secret_that_cannot_be_opened_now_is_no_reason_to_give_up(
    autojump_clock: MockClock,
) -> None:
    receiver = FakeReceiver()
    async with herald(receiver) as stage:
        stage.secrets.locked = True
        stage.ref.offer(DOWN)
        await trio.sleep(2)
        assert receiver.heard == []
        assert "KmsUnavailable" in stage.book.outcomes[0].error
        stage.secrets.locked = False
        await trio.sleep(10)

    assert len(receiver.heard) == 1


async def test_old_things_are_forgotten_every_hour(autojump_clock: MockClock) -> None:
    async with herald(FakeReceiver()) as stage:
        await trio.sleep(3700)
        assert len(stage.book.purged) == 1


def webhook(**changes: object) -> Webhook:
    given = Webhook("whk", "https://h.example", "", (), None, True, "", 1, 0, "")
    return msgspec.structs.replace(given, **changes)


def test_a_webhook_is_told_of_what_it_asks_for_and_may_know() -> None:
    assert policy.wants(webhook(), "cap.hard", "")
    assert policy.wants(webhook(kinds=("cap.hard",)), "cap.hard", "t1")
    assert not policy.wants(webhook(kinds=("cap.soft",)), "cap.hard", "t1")
    assert policy.wants(webhook(tenants=("t1",)), "cap.hard", "t1")
    assert not policy.wants(webhook(tenants=("t1",)), "cap.hard", "t2")
    assert not policy.wants(webhook(tenants=("t1",)), "provider.down", "")
    assert not policy.wants(webhook(enabled=False), "cap.hard", "")


def test_a_receiver_that_says_gone_is_asked_no_more() -> None:
    outcome = policy.after_try(1, 0, 410, "", 0.5)

    assert outcome.disable
    assert outcome.due_ms is None


def test_the_body_names_its_kind_and_holds_the_alert() -> None:
    alert = Alert("alr_1", 5000, "cap.hard", "t1", "month", "reached", {"nanousd": 5})

    assert msgspec.json.decode(policy.body_of(alert)) == {
        "type": "stagedoor.cap.hard",
        "timestamp": 5,
        "data": {
            "id": "alr_1", "at_ms": 5000, "kind": "cap.hard", "tenant": "t1",
            "subject": "month", "message": "reached", "detail": {"nanousd": 5},
        },
    }  # fmt: skip
