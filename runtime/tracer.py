"""What an observer may be told. Names, types and times only; never a message.

Absent by default and then free: the kernel tests one attribute. A tracer that
raises is reported once and switched off; observing must not change what happens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from runtime.message import Exit

log = logging.getLogger("runtime")


class Tracer(Protocol):
    """Called in the order things happen. Must not block; never awaited."""

    def sent(self, to: str, message: type, sender: str | None) -> None:
        """Report a message on its way; `sender` is None outside of actors."""

    def received(self, id: str, message: type) -> None:  # noqa: A002
        """Report a message taken from the mailbox, or run inline."""

    def handled(self, id: str, message: type, seconds: float) -> None:  # noqa: A002
        """Report the end of a handler, however it ended."""

    def shed(self, id: str, message: type, why: str) -> None:  # noqa: A002
        """Report a message not handled: full, dropped, down, gone, expired."""

    def exited(self, id: str, incarnation: int, why: Exit) -> None:  # noqa: A002
        """Report the end of an incarnation."""


class GuardedTracer:
    """A tracer that cannot hurt the kernel."""

    def __init__(self, inner: Tracer, on_broken: Callable[[], None]) -> None:
        self._inner = inner
        self._on_broken = on_broken

    def __repr__(self) -> str:
        return f"<GuardedTracer of {type(self._inner).__name__}>"

    def _call(self, name: str, *args: Any) -> None:
        try:
            getattr(self._inner, name)(*args)
        except Exception as exc:  # noqa: BLE001 - whatever it raises, we go on
            self._on_broken()
            log.error(  # noqa: TRY400 - its text may hold values
                "tracer %s raised %s in %s() and was switched off",
                type(self._inner).__name__,
                type(exc).__name__,
                name,
            )

    def sent(self, to: str, message: type, sender: str | None) -> None:
        """See `Tracer`."""
        self._call("sent", to, message, sender)

    def received(self, id: str, message: type) -> None:  # noqa: A002
        """See `Tracer`."""
        self._call("received", id, message)

    def handled(self, id: str, message: type, seconds: float) -> None:  # noqa: A002
        """See `Tracer`."""
        self._call("handled", id, message, seconds)

    def shed(self, id: str, message: type, why: str) -> None:  # noqa: A002
        """See `Tracer`."""
        self._call("shed", id, message, why)

    def exited(self, id: str, incarnation: int, why: Exit) -> None:  # noqa: A002
        """See `Tracer`."""
        self._call("exited", id, incarnation, why)
