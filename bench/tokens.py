"""What counting costs: a kilobyte of text, the loop's longest wait, loading.

    python -m bench.tokens [--json]

"All in" is from the client's raw body to a count for one deployment. "Held" is the
longest that the loop's own thread worked on a prompt before another task had its turn:
in processor time, because on a busy machine the clock shows other processes' slices (4
or 8 ms, with nothing being counted at all). "Took" is by the clock. All are the best of
the rounds: whatever else runs only adds to them.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import time
from collections.abc import Callable
from typing import Any

import trio

from actors.router.messages import Deployment
from actors.router.tokens.counter import Counter, load
from actors.router.tokens.families import FAMILIES
from actors.router.tokens.tally import Yardstick
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect
from wire.openai_chat import CHAT

GPT = Deployment("openai", "gpt-5")
WORDS = (
    "the stream owns one request from its plan to the record and asks actors whose "
    "handlers never wait, so that a slow provider cannot hold anybody else up. "
)
ROUNDS = 15
SEED = 7


def body(words: str) -> bytes:
    """A request of one message, as either dialect has it."""
    message = {"role": "user", "content": words}
    given = {"model": "fast", "max_tokens": 100, "messages": [message]}
    return json.dumps(given, ensure_ascii=False).encode()


def nasty() -> dict[str, str]:
    """Texts that cost more than their share."""
    rng = random.Random(SEED)
    size = 200_000
    return {
        "English": (WORDS * (size // len(WORDS) + 1))[:size],
        "one letter": "a" * size,
        "random letters": "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=size)),
        "random Chinese": "".join(
            chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(size)
        ),
        "emoji": "".join(chr(rng.randint(0x1F300, 0x1F6FF)) for _ in range(size)),
        "blanks": " " * size,
    }


async def all_in(counter: Counter, dialect: ClientDialect, data: bytes) -> float:
    """Microseconds for one count; the best round, for others use the machine too."""
    count = 200
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            tallied = await counter.tally(dialect, data, {}, "fast")
            assert tallied is not None
            counter.count(tallied, GPT)
        rounds.append((time.perf_counter() - began) / count * 1e6)
    return min(rounds)


async def held(counter: Counter, data: bytes) -> tuple[float, float]:
    """The loop's longest work in one go, and the whole count, in milliseconds."""
    gaps: list[float] = []
    done = False

    async def watch() -> None:
        last = time.thread_time()
        while not done:
            await trio.lowlevel.checkpoint()
            now = time.thread_time()
            gaps.append(now - last)
            last = now

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for _ in range(4):  # Tasks of one round run in any order: let it begin.
            await trio.lowlevel.checkpoint()
        began = time.perf_counter()
        await counter.tally(CHAT, data, {}, "fast")
        took = time.perf_counter() - began
        for _ in range(4):
            await trio.lowlevel.checkpoint()
        done = True
    return max(gaps) * 1e3, took * 1e3


async def measure() -> dict[str, Any]:
    """Everything."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    encodings = load(["o200k_base"])
    loading_s = time.perf_counter() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    yardsticks = {GPT: Yardstick(FAMILIES["o200k-5"])}
    counter = Counter(encodings, yardsticks, {"fast": (GPT,)})
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "load_o200k_ms": round(loading_s * 1e3),
        "load_o200k_mb": grown // 1024,
    }
    for size in (1024, 4096, 8192):
        data = body((WORDS * (size // len(WORDS) + 1))[:size])
        found[f"chat_{size}_us"] = round(await all_in(counter, CHAT, data), 1)
        found[f"messages_{size}_us"] = round(await all_in(counter, MESSAGES, data), 1)
    for name, words in nasty().items():
        for label, text in (("8192", words[:8192]), ("200000", words)):
            data = body(text)
            rounds = [await held(counter, data) for _ in range(ROUNDS)]
            key = f"{name.replace(' ', '_')}_{label}"
            found[f"{key}_held_ms"] = round(min(r[0] for r in rounds), 2)
            found[f"{key}_took_ms"] = round(min(r[1] for r in rounds), 2)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.tokens")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    found = trio.run(measure)
    show: Callable[[], None] = lambda: print(json.dumps(found, indent=2))  # noqa: E731
    if args.json:
        show()
        return
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value}")


if __name__ == "__main__":
    main()
