"""A KMS that is asked by another process, so that its answer never was in this one.

A KMS answers with a key as base64, and what reads it leaves copies in freed memory, as
the socket's bytes and the decoded text. Here each call is an errand: a new process
asks, writes the key from its own locked memory to a pipe, and ends; this one reads it
straight into locked memory. It costs a start of Python a call (docs/decisions/0013), so
it is for who fears readers of a live process, and has few tenants.

The errand's own side is gateway/kms_errand.py; `Errand` and `Told` are the protocol:

    request    Errand as JSON, then the end of the pipe
    answer     1 byte ("K", or "E" with a fault), 2 bytes length, that many bytes (the
               wrapped key, or Told as JSON), then the key: 32 bytes, or none
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
import trio

from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.ports import (
    ContextMismatch,
    KmsContext,
    KmsDenied,
    KmsError,
    KmsUnavailable,
    Wrapped,
)
from actors.vault.sealing import KEY_BYTES

ERRAND_S: Final = 15.0  # A start of Python on a busy machine, and a KMS that is slow.
ERRANDS_MAX: Final = 4  # Side by side: each is a process of some 60 MB.
HEAD_BYTES: Final = 3
ERRAND_BYTES_MAX: Final = 64 * 1024

Op: TypeAlias = Literal["generate", "unwrap", "rewrap", "health"]
Kind: TypeAlias = Literal["denied", "mismatch", "unavailable"]

KEY: Final = b"K"
FAULT: Final = b"E"
_FAULTS: Final[dict[Kind, type[KmsError]]] = {
    "denied": KmsDenied,
    "mismatch": ContextMismatch,
    "unavailable": KmsUnavailable,
}


class Errand(msgspec.Struct, frozen=True):
    """What is asked of which KMS. `settings` are those of `[vault]` that name it."""

    settings: dict[str, str]
    op: Op
    context: dict[str, str]
    blob: bytes = b""
    new_context: dict[str, str] | None = None


class Told(msgspec.Struct, frozen=True):
    """Why there is no key."""

    kind: Kind
    why: str


class ErrandKms:
    """A KMS behind a process. Implements `Kms`."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, str],
        *,
        command: Sequence[str],
        environ: Mapping[str, str],
        memory: LockedMemory,
    ) -> None:
        self._name = name
        self._settings = dict(settings)
        self._command = tuple(command)
        self._environ = environ
        self._memory = memory
        self._turns = trio.CapacityLimiter(ERRANDS_MAX)

    def __repr__(self) -> str:
        return f"<ErrandKms {self._name} under way={self._turns.borrowed_tokens}>"

    @property
    def name(self) -> str:
        """See Kms."""
        return self._name

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        blob, key = await self._run("generate", context)
        return Wrapped(self._kept(key), blob)

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        _, key = await self._run("unwrap", context, blob)
        return self._kept(key)

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms."""
        wrapped, _ = await self._run("rewrap", context, blob, new_context)
        return wrapped

    async def health(self) -> None:
        """See Kms."""
        await self._run("health", {})

    def _kept(self, key: LockedBytes | None) -> LockedBytes:
        if key is None:
            raise KmsUnavailable(self._name, "answered no key")
        return key

    async def _run(
        self,
        op: Op,
        context: KmsContext,
        blob: bytes = b"",
        new_context: KmsContext | None = None,
    ) -> tuple[bytes, LockedBytes | None]:
        new = dict(new_context) if new_context is not None else None
        errand = Errand(self._settings, op, dict(context), blob, new)
        wants_key = op in ("generate", "unwrap")
        why = f"was not answered within {ERRAND_S:g} s"
        try:
            async with self._turns:
                with trio.fail_after(ERRAND_S):
                    return await self._sent(
                        msgspec.json.encode(errand), wants_key=wants_key
                    )
        except trio.TooSlowError:
            pass
        except (OSError, trio.BrokenResourceError, EOFError):
            why = "could not be asked: its errand ended without an answer"
        raise KmsUnavailable(self._name, why)

    async def _sent(
        self, errand: bytes, *, wants_key: bool
    ) -> tuple[bytes, LockedBytes | None]:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        process: trio.Process | None = None
        try:
            os.set_blocking(ours, False)
            try:
                process = await trio.lowlevel.open_process(
                    list(self._command),
                    stdin=subprocess.PIPE,
                    stdout=theirs,
                    env=dict(self._environ),
                )
            finally:
                os.close(theirs)
            assert process.stdin is not None
            async with process.stdin as line:
                await line.send_all(errand)
            return await self._answer(ours, wants_key=wants_key)
        finally:
            os.close(ours)
            if process is not None:
                await _ended(process)

    async def _answer(
        self, fd: int, *, wants_key: bool
    ) -> tuple[bytes, LockedBytes | None]:
        head = await _read(fd, bytearray(HEAD_BYTES))
        data = await _read(fd, bytearray(int.from_bytes(head[1:], "big")))
        if bytes(head[:1]) != KEY:
            told = msgspec.json.decode(data, type=Told)
            raise _FAULTS[told.kind](self._name, told.why)
        if not wants_key:
            return bytes(data), None
        key = self._memory.take(KEY_BYTES)
        try:
            await _read(fd, key.view)
        except BaseException:
            key.wipe()
            raise
        return bytes(data), key


async def _read(fd: int, into: bytearray | memoryview) -> bytearray | memoryview:
    """Fill a buffer, with no copy on the way. Raises EOFError."""
    view, done = memoryview(into), 0
    while done < len(view):
        await trio.lowlevel.wait_readable(fd)
        found = os.readv(fd, [view[done:]])
        if not found:
            raise EOFError
        done += found
    return into


async def _ended(process: trio.Process) -> None:
    """It is over in any case; a cancelled call leaves no process behind."""
    with trio.CancelScope(shield=True):
        process.kill()
        await process.wait()
