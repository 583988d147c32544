"""The routes as decisions read them: each deployment's numbers, taken apart once.

Owns: what a table's words become when it is taken. The book keeps them, and tells them
what it hears. Pure.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.provider.messages import Load
from actors.router.health import Known
from actors.router.messages import Deployment, DeploymentFacts, On, RoutePolicy

EXPECTED_TOKENS: Final = 256.0  # An answer's length until the first ones have come.

NO_FACTS: Final = DeploymentFacts()


class Option:
    """One deployment of the table: its facts, its knowledge, its provider's load."""

    __slots__ = (
        "cached_price",
        "dearest_price",
        "deployment",
        "facts",
        "known",
        "load",
        "number",
        "output_price",
        "price",
        "window",
    )

    def __init__(
        self, number: int, deployment: Deployment, known: Known, load: Load
    ) -> None:
        self.number = number
        self.deployment = deployment
        self.known = known
        self.load = load
        self.set_facts(NO_FACTS)

    def __repr__(self) -> str:
        return f"<Option {self.deployment} {self.known!r}>"

    def set_facts(self, facts: DeploymentFacts) -> None:
        """Prices apart, as a decision needs them."""
        self.facts = facts
        self.window = facts.window_tokens or 0
        price = facts.price
        self.price = -1 if price is None else price.input_nanousd_per_mtok
        self.cached_price = self.price
        self.output_price = 0
        self.dearest_price = 0
        if price is not None:
            self.output_price = price.output_nanousd_per_mtok
            cached = price.cached_input_nanousd_per_mtok
            write = price.cache_write_nanousd_per_mtok
            if cached is not None:
                self.cached_price = cached
            self.dearest_price = max(self.price, cached or 0, write or 0)


@attrs.define
class Route:
    """One model name, ready to be planned."""

    name: str
    policy: RoutePolicy
    options: tuple[tuple[On, Option], ...]
    canaries: tuple[tuple[int, float], ...]
    mirrors: tuple[tuple[int, float], ...]
    expected_tokens: float = EXPECTED_TOKENS
    typical_tokens: float = 0.0
    probes_saved: float = 1.0


def worst_nanousd(
    option: Option, prompt_max: int, output_max: int | None
) -> int | None:
    """The most that it can cost here; None is unpriced."""
    if option.price < 0:
        return None
    nanousd = prompt_max * option.dearest_price
    nanousd += (output_max or 0) * option.output_price
    return -(-nanousd // 1_000_000)
