"""One call to a KMS in a process of its own: `python -m gateway.kms_errand`.

Reads an `Errand` from standard input, asks, and writes the answer to standard output,
the key straight from locked memory (actors/vault/kms/errands.py has the protocol). Then
it ends, and with it all memory in which the KMS's answer ever was.
"""

from __future__ import annotations

import os
import ssl
import sys
import time

import attrs
import msgspec
import trio

from actors.provider.transport import Transport
from actors.vault.kms.errands import (
    ERRAND_BYTES_MAX,
    FAULT,
    KEY,
    Errand,
    Kind,
    Told,
)
from actors.vault.locked import LockedBytes, LockedMemory, harden_process
from actors.vault.ports import ContextMismatch, Kms, KmsDenied, KmsError
from gateway import keysafe
from gateway.settings.errors import ConfigError
from gateway.settings.vault import VaultConfig


def main() -> None:
    """Run the errand; a fault is an answer, too."""
    harden_process()
    try:
        given = sys.stdin.buffer.read(ERRAND_BYTES_MAX)
        errand = msgspec.json.decode(given, type=Errand)
        data, key = trio.run(_run, errand)
    except KmsError as error:
        told = Told(_kind(error), error.why)
        _write(FAULT, msgspec.json.encode(told), None)
    except ConfigError as error:
        told = Told("denied", str(error.problems[0]))
        _write(FAULT, msgspec.json.encode(told), None)
    else:
        _write(KEY, data, key)


async def _run(errand: Errand) -> tuple[bytes, LockedBytes | None]:
    transport = Transport(tls=ssl.create_default_context())
    memory = LockedMemory()
    vault = attrs.evolve(VaultConfig(), **errand.settings)  # type: ignore[misc]
    kms = keysafe.remote(vault, os.environ, memory, time.time, transport)
    try:
        return await _asked(kms, errand)
    finally:
        with trio.CancelScope(shield=True):
            await transport.aclose()


async def _asked(kms: Kms, errand: Errand) -> tuple[bytes, LockedBytes | None]:
    match errand.op:
        case "generate":
            wrapped = await kms.generate(errand.context)
            return wrapped.blob, wrapped.key
        case "unwrap":
            return b"", await kms.unwrap(errand.blob, errand.context)
        case "rewrap":
            new = errand.new_context or {}
            return await kms.rewrap(errand.blob, errand.context, new), None
        case "health":
            await kms.health()
            return b"", None


def _kind(error: KmsError) -> Kind:
    if isinstance(error, KmsDenied):
        return "denied"
    return "mismatch" if isinstance(error, ContextMismatch) else "unavailable"


def _write(word: bytes, data: bytes, key: LockedBytes | None) -> None:
    """A pipe takes this much at once, and nobody else writes to it."""
    os.write(1, word + len(data).to_bytes(2, "big") + data)
    if key is not None:
        os.write(1, key.view)
        key.wipe()


if __name__ == "__main__":
    main()
