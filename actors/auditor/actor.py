"""Auditor. Owns two books: the records of requests, and the tamper-evident log of acts.

The single writer of both. Records: a slot for each admitted request, one record in
each, written in batches, one sync a batch; the log covers every batch by an entry with
its hash. The log is kept by keeping.py. A disk that fails ends this life (`Tripped`):
admission stops, what was taken waits in the cell and the next life writes it.
Talks to: nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import sha256

import attrs
import msgspec
import trio

from actors.auditor.keeping import LogKeeper
from actors.auditor.messages import (
    Attest,
    AuditEvent,
    AuditUnavailable,
    Flush,
    LogReport,
    Noted,
    OpenRecord,
    Receipt,
    Record,
    ReportLog,
    RequestRecord,
)
from actors.auditor.ports import AuditBook, Journal, Place
from runtime import (
    Actor,
    ControlTell,
    Crashed,
    Deferred,
    Down,
    Exit,
    MailboxSpec,
    MonitorId,
    Tripped,
    answers,
    handles,
)

MESSAGES_QUEUED_MAX = 1024
BATCH_WAIT_S = 0.1  # A record is on disk this long after its request, at the latest.
RECORDS_WAITING_MAX = 65_536  # 30 MB: a disk that is gone a minute at 1,000 a second.
BATCH_BYTES_MAX = 4 * 2**20  # One write's size; the rest goes with the next.


class Slot(msgspec.Struct, frozen=True):
    """A place for one record."""

    opened: OpenRecord
    monitor: MonitorId


@attrs.define
class AuditorCell:
    """What outlives a life: open slots, what is not on disk yet, and the log."""

    journal: Journal
    book: AuditBook
    wall: Callable[[], float]
    slots: dict[int, Slot] = attrs.field(factory=dict[int, Slot])
    slot_of: dict[MonitorId, int] = attrs.field(factory=dict[MonitorId, int])
    waiting: deque[bytes] = attrs.field(factory=deque[bytes])
    slots_opened: int = 0
    recorded: int = 0
    durable: int = 0


class Recount(ControlTell["Auditor"], frozen=True):
    """Behind all that waited for this life: record what no Down will come for.

    The Down that was in hand when the last life crashed is not told again.
    """


class TryAgain(ControlTell["Auditor"], frozen=True):
    """From a life that tripped to the next: there are lines to be written.

    An actor that is told to stop between two lives gets another only to hear such
    messages; without one, what waits in the cell would end with the gateway.
    """


class Auditor(Actor):
    """Keeps one record of each admitted request, and the log."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="block", down="reject")
    accepts = (OpenRecord, Record, Flush, Attest, Noted, ReportLog, Recount, TryAgain)

    def __init__(self, cell: AuditorCell) -> None:
        self.cell = cell
        self.encoder = msgspec.json.Encoder()
        self.work = trio.Event()
        self.hurry = trio.Event()
        self.flushes: list[tuple[int, Deferred[int]]] = []

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Auditor open={len(self.cell.slots)} waiting={len(self.cell.waiting)} "
            f"durable={self.cell.durable} log={self.cell.book.log.size}>"
        )

    def on_start(self) -> None:
        """Begin with what an earlier life left."""
        if self.cell.waiting:
            self.work.set()
        if self.cell.slots:
            self.ctx.ref.offer(Recount())
        self.log = LogKeeper(self.cell.book, self.ctx, self._now_ms())
        self.log.start()
        self.ctx.start_soon(self._write)

    async def on_stop(self, why: Exit) -> None:
        """The last lines, unless it was the journal that failed."""
        if isinstance(why, Crashed):
            # A Down that was in hand is lost, and where all is being stopped there may
            # be no other life.
            self.recount(Recount())
        if isinstance(why, Tripped):
            self.ctx.ref.offer(TryAgain())
        else:
            await self._append_all()
            await self.log.finish(self._now_ms())

    @handles(TryAgain)
    def try_again(self, _msg: TryAgain) -> None:
        """Living is enough: a life writes at its start what waits."""

    @handles(Recount)
    def recount(self, _msg: Recount) -> None:
        """Streams that are not watched any more have ended without a record."""
        watched = self.ctx.watched
        for number, slot in list(self.cell.slots.items()):
            if slot.opened.stream.id not in watched:
                self.cell.slot_of.pop(slot.monitor, None)
                self._keep_crashed(number)

    def on_down(self, down: Down) -> None:
        """A stream died without a record: write what is known."""
        number = self.cell.slot_of.pop(down.monitor, None)
        if number is not None:
            self._keep_crashed(number)

    @answers(OpenRecord)
    def open_record(self, msg: OpenRecord) -> int:
        """Keep a place. A full box stops admission: nothing unrecorded is served."""
        cell = self.cell
        if cell.book.log.full:
            raise AuditUnavailable("the audit log waits for the disk; no more fits")
        if len(cell.waiting) + len(cell.slots) >= RECORDS_WAITING_MAX:
            raise AuditUnavailable(
                f"{len(cell.waiting)} records wait for the disk and "
                f"{len(cell.slots)} requests run; no more are admitted until it writes"
            )
        cell.slots_opened += 1
        number = cell.slots_opened
        monitor = self.ctx.monitor(msg.stream)
        cell.slots[number] = Slot(msg, monitor)
        cell.slot_of[monitor] = number
        return number

    @handles(Record)
    def record(self, msg: Record) -> None:
        """Fill the slot."""
        slot = self.cell.slots.pop(msg.slot, None)
        if slot is None:
            return  # The death watch was first and has recorded it.
        del self.cell.slot_of[slot.monitor]
        self.ctx.demonitor(slot.monitor)
        self._keep(msg.record)

    @answers(Flush)
    def flush(self, _msg: Flush) -> int | Deferred[int]:
        """Reply when everything so far is durable."""
        if self.cell.durable == self.cell.recorded:
            return self.cell.durable
        deferred: Deferred[int] = Deferred()
        self.flushes.append((self.cell.recorded, deferred))
        self.hurry.set()
        return deferred

    @answers(Attest)
    def attest(self, msg: Attest) -> Deferred[Receipt]:
        """Reply when a durable signed checkpoint covers the event."""
        return self.log.attest(msg.event, self._now_ms())

    @handles(Noted)
    def noted(self, msg: Noted) -> None:
        """Write them with the next group."""
        self.log.note(msg.events, self._now_ms())

    @answers(ReportLog)
    def report_log(self, _msg: ReportLog) -> LogReport:
        """How the log stands."""
        return self.log.report()

    def _now_ms(self) -> int:
        return int(self.cell.wall() * 1000)

    def _keep_crashed(self, number: int) -> None:
        opened = self.cell.slots.pop(number).opened
        self._keep(
            RequestRecord(
                request_id=opened.request_id,
                site=opened.site,
                key_id=opened.key_id,
                dialect=opened.dialect,
                model=opened.model,
                opened_at_ms=opened.opened_at_ms,
                outcome="crashed",
                status=500,
                streamed=opened.streamed,
                tenant=opened.home[0],
                env=opened.home[1],
            )
        )

    def _keep(self, record: RequestRecord) -> None:
        self.cell.waiting.append(self.encoder.encode(record) + b"\n")
        self.cell.recorded += 1
        self.work.set()

    async def _write(self) -> None:
        """Batches: wait for a record, let company come, write them all."""
        while True:
            await self.work.wait()
            with trio.move_on_after(BATCH_WAIT_S):
                await self.hurry.wait()
            self.work = trio.Event()
            self.hurry = trio.Event()
            try:
                await self._append_all()
            except OSError as error:
                self.cell.book.journal_trouble = error.strerror or "the write failed"
                raise Tripped(
                    "the journal cannot be written", errno=error.errno or 0
                ) from None

    async def _append_all(self) -> None:
        cell = self.cell
        while cell.waiting:
            count = size = 0
            for line in cell.waiting:
                if count and size + len(line) > BATCH_BYTES_MAX:
                    break
                count += 1
                size += len(line)
            batch = b"".join([cell.waiting[i] for i in range(count)])
            place = await cell.journal.append(batch)
            cell.book.journal_trouble = ""
            # Only now: a life that fails here leaves the lines to the next one.
            for _ in range(count):
                cell.waiting.popleft()
            cell.durable += count
            self._cover(place, batch, count)
            self._settle_flushes()

    def _cover(self, place: Place, batch: bytes, count: int) -> None:
        """Let the log hold the batch's hash: no record changes unseen."""
        detail = (
            ("bytes", len(batch)),
            ("file", place.file),
            ("offset", place.offset),
            ("records", count),
            ("sha256", sha256(batch).hexdigest()),
        )
        self.log.note((AuditEvent("records.kept", detail=detail),), self._now_ms())

    def _settle_flushes(self) -> None:
        due = [f for f in self.flushes if f[0] <= self.cell.durable]
        self.flushes = [f for f in self.flushes if f[0] > self.cell.durable]
        for _, deferred in due:
            deferred.reply(self.cell.durable)
