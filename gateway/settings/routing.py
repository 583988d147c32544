"""How candidates are chosen: what a site and what a model may say of it.

Owns: the settings of the router's wishes; `config.py` puts them into sites and models.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

from gateway.settings import values
from gateway.settings.definition import config, section, setting
from gateway.settings.errors import Unfit

Prefer = Literal["ordered", "cheapest", "fastest", "balanced"]

PREFER: Final[values.Reader[Prefer]] = values.choice(
    "ordered", "cheapest", "fastest", "balanced"
)
WEIGHT: Final = values.integer(0, 1000)
REGION: Final = values.text("region of letters, digits and -", r"[A-Za-z0-9-]{1,32}")


@attrs.frozen
class ShareOf:
    """A percentage of a model's requests for one candidate."""

    percent: int
    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.percent}% {self.provider}/{self.model}"


def _read_share(value: object) -> ShareOf:
    form = "PERCENT% PROVIDER/MODEL"
    if not isinstance(value, str):
        raise Unfit(f"is not a string; write {form}")
    percent, sign, candidate = value.partition("% ")
    provider, slash, model = candidate.strip().partition("/")
    if not (sign and slash and provider and model and percent.isdecimal()):
        raise Unfit(f"is no share; write {form}")
    if not 1 <= int(percent) <= 100:
        raise Unfit("is out of range; write 1% to 100%")
    return ShareOf(int(percent), provider, model)


SHARE: Final = values.Reader("PERCENT% PROVIDER/MODEL", _read_share)


@config
class WeightsConfig:
    """How much each part of a score counts. Only their ratio matters."""

    latency: int = setting(
        WEIGHT, default=0, doc="Predicted p95 latency, against the SLO or the quickest."
    )
    errors: int = setting(
        WEIGHT, default=0, doc="The share of recent calls that failed."
    )
    window: int = setting(
        WEIGHT, default=0, doc="Room that prompt and answer leave in the window."
    )
    price: int = setting(WEIGHT, default=0, doc="The price of this very request.")


@config
class RoutingConfig:
    """How candidates are chosen. A model's preference goes before a site's."""

    prefer: Prefer | None = setting(
        PREFER,
        default=None,
        default_doc="`ordered`, or what the other table says",
        doc="Which order: `ordered` takes candidates as they are written; `balanced`, "
        "`cheapest` and `fastest` score them for each request by latency, errors, "
        "window and price.",
    )
    latency_slo_s: float | None = setting(
        values.SECONDS,
        default=None,
        unit="seconds",
        doc="An answer that is expected within it is quick enough: what is quicker "
        "scores no better.",
    )
    request_nanousd_max: int | None = setting(
        values.MONEY,
        key="request_usd_max",
        default=None,
        unit="US dollars",
        doc="What one request may cost at the worst; candidates above it are dropped. "
        "The lower one of site and model counts.",
    )
    regions: tuple[str, ...] = setting(
        values.many(REGION),
        default=(),
        doc="Where prompts may be processed: only candidates whose provider has one "
        "of these as its data_region.",
    )
    weights: WeightsConfig = section(
        default_factory=WeightsConfig,
        doc="Weights of one's own, instead of a preset; all zero: as `prefer` says.",
    )
