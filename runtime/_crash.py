"""A crash as an operator may see it: where and what type, never a value.

Exception texts, locals and message fields can hold prompts and keys, so a report is
made of names and line numbers. Only errors of this package, whose texts are ours,
keep their text.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import trio

from runtime.errors import RuntimeFault
from runtime.message import CrashReport

# A screen: the innermost frames say where, the rest says how one got there.
TRACE_LINES_MAX = 40
# Causes of causes; more is a loop or noise.
CAUSES_MAX = 8


def sole_leaf(exc: BaseException) -> BaseException:
    """The one exception inside nested groups of one, or `exc` itself.

    A nursery inside a handler wraps what it raises: `raise Tripped` must still trip.
    """
    leaf = exc
    while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    return exc if isinstance(leaf, BaseExceptionGroup) else leaf


def is_cancelled(exc: BaseException) -> bool:
    """Whether this is, or holds, trio's word that a scope further out is cancelled."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(trio.Cancelled) is not None
    return isinstance(exc, trio.Cancelled)


def strip(exc: BaseException) -> None:
    """Forget the frames, so that an exit keeps no actor's locals alive."""
    exc.__traceback__ = None
    exc.__context__ = None
    exc.__cause__ = None


def report(
    exc: BaseException, actor: str, incarnation: int, message: type | None, at_s: float
) -> CrashReport:
    """Flatten an exception to what may be shown."""
    leaf = sole_leaf(exc)
    return CrashReport(
        actor=actor,
        incarnation=incarnation,
        message=message.__name__ if message is not None else None,
        error=type(leaf).__name__,
        trace=tuple(_lines(leaf))[-TRACE_LINES_MAX:],
        at_s=at_s,
        note=str(leaf) if isinstance(leaf, RuntimeFault) else "",
    )


def _lines(exc: BaseException, depth: int = 0) -> Iterator[str]:
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if cause is not None and depth < CAUSES_MAX:
        yield from _lines(cause, depth + 1)
        yield f"-- then {type(exc).__name__}"
    yield from _frames(exc.__traceback__)
    if isinstance(exc, BaseExceptionGroup) and depth < CAUSES_MAX:
        for number, part in enumerate(exc.exceptions, 1):
            yield f"-- part {number} of {len(exc.exceptions)}: {type(part).__name__}"
            yield from _lines(part, depth + 1)


def _frames(tb: TracebackType | None) -> Iterator[str]:
    while tb is not None:
        code = tb.tb_frame.f_code
        module = tb.tb_frame.f_globals.get("__name__", "?")
        yield f"{module}.{code.co_qualname}:{tb.tb_lineno}"
        tb = tb.tb_next
