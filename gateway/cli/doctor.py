"""`stagedoor doctor`: what a start would find on this machine, and what to do.

Starts nothing, writes nothing, prints no key; can run beside a gateway. Exit code 1
when something will not work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import OK, REFUSED, complain
from gateway.cli.control import ControlError, get
from gateway.cli.source import add_config, config_path, environment, load_or_complain
from gateway.settings.config import Config
from gateway.settings.load import Source, exposed

if TYPE_CHECKING:
    from gateway.checkup import Finding


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and the form of the report."""
    add_config(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the findings as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Look, and tell."""
    import trio  # noqa: PLC0415 - slow to import

    from gateway import checkup  # noqa: PLC0415

    env = dict(environment())
    path = config_path(args, env)
    config = load_or_complain(Source(path, env))
    if isinstance(config, int):
        return config
    findings: list[Finding] = []
    if exposed(path):
        findings.append(
            checkup.Finding(
                "warn", f"{path} can be read by other users", f"chmod 600 {path}"
            )
        )
    findings += _here(config, env)
    findings += trio.run(_elsewhere, config, env)
    failing = sum(one.level == "fail" for one in findings)
    if args.json:
        rows = [{"level": o.level, "what": o.what, "todo": o.todo} for o in findings]
        json.dump({"findings": rows}, sys.stdout, indent=1)
        print()
    else:
        print("\n".join(map(str, findings)))
    if failing:
        complain(f"{failing} of {len(findings)} checks failed")
    return REFUSED if failing else OK


def _here(config: Config, env: dict[str, str]) -> Iterator[Finding]:
    from actors.vault.locked import LockedMemory  # noqa: PLC0415 - slow to import
    from gateway import checkup  # noqa: PLC0415
    from gateway.keysafe import root_key_path  # noqa: PLC0415
    from gateway.serve import files_wanted  # noqa: PLC0415

    server, vault = config.server, config.vault
    yield from checkup.settings(config, env)
    yield from checkup.state_folder(server, time.time())
    yield from checkup.clock()
    locked = LockedMemory()
    locked.take(1).wipe()  # The first page tells what the kernel gives.
    yield from checkup.memory(locked.kind)
    yield from checkup.files(server, files_wanted(server))
    yield from checkup.workers(server, _running(server.control_socket))
    if vault.kms == "local":
        path = root_key_path(vault, server.state_dir)
        yield from checkup.root_key(path, guarded=bool(vault.passphrase_env))


def _running(socket: Path) -> Sequence[Mapping[str, object]]:
    """What a gateway that runs says of its workers; nothing where none runs."""
    if not socket.is_socket():
        return ()
    try:
        found: Sequence[Mapping[str, object]] = get(socket, "/workers")["workers"]
    except ControlError:
        return ()
    return found


async def _elsewhere(config: Config, env: dict[str, str]) -> list[Finding]:
    from gateway import checkup  # noqa: PLC0415 - slow to import
    from gateway.checkup_database import database  # noqa: PLC0415
    from gateway.cli.kms import fault_of  # noqa: PLC0415
    from gateway.keysafe import root_key_path  # noqa: PLC0415

    vault = config.vault
    found = [*await checkup.names(config), *await database(config)]
    path = root_key_path(vault, config.server.state_dir)
    if vault.kms == "local" and vault.root_key_file is None and not path.exists():
        return [*found, checkup.Finding("ok", f"the first start makes {path}")]
    fault = await fault_of(config, env)
    if fault:
        todo = "see docs/security.md; without it no stored key is lent"
        return [*found, checkup.Finding("fail", f"the KMS: {fault}", todo)]
    return [*found, checkup.Finding("ok", f"the KMS {vault.kms} wraps and unwraps")]
