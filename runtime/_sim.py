"""The seam where a simulation disturbs the kernel. Nothing here in production.

`run_sim` puts an injector into the trio run; a system opened in that run takes it.
"""

from __future__ import annotations

from typing import Protocol

import trio

from runtime.errors import RuntimeFault


class InjectedCrash(RuntimeFault):
    """A crash that a simulation asked for."""


class Strike(Protocol):
    """What is done to one message."""

    @property
    def stall_s(self) -> float:
        """How long to wait before handling."""
        ...

    @property
    def cancel_after_s(self) -> float | None:
        """After how long a temporary actor is cancelled, if it is."""
        ...

    @property
    def crashes(self) -> bool:
        """Whether the actor crashes instead of handling."""
        ...


class Injector(Protocol):
    """Decides, by seed, what goes wrong."""

    def strike(self, actor: str, kind: type) -> Strike | None:
        """What to do to this message, if anything."""
        ...

    def may_inline(self, actor: str, kind: type) -> bool:
        """Whether an ask that could run inline does; else it takes the queue."""
        ...


_injector: trio.lowlevel.RunVar[Injector | None] = trio.lowlevel.RunVar(
    "stagedoor_injector", default=None
)


def injector_here() -> Injector | None:
    """The injector of this trio run."""
    return _injector.get()


def set_injector(injector: Injector | None) -> None:
    """Disturb all systems opened in this run from now on."""
    _injector.set(injector)
