"""Herald. Tells people what they should know: keeps alerts, and delivers webhooks.

An alert goes into the database with its deliveries, in one transaction; every process
then tries those that are due, each claimed by one. While the database is gone alerts
wait here, a bounded number of them. Talks to: nobody; it is told.
"""

from __future__ import annotations

from typing import Final

import trio

from actors.archivist.ports import Unavailable
from actors.herald import policy
from actors.herald.cell import HeraldCell
from actors.herald.messages import Due, HeraldReport, Raise, ReportHerald
from actors.herald.ports import Job, PostFailed, SecretUnavailable
from runtime import Actor, MailboxSpec, answers, handles

MESSAGES_QUEUED_MAX: Final = 256
WAITING_MAX: Final = 1024  # Alerts are rare; this many at once are one outage.
JOBS_AT_ONCE: Final = 8  # A receiver that hangs holds up no more than itself.
CLAIM_S: Final = 60.0  # Longer than a try may take: then another process takes it.
TRY_S: Final = 15.0  # What Standard Webhooks gives a receiver.
LOOK_S: Final = 30.0  # How often keys and the log are looked at, and what is due.
AGAIN_S: Final = 2.0
PURGE_EVERY: Final = 120  # Looks: once an hour.
DAY_MS: Final = 86_400_000


class Herald(Actor):
    """Alerts and webhooks."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="shed", down="hold")
    accepts = (Raise, Due, ReportHerald)

    def __init__(self, cell: HeraldCell) -> None:
        self.cell = cell
        self.raised = trio.Event()
        self.due = trio.Event()

    def __repr__(self) -> str:
        cell = self.cell
        return (
            f"<Herald waiting={len(cell.waiting)}/{WAITING_MAX} "
            f"delivered={cell.delivered} failed={cell.failed}>"
        )

    def on_start(self) -> None:
        """Go on with what waits."""
        self.ctx.start_soon(self._keep)
        self.ctx.start_soon(self._deliver)
        self.ctx.start_soon(self._look)

    @handles(Raise)
    def hear(self, msg: Raise) -> None:
        """Take it, if there is room."""
        cell = self.cell
        if len(cell.waiting) >= WAITING_MAX:
            cell.dropped += 1
            return
        cell.waiting.append((msg, self._now_ms()))
        self.raised.set()

    @handles(Due)
    def look_now(self, _msg: Due) -> None:
        """Look for deliveries."""
        self.due.set()

    @answers(ReportHerald)
    def report(self, _msg: ReportHerald) -> HeraldReport:
        """How it stands."""
        cell = self.cell
        return HeraldReport(
            len(cell.waiting), cell.dropped, cell.delivered, cell.failed, cell.trouble
        )

    async def _keep(self) -> None:
        """From here into the database, in order."""
        cell = self.cell
        while True:
            if not cell.waiting:
                self.raised = trio.Event()
                await self.raised.wait()
                continue
            raised, at_ms = cell.waiting[0]
            try:
                dedupe = policy.dedupe_of(raised, at_ms)
                added = await cell.book.add(raised, dedupe, at_ms)
            except Unavailable as error:
                cell.trouble = str(error)
                await trio.sleep(AGAIN_S)
                continue
            cell.trouble = ""
            cell.waiting.popleft()
            if added:
                self.due.set()

    async def _deliver(self) -> None:
        cell = self.cell
        while True:
            self.due = trio.Event()
            try:
                now_ms = self._now_ms()
                until_ms = now_ms + int(CLAIM_S * 1000)
                jobs = await cell.book.claim(now_ms, until_ms, JOBS_AT_ONCE)
                async with trio.open_nursery() as nursery:
                    for job in jobs:
                        nursery.start_soon(self._try, job)
                if not jobs:
                    await self._rest(await cell.book.next_due_ms())
            except Unavailable as error:
                cell.trouble = str(error)
                await trio.sleep(AGAIN_S)

    async def _rest(self, due_ms: int | None) -> None:
        """Until something is due, or may be: other processes queue as well."""
        wait_s = LOOK_S
        if due_ms is not None:
            wait_s = min(LOOK_S, max(0.1, (due_ms - self._now_ms()) / 1000))
        with trio.move_on_after(wait_s):
            await self.due.wait()

    async def _try(self, job: Job) -> None:
        """One try of one delivery. What it came to is kept before the next."""
        cell = self.cell
        status: int | None = None
        error = ""
        with trio.move_on_after(TRY_S) as patience:
            try:
                secret = await cell.secrets.open(job.webhook, job.sealed)
                headers = policy.headers_of(
                    job.id, self._now_ms() // 1000, job.body, secret
                )
                status = await cell.post(job.url, headers, job.body)
            except PostFailed as failed:
                error = str(failed)
            except SecretUnavailable as missing:
                error = f"its secret cannot be had now: {missing}"
        if patience.cancelled_caught:
            error = f"no answer within {TRY_S:g} s"
        now_ms = self._now_ms()
        outcome = policy.after_try(job.tries, now_ms, status, error, cell.rng.random())
        cell.delivered += outcome.delivered
        cell.failed += not outcome.delivered
        # Where this fails the claim lapses, and it is sent again under its old id.
        await cell.book.finished(job, now_ms, outcome)

    async def _look(self) -> None:
        """For what nobody tells, and for what is old."""
        cell = self.cell
        looks = 0
        while True:
            await trio.sleep(LOOK_S)
            looks += 1
            for raised in await cell.watch():
                self.hear(raised)
            if looks % PURGE_EVERY == 0:
                since_ms = self._now_ms() - cell.keep_days() * DAY_MS
                try:
                    await cell.book.purge(since_ms)
                except Unavailable as error:
                    cell.trouble = str(error)

    def _now_ms(self) -> int:
        return int(self.cell.wall() * 1000)
