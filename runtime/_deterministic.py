"""The one place that touches trio's private scheduler, so that a seed gives an order.

trio has no public way to seed its scheduler (python-trio/trio#2675). Stock scheduling
only reverses batches; with these two names each seed gives its own replayable order.
`tests/runtime/test_deterministic.py` is the canary: it fails when they move.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from typing import Any

import trio

_SCHEDULER: Any = getattr(trio, "_core")._run  # noqa: B009, SLF001 - see the module
_NAMES = ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r")


def missing_names() -> list[str]:
    """The private names this trio no longer has; empty when all is well."""
    return [name for name in _NAMES if not hasattr(_SCHEDULER, name)]


@contextmanager
def seeded_scheduling(seed: int) -> Generator[None]:
    """Order the tasks of every batch by the seed."""
    if missing := missing_names():
        raise RuntimeError(
            f"trio {trio.__version__} has no {', '.join(missing)}; "
            f"adapt runtime/_deterministic.py"
        )
    before = {name: getattr(_SCHEDULER, name) for name in _NAMES}
    _SCHEDULER._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    _SCHEDULER._r = Random(seed)  # noqa: S311, SLF001 - an order, not a secret
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_SCHEDULER, name, value)
