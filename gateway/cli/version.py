"""`stagedoor version`."""

from __future__ import annotations

import argparse
import platform

from gateway.cli import OK, installed_version


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - as every command's
    """Print what a bug report needs."""
    print(
        f"stagedoor {installed_version()}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    return OK
