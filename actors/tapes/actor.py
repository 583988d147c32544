"""Tapes. Owns answers that may be picked up again, and the work that fills them.

The work runs here, so that it needs no client; what it means that nobody reads any more
is the tape's policy. Bounded in bytes and in time; what had to go early is remembered
by its name, so that a client that comes back for it is told, and never served twice.
Talks to: nobody; the work does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from actors.granter.ports import StoreUnavailable
from actors.tapes.messages import (
    Known,
    NameTaken,
    NoTape,
    NotTaped,
    Seek,
    Start,
    Started,
    StartReply,
    Stop,
    StopReply,
    Sweep,
    TapesUnavailable,
    Work,
)
from actors.tapes.ports import TapeRow
from actors.tapes.sharing import TapeSharing
from actors.tapes.tape import Budget, Tape
from runtime import Actor, Deferred, Exit, MailboxSpec, answers, handles

MESSAGES_QUEUED_MAX: Final = 256
# Finished ones that are remembered, with or without their items: some 600 bytes each.
TAPES_MAX: Final = 20_000

Name = tuple[str, str, str]


@attrs.define
class TapesCell:
    """What outlives a crash: the tapes.

    `kept` is in the order they ended; `whole` are those of them with all their items.
    """

    budget: Budget
    keep_s: float
    running: dict[str, Tape] = attrs.field(factory=dict[str, Tape])
    kept: dict[str, tuple[Tape, float]] = attrs.field(
        factory=dict[str, tuple[Tape, float]]
    )
    whole: dict[str, Tape] = attrs.field(factory=dict[str, Tape])
    names: dict[Name, Tape] = attrs.field(factory=dict[Name, Tape])
    sharing: TapeSharing | None = None
    mirrors: dict[str, Tape] = attrs.field(factory=dict[str, Tape])

    def find(self, site: str | None, request_id: str) -> Tape | None:
        """One of this site, or of any where the asker has shown that it is its own."""
        kept = self.kept.get(request_id)
        tape = kept[0] if kept is not None else self.running.get(request_id)
        return tape if tape is not None and site in (None, tape.site) else None

    def name_of(self, tape: Tape) -> Name:
        """Names are a key's own: two servers of a site need not agree on theirs."""
        return tape.site, tape.key_id, tape.name

    def release(self, tape: Tape) -> None:
        """Its name is free again."""
        name = self.name_of(tape)
        if self.names.get(name) is tape:
            del self.names[name]


