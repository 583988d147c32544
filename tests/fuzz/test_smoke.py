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


FOUND: dict[str, tuple[str, bytes]] = {
    "a field that nobody knows is not UTF-8": (
        "request-chat",
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"\xe1":1}',
    ),
    "an error beside a chunk is not UTF-8": (
        "answer-mistral",
        b'{"id":"x","choices":[],"error":{"\xe1":1}}',
    ),
    "an item of a stream is not UTF-8": (
        "stream-responses",
        b'data: {"type":"response.output_item.added","item":{"\xd9":1}}\n\n',
    ),
    "base64 is not ASCII": (
        "request-gemini",
        (
            b'{"contents":[{"parts":[{"inlineData":{"mimeType":"text/plain",'
            b'"data":"\xc3\xa9"}}]}]}'
        ),
    ),
    "text after a choice's end": (
        "stream-completions",
        (
            b'data: {"id":"x","choices":[{"text":"a","finish_reason":"stop"}]}\n\n'
            b'data: {"id":"x","choices":[{"text":"b"}]}\n\n'
        ),
    ),
    "usage before anything else": (
        "stream-mistral",
        b'data: {"usage":{"total_tokens":3,"prompt_tokens":2}}\n\n',
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found_holds(name: str) -> None:
    target, data = FOUND[name]
    TARGETS[target](data)
