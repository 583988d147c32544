"""One answer while it is given, and for a while after: one writes, many may read.

Shared memory on purpose, like a channel: a delta crosses no mailbox to be kept. The
writer is held back when it is `AHEAD_BYTES_MAX` ahead of the fastest reader, so a slow
client still stops the read from upstream. When the last reader leaves, the answer goes
on (`detached`) or its writer is told to stop. An answer that is too long to be kept is
given to whoever reads it all the same; it only cannot be picked up again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Self

import trio

from actors.tapes import policy

# One answer: 30,000 deltas of 250 bytes, longer than any model answers.
TAPE_BYTES_MAX: Final = 8 * 2**20
AHEAD_BYTES_MAX: Final = 64 * 1024  # As a socket's buffer: a few seconds of fast text.
RUN_BYTES_MAX: Final = 64 * 1024  # Of one write to a reader that comes late.
ITEM_BYTES: Final = 64  # What a frame costs beside its bytes.

Fields = tuple[tuple[bytes, bytes], ...]
End = Literal["complete", "broken", "cancelled", "left", "lost"]
"""How it ended: at its end; its writer failed; told to stop; everybody had left; its
name may be another worker's."""


class TapeGone(Exception):
    """What the reader wants of it is not kept any more."""


class Budget:
    """What all tapes of a process may hold; `make_room` gives some of it back."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.make_room: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        """How full it is."""
        return f"<Budget {self.bytes_held}/{self.bytes_max} bytes>"

    def hold(self, size: int) -> bool:
        """Take bytes, or give them back; False when there are too many now."""
        self.bytes_held += size
        if self.bytes_held > self.bytes_max:
            self.make_room()
        return self.bytes_held <= self.bytes_max


class Reader:
    """One who reads a tape, inside a `with`: leaving it is leaving.

    A wait for `next` that is cut short loses nothing.
    """

    def __init__(self, tape: Tape, place: int) -> None:
        self.place = place
        self._tape = tape
        self._given = place

    def __repr__(self) -> str:
        """How far it is."""
        return f"<Reader at {self.place} of {self._tape!r}>"

    def __enter__(self) -> Self:
        """Be one of those that hold the writer back, and keep it going."""
        self._tape.readers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self._tape.readers.discard(self)
        self._tape.left()

    async def next(self) -> bytes:
        """Items joined into a run; empty when nothing more comes.

        Asking for more says that what was given has been passed on. Raises TapeGone.
        """
        tape = self._tape
        if self.place != self._given:
            self.place = self._given
            tape.was_read()
        while True:
            if not tape.has(self.place):
                raise TapeGone(tape.request_id)
            run, self._given = tape.run(self.place)
            if run or tape.done:
                return run
            await tape.moved()

    @property
    def has_all(self) -> bool:
        """Whether what was given last is the end of a complete answer."""
        tape = self._tape
        return tape.end == "complete" and self._given == tape.number


class Tape:
    """An answer: a status, header fields, and items that are frames or parts.

    Args:
        ids: whether its frames are told with their places.
        detached: whether it goes on when nobody reads.
        name: the client's own, for asking again; empty without one.
        digest: of what was asked, so that the name means one request.
        heartbeat: what its dialect says in a silence.
        last_word: what its dialect says where an answer ends before its end.
    """

    def __init__(
        self,
        *,
        site: str,
        key_id: str,
        request_id: str,
        ids: bool = False,
        detached: bool = False,
        name: str = "",
        digest: bytes = b"",
        heartbeat: bytes = b"",
        last_word: bytes = b"",
    ) -> None:
        self.site = site
        self.key_id = key_id
        self.request_id = request_id
        self.ids = ids
        self.detached = detached
        self.name = name
        self.digest = digest
        self.heartbeat = heartbeat
        self.last_word = last_word
        self.status = 0
        self.fields: Fields = ()
        self.end: End | None = None
        self.failed = False  # It is an error that came too late for a status.
        self.forgotten = False  # Its items are gone; that it was is still known.
        self.copied = False  # Its writer is another worker.
        self.bytes_held = 0
        self.budget = Budget(TAPE_BYTES_MAX)  # Its owner's, once it has one.
        self.streamed = False
        self._items: list[bytes] = []
        self._base = 0  # The number of the first item that is kept.
        self._rest = bytearray()
        self.readers: set[Reader] = set()
        self._gone: list[Callable[[], None]] = []
        self._stopped: End | None = None
        self._moved = trio.Event()
        self._read = trio.Event()

    def __repr__(self) -> str:
        """Without what is on it."""
        state = self.end or ("running" if self.status else "waiting")
        return (
            f"<Tape {self.request_id} {state} items={self._base + len(self._items)} "
            f"readers={len(self.readers)} bytes={self.bytes_held}>"
        )

    # -- the writer's side -----------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether nothing more comes."""
        return self.end is not None

    @property
    def stopped(self) -> bool:
        """Whether the writer was told to stop."""
        return self._stopped is not None

    def begin(self, status: int, fields: Fields, *, streamed: bool) -> None:
        """The answer's head."""
        self.status = status
        self.fields = fields
        self.streamed = streamed
        self._move()

    async def write(self, data: bytes) -> None:
        """A part of the body; waits for readers that are far behind."""
        if self.streamed:
            self._rest += data
            found = policy.frames(self._rest)
            items = [i for i in (policy.bare(f, self.heartbeat) for f in found) if i]
        else:
            items = [data] if data else []
        await self.add(items)

    async def add(self, items: list[bytes]) -> None:
        """Items as they are told; waits for readers that are far behind."""
        if items:
            self._items += items
            size = sum(len(item) + ITEM_BYTES for item in items)
            if not self._hold(size) or self.bytes_held > TAPE_BYTES_MAX:
                self._shed()
            self._move()
        while self._is_ahead() and not self.stopped:
            self._read = trio.Event()
            await self._read.wait()

    def finish(self, *, complete: bool) -> None:
        """Nothing more comes."""
        if self.end is not None:
            return
        if self._rest:  # A last frame that nobody ended.
            self._items.append(bytes(self._rest))
            self._hold(len(self._rest) + ITEM_BYTES)
            self._rest.clear()
        self.end = "complete" if complete else self._stopped or "broken"
        self._gone.clear()
        self._move()

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call back when the writer should stop; at once if it should already."""
        if self._stopped is not None:
            callback()
        else:
            self._gone.append(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """Take back `when_gone`."""
        if callback in self._gone:
            self._gone.remove(callback)

    # -- the owner's side ------------------------------------------------------

    def stop(self, why: End = "cancelled") -> None:
        """Tell the writer to stop, whoever reads."""
        if self.end is not None or self._stopped is not None:
            return
        self._stopped = why
        callbacks, self._gone = self._gone, []
        for callback in callbacks:
            callback()
        self._read.set()

    def forget(self) -> None:
        """Give its memory back; that it was stays known."""
        self.forgotten = True
        self._base += len(self._items)
        self._items.clear()
        self._hold(-self.bytes_held)
        self._move()

    def disown(self) -> None:
        """Be nobody's but its readers': it counts no more among what is kept."""
        self.budget.hold(-self.bytes_held)
        self.budget = Budget(TAPE_BYTES_MAX)
        self.bytes_held = 0

    @property
    def worth_keeping(self) -> bool:
        """Whether anybody may want it again: an error can simply be asked for anew."""
        if self.failed or self.end == "lost" or not 200 <= self.status < 300:
            return False
        return self.end == "complete" or self.number > 0

    @property
    def number(self) -> int:
        """How many items it has had."""
        return self._base + len(self._items)

    # -- the readers' side -----------------------------------------------------

    def has(self, place: int) -> bool:
        """Whether all items from this place on can be given, or may still come."""
        if self.forgotten or place < self._base:
            return False
        # Nobody has seen more than was ever given, but of an answer that is copied.
        return place <= self.number or (self.copied and not self.done)

    def items_from(self, place: int, end: int, bytes_max: int) -> list[bytes]:
        """Items up to a place, of about so many bytes; at least one."""
        found: list[bytes] = []
        size = 0
        for item in self._items[place - self._base : end - self._base]:
            if found and size + len(item) > bytes_max:
                break
            found.append(item)
            size += len(item)
        return found

    def read_from(self, place: int) -> Reader:
        """Somebody who reads from a place on."""
        return Reader(self, place)

    async def moved(self) -> None:
        """Wait for the head, the next item or the end."""
        await self._moved.wait()

    def was_read(self) -> None:
        """A reader is further than before."""
        self._read.set()

    def left(self) -> None:
        """A reader has left."""
        if not self.readers and (not self.detached or self._base):
            self.stop("left")
        self._read.set()

    def run(self, place: int) -> tuple[bytes, int]:
        """Items from a place on as they are told, and the place behind them."""
        run: list[bytes] = []
        size = 0
        while place < self.number and size < RUN_BYTES_MAX:
            item = self._items[place - self._base]
            if self.ids and self.streamed:
                item = policy.with_id(item, self.request_id, place)
            run.append(item)
            size += len(item)
            place += 1
        return b"".join(run), place

    # -- bounds ----------------------------------------------------------------

    @property
    def _fastest(self) -> int:
        """How far the fastest reader is; of what is here, whatever it has seen."""
        return min(self.number, max(reader.place for reader in self.readers))

    def _is_ahead(self) -> bool:
        if not self.readers:
            return False
        ahead = self._items[max(0, self._fastest - self._base) :]
        return sum(len(item) for item in ahead) > AHEAD_BYTES_MAX

    def _shed(self) -> None:
        """Drop what the fastest reader has: it is too long to be picked up again.

        Slower ones are cut: they would hold all of it.
        """
        if not self.readers:
            self.stop("left")
            return
        read = self._fastest - self._base
        if read > 0:
            shed = self._items[:read]
            del self._items[:read]
            self._base += read
            self._hold(-sum(len(item) + ITEM_BYTES for item in shed))

    def _hold(self, size: int) -> bool:
        self.bytes_held += size
        return self.budget.hold(size)

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
