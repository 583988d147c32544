"""What one process does so that others can give its answers, and it theirs.

Owns: which items are in the store already. It seals, writes all that is new at once
every `FLUSH_S`, and fills mirrors: tapes whose writer is another worker. A name is this
worker's as long as the store hears from it: one that cannot be kept is given up, and
its generation ended, before another worker may serve it anew. Never: decides who is
served; that is the actor's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

import attrs
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from actors.granter.policy import epoch_at
from actors.granter.ports import EpochKeys, StoreUnavailable
from actors.tapes import policy, sealing
from actors.tapes.ports import Part, Save, State, TapeRow, TapeStore
from actors.tapes.tape import Tape

FLUSH_S: Final = 0.25  # What a worker's death can cost of what it had said.
POLL_S: Final = 0.25  # A reader at another worker is this far behind, and `FLUSH_S`.
FIND_TRIES: Final = 5  # A second: four times what a first flush takes.
WATCH_S: Final = 1.0  # Between two looks at what may be lost.
AGAIN_S: Final = 0.5  # When the store took nothing: all of it is sealed once more.
PART_BYTES_MAX: Final = 256 * 1024  # A row; what a burst adds goes into several.
SWEEP_S: Final = 10.0
KEYS_CACHED_MAX: Final = 4  # Yesterday's, today's, tomorrow's: a KMS is far away.
# Of one transaction: after an outage, all that was said meanwhile waits to be written.
BATCH_MAX: Final = 256
BATCH_BYTES_MAX: Final = 4 * 2**20
# Answers that ended and are not in the store yet; in an outage the oldest are given up,
# as they are when they are too old to be had.
ENDED_MAX: Final = 20_000


def _nobody(tape: Tape) -> None:
    """Nobody needs to hear of it."""
    del tape


@attrs.define
class _Shared:
    """A tape of ours, and how much of it is in the store."""

    tape: Tape
    epoch: int
    key: AESGCM = attrs.field(repr=False)
    stored: int = 0
    alive_at: float = -inf
    headed: bool = False
    there: bool = False
    gone: bool = False


@attrs.define
class TapeSharing:
    """One process's side of the store."""

    store: TapeStore
    keys: EpochKeys
    wall: Callable[[], float]
    entropy: Callable[[int], bytes]
    keep_s: float
    bytes_max: int
    troubled: bool = False
    on_lost: Callable[[Tape], None] = attrs.field(default=_nobody, repr=False)
    _ours: dict[str, _Shared] = attrs.field(factory=dict[str, _Shared])
    _over: dict[str, _Shared] = attrs.field(factory=dict[str, _Shared])
    _cached: dict[int, bytes] = attrs.field(factory=dict[int, bytes], repr=False)
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _swept_at: float = -inf
    _flushed_at: float = -inf

    def __repr__(self) -> str:
        """How many, and whether the store takes them."""
        state = "troubled" if self.troubled else "well"
        size = f"{len(self._ours)}+{len(self._over)}"
        return f"<TapeSharing {size} {state} {self.store!r}>"

    # -- ours ------------------------------------------------------------------

    async def claim(self, tape: Tape) -> TapeRow | None:
        """Take its name; or who has it. Raises StoreUnavailable, OSError."""
        shared = await self._shared(tape)
        now = trio.current_time()
        row = self._row(shared, "running")
        found = await self.store.claim(row, row.alive_ms - round(policy.STALE_S * 1000))
        if found is None:
            if trio.current_time() - now >= policy.FENCE_S:
                raise StoreUnavailable("it took so long that the name may be lost")
            shared.there, shared.alive_at = True, now
            self._track(shared)
        return found

    async def follow(self, tape: Tape) -> None:
        """Keep a tape in the store from now on; best effort."""
        try:
            self._track(await self._shared(tape))
        except (StoreUnavailable, OSError):
            self.troubled = True

    def ended(self, tape: Tape) -> None:
        """Nothing more comes of it."""
        shared = self._ours.pop(tape.request_id, None)
        if shared is not None:
            self._end(shared)

    def _end(self, shared: _Shared) -> None:
        if not shared.there and not shared.tape.worth_keeping:
            return  # Nobody has heard of it, and nobody needs to.
        self._over[shared.tape.request_id] = shared
        while len(self._over) > ENDED_MAX:
            del self._over[next(iter(self._over))]

    def _track(self, shared: _Shared) -> None:
        if shared.tape.done:  # The key took its time, and the answer was short.
            self._end(shared)
        else:
            self._ours[shared.tape.request_id] = shared
        self._woken.set()

    async def _shared(self, tape: Tape) -> _Shared:
        epoch = epoch_at(self.wall())
        epoch_key = self._cached.get(epoch)
        if epoch_key is None:
            epoch_key = self._remember(epoch, await self.keys.make(epoch))
        return _Shared(tape, epoch, sealing.key_for(epoch_key, tape.request_id))

    def _remember(self, epoch: int, epoch_key: bytes) -> bytes:
        self._cached[epoch] = epoch_key
        while len(self._cached) > KEYS_CACHED_MAX:
            del self._cached[min(self._cached)]
        return epoch_key

    async def run(self) -> None:
        """Write what is new, for as long as there is anything to write."""
        async with trio.open_nursery() as nursery:
            # Beside it: a store that does not answer must not keep anybody waiting.
            nursery.start_soon(self._watch)
            while True:
                await self._until_busy()
                await trio.sleep(AGAIN_S if self.troubled else FLUSH_S)
                await self.flush()

    async def _until_busy(self) -> None:
        while not self._ours and not self._over:
            if self._woken.is_set():
                self._woken = trio.Event()
            await self._woken.wait()

    async def _watch(self) -> None:
        """End what another worker may serve anew: this one could not keep its name."""
        while True:
            await self._until_busy()
            await trio.sleep(WATCH_S)
            now = trio.current_time()
            if now - self._flushed_at < policy.FENCE_S - policy.ALIVE_S:
                continue  # What was due then was heard of, and the rest just before.
            for shared in tuple(self._ours.values()):
                if shared.tape.name and policy.may_be_taken(
                    silent_s=now - shared.alive_at,
                    stored=shared.stored,
                    keep_s=self.keep_s,
                ):
                    shared.tape.stop("lost")

    async def flush(self) -> None:
        """Write what is new. An outage is waited out: little of it is lost here."""
        now = trio.current_time()
        try:
            for shared in [one for one in self._over.values() if _is_void(one)]:
                if shared.there:
                    await self.store.release(shared.tape.request_id)
                self._over.pop(shared.tape.request_id, None)
            due = [one for one in self._ours.values() if self._is_due(one, now)]
            left = deque((*due, *self._over.values()))
            while left:
                await self._save(left)
            if now - self._swept_at >= SWEEP_S:
                self._swept_at = now
                await self.store.sweep(round(self.wall() * 1000), self.bytes_max)
            self._flushed_at = now
            self.troubled = False
        except (StoreUnavailable, OSError):
            self.troubled = True

    def _is_due(self, shared: _Shared, now: float) -> bool:
        tape = shared.tape
        return (
            tape.number > shared.stored
            or (bool(tape.status) and not shared.headed)
            or now - shared.alive_at >= policy.ALIVE_S
        )

    async def _save(self, left: deque[_Shared]) -> None:
        """Write a batch of them, in one transaction."""
        now, size = trio.current_time(), 0
        saves: list[Save] = []
        batch: list[tuple[_Shared, int, bool, bool]] = []
        while left and len(saves) < BATCH_MAX and size < BATCH_BYTES_MAX:
            shared = left.popleft()
            tape = shared.tape
            state: State = "running"
            parts: list[Part] = []
            number = tape.number
            over = tape.request_id in self._over
            shared.gone = shared.gone or not tape.has(shared.stored)
            if shared.gone:
                state = "gone"  # It was too long; what is there already is no use.
            else:
                parts, number = self._parts(shared, number, BATCH_BYTES_MAX - size)
                size += sum(len(part.sealed) for part in parts)
                if number < tape.number:
                    over = False
                    left.appendleft(shared)  # The rest is for the next.
                elif over:
                    state = _state(tape)
            row = self._row(shared, state)
            saves.append(Save(row, tuple(parts), there=shared.there))
            batch.append((shared, number, bool(tape.status), over))
        saved = await self.store.save(saves)
        for shared, number, headed, over in batch:
            request_id = shared.tape.request_id
            if request_id in saved.lost:
                self._lose(shared)
                continue
            shared.there = True
            shared.stored = number
            shared.headed = headed
            shared.alive_at = now
            if over:
                self._over.pop(request_id, None)
            elif request_id in saved.stops:
                shared.tape.stop("cancelled")

    def _lose(self, shared: _Shared) -> None:
        """It is not in the store any more: swept there, or its name is another's."""
        tape = shared.tape
        if not tape.name and tape.has(0) and tape.request_id in self._ours:
            shared.there, shared.stored = False, 0  # Once more, from its beginning.
            return
        shared.there = False
        self._over.pop(tape.request_id, None)
        self._ours.pop(tape.request_id, None)
        tape.stop("lost")
        self.on_lost(tape)

    def _parts(
        self, shared: _Shared, number: int, bytes_max: int
    ) -> tuple[list[Part], int]:
        """What is new of it, about so much, and up to which item; some of it always."""
        parts: list[Part] = []
        place, size = shared.stored, 0
        while place < number and (not parts or size < bytes_max):
            items = shared.tape.items_from(place, number, PART_BYTES_MAX)
            nonce = self.entropy(sealing.NONCE_BYTES)
            sealed = sealing.seal_items(shared.key, items, place, nonce)
            parts.append(Part(place, sealed))
            place += len(items)
            size += len(sealed)
        return parts, place

    def _row(self, shared: _Shared, state: State) -> TapeRow:
        tape, now = shared.tape, self.wall()
        nonce = self.entropy(sealing.NONCE_BYTES)
        kept_s = policy.kept_s(self.keep_s, running=state == "running")
        name = ""
        if tape.name:
            name = sealing.name_for(tape.site, tape.key_id, tape.name)
        return TapeRow(
            request_id=tape.request_id,
            site=tape.site,
            name=name,
            digest=tape.digest,
            epoch=shared.epoch,
            state=state,
            head=sealing.seal_head(shared.key, sealing.head_of(tape), nonce),
            alive_ms=round(now * 1000),
            expires_ms=round((now + kept_s) * 1000),
        )

    # -- others' ---------------------------------------------------------------

    async def find(self, site: str | None, request_id: str) -> TapeRow | None:
        """Another worker's; one that has just begun may not be there at once.

        Raises StoreUnavailable.
        """
        for _ in range(FIND_TRIES):
            found = await self.store.find(site, request_id)
            if found is not None:
                return found
            await trio.sleep(POLL_S)
        return None

    def runs(self, row: TapeRow) -> bool:
        """Whether its writer still writes; one that is silent for long is dead."""
        heard_of = row.alive_ms >= (self.wall() - policy.STALE_S) * 1000
        return row.state == "running" and heard_of

    async def mirror(self, tape: Tape, row: TapeRow) -> None:
        """Fill a tape with what another worker writes, while somebody reads it.

        Raises StoreUnavailable.
        """
        epoch_key = self._cached.get(row.epoch)
        if epoch_key is None:
            epoch_key = await self.keys.find(row.epoch)
            if epoch_key is None:
                return
            self._remember(row.epoch, epoch_key)
        key = sealing.key_for(epoch_key, row.request_id)
        while not tape.stopped:
            row, parts = await self.store.parts(row.request_id, tape.number)
            head = sealing.open_head(key, row.head)
            if head is None:
                return
            if head.status and not tape.status:
                tape.ids, tape.key_id = head.ids, head.key_id
                tape.heartbeat, tape.last_word = head.heartbeat, head.last_word
                tape.begin(head.status, head.fields, streamed=head.streamed)
            for part in parts:
                items = sealing.open_items(key, part.sealed, part.number)
                if items is None or part.number != tape.number:
                    return
                await tape.add(items)
            if row.state == "gone":
                tape.forget()
                return
            if parts:
                continue
            if row.state != "running":
                tape.finish(complete=row.state == "complete")
                return
            if not self.runs(row):
                return
            await trio.sleep(POLL_S)


def _is_void(shared: _Shared) -> bool:
    return not shared.tape.worth_keeping


def _state(tape: Tape) -> State:
    """How one that is over ended, for others. One that was lost is not told of."""
    end = tape.end
    return "broken" if end is None or end == "lost" else end
