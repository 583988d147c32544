"""What one process does so that others can give its answers, and it theirs.

Owns: which items are in the store already. It seals, writes all that is new at once
every `FLUSH_S`, and fills mirrors: tapes whose writer is another worker. Never: decides
who is served; that is the actor's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

import attrs
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from actors.granter.policy import epoch_at
from actors.granter.ports import EpochKeys, StoreUnavailable
from actors.tapes import sealing
from actors.tapes.ports import Part, Save, State, TapeRow, TapeStore
from actors.tapes.tape import Tape

FLUSH_S: Final = 0.25  # What a worker's death can cost of what it had said.
POLL_S: Final = 0.25  # A reader at another worker is this far behind, and `FLUSH_S`.
FIND_TRIES: Final = 5  # A second: four times what a first flush takes.
ALIVE_S: Final = 5.0  # A writer that is silent says at least this often that it lives.
STALE_S: Final = 20.0  # Then it is dead: its worker was killed, or lost the store.
PART_BYTES_MAX: Final = 256 * 1024  # A row; what a burst adds goes into several.
SWEEP_S: Final = 10.0
KEYS_CACHED_MAX: Final = 4  # Yesterday's, today's, tomorrow's: a KMS is far away.
# Of one transaction: after an outage, all that ended meanwhile waits to be written.
BATCH_MAX: Final = 256


@attrs.define
class _Shared:
    """A tape of ours, and how much of it is in the store."""

    tape: Tape
    epoch: int
    key: AESGCM = attrs.field(repr=False)
    stored: int = 0
    alive_at: float = -1e9
    headed: bool = False
    over: bool = False
    there: bool = False


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
    _ours: dict[str, _Shared] = attrs.field(factory=dict[str, _Shared])
    _cached: dict[int, bytes] = attrs.field(factory=dict[int, bytes], repr=False)
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _swept_at: float = 0.0

    def __repr__(self) -> str:
        """How many, and whether the store takes them."""
        state = "troubled" if self.troubled else "well"
        return f"<TapeSharing {len(self._ours)} {state} {self.store!r}>"

    # -- ours ------------------------------------------------------------------

    async def claim(self, tape: Tape) -> TapeRow | None:
        """Take its name; or who has it. Raises StoreUnavailable, OSError."""
        shared = await self._shared(tape)
        now = self.wall()
        row = self._row(shared, "running")
        found = await self.store.claim(row, round((now - STALE_S) * 1000))
        if found is None:
            shared.there = True
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
        shared = self._ours.get(tape.request_id)
        if shared is not None:
            shared.over = True
            self._woken.set()

    def _track(self, shared: _Shared) -> None:
        # The key took its time, and the answer may have been short.
        shared.over = shared.tape.done
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
        while True:
            if not self._ours:
                self._woken = trio.Event()
                await self._woken.wait()
            await trio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what is new. An outage is waited out: nothing of it is lost here."""
        due = (shared for shared in self._ours.values() if self._is_due(shared))
        batch = list(islice(due, BATCH_MAX))
        try:
            for shared in [one for one in batch if _is_void(one)]:
                if shared.there:
                    await self.store.release(shared.tape.request_id)
                self._ours.pop(shared.tape.request_id, None)
                batch.remove(shared)
            if batch:
                await self._save(batch)
            if self.wall() - self._swept_at >= SWEEP_S:
                self._swept_at = self.wall()
                await self.store.sweep(round(self._swept_at * 1000), self.bytes_max)
            self.troubled = False
        except (StoreUnavailable, OSError):
            self.troubled = True

    def _is_due(self, shared: _Shared) -> bool:
        tape = shared.tape
        return (
            shared.over
            or tape.number > shared.stored
            or (bool(tape.status) and not shared.headed)
            or self.wall() - shared.alive_at >= ALIVE_S
        )

    async def _save(self, batch: list[_Shared]) -> None:
        saves: list[Save] = []
        upto: list[tuple[_Shared, int, bool, bool]] = []
        for shared in batch:
            tape, over = shared.tape, shared.over
            state: State = (tape.end or "broken") if over else "running"
            parts: list[Part] = []
            number = tape.number
            if tape.has(shared.stored):
                parts = self._parts(shared, number)
            else:
                state = "gone"  # It was too long; what is there already is no use.
            saves.append(Save(self._row(shared, state), tuple(parts)))
            upto.append((shared, number, bool(tape.status), over))
        stops = await self.store.save(saves)
        for shared, number, headed, over in upto:
            shared.there = True
            shared.stored = number
            shared.headed = headed
            shared.alive_at = self.wall()
            if over:
                self._ours.pop(shared.tape.request_id, None)
            elif shared.tape.request_id in stops:
                shared.tape.stop("cancelled")

    def _parts(self, shared: _Shared, number: int) -> list[Part]:
        parts: list[Part] = []
        place = shared.stored
        while place < number:
            items = shared.tape.items_from(place, number, PART_BYTES_MAX)
            nonce = self.entropy(sealing.NONCE_BYTES)
            sealed = sealing.seal_items(shared.key, items, place, nonce)
            parts.append(Part(place, sealed))
            place += len(items)
        return parts

    def _row(self, shared: _Shared, state: State) -> TapeRow:
        tape, now = shared.tape, self.wall()
        nonce = self.entropy(sealing.NONCE_BYTES)
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
            expires_ms=round((now + self.keep_s) * 1000),
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
                tape.ids = head.ids
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
            if row.alive_ms < (self.wall() - STALE_S) * 1000:
                return
            await trio.sleep(POLL_S)


def _is_void(shared: _Shared) -> bool:
    return shared.over and not shared.tape.worth_keeping
