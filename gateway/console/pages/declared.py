"""Tenants, models and caps: objects whose settings are one form.

One set of pages for them, from the same definitions (objects.py): a list, one object,
and the form of a new one. Objects of the file are shown and not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import attrs

from gateway.console import forms, objects
from gateway.console.app import Console, Page
from gateway.console.forms import Field
from gateway.console.pages.providers import STATES
from gateway.console.visit import Refused, Shown, Visit, at


@attrs.frozen
class Kind:
    """What these pages show. `role` changes, `operator` may see.

    Args:
        above: the page that leads here.
        live: where the admin API tells how they are.
        plain: how many of the fields are shown at once; the others unfold.
    """

    plural: str
    noun: str
    title: str
    told: str
    fields: tuple[Field, ...]
    role: str
    operator: bool
    above: tuple[str, str] = ("/settings", "Settings")
    live: str = ""
    plain: int = 1000


KINDS: Final = (
    Kind(
        "tenants", "tenant", "Tenants",
        "Somebody whose sites, people and provider keys are kept apart.",
        objects.TENANT, "owner", operator=False,
    ),
    Kind(
        "caps", "cap", "Caps",
        "What may be spent in a window, by whom, on what, beside a site's own cap.",
        objects.CAP, "admin", operator=True,
    ),
    Kind(
        "models", "model", "Models",
        "What clients ask for, and the candidates that serve it. A site may also ask "
        "for PROVIDER/MODEL by itself, where its lists allow it.",
        objects.MODEL, "admin", operator=True, above=("/providers", "Providers"),
        live="/model-states", plain=3,
    ),
)  # fmt: skip


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    found: list[Page] = []
    for kind in KINDS:
        path, one = f"/{kind.plural}", f"/{kind.plural}/{{{kind.noun}}}"
        writes = partial(Page, role=kind.role, operator=True)
        found += (
            Page("GET", path, partial(every, kind), operator=kind.operator),
            writes("POST", path, partial(create, kind)),
            Page("GET", one, partial(detail, kind), operator=kind.operator),
            writes("POST", one, partial(save, kind)),
            writes("POST", f"{one}/remove", partial(remove, kind), sure=True),
        )
    return found


async def every(kind: Kind, visit: Visit) -> Shown:
    """All of a kind, and the form of a new one."""
    return await _every(kind, visit, 200)


async def _every(
    kind: Kind, visit: Visit, status: int, refused: Refused | None = None
) -> Shown:
    sites: dict[str, int] = {}
    if kind.noun == "tenant":
        for site in await visit.every("/sites"):
            sites[site["tenant"]] = sites.get(site["tenant"], 0) + 1
    problems = {} if refused is None else forms.problems_of(refused.problem)
    return visit.show(
        "declared.html",
        status,
        kind=kind,
        rows=await visit.every(f"/{kind.plural}"),
        sites=sites,
        **await _live(kind, visit),
        refused=refused,
        name=visit.field("name"),
        name_problem=problems.get("$.name", ""),
        fields=forms.shown(
            kind.fields,
            {},
            typed=None if refused is None else visit.form,
            problems=problems,
        ),
    )


async def create(kind: Kind, visit: Visit) -> Shown:
    """A new one."""
    name = visit.field("name")
    settings = forms.without_nothing(forms.patch_of(kind.fields, visit.form))
    body = {"name": name, "settings": settings}
    before = visit.console.office.config
    try:
        await visit.ask("POST", f"/{kind.plural}", body=body, once=visit.field("once"))
    except Refused as refused:
        return await _every(kind, visit, refused.status, refused)
    if kind.live:
        await visit.console.in_force(before)
    return visit.go(f"/console/{kind.plural}", done="added")


async def detail(kind: Kind, visit: Visit) -> Shown:
    """One of them."""
    return await _detail(kind, visit, 200)


async def _detail(
    kind: Kind, visit: Visit, status: int, refused: Refused | None = None
) -> Shown:
    one, version = await visit.ask_versioned("GET", _path(kind, visit))
    stale = refused is not None and refused.code == "stale"
    fields = (
        forms.shown(kind.fields, one["settings"])
        if refused is None
        else forms.shown(
            kind.fields,
            one["settings"],
            typed=visit.form,
            problems=forms.problems_of(refused.problem),
            told=refused.shows_stored,
        )
    )
    sites: list[Any] = []
    if kind.noun == "tenant":
        sites = [
            site
            for site in await visit.every("/sites")
            if site["tenant"] == one["name"]
        ]
    return visit.show(
        "declared_one.html",
        status,
        kind=kind,
        one=one,
        version=version,
        fields=fields,
        refused=refused,
        stale=stale,
        sites=sites,
        **await _live(kind, visit),
    )


async def _live(kind: Kind, visit: Visit) -> dict[str, Any]:
    """How each is now, where that is told; what a new one can be made of."""
    if not kind.live:
        return {"live": {}, "candidates": [], "states": STATES}
    states = {one["name"]: one for one in await visit.every(kind.live)}
    candidates = [
        f"{one.name}/{model}"
        for one in visit.console.office.config.providers
        for model in one.models
    ]
    return {"live": states, "candidates": candidates, "states": STATES}


async def save(kind: Kind, visit: Visit) -> Shown:
    """Its settings."""
    before = visit.console.office.config
    try:
        await visit.ask(
            "PATCH",
            _path(kind, visit),
            body={"settings": forms.patch_of(kind.fields, visit.form)},
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        if refused.status == 404:
            raise
        return await _detail(kind, visit, refused.status, refused)
    if kind.live:
        await visit.console.in_force(before)
    return visit.go(f"/console{_path(kind, visit)}", done="saved")


async def remove(kind: Kind, visit: Visit) -> Shown:
    """For good."""
    try:
        await visit.ask(
            "DELETE",
            _path(kind, visit),
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        if refused.status == 404:
            raise
        return await _detail(kind, visit, refused.status, refused)
    return visit.go(f"/console/{kind.plural}", done="removed")


def _path(kind: Kind, visit: Visit) -> str:
    return at(kind.plural, visit.params[kind.noun])
