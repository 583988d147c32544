"""Puts published checkpoints where nobody can take them back, and heeds what is there.

Owns: one task of the auditor. Before the first checkpoint of a process goes out, the
log is held against those that are kept; one that the log does not continue ends all
acknowledgements, as a witness's refusal does. Obeys anchoring.py.
"""

from __future__ import annotations

from typing import Final

import trio

from actors.auditor import anchoring
from actors.auditor.merkle import range_root
from actors.auditor.notes import BadNote, Checkpoint
from actors.auditor.ports import (
    Anchorage,
    AnchorRefused,
    AnchorsUnavailable,
    AuditBook,
)
from actors.auditor.tiles import BadTile, TileTree
from runtime import Context

LAST_S: Final = 5.0  # A stop waits this long for the last checkpoint to be kept.


class AnchorKeeper:
    """One life's work on the anchors."""

    def __init__(self, book: AuditBook, anchorage: Anchorage, ctx: Context) -> None:
        self.book = book
        self.anchorage = anchorage
        self.ctx = ctx
        self._grown = trio.Event()

    def __repr__(self) -> str:
        return f"<AnchorKeeper {self.book.log.origin} {self.book.anchoring}>"

    def published(self) -> None:
        """Readers see more than before."""
        self._grown.set()

    async def run(self) -> None:
        """Keep one whenever it is due. Ends when the log is disowned."""
        while not self.book.disowned:
            await trio.sleep_until(anchoring.due_s(self._state))
            if self._state.compared and self.book.log.published <= self._state.size:
                await self._grown.wait()
            self._grown = trio.Event()
            await self.once()

    async def finish(self) -> None:
        """The last checkpoint, if the storage answers soon."""
        if self.book.disowned or self.book.log.published <= self._state.size:
            return
        with trio.move_on_after(LAST_S):
            await self.once()

    async def once(self) -> None:
        """Compare if that has not been done; then keep what readers see."""
        try:
            if not self._state.compared:
                await self._compare()
            note, size = self.book.shown, self.book.log.published
            if size > self._state.size:
                await self.anchorage.keep(note, self.book.log.signer.verifier)
            self.book.anchoring = anchoring.kept(self._state, size, self.ctx.now())
        except AnchorRefused as error:
            self.book.disowned = str(error)
        except (AnchorsUnavailable, BadNote, BadTile) as error:
            self._failed(str(error))
        except OSError as error:
            self._failed(error.strerror or "the log cannot be read")

    async def _compare(self) -> None:
        key = self.book.log.signer.verifier
        known = await self.anchorage.newest(key)
        # Once a process, and some dozen tiles: no thread is worth it.
        if why := contradiction(self.book, known):
            raise AnchorRefused(why)

    @property
    def _state(self) -> anchoring.Anchoring:
        state = self.book.anchoring
        assert state is not None, "a book with an anchorage has it"
        return state

    def _failed(self, why: str) -> None:
        self.book.anchoring = anchoring.failed(self._state, why, self.ctx.now())


def contradiction(book: AuditBook, known: tuple[Checkpoint, ...]) -> str:
    """Why the published log does not continue these checkpoints; empty: it does.

    Reads tiles. Raises BadTile, OSError.
    """
    size = book.log.published
    tree = TileTree(book.store.read, size)
    for one in known:
        if one.size > size:
            return (
                f"a locked anchor knows {one.size} entries, the log has {size}: it was "
                f"rolled back"
            )
        if range_root(tree.node, 0, one.size) != one.root:
            return f"a locked anchor knows another log at size {one.size}"
    return ""