class Tapes(Actor):
    """Records answers, and gives them again."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="block", down="hold")
    accepts = (Start, Seek, Stop, Sweep)

    def __init__(self, cell: TapesCell, report: Callable[[Exception], None]) -> None:
        self.cell = cell
        self.report = report
        self._sweeps_at: float | None = None

    def __repr__(self) -> str:
        """As an operator wants it."""
        cell = self.cell
        return (
            f"<Tapes running={len(cell.running)} kept={len(cell.kept)} {cell.budget!r}>"
        )

    def on_start(self) -> None:
        """What an earlier life was filling has lost its writer."""
        self.cell.budget.make_room = self._make_room
        for tape in list(self.cell.running.values()):
            self._ended(tape)
        self._set_alarm()
        sharing = self.cell.sharing
        if sharing is not None:
            sharing.on_lost = self._lost
            self.ctx.start_soon(sharing.run)

    async def on_stop(self, why: Exit) -> None:
        """What ended last is there for the other workers too."""
        del why
        if self.cell.sharing is not None:
            await self.cell.sharing.flush()

    @answers(Start)
    def start(self, msg: Start) -> StartReply | Deferred[StartReply]:
        """Run the work, unless it was done or is being done, here or elsewhere."""
        cell, tape = self.cell, msg.tape
        self._expire()
        if tape.name:
            known = cell.names.get(cell.name_of(tape))
            if known is not None:
                same = known.digest == tape.digest
                return Known(known) if same else NameTaken()
        if cell.budget.bytes_max == 0:
            return NotTaped("this gateway keeps no answers")
        tape.budget = cell.budget
        cell.running[tape.request_id] = tape
        if tape.name:
            # At once: whoever sends the same meanwhile waits for this one.
            cell.names[cell.name_of(tape)] = tape
            if cell.sharing is not None:
                deferred: Deferred[StartReply] = Deferred()
                self.ctx.start_soon(self._claim, cell.sharing, msg, deferred)
                return deferred
        self.ctx.start_soon(self._run, tape, msg.work)
        return Started(tape)

    @answers(Seek)
    def seek(self, msg: Seek) -> Tape | NoTape | Deferred[Tape | NoTape]:
        """By the id that its client was told."""
        self._expire()
        tape = self.cell.find(msg.site, msg.request_id)
        if tape is not None or self.cell.sharing is None:
            return tape or NoTape()
        deferred: Deferred[Tape | NoTape] = Deferred()
        self.ctx.start_soon(self._seek, self.cell.sharing, msg, deferred)
        return deferred

    @answers(Stop)
    def stop(self, msg: Stop) -> StopReply | Deferred[StopReply]:
        """The client says so, whatever the site's policy is."""
        tape = self.cell.find(msg.site, msg.request_id)
        if tape is not None and tape.request_id not in self.cell.mirrors:
            if tape.done:
                return "over"
            tape.stop("cancelled")
            return "stopping"
        if self.cell.sharing is None:
            return "unknown"
        deferred: Deferred[StopReply] = Deferred()
        self.ctx.start_soon(self._stop, self.cell.sharing, msg, deferred)
        return deferred

    @handles(Sweep)
    def sweep(self, msg: Sweep) -> None:
        """Give memory back even when nobody asks."""
        del msg
        self._sweeps_at = None
        self._expire()
        self._set_alarm()

    # -- beside the mailbox ----------------------------------------------------

    async def _claim(
        self, sharing: TapeSharing, msg: Start, deferred: Deferred[StartReply]
    ) -> None:
        """Take the name among all workers, then run; or read whoever has it."""
        tape = msg.tape
        try:
            row = await sharing.claim(tape)
        except (StoreUnavailable, OSError) as error:
            self._drop_unheard(tape)
            deferred.fail(TapesUnavailable(type(error).__name__))
            return
        if row is None:
            if deferred.reply(Started(tape)):
                await self._run(tape, msg.work)
            else:  # Its asker has left: nothing was begun, nobody has to pay.
                self._drop_unheard(tape)
                sharing.ended(tape)
        elif row.digest != tape.digest:
            self._drop_unheard(tape)
            deferred.reply(NameTaken())
        else:
            del self.cell.running[tape.request_id]
            tape.request_id = row.request_id
            tape.copied = True
            if deferred.reply(Known(tape)):
                await self._mirror(sharing, tape, row)
            else:  # Nobody will read it: whoever asks next finds the row again.
                self._drop_unheard(tape)

    def _drop_unheard(self, tape: Tape) -> None:
        self.cell.running.pop(tape.request_id, None)
        self.cell.release(tape)
        tape.finish(complete=False)

    async def _seek(
        self, sharing: TapeSharing, msg: Seek, deferred: Deferred[Tape | NoTape]
    ) -> None:
        try:
            row = await sharing.find(msg.site, msg.request_id)
        except (StoreUnavailable, OSError) as error:
            deferred.fail(TapesUnavailable(type(error).__name__))
            return
        if row is None:
            deferred.reply(NoTape())
            return
        tape = self.cell.mirrors.get(row.request_id)
        if tape is not None and not tape.stopped:
            deferred.reply(tape)
            return
        tape = Tape(site=row.site, key_id="", request_id=row.request_id)
        tape.copied = True
        if deferred.reply(tape):
            await self._mirror(sharing, tape, row)

    async def _mirror(self, sharing: TapeSharing, tape: Tape, row: TapeRow) -> None:
        """Fill it with what another worker writes, while somebody reads it here."""
        self.cell.mirrors[tape.request_id] = tape
        tape.disown()
        try:
            await sharing.mirror(tape, row)
        except (StoreUnavailable, OSError):
            pass  # Its readers are told that it was interrupted, and can come back.
        finally:
            tape.finish(complete=False)
            self.cell.release(tape)
            if self.cell.mirrors.get(tape.request_id) is tape:
                del self.cell.mirrors[tape.request_id]

    async def _stop(
        self, sharing: TapeSharing, msg: Stop, deferred: Deferred[StopReply]
    ) -> None:
        try:
            row = await sharing.find(msg.site, msg.request_id)
            runs = row is not None and sharing.runs(row)
            if row is not None and runs:
                await sharing.store.want_stop(row.request_id)
        except (StoreUnavailable, OSError) as error:
            deferred.fail(TapesUnavailable(type(error).__name__))
            return
        if row is None:
            deferred.reply("unknown")
        else:
            deferred.reply("stopping" if runs else "over")

    async def _run(self, tape: Tape, work: Work) -> None:
        sharing = self.cell.sharing
        if sharing is not None and not tape.name:
            self.ctx.start_soon(sharing.follow, tape)
        try:
            await work(tape)
        except Exception as error:  # noqa: BLE001 - one answer's, not all the others'
            self.report(error)
        except BaseException:  # This actor ends; its next life settles the rest.
            tape.finish(complete=False)
            raise
        self._ended(tape)

    def _ended(self, tape: Tape) -> None:
        tape.finish(complete=False)  # If it has not done so itself.
        cell = self.cell
        if cell.sharing is not None:
            cell.sharing.ended(tape)
        cell.running.pop(tape.request_id, None)
        if not tape.worth_keeping:
            # An error, or nothing at all: whoever asks again is served.
            cell.release(tape)
            tape.disown()
            return
        cell.kept[tape.request_id] = (tape, self.ctx.now() + cell.keep_s)
        cell.whole[tape.request_id] = tape
        while len(cell.kept) > TAPES_MAX:
            self._drop(next(iter(cell.kept)))
        self._set_alarm()

    def _lost(self, tape: Tape) -> None:
        """Another worker may have its name: here it means nothing any more."""
        self.cell.release(tape)
        kept = self.cell.kept.get(tape.request_id)
        if kept is not None and kept[0] is tape:
            self._drop(tape.request_id)

    def _make_room(self) -> None:
        """The oldest lose their items; running ones shed of themselves."""
        cell = self.cell
        while cell.whole and cell.budget.bytes_held > cell.budget.bytes_max:
            cell.whole.pop(next(iter(cell.whole))).forget()

    def _expire(self) -> None:
        now = self.ctx.now()
        kept = self.cell.kept
        while kept:
            oldest = next(iter(kept))
            if kept[oldest][1] > now:
                return
            self._drop(oldest)

    def _drop(self, request_id: str) -> None:
        tape, _ = self.cell.kept.pop(request_id)
        self.cell.whole.pop(request_id, None)
        tape.forget()
        self.cell.release(tape)

    def _set_alarm(self) -> None:
        kept = self.cell.kept
        if kept and self._sweeps_at is None:
            self._sweeps_at = next(iter(kept.values()))[1]
            self.ctx.tell_at(self._sweeps_at, Sweep())
