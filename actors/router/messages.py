"""What the router can be asked and told: facts in, a plan out. Pure work, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from actors.directory.messages import KeyTerms
from actors.ledger.messages import Price, Thrift
from actors.provider.messages import Load, OutcomeKind
from runtime import ControlTell, Request, Tell
from wire.dialect import Need

if TYPE_CHECKING:
    from actors.router.actor import Router


class Weights(Struct, frozen=True):
    """How much each part of a score counts. Only their ratio matters."""

    latency: float = 0.0
    errors: float = 0.0
    window: float = 0.0
    price: float = 0.0


Prefer = Literal["ordered", "cheapest", "fastest", "balanced"]

PRESETS: Mapping[Prefer, Weights | None] = {
    "ordered": None,  # As the route is written; scores are only shown.
    "cheapest": Weights(latency=0.08, errors=0.2, window=0.02, price=0.7),
    "fastest": Weights(latency=0.75, errors=0.2, window=0.02, price=0.03),
    "balanced": Weights(latency=0.45, errors=0.25, window=0.05, price=0.25),
}


class Wishes(Struct, frozen=True):
    """What a site or a route wants of its candidates; None leaves it to the other.

    Args:
        prefer: a preset's name.
        weights: weights of one's own, instead of a preset.
        latency_slo_s: an answer that is expected within it is quick enough.
        cost_nanousd_max: what one request may cost at the worst.
        regions: where prompts may be processed; empty allows all.
    """

    prefer: Prefer | None = None
    weights: Weights | None = None
    latency_slo_s: float | None = None
    cost_nanousd_max: int | None = None
    regions: tuple[str, ...] = ()


class SitePolicy(Struct, frozen=True):
    """What a site may use. An empty `models` allows every model."""

    name: str
    models: tuple[str, ...] = ()
    models_denied: tuple[str, ...] = ()
    output_tokens_max: int | None = None
    capped: bool = False  # It has a spend cap: answers must have a bound.
    wishes: Wishes = Wishes()
    explain: bool = False  # Its answers carry x-stagedoor-route and the like.


class Deployment(Struct, frozen=True):
    """One model at one provider, as routes name it: PROVIDER/MODEL."""

    provider: str
    model: str

    def __str__(self) -> str:
        """As in the config."""
        return f"{self.provider}/{self.model}"


class DeploymentFacts(Struct, frozen=True):
    """What the catalogue or the operator says of one deployment; None is unknown.

    `capabilities` None leaves it to the upstream to refuse what it cannot do.
    The speeds are priors: a few calls later what was measured counts.
    """

    window_tokens: int | None = None
    output_tokens_max: int | None = None
    price: Price | None = None
    capabilities: frozenset[Need] | None = None
    region: str = ""
    first_content_s: float | None = None
    per_token_s: float | None = None
    prefill_tokens_per_s: float | None = None


class Share(Struct, frozen=True):
    """A percentage of a route's requests for one deployment."""

    deployment: Deployment
    percent: float


class RoutePolicy(Struct, frozen=True):
    """How one route chooses, and where else its requests may go.

    Args:
        wishes: preferences; what they leave open, the site's decide.
        canary: shares of the traffic that try a deployment first.
        mirror: shares that are sent to a deployment as well, for nobody to read.
        fallbacks: routes whose candidates come after its own.
        context_fallbacks: routes for prompts that fit none of its own.
        content_fallbacks: routes for requests that its own refuse for their content.
        hedge: whether a second candidate starts when no content came in time.
    """

    wishes: Wishes = Wishes()
    canary: tuple[Share, ...] = ()
    mirror: tuple[Share, ...] = ()
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    content_fallbacks: tuple[str, ...] = ()
    hedge: bool = False


class RouteTable(Struct, frozen=True):
    """Everything a plan is made from, replaced as a whole on reload."""

    routes: dict[str, tuple[Deployment, ...]]
    sites: dict[str, SitePolicy]
    facts: dict[Deployment, DeploymentFacts] = field(
        default_factory=dict[Deployment, DeploymentFacts]
    )
    policies: dict[str, RoutePolicy] = field(default_factory=dict[str, RoutePolicy])
    aliases: dict[str, str] = field(default_factory=dict[str, str])


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
    prompt_tokens_max: int | None = None  # A bound; None: the estimate's worst error.
    choices: int = 1
    thrift: Thrift = Thrift()  # What the site's caps ask for.
    terms: KeyTerms | None = None  # What its key may ask for, of that.


On = Literal["any", "context", "content", "mirror"]
"""After which failures a candidate may be tried: any, or only that one; or never."""


class Candidate(Struct, frozen=True):
    """One deployment that may serve the request.

    Args:
        score: higher is better, at most 1 for a perfect one.
        parts: each part of the score, from 0 to 1.
        on: after which failures it may be tried.
        first_content_s: when its first content is expected at the latest (p95).
        in_flight: calls that the deployment had when this was decided.
        cached_tokens: prompt tokens that its cache is expected to hold.
        cost_nanousd: what the request is expected to cost here; None is unpriced.
        probe: chosen to learn something: it is unknown, or was ill lately.
        full: no call could begin there at once when this was decided.
    """

    deployment: Deployment
    score: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    on: On = "any"
    first_content_s: float = 0.0
    latency_s: float = 0.0
    in_flight: int = 0
    cached_tokens: int = 0
    cost_nanousd: int | None = None
    window_tokens: int | None = None
    probe: bool = False
    full: bool = False


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
    mirror: Candidate | None = None
    hedge: bool = False
    explain: bool = False


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
    cached_tokens: int = 0
    in_flight: int = 0
    affinity: int = 0
    model: str = ""
    streamed: bool = True


class ProviderChanged(ControlTell["Router"], frozen=True):
    """A provider takes calls again, or does not before `until`.

    `load` is how busy it is: shared memory that the provider writes.
    """

    provider: str
    available: bool
    until: float | None
    load: Load | None = None
    why: str = ""


class Explain(Request["Router", "Explained"], frozen=True):
    """Decide as for this request, but change nothing and say everything."""

    ask: MakePlan


class Explained(Struct, frozen=True):
    """A decision with its inputs; `line` replays it."""

    plan: Plan | NoRoute
    line: bytes


class Preview(Request["Router", "tuple[Foreseen, ...]"], frozen=True):
    """Decide each of these as things are, and as if the site had this policy.

    Nothing changes. Ask for some dozens at once: each costs what a plan costs, twice.
    """

    asks: tuple[MakePlan, ...]
    site: SitePolicy


class Foreseen(Struct, frozen=True):
    """Where one request would go; None where nobody may serve it."""

    before: Candidate | None
    after: Candidate | None


class Heard(Struct, frozen=True):
    """When a deployment was last heard of, and how its provider is."""

    at: float
    shut: bool = False
    probation: bool = False


class ReportHeard(Request["Router", "dict[Deployment, Heard]"], frozen=True):
    """Who has been heard of when, for whoever asks the silent ones."""


class SetRoutes(Request["Router", None], frozen=True):
    """A new table after a reload; plans made after the reply follow it."""

    table: RouteTable


class ListModels(Request["Router", "tuple[str, ...]"], frozen=True):
    """The names this site may ask for, and with this key."""

    site: str
    terms: KeyTerms | None = None
