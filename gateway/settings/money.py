"""What may be spent: caps, ladders, and limits of each key.

Owns: the settings of the ledger; `config.py` puts them into sites and beside them.
Reading a time zone looks it up in the system's (or tzdata's) files, and nothing else.
"""

from __future__ import annotations

from typing import Final, Literal
from zoneinfo import ZoneInfo

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.errors import Unfit
from gateway.settings.server import COUNT, Found

SpendWindow = Literal["day", "week", "month", "total"]
CapKind = Literal["soft", "degrade", "hard"]
CapPer = Literal["all", "site", "key", "model", "provider"]

SPEND_WINDOW: Final[values.Reader[SpendWindow]] = values.choice(
    "day", "week", "month", "total"
)
CAP_KIND: Final[values.Reader[CapKind]] = values.choice("soft", "degrade", "hard")
CAP_PER: Final[values.Reader[CapPer]] = values.choice(
    "all", "site", "key", "model", "provider"
)
CAP_NAME: Final = values.text(
    "name of letters, digits and . _ -, at most 63", r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)
COVERED: Final = values.text(
    "name or pattern with * and ?", r"[A-Za-z0-9._:/@*?-]{1,192}"
)
RUNGS_MAX: Final = 16  # One request may be planned once for each.
PERCENT: Final = values.integer(1, 100)
RATE: Final = values.integer(1, 1_000_000_000)
TOKENS: Final = values.integer(1, 100_000_000)
RUNG_MODEL: Final = values.text(
    "model name of letters, digits and . _ : / @ -, at most 128",
    r"([A-Za-z0-9][A-Za-z0-9._:/@-]{0,127})?",
)


def _read_zone(value: object) -> str:
    form = "Europe/Berlin, America/New_York or UTC"
    if not isinstance(value, str):
        raise Unfit(f"is not a string; write {form}")
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # A path, a folder; unknown.
        raise Unfit(f"is no time zone of this system; write {form}") from None
    return value


ZONE: Final = values.Reader("time zone", _read_zone)


@config
class RungConfig:
    """One step of a site's ladder: what a request does without, nearer a cap."""

    name: str = setting(
        CAP_NAME, doc="Its name in x-stagedoor-degraded, records and metrics."
    )
    from_percent: int = setting(
        PERCENT,
        doc="The step is in force once so much of any hard or degrade cap is used. "
        "Lower steps stay in force.",
    )
    prefer_cheap: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether price decides among the candidates, whatever the route prefers.",
    )
    output_nanousd_per_mtok_max: int | None = setting(
        values.MONEY,
        key="output_usd_per_mtok_max",
        default=None,
        unit="US dollars",
        doc="Only candidates whose output costs at most this a million tokens.",
    )
    output_tokens_max: int | None = setting(
        TOKENS,
        default=None,
        unit="tokens",
        doc="Answers are at most this long. A ladder with such a step also gives an "
        "answer as long as there is money for, rather than none.",
    )
    model: str = setting(
        RUNG_MODEL,
        default="",
        doc="The model that serves instead of the one asked for: a free local one.",
    )
    refuse: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether requests are refused from here on, though the cap has room.",
    )

    def problems(self) -> Found:
        """A step does something, and a refusal nothing else."""
        does = (
            self.prefer_cheap
            or self.output_nanousd_per_mtok_max is not None
            or self.output_tokens_max is not None
            or bool(self.model)
        )
        if self.refuse and does:
            yield "refuse", "leaves nothing for the step's other settings to do"
        if not self.refuse and not does:
            yield "name", "is a step that changes nothing; say what it does"


@config
class KeyRatesConfig:
    """What each key of a site is held to, on top of the site's own limits."""

    in_flight_max: int | None = setting(
        COUNT, default=None, doc="The most requests it may have running at once."
    )
    requests_per_minute_max: int | None = setting(
        RATE,
        default=None,
        doc="The most requests a minute; a minute's worth may come at once.",
    )
    tokens_per_minute_max: int | None = setting(
        RATE,
        default=None,
        doc="The most tokens a minute, prompts and answers together. An answer counts "
        "when it has come; what it was over is waited for.",
    )


@config
class CapConfig:
    """How much may be spent in a window, by whom, on what. Any number of them."""

    name: str = setting(CAP_NAME, doc="Its name in refusals, alerts and metrics.")
    spend_max_nanousd: int = setting(
        values.MONEY,
        key="spend_usd_max",
        unit="US dollars",
        doc="What may be spent in a window.",
    )
    kind: CapKind = setting(
        CAP_KIND,
        default="hard",
        doc="When it is reached: `soft` tells operators (log and metric), once a "
        "window. `degrade` puts the site's whole ladder in force, short of refusing. "
        "`hard` refuses, so that it is never exceeded.",
    )
    window: SpendWindow = setting(
        SPEND_WINDOW, default="month", doc="The time after which it begins anew."
    )
    rolling: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether the window is the last 24 hours, 7 or 30 days, instead of the "
        "calendar's.",
    )
    time_zone: str = setting(
        ZONE,
        default="UTC",
        doc="Whose midnight a calendar window begins at (a week's on Monday).",
    )
    per: CapPer = setting(
        CAP_PER,
        default="site",
        doc="Whether each site, key, model or provider has this much, or `all` that "
        "is covered together.",
    )
    sites: tuple[str, ...] = setting(
        values.many(COVERED), default=(), doc="The sites it covers; none are all."
    )
    keys: tuple[str, ...] = setting(
        values.many(COVERED),
        default=(),
        doc="The keys it covers, as logs name them: SITE:PREFIX; none are all.",
    )
    models: tuple[str, ...] = setting(
        values.many(COVERED),
        default=(),
        doc="The models it covers, as clients ask for them; none are all.",
    )
    providers: tuple[str, ...] = setting(
        values.many(COVERED), default=(), doc="The providers it covers; none are all."
    )

    def problems(self) -> Found:
        """What never begins anew cannot roll."""
        if self.rolling and self.window == "total":
            yield "rolling", "has no meaning with window = total"
        if self.rolling and self.time_zone != "UTC":
            yield "time_zone", "has no meaning for a rolling window"
