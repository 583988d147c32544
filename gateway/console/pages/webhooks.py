"""Webhooks: who is told of what, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from actors.herald.messages import KINDS
from gateway.console.app import Console, Page
from gateway.console.forms import names_in
from gateway.console.visit import Refused, Shown, Visit, at

WEBHOOKS: Final = "/console/settings/webhooks"
SHOWN: Final = 50  # Deliveries and alerts of a page.


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    path, one = "/settings/webhooks", "/settings/webhooks/{webhook}"
    admins = partial(Page, role="admin")
    return (
        Page("GET", path, webhooks),
        admins("POST", path, create, sure=True),
        Page("GET", one, webhook),
        admins("POST", one, change, sure=True),
        admins("POST", f"{one}/rotate", rotate, sure=True),
        admins("POST", f"{one}/test", test),
        admins("POST", f"{one}/remove", remove),
        admins("POST", f"{one}/deliveries/{{delivery}}/retry", retry),
    )


async def webhooks(visit: Visit) -> Shown:
    """All of them, and what there was to tell."""
    return await _webhooks(visit, 200)


async def _webhooks(visit: Visit, status: int, problem: str = "") -> Shown:
    alerts = await visit.ask("GET", "/alerts", query={"limit": SHOWN})
    return visit.show(
        "webhooks.html",
        status,
        webhooks=await visit.every("/webhooks"),
        alerts=alerts["items"],
        kinds=KINDS,
        problem=problem,
        typed=_typed(visit),
        chosen=visit.fields("kinds"),
    )


async def create(visit: Visit) -> Shown:
    """A new one; its secret is shown this once."""
    try:
        made = await visit.ask(
            "POST", "/webhooks", body=_wanted(visit), once=visit.field("once")
        )
    except Refused as refused:
        return await _webhooks(visit, refused.status, refused.told)
    return await _webhook(visit, made["webhook"]["id"], 201, secret=made["secret"])


async def webhook(visit: Visit) -> Shown:
    """One, with its deliveries."""
    return await _webhook(visit, visit.params["webhook"], 200)


async def _webhook(
    visit: Visit,
    name: str,
    status: int,
    *,
    secret: str = "",
    refused: Refused | None = None,
) -> Shown:
    one, version = await visit.ask_versioned("GET", at("webhooks", name))
    deliveries = await visit.ask(
        "GET", at("webhooks", name, "deliveries"), query={"limit": SHOWN}
    )
    return visit.show(
        "webhook.html",
        status,
        one=one,
        version=version,
        deliveries=deliveries["items"],
        kinds=KINDS,
        secret=secret,
        refused=refused,
        stale=refused is not None and refused.code == "stale",
        typed={**one, "tenants": " ".join(one["tenants"] or ())}
        if refused is None
        else {**one, **_typed(visit)},
        chosen=one["kinds"] if refused is None else visit.fields("kinds"),
    )


async def change(visit: Visit) -> Shown:
    """What it is told, and where."""
    name = visit.params["webhook"]
    try:
        await visit.ask(
            "PUT",
            at("webhooks", name),
            body=_wanted(visit),
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        if refused.status == 404:
            raise
        return await _webhook(visit, name, refused.status, refused=refused)
    return visit.go(f"/console/settings{at('webhooks', name)}", done="saved")


async def rotate(visit: Visit) -> Shown:
    """A new secret, shown this once."""
    name = visit.params["webhook"]
    made = await visit.ask(
        "POST", at("webhooks", name, "rotate"), once=visit.field("once")
    )
    return await _webhook(visit, name, 200, secret=made["secret"])


async def test(visit: Visit) -> Shown:
    """Send it something."""
    name = visit.params["webhook"]
    await visit.ask("POST", at("webhooks", name, "test"), once=visit.field("once"))
    return visit.go(f"/console/settings{at('webhooks', name)}", done="sent")


async def remove(visit: Visit) -> Shown:
    """With what is on its way to it."""
    name = visit.params["webhook"]
    try:
        await visit.ask(
            "DELETE",
            at("webhooks", name),
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        if refused.status == 404:
            raise
        return await _webhook(visit, name, refused.status, refused=refused)
    return visit.go(WEBHOOKS, done="removed")


async def retry(visit: Visit) -> Shown:
    """Try a dead delivery again."""
    name = visit.params["webhook"]
    path = at("webhooks", name, "deliveries", visit.params["delivery"], "retry")
    await visit.ask("POST", path, once=visit.field("once"))
    return visit.go(f"/console/settings{at('webhooks', name)}", done="sent")


def _typed(visit: Visit) -> dict[str, str]:
    return {name: visit.field(name) for name in ("url", "label", "tenants")}


def _wanted(visit: Visit) -> dict[str, Any]:
    return {
        "url": visit.field("url"),
        "label": visit.field("label"),
        "kinds": visit.fields("kinds"),
        "tenants": names_in(visit.field("tenants")),
        "enabled": visit.field("off") != "yes",
    }
