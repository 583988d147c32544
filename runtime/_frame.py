"""Who is running: the actor, the askers it works for, and the trace they share.

One context variable holds all three, so that nurseries opened inside a handler
inherit them; reading it costs 20 ns, setting it 50.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime._cell import Cell


class Frame:
    """What runs in this task. `chain` holds the cells that wait for it to finish."""

    __slots__ = ("cell", "chain", "trace")

    def __init__(
        self, cell: Cell | None, chain: tuple[Cell, ...] = (), trace: str | None = None
    ) -> None:
        self.cell = cell
        self.chain = chain
        self.trace = trace

    def __repr__(self) -> str:
        chain = " -> ".join(cell.id for cell in self.chain)
        return f"<Frame {chain or 'outside'} trace={self.trace}>"


OUTSIDE = Frame(None)
current_frame: ContextVar[Frame] = ContextVar("runtime_frame", default=OUTSIDE)


def current_trace() -> str | None:
    """The trace id of the request that is being worked on, if it has one."""
    return current_frame.get().trace


def set_trace(trace: str | None) -> None:
    """Give everything asked from this task on a trace id. No secrets: it is logged."""
    frame = current_frame.get()
    current_frame.set(Frame(frame.cell, frame.chain, trace))
