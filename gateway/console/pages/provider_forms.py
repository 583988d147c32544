"""Providers made, changed and taken away, each with its key in the same form.

A key is sealed by the page for the vault alone; what arrives here holds none. The
provider is stored first, for its settings are what can be wrong; then its key; then, if
that is wanted, it is asked one short question. Each is an operation of the admin API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from gateway.console import forms
from gateway.console import provider_fields as fields
from gateway.console.app import Console, Page
from gateway.console.pages.providers import show_provider, tried_of
from gateway.console.visit import Refused, Shown, Visit, at

NEW: Final = "/providers/+new"  # No provider's name begins so.
KEY_NAME: Final = "default"


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    one = "/providers/{provider}/settings"
    # Asked before a long form is filled in, and not after.
    admins = partial(Page, role="admin", operator=True, sure=True)
    return (
        admins("GET", NEW, new),
        admins("POST", NEW, create),
        admins("GET", one, settings),
        admins("POST", one, save),
        admins("POST", "/providers/{provider}/remove", remove),
    )


async def new(visit: Visit) -> Shown:
    """The form of a new one."""
    return await _form(visit, 200, None, "")


async def create(visit: Visit) -> Shown:
    """Store it, hand over its key, ask it."""
    name = visit.field("name")
    patch = fields.settings_of(visit.form, {})
    settings = forms.without_nothing(_with_key(visit, patch))
    before = visit.console.office.config
    try:
        await visit.ask(
            "POST",
            "/providers",
            body={"name": name, "settings": settings},
            once=visit.field("once"),
        )
    except Refused as refused:
        return await _form(visit, refused.status, None, "", refused)
    return await _finish(visit, name, settings, before, "added")


async def settings(visit: Visit) -> Shown:
    """All that can be set of one."""
    one, version = await _one(visit)
    return await _form(visit, 200, one, version)


async def save(visit: Visit) -> Shown:
    """Its settings, and a new key if one was typed."""
    one, version = await _one(visit)
    name = one["name"]
    patch = _with_key(visit, fields.settings_of(visit.form, one["settings"]))
    before = visit.console.office.config
    try:
        made = await visit.ask(
            "PATCH",
            at("providers", name),
            body={"settings": patch},
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        return await _form(visit, refused.status, one, version, refused)
    return await _finish(visit, name, made["settings"], before, "saved")


async def remove(visit: Visit) -> Shown:
    """Take it away; models that still name it keep it."""
    one, version = await _one(visit)
    try:
        await visit.ask(
            "DELETE",
            at("providers", one["name"]),
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        visit.form = {}
        return await _form(visit, refused.status, one, version, refused)
    return visit.go("/console/providers", done="removed")


def _with_key(visit: Visit, patch: dict[str, Any]) -> dict[str, Any]:
    """Settings that name the key that came along."""
    if visit.field("delivery"):
        name = visit.field("key_name") or KEY_NAME
        return {**patch, "key": fields.VAULT + name, "key_env": None}
    return patch


async def _finish(
    visit: Visit, name: str, settings: Mapping[str, Any], before: Any, done: str
) -> Shown:
    """The key of a provider that is stored, and a question if one is wanted."""
    if visit.field("delivery"):
        host = fields.host_of(settings)
        body = {
            "provider": name,
            "name": visit.field("key_name") or KEY_NAME,
            "delivery": visit.field("delivery"),
            "hosts": [host] if host else [],
            "access_key_id": visit.field("access"),
            "replace": visit.field("replace") == "yes",
        }
        try:
            await visit.ask("POST", "/secrets", body=body, once=visit.once_for("key"))
        except Refused as refused:
            visit.params["provider"] = name
            one, version = await _one(visit)
            visit.form = {}
            told = f"{name} is stored, but its key is not. {refused.told}"
            return await _form(visit, refused.status, one, version, told=told)
    await visit.console.in_force(before)
    if visit.field("then") != "ask":
        return visit.go(f"/console{at('providers', name)}", done=done)
    visit.params["provider"] = name
    return await show_provider(visit, await tried_of(visit, name, ""))


async def _one(visit: Visit) -> tuple[Any, str]:
    return await visit.ask_versioned("GET", at("providers", visit.params["provider"]))


async def _form(
    visit: Visit,
    status: int,
    one: Any,
    version: str,
    refused: Refused | None = None,
    *,
    told: str = "",
) -> Shown:
    old: Mapping[str, Any] = {} if one is None else one["settings"]
    typed = visit.form if refused is not None and visit.form else None
    problems = {} if refused is None else forms.problems_of(refused.problem)
    stale = refused is not None and refused.code == "stale"
    sections = [
        (
            section,
            forms.shown(
                section.fields,
                old,
                typed=typed,
                problems=problems,
                told=refused is not None and refused.shows_stored,
            ),
        )
        for section in fields.SECTIONS
    ]
    prices = fields.prices_shown(old, typed, problems)
    kept = str(old.get("key") or "")  # A new key takes its place, under its name.
    try:
        box = await visit.ask("GET", "/secrets/delivery-key")
    except Refused as sealed_nothing:
        box = {"problem": sealed_nothing.told}
    return visit.show(
        "provider_form.html",
        status,
        one=one,
        version=version,
        sections=sections,
        unfolded=_unfolded(sections),
        prices=prices,
        has_prices=any(row[0].value for row in prices) or "prices" in old,
        name=visit.field("name"),
        name_problem=problems.get("$.name", ""),
        key_name=visit.field("key_name") or kept.removeprefix(fields.VAULT),
        refused=refused,
        stale=stale,
        told=told,
        box=box,
        replaces=bool(kept),
        folded=fields.FOLDED,
    )


def _unfolded(sections: Sequence[tuple[Any, Sequence[forms.Shown]]]) -> set[str]:
    """Sections that hold something of one's own, or something wrong."""
    return {
        section.key
        for section, shown in sections
        if any(field.value or field.problem for field in shown)
    }
