"""The auditor's second book: takes events, writes groups, publishes tiles.

Owns: who waits for which entry. Obeys log.py, which decides what is written. Two tasks
of the actor: one writes (one sync a group, so those who wait share it), one publishes.
A write that fails ends the actor's life: those who wait are refused, what they wanted
logged keeps its place and is written by the next life before anything else.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from actors.auditor.anchoring import Anchoring
from actors.auditor.anchors import AnchorKeeper
from actors.auditor.entries import BadEvent
from actors.auditor.folding import Folding
from actors.auditor.log import Group
from actors.auditor.messages import AuditEvent, AuditUnavailable, LogReport, Receipt
from actors.auditor.notes import with_signatures
from actors.auditor.ports import AuditBook, WitnessRefused
from runtime import Context, Deferred, Tripped

FACTS_WAIT_S: Final = 0.1  # What nobody waits for is durable this much later.
PUBLISH_S: Final = 0.8  # With its syncs readers are at most a second behind.
PUBLISH_RETRY_S: Final = 2.0
REFUSED: Final = "denied"


class LogKeeper:
    """One life's work on the log."""

    def __init__(self, book: AuditBook, ctx: Context, now_ms: int) -> None:
        self.book = book
        self.ctx = ctx
        self.folding = Folding()
        self.waiting: deque[tuple[int, Deferred[Receipt]]] = deque()
        self._now_ms = now_ms
        self._work = trio.Event()
        self._hurry = trio.Event()
        self._grown = trio.Event()
        self._wake_folding = trio.Event()
        self.anchors: AnchorKeeper | None = None
        if book.anchorage is not None:
            if book.anchoring is None:
                book.anchoring = Anchoring(book.anchorage.every_s, ctx.now())
            self.anchors = AnchorKeeper(book, book.anchorage, ctx)
        if book.log.pending or book.torn:
            self._rush()
        if book.log.size > book.log.published:
            self._grown.set()

    def __repr__(self) -> str:
        return f"<LogKeeper {self.book.log.origin} waiting={len(self.waiting)}>"

    def start(self) -> None:
        """Begin the tasks; they end with the actor."""
        self.ctx.start_soon(self._write)
        self.ctx.start_soon(self._publish)
        self.ctx.start_soon(self._fold)
        if self.anchors is not None:
            self.ctx.start_soon(self.anchors.run)

    def attest(self, event: AuditEvent, now_ms: int) -> Deferred[Receipt]:
        """Take an event that somebody waits for. Raises BadEvent, AuditUnavailable."""
        log = self.book.log
        if self.book.disowned:
            raise AuditUnavailable(f"the audit log is refused: {self.book.disowned}")
        if log.full:
            raise AuditUnavailable(
                f"{len(log.pending)} entries of the audit log wait for the disk; "
                f"nothing that needs one happens until it writes"
            )
        if self.book.trouble and self.book.torn:
            raise AuditUnavailable(
                f"the audit log cannot be written: {self.book.trouble}"
            )
        seq = log.add(event, now_ms)
        deferred: Deferred[Receipt] = Deferred()
        self.waiting.append((seq, deferred))
        self._rush()
        return deferred

    def note(self, events: tuple[AuditEvent, ...], now_ms: int) -> None:
        """Take events that nobody waits for."""
        for event in events:
            if event.out == REFUSED and not self.folding.admit(event, self.ctx.now()):
                self._wake_folding.set()
                continue
            self._add(event, now_ms)

    def report(self) -> LogReport:
        """How the log stands."""
        book = self.book
        return LogReport(
            origin=book.log.origin,
            vkey=book.log.signer.verifier.vkey,
            size=book.log.size,
            published=book.log.published,
            witnessed=book.witnessed,
            waiting=len(book.log.pending),
            anchored=book.anchoring.size if book.anchoring is not None else 0,
            denials_folded=self.folding.folded,
            trouble=book.disowned
            or book.trouble
            or (book.publish_trouble and f"publishing: {book.publish_trouble}"),
        )

    async def finish(self, now_ms: int) -> None:
        """The last group and the last tiles. Raises OSError."""
        for event, count in self.folding.due(self.ctx.now(), everything=True):
            self._add(event, now_ms, count)
        await self._write_all()
        await self._publish_once()
        if self.anchors is not None:
            await self.anchors.finish()

    def _add(self, event: AuditEvent, now_ms: int, count: int = 1) -> None:
        self._now_ms = now_ms
        try:
            self.book.log.add(event, now_ms, count)
        except BadEvent as error:
            # Its sender has a bug, but the act was one: say at least that it was.
            odd = AuditEvent("audit.unreadable", out="error", name=_short(str(error)))
            self.book.log.add(odd, now_ms)
        self._work.set()

    def _rush(self) -> None:
        self._work.set()
        self._hurry.set()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            with trio.move_on_after(FACTS_WAIT_S):
                await self._hurry.wait()
            self._work, self._hurry = trio.Event(), trio.Event()
            try:
                await self._write_all()
            except OSError as error:
                self._refuse(error)
                raise Tripped(
                    "the audit log cannot be written", errno=error.errno or 0
                ) from None

    async def _write_all(self) -> None:
        book, log = self.book, self.book.log
        if book.torn:
            await book.store.mend(log.segment_bytes)
            book.torn = False
            self._tell_refused()
        while log.pending:
            group = log.seal()
            book.torn = True
            await book.store.append(group.data)
            book.torn = False
            log.commit(group)
            self._acknowledge(group)
            self._grown.set()
        book.trouble = ""
        if log.rotation_due:
            segment = log.segment()
            await book.store.rotate(segment)
            log.rotate(segment)

    def _acknowledge(self, group: Group) -> None:
        origin = self.book.log.origin
        while self.waiting and self.waiting[0][0] < group.size:
            seq, deferred = self.waiting.popleft()
            deferred.reply(Receipt(origin, seq, group.size, group.root))

    def _refuse(self, error: OSError) -> None:
        """Nobody waits for a disk that is gone."""
        book = self.book
        book.trouble = error.strerror or "the write failed"
        if self.waiting:
            first, last = self.waiting[0][0], self.waiting[-1][0]
            book.refused = (book.refused[0] if book.refused else first, last)
        for _, deferred in self.waiting:
            deferred.fail(
                AuditUnavailable(f"the audit log cannot be written: {book.trouble}")
            )
        self.waiting.clear()

    def _tell_refused(self) -> None:
        """Say in the log which of its entries were refused to those who waited."""
        if self.book.refused is not None:
            first, last = self.book.refused
            self.book.refused = None
            detail = (("first", first), ("last", last))
            event = AuditEvent("audit.unacknowledged", out="error", detail=detail)
            self.book.log.add(event, self._now_ms)

    async def _fold(self) -> None:
        """Write the counts of refusals when their time is up."""
        while True:
            due_s = self.folding.due_s()
            if due_s is None:
                await self._wake_folding.wait()
                self._wake_folding = trio.Event()
                continue
            await trio.sleep_until(due_s)
            for event, count in self.folding.due(self.ctx.now()):
                self._add(event, self._now_ms, count)

    async def _publish(self) -> None:
        """Show what has grown, a second apart. A failure is told, and tried again."""
        while True:
            await self._grown.wait()
            await trio.sleep(PUBLISH_S)
            self._grown = trio.Event()
            try:
                await self._publish_once()
            except OSError as error:
                self.book.publish_trouble = error.strerror or "the write failed"
                self._grown.set()
                await trio.sleep(PUBLISH_RETRY_S)

    async def _publish_once(self) -> None:
        book = self.book
        shown = book.log.publication()
        if shown is None:
            return
        await book.store.publish(shown.files)
        note, witnessed = shown.note, None
        if book.cosigner is not None:
            try:
                signatures = await book.cosigner.cosign(shown, book.store)
            except WitnessRefused as error:
                # What is on disk is not what was signed before: nothing may rest on it.
                book.disowned = str(error)
                return
            if signatures:
                note = witnessed = with_signatures(note, signatures)
        await book.store.show(note, witnessed)
        book.shown = note
        if witnessed is not None:
            book.witnessed = shown.size
        book.log.publish(shown)
        book.publish_trouble = ""
        if self.anchors is not None:
            self.anchors.published()


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])
