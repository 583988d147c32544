"""What each hook costs a delta, on top of an answer that is translated without any.

    python -m bench.hooks                 # a table, µs a delta
    python -m bench.hooks --json

One process, no sockets: an OpenAI stream of English prose with an address, a number
and Markdown in it, a word a delta, read and written anew as hooks need it. The figure
is the median of the rounds, less that without hooks in the same rounds. Exits 1 when
a shipped hook costs more than 5 µs a delta.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from actors.stream.hooks import coalesce, guard, markdown, meter, redact
from actors.stream.hooks.api import Make, Started
from actors.stream.hooks.pipeline import Pipeline
from actors.stream.hooks.placed import Placed
from bench.wire import REPLY, REQUEST
from wire.dialect import Target
from wire.openai_chat import CHAT
from wire.relay import Translation

ROUNDS: Final = 9
REPEATS: Final = 20
US_MAX: Final = 5.0
TEXT: Final = (
    "The **quick** brown fox, born on 2024-03-01, jumps over `the lazy dog` and writes "
    "to jane@example.org about [the matter](https://example.org/a) of 1,250 euros. It "
    "was a bright cold day in April, and the clocks were striking thirteen; nobody in "
    "the village had ever asked why they would, or called +49 30 1234567 about it.\n"
)
HOOKS: Final[dict[str, tuple[Make, Mapping[str, str]]]] = {
    "redact": (redact.make, {}),
    "guard": (guard.make, {"words": "casino,jackpot,forbidden", "do": "mask"}),
    "markdown": (markdown.make, {}),
    "meter": (meter.make, {"tokens_max": "1000000"}),
    "coalesce": (coalesce.make, {"chars_max": "200"}),
}


def chunks() -> list[bytes]:
    """An answer, a word a delta."""
    words = TEXT.split(" ") * REPEATS
    deltas = [
        b"data: "
        + msgspec.json.encode(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": {"content": f" {word}"}}],
            }
        )
        + b"\n\n"
        for word in words
    ]
    end = (
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},'
        b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    return [*deltas, end]


async def once(answer: list[bytes], names: tuple[str, ...]) -> float:
    """Seconds for one answer through these hooks."""
    placed = tuple(Placed(name, name, *HOOKS[name], box_s=1.0) for name in names)
    started = Started("r", "acme", "m", "main", "openai-chat", True)
    target = Target(model="m")
    reader = Translation(
        CHAT.stream_decoder(REQUEST, target), CHAT.stream_encoder(REQUEST, REPLY)
    )
    began = time.process_time()
    if not names:
        for data in answer:
            reader.put(*reader.take(data))
        return time.process_time() - began
    pipeline = Pipeline(placed, started, time.perf_counter)
    for data in answer:
        reading, events = reader.take(data)
        events = await pipeline.edit(events)
        if reading.done:
            events += await pipeline.rest()
        reader.put(reading, events)
    return time.process_time() - began


async def measure(rounds: int) -> dict[str, float]:
    """µs a delta, by hook; "none" is the translation alone."""
    answer = chunks()
    plans = {"none": (), **{name: (name,) for name in HOOKS}, "all": tuple(HOOKS)}
    took: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, names in plans.items():
            took[name].append(await once(answer, names) / len(answer) * 1e6)
    base = statistics.median(took["none"])
    return {
        name: base if name == "none" else statistics.median(times) - base
        for name, times in took.items()
    }


def main() -> int:
    """Print; 1 when a hook is dearer than its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    costs = trio.run(measure, args.rounds)
    if args.json:
        print(msgspec.json.encode(costs).decode())
    else:
        print("| hook | µs a delta |\n|---|---|")
        for name, cost in costs.items():
            print(f"| {name} | {cost:.2f} |")
    return int(any(costs[name] > US_MAX for name in HOOKS))


if __name__ == "__main__":
    sys.exit(main())
