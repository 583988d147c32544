"""A second candidate for a request whose first one is late. Opt-in, within a budget.

Both calls take their own permit and hold; whoever has content first answers, and the
other is cancelled and pays what it cost. Owns nothing beyond the race. Never decides
whether to hedge: the route and the budget do.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from actors.stream.attempt import Attempt
from actors.stream.relay import Sink
from wire.events import Fault

LOST = "another candidate answered first"


async def race(
    first: Attempt,
    second: Callable[[], Attempt | None],
    *,
    late_s: float,
    sink: Sink,
    on_winner: Callable[[Attempt], None],
) -> dict[Attempt, Fault | None]:
    """Run the first; after `late_s` without news of it, the second beside it.

    `on_winner` hears who answers, before a byte of the answer goes out. Returns what
    each that ran came to; the winner, if there is one, owns the sink.
    """
    results: dict[Attempt, Fault | None] = {}
    running = [first]
    news = trio.Event()

    def claimed(winner: object) -> None:
        news.set()
        for attempt in running:
            if attempt is winner:
                on_winner(attempt)
            elif attempt.record is None:
                attempt.end(LOST)

    async def run(attempt: Attempt) -> None:
        results[attempt] = await attempt.run()
        news.set()

    sink.on_claim = claimed
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, first)
            with trio.move_on_after(late_s):
                await news.wait()
            other = None if news.is_set() else second()
            if other is not None:
                running.append(other)
                nursery.start_soon(run, other)
    finally:
        sink.on_claim = None
    return results
