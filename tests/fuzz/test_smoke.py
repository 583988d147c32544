"""Each fuzz target holds for recorded inputs and a few hundred that are near them.

`make fuzz` goes on from here, led by coverage.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, seeds

INPUTS = 150  # A second or two for the slowest target; make fuzz has a minute.


@pytest.mark.parametrize("name", TARGETS)
def test_recorded_inputs_hold(name: str) -> None:
    found = seeds(name)
    assert found, "nothing to begin with"
    for data in (*found, b""):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_near_recorded_ones_hold(name: str) -> None:
    found = [seed[:4096] for seed in seeds(name)]
    for number in range(INPUTS):
        chance = Random(f"{name} {number}")
        data = mutated(chance.choice(found), chance.choice(found), chance)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"replay with seed={name!r} {number}") from error
