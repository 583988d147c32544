"""The command `stagedoor`.

Owns: the commands' names, their one-line help, and the exit codes. Each command's
module is imported when that command is asked for, so that `stagedoor --help` and
completion stay quick.

Exit codes:
    0  done
    1  the configuration is wrong; every problem is on standard error
    2  wrong usage, or the file cannot be read
    3  no gateway answers on the control socket, or the address cannot be bound
    130  interrupted
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol, cast

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

# The command, its module in this package, and what it does.
COMMANDS: Final = {
    "serve": ("serve", "serve what the configuration says"),
    "demo": ("demo", "serve at once, with the keys at hand or a simulated model"),
    "check": ("check", "say what is wrong with a configuration, or what it serves"),
    "tree": ("tree", "show the actors of a running gateway"),
    "top": ("top", "watch a running gateway: traffic, latency, money, providers"),
    "models": ("models", "list the models of a running gateway"),
    "catalogue": ("catalogue", "show, compare and refresh what is known of models"),
    "tenant": ("tenant", "tenants: list, add, set, remove"),
    "site": ("site", "sites: list, add, set, remove"),
    "key": ("key", "API keys of sites: make, rotate, revoke"),
    "allow": ("allow", "which models a site may ask for"),
    "model": ("model", "what clients ask for, and what serves it: list, add, set"),
    "provider": ("provider", "how providers are; pause, resume, test, add, set"),
    "cap": ("cap", "what may be spent, and what of it is used up"),
    "usage": ("usage", "requests, tokens and money, summed up"),
    "token": ("token", "credentials for the admin API"),
    "export": ("export", "what was added, as TOML"),
    "import": ("import_", "bring about what a TOML file says"),
    "diff": ("diff", "what an import would change; exits with 1 where something"),
    "vault": ("vault", "keep provider keys: add, list, rotate, revoke"),
    "explain": ("explain", "say which candidate would serve a request, and why"),
    "audit": ("audit", "verify, prove, follow or export the audit log"),
    "kms": ("kms", "make a root key file, or try the KMS"),
    "doctor": ("doctor", "look at this machine as a start would, and say what to do"),
    "settings": ("settings", "print the reference of all settings"),
    "version": ("version", "print the version"),
}

_EXITS: Final = """exit codes:
  0 done   1 wrong configuration   2 wrong usage or unreadable file
  3 no gateway answers, or the address cannot be bound   130 interrupted
"""


class Command(Protocol):
    """What the module of a command holds."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to its parser."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        words = ["version"]
    asked = words[0] if words else ""
    parser = argparse.ArgumentParser(
        prog="stagedoor",
        description="An LLM inference gateway of supervised actors.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    command: Command | None = None
    for name, (module, summary) in COMMANDS.items():
        below = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=_EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # A flag added later must not change a script's.
        )
        if name == asked:
            command = load(module)
            command.arguments(below)
    args = parser.parse_args(words)
    assert command is not None  # The parser exits where no command is named.
    try:
        return command.run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `stagedoor settings | head`: nobody reads on, which is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def load(module: str) -> Command:
    """The module of a command."""
    return cast("Command", importlib.import_module(f"gateway.cli.{module}"))


def complain(message: object) -> None:
    """Say what is wrong, where errors go."""
    print(f"stagedoor: {message}", file=sys.stderr)


def installed_version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import version  # noqa: PLC0415 - slow to import

    return version("stagedoor")
