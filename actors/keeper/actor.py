"""Keeper. Owns the answers that clients may fetch again: running ones and finished.

Running ones are `Recording`s in the cell; a finished one goes to the shelf, which may
be memory or something that seals and writes. A background answer is read here, so that
it needs no client. Talks to: streams, to end one that its client cancels; provider and
vault, to have a provider delete its own copy (`errand.py`).
"""

from __future__ import annotations

from typing import Final, Literal

import attrs
import msgspec

from actors.keeper.errand import delete_there
from actors.keeper.messages import (
    Adopt,
    Answered,
    Cancel,
    Find,
    Finished,
    Forget,
    Keep,
    Kept,
    Named,
    NotForgotten,
    NotKept,
    Recall,
    Recalled,
    Unknown,
)
from actors.keeper.ports import Shelf
from actors.keeper.recording import Recording
from actors.stream.messages import EndStream, Opened
from runtime import Actor, Deferred, MailboxSpec, answers, handles
from wire import openai_responses_stored as stored

MESSAGES_QUEUED_MAX: Final = 256
# Of all sites: each is an upstream call that nobody waits for, and up to 8 MiB.
BACKGROUND_MAX: Final = 256
# A conversation's turns; beyond, the oldest prompt would be over any window.
CHAIN_MAX: Final = 1000

CancelReply = Literal["ending", "over", "foreground", "unknown"]


@attrs.define
class KeeperCell:
    """What outlives a crash: where finished answers lie, and the running ones."""

    shelf: Shelf
    keep_s: float
    running: dict[str, Recording] = attrs.field(factory=dict[str, Recording])
    names: dict[tuple[str, str], Recording] = attrs.field(
        factory=dict[tuple[str, str], Recording]
    )
    adopted: dict[str, tuple[Recording, Opened]] = attrs.field(
        factory=dict[str, tuple[Recording, Opened]]
    )

    def drop(self, recording: Recording) -> None:
        """It runs no more."""
        self.running.pop(recording.request_id, None)
        for name in (recording.id, recording.minted):
            self.names.pop((recording.site, name), None)


