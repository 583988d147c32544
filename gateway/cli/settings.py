"""`stagedoor settings`: the reference of all settings."""

from __future__ import annotations

import argparse

from gateway.cli import OK
from gateway.settings.reference import FORMS, render


def arguments(parser: argparse.ArgumentParser) -> None:
    """The form of the reference."""
    parser.add_argument(
        "--format",
        choices=FORMS,
        default="text",
        help="toml prints a commented file to start from (default: text)",
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    print(render(args.format).rstrip("\n"))
    return OK
