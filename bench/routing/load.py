"""Arrivals: a trace of half an hour, tiled to a day with a curve.

Each tile repeats the trace with prefix blocks of its own (only the first block, the
system prompt, is shared). Gaps between requests are divided by the day's curve and by
the scenario's rate, so that bursts keep their shape.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from math import cos, pi
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

TRACES: Final = Path(__file__).with_name("traces")
HOUR_S: Final = 3600.0
SWING: Final = 0.5  # Of the day curve: half as much again at its peak,
PEAK_HOUR: Final = 14.0  # in the early afternoon.
BLOCK_TOKENS: Final = 512
HEAD_BLOCKS: Final = 3  # What the gateway hashes of a prompt.
TILE_BLOCKS: Final = 10_000_000  # More than any trace has.


class Traced(Struct, frozen=True):
    """One line of a trace."""

    at_ms: int
    prompt_tokens: int
    completion_tokens: int
    prefix_blocks: tuple[int, ...] = ()


class Arrival(Struct, frozen=True):
    """One request."""

    id: int
    at: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    affinity: int


def read_trace(path: Path) -> list[Traced]:
    """Every line of a trace; `.gz` or plain."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    decoder = msgspec.json.Decoder(Traced)
    return spread([decoder.decode(line) for line in raw.splitlines() if line])


def spread(lines: list[Traced]) -> list[Traced]:
    """Take apart what one tick of the trace's clock holds.

    `long_context` was stamped every three seconds; stretched to a day, each tick would
    be a burst of ten requests that nobody sent. They spread over the time to the next.
    """
    spaced: list[Traced] = []
    begin = 0
    while begin < len(lines):
        at = lines[begin].at_ms
        end = begin
        while end < len(lines) and lines[end].at_ms == at:
            end += 1
        until = lines[end].at_ms if end < len(lines) else at
        spaced += [
            replace(line, at_ms=at + (until - at) * place // (end - begin))
            for place, line in enumerate(lines[begin:end])
        ]
        begin = end
    return spaced


def find_trace(name: str) -> Path:
    """A path, or the name of a trace that is shipped."""
    path = Path(name)
    return path if path.exists() else TRACES / f"{name}.jsonl.gz"


def day_curve(at: float) -> float:
    """Requests at this time of day, relative to the mean."""
    return 1.0 + SWING * cos((at / HOUR_S - PEAK_HOUR) / 24.0 * 2.0 * pi)


def mean_rate(trace: list[Traced]) -> float:
    """Requests a second, over the whole trace."""
    return len(trace) / (trace[-1].at_ms / 1000.0)


def arrivals(
    trace: list[Traced], *, from_s: float, until_s: float, rate: float, seed: int
) -> Iterator[Arrival]:
    """Requests in order. The seed says where in the trace the day begins."""
    rng = Random(f"arrivals {seed}")
    at = from_s
    index = rng.randrange(len(trace))
    before = trace[index].at_ms
    tile = 0
    count = 0
    while True:
        line = trace[index]
        gap_s = max(0, line.at_ms - before) / 1000.0
        before = line.at_ms
        at += gap_s / (day_curve(at) * rate)
        if at >= until_s:
            return
        shift = tile * TILE_BLOCKS
        blocks = tuple(b + shift if b else 0 for b in line.prefix_blocks)
        head = blocks[:HEAD_BLOCKS]
        affinity = hash(head) if len(head) == HEAD_BLOCKS else 0
        yield Arrival(
            count, at, line.prompt_tokens, line.completion_tokens, blocks, affinity
        )
        count += 1
        index += 1
        if index == len(trace):
            index = 0
            tile += 1
            before = trace[0].at_ms
