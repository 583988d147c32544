"""What one decision costs, in microseconds.

    python -m bench.routing.decision [--candidates N]

Over N scored candidates with history, prices, windows and load: the best of several
rounds, and their median. Reading the book, deciding, and counting.
"""

from __future__ import annotations

import argparse
import platform
from random import Random
from statistics import median
from time import perf_counter

from actors.ledger.messages import Price
from actors.provider.messages import Load
from actors.router import policy
from actors.router.book import Book
from actors.router.messages import (
    Deployment,
    DeploymentFacts,
    MakePlan,
    Observed,
    RoutePolicy,
    RouteTable,
    SitePolicy,
    Wishes,
)

ROUNDS = 30
DECISIONS = 500
NANOUSD = 1_000_000_000


def make_book(candidates: int, rng: Random) -> Book:
    """A route with a past."""
    deployments = tuple(Deployment(f"p{i}", "m") for i in range(candidates))
    book = Book(
        RouteTable(
            routes={"fast": deployments},
            sites={"acme": SitePolicy("acme", capped=True)},
            facts={
                one: DeploymentFacts(
                    window_tokens=128_000,
                    price=Price(rng.randrange(NANOUSD), rng.randrange(NANOUSD)),
                    capabilities=frozenset({"tools", "images"}),
                )
                for one in deployments
            },
            policies={"fast": RoutePolicy(Wishes(prefer="balanced"))},
        )
    )
    for one in deployments:
        book.opened(one.provider, Load(in_flight_max=64, in_flight=rng.randrange(64)))
        for step in range(40):
            seen = Observed(
                deployment=one,
                outcome="failed" if rng.random() < 0.05 else "ok",
                prompt_tokens=rng.randrange(100, 20_000),
                output_tokens=200,
                first_content_s=rng.uniform(0.3, 1.5),
                total_s=rng.uniform(3, 9),
                in_flight=rng.randrange(64),
            )
            book.observe(seen, 100.0 + step)
    return book


def measure(candidates: int) -> tuple[float, float]:
    """Best and median microseconds of a decision."""
    rng = Random(1)
    book = make_book(candidates, rng)
    asks = [
        MakePlan(
            site="acme",
            model="fast",
            dialect="openai-chat",
            prompt_tokens=rng.randrange(100, 20_000),
            output_tokens_max=1000,
            needs=frozenset({"tools"}),
            stream=True,
            affinity=0,
        )
        for _ in range(DECISIONS)
    ]
    took: list[float] = []
    for _ in range(ROUNDS):
        began = perf_counter()
        for ask in asks:
            policy.plan(book, ask, 141.0, rng)
        took.append((perf_counter() - began) / DECISIONS * 1e6)
    return min(took), median(took)


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=20)
    args = parser.parse_args()
    best, middle = measure(args.candidates)
    print(
        f"{args.candidates} candidates: best {best:.1f} us, median {middle:.1f} us "
        f"a decision ({platform.machine()}, Python {platform.python_version()})"
    )


if __name__ == "__main__":
    main()
