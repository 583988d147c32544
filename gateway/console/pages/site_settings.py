"""A site's settings: limits, lists, routes, ladder; what they would do; two at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.console import forms, objects
from gateway.console.app import Console, Page
from gateway.console.forms import Section
from gateway.console.pages.sites import TABS, site_of
from gateway.console.visit import Refused, Shown, Visit, at

SECTIONS = {one.key: one for one in (*objects.SITE, objects.STATE)}


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    path = "/sites/{site}/settings"
    return (
        Page("GET", path, settings),
        Page("POST", f"{path}/ladder", save_ladder, role="admin"),
        Page("POST", f"{path}/{{section}}", save, role="admin"),
        Page("POST", "/sites/{site}/preview/{section}", preview, role="admin"),
    )


async def settings(visit: Visit) -> Shown:
    """All of them, in sections that are saved by themselves."""
    return await _settings(visit, 200)


async def save(visit: Visit) -> Shown:
    """One section."""
    section = SECTIONS.get(visit.params["section"])
    if section is None:
        return visit.show("error.html", 404, title="There is no such page")
    patch = forms.patch_of(section.fields, visit.form)
    refused = await _patched(visit, patch)
    if refused is not None:
        return await _settings(visit, refused.status, section.key, refused)
    path = f"/console{at('sites', visit.params['site'])}"
    back = path if section is objects.STATE else f"{path}/settings"
    return visit.go(back, done="saved")


async def save_ladder(visit: Visit) -> Shown:
    """The steps, lowest first; a row without a name and a percentage is none."""
    refused = await _patched(visit, {"ladder": typed_ladder(visit.form) or None})
    if refused is not None:
        return await _settings(visit, refused.status, "ladder", refused)
    path = f"/console{at('sites', visit.params['site'])}/settings"
    return visit.go(path, done="saved")


async def preview(visit: Visit) -> Shown:
    """What the latest requests would have come to, as a part."""
    section = SECTIONS.get(visit.params["section"])
    if section is None:
        return visit.show("error.html", 404, title="There is no such page")
    body = {"settings": forms.patch_of(section.fields, visit.form)}
    try:
        found = await visit.ask(
            "POST", at("sites", visit.params["site"], "preview"), body=body
        )
    except Refused as refused:
        return visit.show("_refused.html", refused.status, refused=refused)
    return visit.show("_preview.html", preview=found)


async def _patched(visit: Visit, patch: Mapping[str, Any]) -> Refused | None:
    try:
        await visit.ask(
            "PATCH",
            at("sites", visit.params["site"]),
            body={"settings": patch},
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        if refused.status == 404:
            raise
        return refused
    return None


async def _settings(
    visit: Visit, status: int, at_fault: str = "", refused: Refused | None = None
) -> Shown:
    one, version = await site_of(visit)
    stale = refused is not None and refused.code == "stale"
    problems = {} if refused is None else forms.problems_of(refused.problem)
    made = [
        (
            section,
            _fields(
                section,
                one["settings"],
                visit,
                at_fault,
                problems=problems,
                told=refused is not None and refused.shows_stored,
            ),
        )
        for section in objects.SITE
    ]
    ladder = (
        typed_ladder(visit.form)
        if at_fault == "ladder"
        else one["settings"].get("ladder", [])
    )
    return visit.show(
        "site_settings.html",
        status,
        one=one,
        version=version,
        tabs=TABS,
        tab="/settings",
        sections=made,
        rungs=rungs(ladder),
        at_fault=at_fault,
        refused=refused,
        stale=stale,
        problems=problems,
        unsure=bool(visit.query.get("unsure")),
    )


def _fields(
    section: Section,
    settings: Mapping[str, Any],
    visit: Visit,
    at_fault: str,
    *,
    problems: Mapping[str, str],
    told: bool,
) -> list[forms.Shown]:
    if section.key != at_fault:
        return forms.shown(section.fields, settings)
    return forms.shown(
        section.fields, settings, typed=visit.form, problems=problems, told=told
    )


def rungs(ladder: Sequence[Mapping[str, Any]]) -> list[list[forms.Shown]]:
    """Rows of a ladder's form, with some to spare."""
    spare: list[Mapping[str, Any]] = [{} for _ in range(objects.RUNGS_SPARE)]
    return [forms.shown(objects.RUNG, rung) for rung in (*ladder, *spare)]


def typed_ladder(form: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """The steps of the form; their fields are called `NAME-ROW`."""
    steps: list[dict[str, Any]] = []
    for row in forms.rows_of("name", form):
        typed = {
            field.path: form.get(f"{field.path}-{row}", [""]) for field in objects.RUNG
        }
        step = forms.without_nothing(forms.patch_of(objects.RUNG, typed))
        if step:
            steps.append(step)
    return sorted(steps, key=_height)


def _height(step: Mapping[str, Any]) -> int:
    percent = step.get("from_percent", 0)
    return percent if isinstance(percent, int) else 0
