"""Memory for keys: not swapped, not dumped, and where the kernel can, not readable.

Owns: the pages, their wiping. `memfd_secret` takes them out of the kernel's own map,
so that neither another process (root included) nor a core dump reads them; elsewhere
`mlock` and `MADV_DONTDUMP` keep them from swap and dumps. `kind` says which it is.

Never: gives a key a second place. Slots are wiped as they are given back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from typing import Final, Literal

import attrs

Kind = Literal["memfd_secret", "mlock", "unlocked"]

MEMFD_SECRET_CALL: Final = 447  # The same number on every architecture since 5.14.
PR_SET_DUMPABLE: Final = 4
SLOT_BYTES_MIN: Final = 64
SLOT_BYTES_MAX: Final = 16 * 1024  # The longest key there is; see sealing.
CHUNK_BYTES: Final = 64 * 1024
LOCKED_BYTES_MAX: Final = 4 * 2**20  # Half of the usual limit; 8,000 leases at once.

RANDOM_BYTES_MAX: Final = 256  # Up to here getrandom is never cut short.

_libc: Final = ctypes.CDLL(None, use_errno=True)


class LockedMemoryFull(Exception):
    """Every slot is in use: more keys are on loan than there is locked memory for."""

    def __init__(self) -> None:
        super().__init__(
            f"{LOCKED_BYTES_MAX} bytes of locked memory are in use; leases must end "
            "before another begins"
        )


class LockedBytes:
    """One slot. `view` is the key's only place; `wipe` ends it."""

    __slots__ = ("_memory", "_slot", "view")

    def __init__(self, memory: LockedMemory, slot: memoryview, size: int) -> None:
        self._memory = memory
        self._slot: memoryview | None = slot
        self.view = slot[:size]

    def __repr__(self) -> str:
        state = "wiped" if self._slot is None else f"{len(self.view)} bytes"
        return f"<LockedBytes {state}>"

    def __reduce__(self) -> str:
        raise TypeError("locked memory cannot be pickled or copied")

    def wipe(self) -> None:
        """Zero the slot and give it back. The second time does nothing."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot[:] = bytes(len(slot))
            # Released, so that whoever kept the view errs instead of reading the
            # slot's next key.
            self.view.release()
            self.view = slot[:0]
            self._memory.give_back(slot)


class LockedMemory:
    """Slots of locked pages, by size; grown a chunk at a time up to a bound."""

    def __init__(
        self, *, bytes_max: int = LOCKED_BYTES_MAX, secret: bool = True
    ) -> None:
        self._bytes_max = bytes_max
        self._secret = secret
        self._chunks: list[mmap.mmap] = []
        self._free: dict[int, list[memoryview]] = {}
        self._tail = memoryview(b"")
        self.kind: Kind = "memfd_secret" if secret else "mlock"

    def __repr__(self) -> str:
        return f"<LockedMemory {self.kind} {self.held_bytes}/{self._bytes_max} bytes>"

    @property
    def held_bytes(self) -> int:
        """What is mapped, in use or not."""
        return len(self._chunks) * CHUNK_BYTES

    def take(self, size: int) -> LockedBytes:
        """A slot of zeros for `size` bytes. Raises LockedMemoryFull, ValueError."""
        if size > SLOT_BYTES_MAX:
            raise ValueError(f"{size} bytes are no key; at most {SLOT_BYTES_MAX}")
        slot_bytes = max(SLOT_BYTES_MIN, 1 << (size - 1).bit_length() if size else 0)
        free = self._free.get(slot_bytes)
        slot = free.pop() if free else self._carve(slot_bytes)
        return LockedBytes(self, slot, size)

    def hold(self, value: bytes | bytearray | memoryview) -> LockedBytes:
        """A slot with a copy of `value`; whoever has the original wipes it."""
        taken = self.take(len(value))
        taken.view[:] = value
        return taken

    def give_back(self, slot: memoryview) -> None:
        """For LockedBytes alone: a wiped slot."""
        self._free.setdefault(len(slot), []).append(slot)

    def _carve(self, slot_bytes: int) -> memoryview:
        if len(self._tail) < slot_bytes:
            if (len(self._chunks) + 1) * CHUNK_BYTES > self._bytes_max:
                raise LockedMemoryFull
            # What is left of the old chunk serves small keys.
            for at in range(0, len(self._tail), SLOT_BYTES_MIN):
                self.give_back(self._tail[at : at + SLOT_BYTES_MIN])
            self._chunks.append(self._map())
            self._tail = memoryview(self._chunks[-1])
        slot, self._tail = self._tail[:slot_bytes], self._tail[slot_bytes:]
        return slot

    def _map(self) -> mmap.mmap:
        if self._secret:
            pages = _secret_pages()
            if pages is not None:
                return pages
            self._secret = False
        pages, locked = _plain_pages()
        self.kind = "mlock" if locked else "unlocked"
        return pages


def _secret_pages() -> mmap.mmap | None:
    fd = _libc.syscall(MEMFD_SECRET_CALL, 0)
    if fd < 0:  # An older kernel, or one that was told not to.
        return None
    try:
        os.set_inheritable(fd, False)
        os.ftruncate(fd, CHUNK_BYTES)
        pages = mmap.mmap(fd, CHUNK_BYTES)
        pages[0] = 0  # Beyond the limit on locked memory the mapping itself fails.
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    return pages


def _plain_pages() -> tuple[mmap.mmap, bool]:
    pages = mmap.mmap(-1, CHUNK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for advice in ("MADV_DONTDUMP", "MADV_DONTFORK"):
        if hasattr(mmap, advice):
            pages.madvise(getattr(mmap, advice))
    start = ctypes.c_char.from_buffer(pages)
    address = ctypes.c_void_p(ctypes.addressof(start))
    locked = _libc.mlock(address, ctypes.c_size_t(CHUNK_BYTES)) == 0
    return pages, locked


class OsEntropy:
    """The system's random numbers; keys are written where they stay."""

    def __call__(self, size: int, /) -> bytes:
        """For nonces and names."""
        return os.urandom(size)

    def fill(self, buffer: memoryview) -> None:
        """For keys: the kernel writes into the buffer, and nowhere else."""
        start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        size = len(buffer)
        assert size <= RANDOM_BYTES_MAX
        if _libc.getrandom(ctypes.c_void_p(start), ctypes.c_size_t(size), 0) != size:
            raise OSError(ctypes.get_errno(), "the system gives no random numbers")


OS_ENTROPY: Final = OsEntropy()


@attrs.frozen
class Hardening:
    """What the process was forbidden, for `doctor` and the log."""

    dumpable: bool
    core_bytes_max: int


def harden_process() -> Hardening:
    """No core dumps, and no reading of this process by others of the same user."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    refused = _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    return Hardening(dumpable=refused, core_bytes_max=0)
