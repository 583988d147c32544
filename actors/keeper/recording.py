"""One answer while it is given: who reads it from the stream fills this, many follow.

Shared memory on purpose, like a channel: a delta crosses no mailbox to be kept. Writers
never wait here. Followers read at their own pace from what is held, so a slow one holds
nobody up. Too long an answer is relayed all the same, and not kept.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import trio

from actors.stream.messages import Begin, Piece, Whole
from runtime import Ref
from wire import openai_responses_stored as stored

if TYPE_CHECKING:
    from actors.stream.actor import Stream

# One answer's events: 30,000 deltas of 250 bytes, longer than any model answers.
RECORDING_BYTES_MAX: Final = 8 * 2**20
COMPRESS_SLICE_BYTES: Final = 64 * 1024  # Half a millisecond of the loop, then others.


class Recording:
    """An answer in the making.

    `id` is ours until the answer tells its own; both find it.
    """

    def __init__(
        self,
        *,
        site: str,
        request_id: str,
        input: tuple[bytes, ...],  # noqa: A002 - the dialect's own word
        previous: str,
        background: bool,
        streamed: bool,
        placeholder: bytes,
    ) -> None:
        self.site = site
        self.request_id = request_id
        self.input = input
        self.previous = previous
        self.background = background
        self.streamed = streamed
        self.minted = stored.id_of(placeholder)
        self.id = self.minted
        self.upstream_id = ""
        self.provider = ""
        self.stream: Ref[Stream] | None = None
        self.refusal: Whole | None = None
        self.overlong = False
        self.cancelled = False
        self.forgotten = False
        self.done = False
        self._answer = placeholder
        self._chunks: list[bytes] = []
        self._size = 0
        self._moved = trio.Event()

    def __repr__(self) -> str:
        """Without what was asked and answered."""
        state = "done" if self.done else "running"
        return f"<Recording {self.id} {state} {self._size} bytes>"

    # -- the writer's side -----------------------------------------------------

    def take(self, piece: Piece) -> bool:
        """One piece of the stream's channel. True when the answer told its own id."""
        if isinstance(piece, Begin):
            return False
        if isinstance(piece, Whole):
            return self._take_whole(piece)
        return self._take_chunk(piece)

    def finish(self) -> None:
        """Nothing more comes: settle what the answer is."""
        if self.done:
            return
        self.done = True
        if self.cancelled:
            self._answer = stored.ended(self._answer, "cancelled")
        elif stored.status_of(self._answer) in {"queued", "in_progress"}:
            error = self.refusal.body if self.refusal is not None else b""
            self._answer = stored.ended(self._answer, "failed", error)
        self._move()

    def _take_whole(self, whole: Whole) -> bool:
        if whole.status != 200:
            self.refusal = whole
            self._move()
            return False
        if len(whole.body) > RECORDING_BYTES_MAX:
            self.overlong = True
            return False
        self._size = len(whole.body)
        self._learn(stored.id_of(whole.body))
        if self.background:
            # Its client was told our id before the provider had one.
            self.id = self.minted
            self._answer = stored.renamed(whole.body, id=self.minted, background=True)
        else:
            self._answer = whole.body
        self._move()
        return self.id != self.minted

    def _take_chunk(self, chunk: bytes) -> bool:
        self._size += len(chunk)
        if self._size > RECORDING_BYTES_MAX:
            self.overlong = True
            self._chunks.clear()  # Followers are told by `overlong`.
            self._move()
            return False
        self._chunks.append(chunk)
        snapshot = stored.snapshot_in(chunk)
        named = False
        if snapshot is not None:
            self._answer = snapshot
            if self.id == self.minted:
                self._learn(stored.id_of(snapshot))
                named = self.id != self.minted
        self._move()
        return named

    def _learn(self, told: str) -> None:
        """The id the answer has. Ours is its provider's only if it is not minted."""
        if told and told != self.minted:
            self.id = self.upstream_id = told

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    # -- the readers' side -----------------------------------------------------

    @property
    def answer(self) -> bytes:
        """The response object as it is now."""
        return self._answer

    @property
    def worth_keeping(self) -> bool:
        """Whether its client has an id to ask for it by."""
        if self.overlong or self.forgotten:
            return False
        return self.background or self.refusal is None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show: events, an end, or a refusal."""
        return bool(self._chunks) or self.done or self.refusal is not None

    async def moved(self) -> None:
        """Wait for the next piece, or the end."""
        if not self.done:
            await self._moved.wait()

    def follow(self, number: int) -> Follower:
        """Events behind a sequence number, then those to come, to the end."""
        return Follower(self, number)

    def run(self, place: int) -> bytes | None:
        """The events that came at a place; None where none came yet."""
        return self._chunks[place] if place < len(self._chunks) else None

    async def compressed(self) -> bytes:
        """All events, a twentieth of their size; yields to others on the way."""
        if not self.streamed:
            return b""
        packer = zlib.compressobj(1)
        packed: list[bytes] = []
        since = 0
        for chunk in self._chunks:
            packed.append(packer.compress(chunk))
            since += len(chunk)
            if since >= COMPRESS_SLICE_BYTES:
                since = 0
                await trio.lowlevel.checkpoint()
        packed.append(packer.flush())
        return b"".join(packed)


class Follower:
    """One who reads a recording. A wait for `next` that is cut short loses nothing."""

    def __init__(self, recording: Recording, number: int) -> None:
        self._recording = recording
        self._number = number
        self._place = 0

    def __repr__(self) -> str:
        """Where it is."""
        return f"<Follower at {self._place} of {self._recording!r}>"

    async def next(self) -> bytes | None:
        """The next events; None when nothing more comes."""
        recording = self._recording
        while True:
            while (chunk := recording.run(self._place)) is not None:
                self._place += 1
                found = stored.after(chunk, self._number)
                if found:
                    return found
            if recording.done or recording.overlong:
                return None
            await recording.moved()


def events_of(compressed: bytes) -> bytes:
    """What `compressed` packed. Bounded by what a recording may hold."""
    return zlib.decompressobj().decompress(compressed, RECORDING_BYTES_MAX)
