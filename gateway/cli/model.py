"""`stagedoor model`: see declared.py."""

from __future__ import annotations

from gateway.cli.declared import Commands

_commands = Commands("models", "model")
arguments = _commands.arguments
run = _commands.run
