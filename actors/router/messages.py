"""What the router can be asked and told: facts in, a plan out. Pure work, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actors.provider.messages import OutcomeKind
from runtime import ControlTell, Request, Tell
from wire.dialect import Need

if TYPE_CHECKING:
    from actors.router.actor import Router


class SitePolicy(Struct, frozen=True):
    """What a site may use. An empty `models` allows every model."""

    name: str
    models: tuple[str, ...] = ()
    output_tokens_max: int | None = None
    capped: bool = False  # It has a spend cap: answers must have a bound.


class Deployment(Struct, frozen=True):
    """One model at one provider, as routes name it: PROVIDER/MODEL."""

    provider: str
    model: str

    def __str__(self) -> str:
        """As in the config."""
        return f"{self.provider}/{self.model}"


class RouteTable(Struct, frozen=True):
    """Everything a plan is made from, replaced as a whole on reload."""

    routes: dict[str, tuple[Deployment, ...]]
    sites: dict[str, SitePolicy]


class MakePlan(Request["Router", "Plan | NoRoute"], frozen=True):
    """Who may serve this, in which order?"""

    site: str
    model: str
    dialect: str
    prompt_tokens: int
    output_tokens_max: int | None
    needs: frozenset[Need]
    stream: bool
    affinity: int


class Candidate(Struct, frozen=True):
    """One deployment that may serve the request."""

    deployment: Deployment
    score: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()


class Gated(Struct, frozen=True):
    """One deployment that may not, and why."""

    deployment: Deployment
    gate: str
    why: str


class Plan(Struct, frozen=True):
    """Candidates in order of preference, never empty.

    `output_tokens_max` is the bound that answers must keep; None leaves it to the
    client, which only a site without a cap may have.
    """

    model: str
    candidates: tuple[Candidate, ...]
    gated: tuple[Gated, ...]
    output_tokens_max: int | None


class NoRoute(Struct, frozen=True):
    """Nobody may serve this. `status` and `code` are the client's answer."""

    status: int
    code: str
    message: str
    param: str | None = "model"
    gated: tuple[Gated, ...] = ()
    retry_after_s: float | None = None


class Observed(Tell["Router"], frozen=True):
    """How one attempt went, for latency and error models. Losing one is harmless."""

    deployment: Deployment
    outcome: OutcomeKind
    prompt_tokens: int
    output_tokens: int
    first_content_s: float | None
    total_s: float


class ProviderChanged(ControlTell["Router"], frozen=True):
    """A provider takes calls again, or does not before `until`."""

    provider: str
    available: bool
    until: float | None


class SetRoutes(Request["Router", None], frozen=True):
    """A new table after a reload; plans made after the reply follow it."""

    table: RouteTable


class ListModels(Request["Router", "tuple[str, ...]"], frozen=True):
    """The names this site may ask for."""

    site: str
