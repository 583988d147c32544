"""A process that unwraps one key and keeps it: what a gateway does, to be searched.

    python -m tests.actors.vault.errand_child ENDPOINT BLOB (errand | direct)

Says "ready" when the key is in locked memory, and ends with its standard input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attrs
import trio

from actors.provider.transport import Transport
from actors.vault.kms.errands import ErrandKms
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.ports import Kms
from gateway.keysafe import open_kms
from gateway.settings.vault import VaultConfig

CONTEXT = {"tenant": "acme", "env": "prod", "kek": "acme/prod@1"}


async def unwrapped(endpoint: str, blob: str, *, errand: bool) -> LockedBytes:
    memory = LockedMemory()
    vault = attrs.evolve(
        VaultConfig(),
        kms="transit", key_id="k", endpoint=endpoint, token_env="TEST_TOKEN",
        kms_errands=errand,
    )  # fmt: skip

    transport = Transport()
    made = open_kms(
        vault,
        state_dir=Path("no-such-folder"),
        environ=os.environ,
        wall=lambda: 0.0,
        transport=lambda: transport,
        memory=memory,
    )
    kms: Kms = made["transit"]
    assert isinstance(kms, ErrandKms) == errand
    try:
        return await kms.unwrap(blob.encode(), CONTEXT)
    finally:
        await transport.aclose()


def main() -> None:
    endpoint, blob, how = sys.argv[1:]
    held = []

    async def run() -> None:
        held.append(await unwrapped(endpoint, blob, errand=how == "errand"))

    trio.run(run)
    print("ready", sum(held[0].view), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