class Keeper(Actor):
    """Keeps answers for a time."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="block", down="hold")
    accepts = (Keep, Adopt, Named, Finished, Answered, Find, Recall, Forget, Cancel)

    def __init__(self, cell: KeeperCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Keeper running={len(self.cell.running)} "
            f"background={len(self.cell.adopted)} {self.cell.shelf!r}>"
        )

    def on_start(self) -> None:
        """Go on reading what an earlier life had adopted."""
        for recording, opened in self.cell.adopted.values():
            self.ctx.start_soon(self._pump, recording, opened)

    @answers(Keep)
    def keep(self, msg: Keep) -> Recording | NotKept:
        """Open a recording. Nothing is kept of one whose client never gets an id."""
        if msg.background and len(self.cell.adopted) >= BACKGROUND_MAX:
            return NotKept(
                f"{BACKGROUND_MAX} background answers are being given already; try "
                "again when one has ended"
            )
        recording = Recording(
            site=msg.site,
            request_id=msg.request_id,
            input=msg.input,
            previous=msg.previous,
            background=msg.background,
            streamed=msg.streamed,
            placeholder=msg.placeholder,
        )
        self.cell.running[msg.request_id] = recording
        self.cell.names[msg.site, recording.id] = recording
        return recording

    @handles(Adopt)
    def adopt(self, msg: Adopt) -> None:
        """Read it here from now on."""
        msg.recording.stream = msg.opened.ref
        self.cell.adopted[msg.recording.request_id] = (msg.recording, msg.opened)
        self.ctx.start_soon(self._pump, msg.recording, msg.opened)

    @handles(Named)
    def named(self, msg: Named) -> None:
        """Be found by the answer's own id too, which is the one its client sees."""
        recording = msg.recording
        if recording.request_id in self.cell.running:
            self.cell.names[recording.site, recording.id] = recording

    @handles(Answered)
    def answered(self, msg: Answered) -> None:
        """Remember who can go on from it."""
        recording = self.cell.running.get(msg.request_id)
        if recording is not None:
            recording.provider = msg.provider

    @handles(Finished)
    def finished(self, msg: Finished) -> None:
        """Settle it, and put it where it stays."""
        self._finish(msg.recording)

    @answers(Find)
    def find(self, msg: Find) -> Recording | Deferred[Recording | Kept | Unknown]:
        """A running one at once; the shelf may take a moment."""
        running = self.cell.names.get((msg.site, msg.id))
        if running is not None and not running.forgotten:
            return running
        deferred: Deferred[Recording | Kept | Unknown] = Deferred()
        self.ctx.start_soon(self._find, msg, deferred)
        return deferred

    @answers(Recall)
    def recall(self, msg: Recall) -> Deferred[Recalled | Unknown]:
        """Walk the conversation back to its beginning."""
        deferred: Deferred[Recalled | Unknown] = Deferred()
        self.ctx.start_soon(self._recall, msg, deferred)
        return deferred

    @answers(Forget)
    def forget(self, msg: Forget) -> bool | Deferred[bool | NotForgotten]:
        """Delete it; one that runs in the background is ended."""
        running = self.cell.names.get((msg.site, msg.id))
        if running is not None and not running.forgotten:
            running.forgotten = True
            self._end(running, "deleted by its client")
            return True
        deferred: Deferred[bool | NotForgotten] = Deferred()
        self.ctx.start_soon(self._forget, msg, deferred)
        return deferred

    @answers(Cancel)
    def cancel(self, msg: Cancel) -> CancelReply | Deferred[CancelReply]:
        """End it, if it runs in the background."""
        running = self.cell.names.get((msg.site, msg.id))
        if running is not None and not running.forgotten:
            if running.done:
                return "over"
            if not running.background:
                return "foreground"
            running.cancelled = True
            self._end(running, "cancelled by its client")
            return "ending"
        deferred: Deferred[CancelReply] = Deferred()
        self.ctx.start_soon(self._cancel, msg, deferred)
        return deferred

    # -- beside the mailbox ----------------------------------------------------

    async def _pump(self, recording: Recording, opened: Opened) -> None:
        """Read a background answer to its end, however it comes."""
        while pieces := await opened.channel.receive_some():
            for piece in pieces:
                if recording.take(piece):
                    self.cell.names[recording.site, recording.id] = recording
            if recording.overlong:
                self._end(recording, "its answer is too long to be kept")
        self.cell.adopted.pop(recording.request_id, None)
        # Through the mailbox: what the stream said of its provider comes first.
        self.ctx.ref.offer(Finished(recording))

    async def _find(
        self, msg: Find, deferred: Deferred[Recording | Kept | Unknown]
    ) -> None:
        deferred.reply(await self._get(msg.site, msg.id) or Unknown())

    async def _recall(
        self, msg: Recall, deferred: Deferred[Recalled | Unknown]
    ) -> None:
        turns: list[tuple[bytes, ...]] = []
        at = msg.id
        newest: Recalled | None = None
        for _ in range(CHAIN_MAX):
            found = await self._turn(msg.site, at)
            if found is None:
                deferred.reply(Unknown())
                return
            if newest is None:
                newest = Recalled((), found.provider, found.upstream_id)
            turns.append((*found.input, *stored.output_items(found.answer)))
            at = found.previous
            if not at:
                break
        assert newest is not None
        items = tuple(item for turn in reversed(turns) for item in turn)
        deferred.reply(Recalled(items, newest.provider, newest.upstream_id))

    async def _turn(self, site: str, name: str) -> Kept | Recording | None:
        """A finished answer, also in the moment before it is on the shelf."""
        running = self.cell.names.get((site, name))
        if running is not None:
            return running if running.done and running.worth_keeping else None
        return await self._get(site, name)

    async def _forget(
        self, msg: Forget, deferred: Deferred[bool | NotForgotten]
    ) -> None:
        """Its provider's copy first: while that is there, there is something to find.

        A second client that deletes at the same time hears that it is gone.
        """
        kept = await self._get(msg.site, msg.id)
        why = "" if kept is None else await delete_there(self.ctx, kept, msg.site)
        if kept is not None and why:
            deferred.reply(NotForgotten(kept.provider, why))
            return
        deferred.reply(await self.cell.shelf.delete(msg.site, msg.id))

    async def _cancel(self, msg: Cancel, deferred: Deferred[CancelReply]) -> None:
        kept = await self._get(msg.site, msg.id)
        if kept is None:
            deferred.reply("unknown")
        else:
            deferred.reply("over" if kept.background else "foreground")

    async def _get(self, site: str, name: str) -> Kept | None:
        blob = await self.cell.shelf.get(site, name)
        return None if blob is None else _kept.decode(blob)

    def _end(self, recording: Recording, why: str) -> None:
        if recording.stream is not None:
            recording.stream.offer(EndStream(why))

    def _finish(self, recording: Recording) -> None:
        recording.finish()
        if recording.worth_keeping:
            self.ctx.start_soon(self._put, recording)
            return
        self.cell.drop(recording)
        if recording.forgotten and recording.upstream_id:
            # It was deleted while it was given; nobody waits for this any more.
            kept = self._kept(recording, b"")
            self.ctx.start_soon(delete_there, self.ctx, kept, recording.site)

    @staticmethod
    def _kept(recording: Recording, events: bytes) -> Kept:
        return Kept(
            id=recording.id,
            upstream_id=recording.upstream_id,
            provider=recording.provider,
            previous=recording.previous,
            background=recording.background,
            input=recording.input,
            answer=recording.answer,
            events=events,
        )

    async def _put(self, recording: Recording) -> None:
        kept = self._kept(recording, await recording.compressed())
        await self.cell.shelf.put(
            recording.site,
            recording.id,
            msgspec.msgpack.encode(kept),
            self.ctx.now() + self.cell.keep_s,
        )
        if recording.forgotten:  # Meanwhile.
            await self.cell.shelf.delete(recording.site, recording.id)
            await delete_there(self.ctx, kept, recording.site)
        self.cell.drop(recording)


_kept: Final = msgspec.msgpack.Decoder(Kept)
