"""Which deployments may serve a request, in which order. Pure.

The decision is four steps, each in a file of its own:

    book.py    facts    what is known, as plain numbers of this request (views)
    gates.py   gates    who is dropped, and why
    score.py   score    how good the rest are, in four parts
    choose.py  choose   who is first; the rest of the ranking is the fallback chain

`plan` makes a decision and remembers that it was made; `explain` only looks.
"""

from collections.abc import Sequence
from random import Random

from actors.router.book import Book
from actors.router.decide import decide, replay
from actors.router.messages import (
    Candidate,
    Explained,
    Foreseen,
    MakePlan,
    NoRoute,
    Plan,
    SitePolicy,
)
from actors.router.views import line_of
from actors.router.wishes import allowed, output_bound

__all__ = ["allowed", "explain", "output_bound", "plan", "preview", "replay"]


def plan(book: Book, ask: MakePlan, now: float, rng: Random) -> Plan | NoRoute:
    """Plan one request.

    Args:
        book: routes, sites and what was learned; counts the plan.
        ask: the facts of the request.
        now: the runtime's clock, in seconds.
        rng: chance.
    """
    inputs = book.inputs(ask, now, rng)
    if inputs is None:
        return unknown(ask.model)
    made = decide(inputs)
    first = made.candidates[0] if isinstance(made, Plan) else None
    book.planned(
        inputs.model,
        ask.prompt_tokens,
        probe=first.deployment if first is not None and first.probe else None,
        now=now,
    )
    return made


def explain(book: Book, ask: MakePlan, now: float, rng: Random) -> Explained:
    """What `plan` would say now, and the line that replays it."""
    inputs = book.inputs(ask, now, rng)
    if inputs is None:
        return Explained(unknown(ask.model), b"")
    return Explained(decide(inputs), line_of(inputs))


def preview(
    book: Book, asks: Sequence[MakePlan], site: SitePolicy, now: float, rng: Random
) -> tuple[Foreseen, ...]:
    """Where requests would go, as things are and under another policy of their site."""
    before = [_first(book, ask, now, rng) for ask in asks]
    with book.as_if(site):
        after = [_first(book, ask, now, rng) for ask in asks]
    return tuple(map(Foreseen, before, after))


def _first(book: Book, ask: MakePlan, now: float, rng: Random) -> Candidate | None:
    inputs = book.inputs(ask, now, rng)
    made = None if inputs is None else decide(inputs)
    return made.candidates[0] if isinstance(made, Plan) else None


def unknown(model: str) -> NoRoute:
    """Nothing of that name, or not for this site: the same words for both."""
    return NoRoute(
        status=404,
        code="model_not_found",
        message=(
            f"The model {model[:128]!r} does not exist or this key may not use it. "
            "GET /v1/models lists the models it may use."
        ),
    )
