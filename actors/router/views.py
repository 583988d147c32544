"""What a decision is made from: plain numbers, so that a log line can replay it.

Owns: the inputs of one decision. Pure values; how they are read off the living state
is in `book.py`, what follows from them in `decide.py`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from actors.router.messages import Deployment, On, Weights, Wishes

NEVER: Final = -1.0


class View(Struct, frozen=True, gc=False, array_like=True):
    """One deployment as this request sees it, at this moment.

    Args:
        on: after which failures it may be tried.
        gate, why: the hard gate it failed, empty for none.
        shut_until: it takes no calls before (0: it does, `NEVER` -1: nobody knows).
        shut_why: which soft gate that is, and why.
        first_content_s, latency_s: predicted p95.
        error_rate: the decayed share of its calls that failed.
        fill: the share of its window that prompt and answer take.
        cost_nanousd: what this request is expected to cost; -1 is unpriced.
        in_flight, in_flight_max, queued: how busy it is.
        doubt: its numbers may be wrong: missing, or bad news that may be old. 0: no;
            1: yes, and somebody is finding out; 2: yes, and a probe is due; 3: nothing
            is known yet, so a probe is due, but no bad news speaks against it either.
    """

    deployment: Deployment
    on: On
    gate: str
    why: str
    shut_until: float
    shut_why: str
    first_content_s: float
    latency_s: float
    error_rate: float
    fill: float
    cost_nanousd: int
    in_flight: int
    in_flight_max: int
    queued: int
    cached_tokens: int
    window_tokens: int
    doubt: int


class Inputs(Struct, frozen=True):
    """Everything that a decision depends on.

    Args:
        draws: chance, as four numbers from 0 to 1: for the canary, for exploring, and
            for the two that are compared.
        may_probe: whether the share of probes allows one more, of this size.
        canaries, mirrors: (index into `views`, percent).
    """

    model: str
    wishes: Wishes
    weights: Weights | None
    output_tokens_max: int | None
    views: tuple[View, ...]
    canaries: tuple[tuple[int, float], ...]
    mirrors: tuple[tuple[int, float], ...]
    draws: tuple[float, float, float, float]
    may_probe: bool
    hedge: bool
    explain: bool
    now: float


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Inputs)


def line_of(inputs: Inputs) -> bytes:
    """The inputs as one line of a log."""
    return _encoder.encode(inputs)


def inputs_of(line: bytes) -> Inputs:
    """The inputs in such a line."""
    return _decoder.decode(line)
