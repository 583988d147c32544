"""The collector's settings: fewer looks, and none at what was there at the start."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Node:
    """An object in a cycle with itself."""

    def __init__(self) -> None:
        self.other: object = self


def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    collector.settle()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == collector.YOUNG_MAX


def test_cycles_that_come_later_are_still_collected() -> None:
    """Off would be quicker, and a leak."""
    collector.settle()
    assert gc.isenabled()
    gone = weakref.ref(Node())
    gc.collect(0)
    assert gone() is None
