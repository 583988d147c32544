"""What other settings of a site would do: its last requests, decided anew.

Each recorded request is put to the router twice: under the settings that are in force,
and under those that are tried. Both are decided as things are now (health, latency,
limits), so that what differs is what the settings make of it. Nothing is sent.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from actors.archivist.ports import Filter, Summary
from actors.router.messages import Candidate, Foreseen, MakePlan, SitePolicy
from actors.router.messages import Preview as Ask
from gateway import assembly
from gateway.admin.office import Office, needed
from gateway.admin.operation import Call, Operation
from gateway.admin.problems import FieldError, Problem
from gateway.admin.resources.declared import (
    KINDS,
    SettingsOf,
    find,
    merged,
)
from gateway.settings.build import Builder
from gateway.settings.config import Config
from gateway.settings.sites import SiteConfig

LAST_MAX: Final = 1000
AT_ONCE: Final = 25  # Decided in about 2 ms: nobody's request waits longer for a plan.
REACH_MS: Final = 400 * 86_400_000
SITE: Final = next(kind for kind in KINDS if kind.kind == "site")


class PreviewWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings to be tried (a merge patch on those in force)."""

    settings: SettingsOf
    last: Annotated[
        int,
        msgspec.Meta(ge=1, le=LAST_MAX, description="How many recorded requests."),
    ] = LAST_MAX


class Going(msgspec.Struct, frozen=True):
    """How many requests one deployment served, and would serve."""

    deployment: str
    """Empty: nobody."""
    recorded: int
    before: int
    """As things are now, under the settings in force."""
    after: int
    """Under those that are tried."""


class Expected(msgspec.Struct, frozen=True):
    """What the requests would come to."""

    refused: int
    cost_nanousd: int
    unpriced: int
    first_content_ms: int | None
    """The mean of what is expected at the 95th percentile."""


class Preview(msgspec.Struct, frozen=True):
    """What settings would do to the last requests."""

    requests: int
    moved: int
    """Those that would go elsewhere."""
    deployments: tuple[Going, ...]
    before: Expected
    after: Expected


def operations(office: Office) -> tuple[Operation, ...]:
    """The preview."""

    async def preview(call: Call) -> Preview:
        asked: PreviewWanted = call.body
        site = await find(office, SITE, call.param("site"), call)
        config = office.config
        policy = policy_of(config, site.name, merged(site.settings, asked.settings))
        records = needed(office.books.records, "a preview")
        now_ms = office.now_ms()
        wanted = Filter(max(0, now_ms - REACH_MS), now_ms + 1, site=site.name)
        found = await records.search(wanted, None, asked.last)
        foreseen: list[Foreseen] = []
        for start in range(0, len(found), AT_ONCE):
            asks = tuple(_ask(one) for one in found[start : start + AT_ONCE])
            foreseen += await office.gate.router.ask(Ask(asks, policy))
        return told(found, foreseen)

    return (
        Operation(
            "previewSite", "POST", "/sites/{site}/preview", "sites",
            "What other settings would do to a site's last requests", preview,
            doc="Decided anew, as things are now; nothing is sent and nothing changes.",
            body=PreviewWanted, gives=Preview, looks=True,
        ),
    )  # fmt: skip


def policy_of(config: Config, name: str, settings: dict[str, Any]) -> SitePolicy:
    """The policy that settings make. Raises Problem."""
    builder = Builder(Config, "", Path(), ())
    inherited = {"server.deadlines": config.server.deadlines}
    document = {**settings, "name": name}
    made: SiteConfig | None = builder.build_one(SiteConfig, document, "", inherited)
    if made is None or builder.problems:
        errors = tuple(
            FieldError(f"$.settings.{one.where.lstrip('.')}", one.what)
            for one in builder.problems
        )
        said = "; ".join(f"{one.path}: {one.message}" for one in errors)
        raise Problem("invalid", said[:500], errors=errors)
    return assembly.site_policy(config, made)


def told(found: list[Summary], foreseen: list[Foreseen]) -> Preview:
    """The sums."""
    recorded = Counter(_recorded(one) for one in found)
    before = Counter(_at(one.before) for one in foreseen)
    after = Counter(_at(one.after) for one in foreseen)
    return Preview(
        requests=len(found),
        moved=sum(_at(one.before) != _at(one.after) for one in foreseen),
        deployments=tuple(
            Going(name, recorded[name], before[name], after[name])
            for name in sorted(recorded.keys() | before.keys() | after.keys())
        ),
        before=_expected([one.before for one in foreseen]),
        after=_expected([one.after for one in foreseen]),
    )


def _expected(chosen: list[Candidate | None]) -> Expected:
    served = [one for one in chosen if one is not None]
    costs = [one.cost_nanousd for one in served if one.cost_nanousd is not None]
    firsts = [one.first_content_s for one in served]
    return Expected(
        refused=len(chosen) - len(served),
        cost_nanousd=sum(costs),
        unpriced=len(served) - len(costs),
        first_content_ms=round(sum(firsts) / len(firsts) * 1000) if firsts else None,
    )


def _ask(one: Summary) -> MakePlan:
    return MakePlan(
        site=one.site,
        model=one.model,
        dialect=one.dialect,
        prompt_tokens=max(1, one.prompt_tokens),
        output_tokens_max=None,
        needs=frozenset(),
        stream=one.streamed,
        affinity=0,
    )


def _recorded(one: Summary) -> str:
    return f"{one.provider}/{one.upstream_model}" if one.provider else ""


def _at(one: Candidate | None) -> str:
    return "" if one is None else str(one.deployment)
