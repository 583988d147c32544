"""Hooks that see, and may edit, an answer on its way to the client.

    class Shout(Hook):
        def on_delta(self, text: str, part: Part) -> str:
            return text.upper()

This is what plugins import. A package offers hooks as entry points of the group
`stagedoor.hooks`, each a `Make`; docs/hooks.md shows one whole.
"""

from actors.stream.hooks.api import (
    Finished,
    Halt,
    Hook,
    Make,
    Part,
    PartKind,
    Started,
)

__all__ = ["Finished", "Halt", "Hook", "Make", "Part", "PartKind", "Started"]
