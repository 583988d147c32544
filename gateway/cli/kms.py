"""`stagedoor kms`: make a root key file, or try the KMS that is configured."""

from __future__ import annotations

import argparse
import getpass
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from gateway.cli import OK, REFUSED, USAGE, complain
from gateway.cli.source import add_config, config_path, environment, load_or_complain
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.load import Source

PASSPHRASE_CHARS_MIN = 12  # Argon2id slows guessing; it cannot help a short one.


def arguments(parser: argparse.ArgumentParser) -> None:
    """The commands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = commands.add_parser(
        "init",
        help="make a root key file for the local KMS",
        description="Make a root key file for the local KMS; never overwrites one.",
        allow_abbrev=False,
    )
    init.add_argument("file", type=Path, help="where; a copy belongs elsewhere")
    init.add_argument(
        "--passphrase-env",
        default="",
        metavar="VARIABLE",
        help="guard it with the passphrase in there",
    )
    init.add_argument(
        "--passphrase", action="store_true", help="guard it with one that is asked for"
    )
    check = commands.add_parser(
        "check",
        help="wrap and unwrap a key, as a start would",
        description="Wrap and unwrap a key with the KMS that the configuration names.",
        allow_abbrev=False,
    )
    add_config(check)


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return _init(args) if args.action == "init" else _check(args)


def _init(args: argparse.Namespace) -> int:
    from actors.vault.kms.local import write_root  # noqa: PLC0415 - slow to import
    from actors.vault.locked import OS_ENTROPY, LockedMemory  # noqa: PLC0415
    from actors.vault.sealing import KEY_BYTES  # noqa: PLC0415

    passphrase = _passphrase(args)
    if isinstance(passphrase, int):
        return passphrase
    root = LockedMemory().take(KEY_BYTES)
    OS_ENTROPY.fill(root.view)
    try:
        write_root(args.file, root, passphrase=passphrase)
    except FileExistsError:
        complain(f"{args.file} is there already; what it guards would be lost")
        return REFUSED
    except OSError as error:
        complain(f"{args.file} cannot be written: {error.strerror}")
        return REFUSED
    finally:
        root.wipe()
    print(f"{args.file} is made; set vault.root_key_file, and keep a copy elsewhere")
    return OK


def _passphrase(args: argparse.Namespace) -> bytes | int | None:
    if args.passphrase_env:
        text = os.environ.get(args.passphrase_env, "")
    elif args.passphrase and sys.stdin.isatty():
        text = getpass.getpass("passphrase (not shown): ")
        if text != getpass.getpass("again: "):
            complain("the two differ")
            return USAGE
    elif args.passphrase:
        text = sys.stdin.readline().rstrip("\n")
    else:
        return None
    if len(text) < PASSPHRASE_CHARS_MIN:
        complain(f"a passphrase has at least {PASSPHRASE_CHARS_MIN} characters")
        return USAGE
    return text.encode()


def _check(args: argparse.Namespace) -> int:
    env = environment()
    config = load_or_complain(Source(config_path(args, env), env))
    if isinstance(config, int):
        return config
    import trio  # noqa: PLC0415 - slow to import

    fault = trio.run(fault_of, config, dict(env))
    if fault:
        complain(fault)
        return REFUSED
    print(f"the KMS {config.vault.kms} wraps and unwraps")
    return OK


async def fault_of(config: Config, env: dict[str, str]) -> str:
    """What is wrong with the KMS; empty when nothing is."""
    from actors.provider.transport import Transport  # noqa: PLC0415
    from actors.vault.locked import LockedMemory  # noqa: PLC0415
    from actors.vault.ports import KmsError  # noqa: PLC0415
    from gateway.keysafe import open_kms, root_key_path, try_kms  # noqa: PLC0415

    vault, state_dir = config.vault, config.server.state_dir
    if vault.kms == "local" and not root_key_path(vault, state_dir).exists():
        where = root_key_path(vault, state_dir)
        return f"there is no root key at {where} yet; the first start makes one"
    transport: Any = Transport(tls=ssl.create_default_context())
    try:
        kms = open_kms(
            vault,
            state_dir=state_dir,
            environ=env,
            wall=time.time,
            transport=lambda: transport,
            memory=LockedMemory(),
        )
        await try_kms(kms[vault.kms])
    except ConfigError as error:
        return "; ".join(str(problem) for problem in error.problems)
    except KmsError as error:
        return str(error)
    finally:
        await transport.aclose()
    return ""
