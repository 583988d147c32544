"""All that `stagedoor doctor` looks at, and the same at a start, within a budget.

A start does not wait for it: what must not be is refused by the start itself, and this
says what works and is weaker than it should be, in one line, once requests are served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from actors.vault.locked import LockedMemory
from gateway import checkup
from gateway.checkup import Finding
from gateway.checkup_anchors import anchors
from gateway.checkup_database import database
from gateway.checkup_services import certificate, tracing
from gateway.cli.control import ControlError, get
from gateway.cli.kms import fault_of
from gateway.keysafe import root_key_path
from gateway.settings.config import Config
from gateway.settings.server import ServerConfig

BUDGET_S: Final = 10.0  # Two names that do not resolve, one after the other.
FILES_PER_CONNECTION: Final = 2  # A client's socket and an upstream's.
FILES_SPARE: Final = 256  # Idle upstream connections, logs, records, the database.


def files_wanted(server: ServerConfig) -> int:
    """How many files the configured connections need."""
    return server.limits.connections_max * FILES_PER_CONNECTION + FILES_SPARE


def here(
    config: Config,
    env: Mapping[str, str],
    told: Sequence[Mapping[str, object]] = (),
) -> Iterator[Finding]:
    """What this machine says of itself; reads files, and may wait for a disk.

    `told` is what a gateway that runs says of its workers.
    """
    server, vault = config.server, config.vault
    yield from checkup.settings(config, env)
    yield from checkup.state_folder(server, time.time())
    yield from checkup.clock()
    locked = LockedMemory()
    locked.take(1).wipe()  # The first page tells what the kernel gives.
    yield from checkup.memory(locked.kind, checkup.lockable())
    yield from checkup.files(server, files_wanted(server))
    yield from certificate(server, time.time())
    yield from checkup.workers(server, told)
    if vault.kms == "local":
        path = root_key_path(vault, server.state_dir)
        yield from checkup.root_key(path, guarded=bool(vault.passphrase_env))


async def elsewhere(config: Config, env: Mapping[str, str]) -> list[Finding]:
    """What others say: resolver, database, KMS, collector, bucket."""
    vault = config.vault
    found = [*await checkup.names(config), *await database(config)]
    found += await tracing(config.tracing)
    found += await anchors(config.server.audit.bucket, env)
    path = root_key_path(vault, config.server.state_dir)
    if vault.kms == "local" and vault.root_key_file is None and not path.exists():
        return [*found, Finding("ok", f"the first start makes {path}")]
    fault = await fault_of(config, dict(env))
    if fault:
        todo = "see docs/security.md; without it no stored key is lent"
        return [*found, Finding("fail", f"the KMS: {fault}", todo)]
    return [*found, Finding("ok", f"the KMS {vault.kms} wraps and unwraps")]


async def at_start(
    config: Config,
    env: Mapping[str, str],
    say: Callable[[str], None],
    budget_s: float = BUDGET_S,
) -> None:
    """Look at everything beside the first requests, and say in one line how it is."""
    found: list[Finding] | None = None
    try:
        with trio.move_on_after(budget_s):
            own = await trio.to_thread.run_sync(
                lambda: list(here(config, env)), abandon_on_cancel=True
            )
            found = [*own, *await elsewhere(config, env)]
    except Exception as error:  # noqa: BLE001 - a look must not end what is looked at
        say(f"self-test: {type(error).__name__}; run `stagedoor doctor`")
        return
    say(summary(found, budget_s))


def summary(found: Sequence[Finding] | None, budget_s: float = BUDGET_S) -> str:
    """One line of what was found; None: it took too long."""
    if found is None:
        return (
            f"self-test: not done within {budget_s:g} s; `stagedoor doctor` says "
            "what does not answer"
        )
    failed = [one for one in found if one.level == "fail"]
    warned = [one for one in found if one.level == "warn"]
    line = f"self-test: {len(found) - len(failed) - len(warned)} ok"
    if warned:
        line += f", {len(warned)} to look at"
    if failed:
        line += f", {len(failed)} failed ({failed[0].what})"
    return f"{line}; `stagedoor doctor` says more" if failed or warned else line


def running(socket: Path) -> Sequence[Mapping[str, object]]:
    """What a gateway that runs says of its workers; nothing where none runs."""
    if not socket.is_socket():
        return ()
    try:
        found: Sequence[Mapping[str, object]] = get(socket, "/workers")["workers"]
    except ControlError:
        return ()
    return found
