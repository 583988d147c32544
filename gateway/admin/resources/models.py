"""Models as clients know them, and what the router would do with a request."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec

from actors.ledger.messages import ReportCaps
from actors.provider.messages import Vitals
from actors.router.explain import explain
from actors.router.messages import Explain, MakePlan
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.paging import Page, Paged, page_of
from gateway.admin.problems import Problem
from gateway.settings.config import ModelConfig
from wire.dialect import Need

Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
NEEDS: frozenset[Need] = frozenset(get_args(Need))


class Candidate(msgspec.Struct, frozen=True):
    """One deployment of a route."""

    provider: str
    model: str
    state: str


class ModelState(msgspec.Struct, frozen=True):
    """What clients ask for, and what serves it."""

    name: str
    aliases: tuple[str, ...]
    route: tuple[Candidate, ...]
    canary: tuple[str, ...]
    mirror: tuple[str, ...]
    hedge: bool
    fallbacks: tuple[str, ...]
    context_fallbacks: tuple[str, ...]
    content_fallbacks: tuple[str, ...]
    prefer: str | None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, as far as it matters to the router. It holds no prompt."""

    model: Annotated[
        str,
        msgspec.Meta(
            min_length=1, max_length=128, description="What a client would ask for."
        ),
    ]
    site: Annotated[
        str, msgspec.Meta(max_length=128, description="Whose request it would be.")
    ]
    dialect: Annotated[str, msgspec.Meta(max_length=64)] = "openai_chat"
    prompt_tokens: Tokens = 1
    output_tokens_max: Tokens | None = None
    needs: Annotated[
        str,
        msgspec.Meta(
            max_length=200,
            description="What it needs, comma-separated: " + ", ".join(sorted(NEEDS)),
        ),
    ] = ""


class Score(msgspec.Struct, frozen=True):
    """A candidate, with how it was scored."""

    deployment: str
    score: float
    parts: dict[str, float]
    after: str
    latency_p95_s: float
    first_content_p95_s: float
    in_flight: int
    cached_tokens: int
    cost_usd: str
    probe: bool


class Dropped(msgspec.Struct, frozen=True):
    """A candidate that may not serve, and why."""

    deployment: str
    gate: str
    why: str


class Refusal(msgspec.Struct, frozen=True):
    """What the client would be told where nobody may serve."""

    status: int
    code: str
    message: str


class Explanation(msgspec.Struct, frozen=True):
    """A decision with all that it was made from. `inputs` replays it."""

    model: str
    candidates: tuple[Score, ...]
    gated: tuple[Dropped, ...]
    output_tokens_max: int | None = None
    refused: Refusal | None = None
    prefer: str = "ordered"
    weights: dict[str, float] | None = None
    inputs: str = ""


class Cap(msgspec.Struct, frozen=True):
    """A sum of a cap as the ledger has it now, in the process that answers."""

    name: str
    subject: str
    """The site, key, model or provider that this sum is kept for; empty for all."""
    kind: str
    window: str
    rolling: bool
    time_zone: str
    per: str
    sites: tuple[str, ...]
    keys: tuple[str, ...]
    models: tuple[str, ...]
    providers: tuple[str, ...]
    spend_nanousd_max: int
    spent_nanousd: int
    held_nanousd: int
    resets_at_s: float | None


def _model(one: ModelConfig, vitals: dict[str, Vitals | str]) -> ModelState:
    return ModelState(
        name=one.name,
        aliases=one.aliases,
        route=tuple(
            Candidate(step.provider, step.model, state_of(vitals.get(step.provider)))
            for step in one.route
        ),
        canary=tuple(str(share) for share in one.canary),
        mirror=tuple(str(share) for share in one.mirror),
        hedge=one.hedge,
        fallbacks=one.fallbacks,
        context_fallbacks=one.context_fallbacks,
        content_fallbacks=one.content_fallbacks,
        prefer=one.routing.prefer,
    )


def state_of(vitals: Vitals | str | None) -> str:
    """One word for a provider's state."""
    if isinstance(vitals, Vitals):
        return "paused" if vitals.paused else vitals.state
    return "open" if vitals == "down" else (vitals or "unknown")


def operations(office: Office) -> tuple[Operation, ...]:
    """All about models and routes."""

    async def list_models(call: Call) -> Page[ModelState]:
        page = page_of("models", office.config.models, call.query, lambda m: m.name)
        vitals = await office.gate.vitals()
        return Page(tuple(_model(one, vitals) for one in page.items), page.next_cursor)

    async def get_model(call: Call) -> ModelState:
        name = call.param("model")
        for one in office.config.models:
            if one.name == name:
                return _model(one, await office.gate.vitals())
        raise Problem("not-found", f"there is no model {name}")

    async def explain_route(call: Call) -> Explanation:
        asked: Question = call.query
        site = office.own_site(call, asked.site)
        needs = set(filter(None, asked.needs.split(",")))
        if not needs <= NEEDS:
            known = ", ".join(sorted(NEEDS))
            raise Problem("bad-request", f"needs: some of {known}, comma-separated")
        found = await office.gate.router.ask(
            Explain(
                MakePlan(
                    site=site,
                    model=asked.model,
                    dialect=asked.dialect,
                    prompt_tokens=asked.prompt_tokens,
                    output_tokens_max=asked.output_tokens_max,
                    needs=frozenset(need for need in NEEDS if need in needs),
                    stream=True,
                    affinity=0,
                )
            )
        )
        return msgspec.convert(explain(found), type=Explanation)

    async def list_caps(call: Call) -> Page[Cap]:
        found = [
            Cap(
                name=one.cap.name,
                subject=one.subject,
                kind=one.cap.kind,
                window=one.cap.window,
                rolling=one.cap.rolling,
                time_zone=one.cap.zone,
                per=one.cap.per,
                sites=one.cap.sites,
                keys=one.cap.keys,
                models=one.cap.models,
                providers=one.cap.providers,
                spend_nanousd_max=one.cap.nanousd_max,
                spent_nanousd=one.spent_nanousd,
                held_nanousd=one.held_nanousd,
                resets_at_s=one.resets_at_s,
            )
            for one in await office.gate.ledger.ask(ReportCaps())
        ]
        return page_of(
            "spending", found, call.query, lambda one: f"{one.name}\0{one.subject}"
        )

    return (
        Operation(
            "listModelStates", "GET", "/model-states", "models",
            "Models, and how what serves them is",
            list_models, reach="operator", query=Paged, gives=Page[ModelState],
        ),
        Operation(
            "getModelState", "GET", "/models/{model}/state", "models",
            "How what serves one model is", get_model,
            reach="operator", gives=ModelState,
        ),
        Operation(
            "explainRoute", "GET", "/explain", "routing",
            "Which candidate would serve a request, and why", explain_route,
            doc="Nothing is sent and nothing changes.",
            query=Question, gives=Explanation,
        ),
        Operation(
            "listSpending", "GET", "/spending", "caps",
            "What of each cap is used up", list_caps,
            doc="Sums of caps that something was spent under.",
            reach="operator", query=Paged, gives=Page[Cap],
        ),
    )  # fmt: skip
