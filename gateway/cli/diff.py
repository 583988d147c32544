"""`stagedoor diff`: see configuration.py."""

from __future__ import annotations

import argparse

from gateway.cli.configuration import arguments_of, run_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    arguments_of("diff", parser)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return run_of("diff", args)
