"""Alerts, and the webhooks that tell them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec

from actors.herald.messages import KINDS, AlertKind, Due
from actors.herald.policy import shown_secret
from actors.herald.ports import (
    Alert,
    AlertBook,
    Delivery,
    Place,
    Secrets,
    SecretUnavailable,
    Webhook,
)
from gateway.admin import paging
from gateway.admin.office import Office, needed
from gateway.admin.operation import Answer, Call, Operation, etag
from gateway.admin.paging import CursorText, Limit, Page, Paged
from gateway.admin.problems import Problem
from gateway.admin.resources.tokens import TenantName
from gateway.webhook_post import problem_of

WEBHOOKS_MAX = 100  # Each alert is queued for all of them in one transaction.

Url = Annotated[
    str,
    msgspec.Meta(
        min_length=8,
        max_length=2000,
        description="Where it is sent, by POST. https, and a public address, unless "
        "`alerts.private_networks` allows more.",
    ),
]
Label = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Kinds = Annotated[
    tuple[AlertKind, ...],
    msgspec.Meta(max_length=len(KINDS), description="What it is told; empty is all."),
]


class AlertsQuestion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which alerts."""

    kind: AlertKind | Literal[""] = ""
    limit: Limit = paging.LIMIT_DEFAULT
    cursor: CursorText = ""


class DeliveriesQuestion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which deliveries."""

    state: Literal["", "pending", "delivered", "dead"] = ""
    limit: Limit = paging.LIMIT_DEFAULT
    cursor: CursorText = ""


class WebhookWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A webhook to be made."""

    url: Url
    label: Label = ""
    kinds: Kinds = ()
    tenants: Annotated[
        tuple[TenantName, ...],
        msgspec.Meta(
            max_length=100,
            description="Whose alerts. Empty: whatever its maker is about.",
        ),
    ] = ()
    enabled: bool = True


class NewWebhook(msgspec.Struct, frozen=True):
    """A webhook with the secret it signs with, this once."""

    webhook: Webhook
    secret: str
    """As receivers configure it: `whsec_…` (Standard Webhooks)."""


class Queued(msgspec.Struct, frozen=True):
    """A delivery that is on its way."""

    delivery: str


def operations(office: Office) -> tuple[Operation, ...]:
    """All about alerts."""

    def book() -> AlertBook:
        return needed(office.books.alerts, "an alert")

    def keeper() -> Secrets:
        return needed(office.books.webhook_secrets, "a webhook")

    def sees(call: Call, one: Webhook) -> bool:
        mine = call.principal.tenants
        return mine is None or (one.tenants is not None and mine >= set(one.tenants))

    async def one(call: Call) -> Webhook:
        name = call.param("webhook")
        found = await book().webhook(name)
        if found is None or not sees(call, found):
            raise Problem("not-found", f"there is no webhook {name}")
        return found

    def checked(call: Call, asked: WebhookWanted) -> tuple[str, ...] | None:
        """Whose alerts it is told. Raises Problem."""
        if problem := problem_of(asked.url, office.config.alerts.private_networks):
            raise Problem("invalid", f"$.url: {problem}")
        for tenant in asked.tenants:
            call.principal.check_tenant(tenant, f"tenant {tenant}")
        mine = call.principal.tenants
        return asked.tenants or (None if mine is None else tuple(sorted(mine)))

    async def list_alerts(call: Call) -> Page[Alert]:
        asked: AlertsQuestion = call.query
        found = await book().alerts(
            call.principal.tenants,
            asked.kind,
            _place("alerts", asked.cursor),
            asked.limit + 1,
        )
        return paging.page("alerts", found, asked.limit, lambda a: (a.at_ms, a.id))

    async def list_webhooks(call: Call) -> Page[Webhook]:
        asked: Paged = call.query
        place = paging.decode("webhooks", asked.cursor)
        after = "" if place is None else paging.name_at(place)
        found = [
            one for one in await book().webhooks(after, WEBHOOKS_MAX) if sees(call, one)
        ]
        return paging.page("webhooks", found, asked.limit, lambda one: (one.id,))

    async def get(call: Call) -> Answer:
        found = await one(call)
        return Answer(found, etag=etag(found.version))

    async def create(call: Call) -> Answer:
        asked: WebhookWanted = call.body
        tenants = checked(call, asked)
        if len(await book().webhooks("", WEBHOOKS_MAX)) >= WEBHOOKS_MAX:
            raise Problem("conflict", f"there are {WEBHOOKS_MAX} webhooks already")
        made = Webhook(
            id=f"whk_{secrets.token_hex(8)}",
            url=asked.url,
            label=asked.label,
            kinds=asked.kinds,
            tenants=tenants,
            enabled=asked.enabled,
            disabled_for="",
            version=1,
            created_ms=office.now_ms(),
            created_by=call.principal.name,
        )
        await call.record(made.id)
        try:
            secret, sealed = await keeper().make(made.id)
        except SecretUnavailable as error:
            raise Problem("unavailable", f"no secret can be made: {error}") from None
        await book().add_webhook(made, sealed)
        return Answer(NewWebhook(made, shown_secret(secret)), etag=etag(made.version))

    def at_version(call: Call, old: Webhook) -> None:
        expected = call.expected()
        if expected is not None and expected != old.version:
            raise Problem("stale", f"webhook {old.id} is at v{old.version} now")

    async def change(call: Call) -> Answer:
        asked: WebhookWanted = call.body
        old = await one(call)
        at_version(call, old)
        made = msgspec.structs.replace(
            old,
            url=asked.url,
            label=asked.label,
            kinds=asked.kinds,
            tenants=checked(call, asked),
            enabled=asked.enabled,
            disabled_for="" if asked.enabled else old.disabled_for,
            version=old.version + 1,
        )
        await call.record(old.id)
        if not await book().change_webhook(made, old.version):
            raise Problem("stale", f"webhook {old.id} was changed meanwhile")
        return Answer(made, etag=etag(made.version))

    async def remove(call: Call) -> None:
        old = await one(call)
        at_version(call, old)
        await call.record(old.id)
        await book().remove_webhook(old.id)

    async def rotate(call: Call) -> Answer:
        old = await one(call)
        await call.record(old.id)
        try:
            secret, sealed = await keeper().make(old.id)
        except SecretUnavailable as error:
            raise Problem("unavailable", f"no secret can be made: {error}") from None
        made = msgspec.structs.replace(old, version=old.version + 1)
        if not await book().change_webhook(made, old.version, sealed):
            raise Problem("conflict", f"webhook {old.id} was changed meanwhile")
        return Answer(NewWebhook(made, shown_secret(secret)), etag=etag(made.version))

    async def test(call: Call) -> Queued:
        found = await one(call)
        now_ms = office.now_ms()
        await call.record(found.id)
        alert = Alert(
            id=f"alr_{secrets.token_hex(12)}",
            at_ms=now_ms,
            kind="test",
            tenant="",
            subject=found.id,
            message="This is a test of the webhook.",
            detail={},
        )
        return await queued(await book().send(found.id, alert, now_ms))

    async def queued(delivery: str) -> Queued:
        herald: Any = office.gate.lookup("herald")
        if herald is not None:
            herald.offer(Due())
        return Queued(delivery)

    async def list_deliveries(call: Call) -> Page[Delivery]:
        asked: DeliveriesQuestion = call.query
        found = await book().deliveries(
            (await one(call)).id,
            asked.state,
            _place("deliveries", asked.cursor),
            asked.limit + 1,
        )
        return paging.page(
            "deliveries", found, asked.limit, lambda d: (d.created_ms, d.id)
        )

    async def again(call: Call) -> Queued:
        found = await one(call)
        delivery = call.param("delivery")
        await call.record(found.id, delivery=delivery)
        if not await book().again(found.id, delivery, office.now_ms()):
            raise Problem("not-found", f"there is no dead delivery {delivery}")
        return await queued(delivery)

    path = "/webhooks/{webhook}"
    return (
        Operation(
            "listAlerts", "GET", "/alerts", "alerts",
            "What there was to know, the newest first", list_alerts,
            query=AlertsQuestion, gives=Page[Alert],
        ),
        Operation(
            "listWebhooks", "GET", "/webhooks", "alerts", "Who is told", list_webhooks,
            query=Paged, gives=Page[Webhook],
        ),
        Operation(
            "createWebhook", "POST", "/webhooks", "alerts", "Add a webhook", create,
            doc="Its secret is in this answer and nowhere else.",
            role="admin", body=WebhookWanted, gives=NewWebhook, status=201,
            act="webhook.create", conflicts=True, versioned=True,
        ),
        Operation(
            "getWebhook", "GET", path, "alerts", "One webhook", get,
            gives=Webhook, versioned=True,
        ),
        Operation(
            "replaceWebhook", "PUT", path, "alerts", "Change a webhook", change,
            role="admin", body=WebhookWanted, gives=Webhook, act="webhook.change",
            versioned=True,
        ),
        Operation(
            "removeWebhook", "DELETE", path, "alerts", "Take a webhook away", remove,
            doc="With what is on its way to it.",
            role="admin", status=204, act="webhook.remove", versioned=True,
        ),
        Operation(
            "rotateWebhook", "POST", f"{path}/rotate", "alerts",
            "Give a webhook a new secret", rotate,
            doc="From the next try on. The secret is in this answer and nowhere else.",
            role="admin", gives=NewWebhook, act="webhook.rotate", conflicts=True,
            versioned=True,
        ),
        Operation(
            "testWebhook", "POST", f"{path}/test", "alerts",
            "Send a webhook a test alert", test,
            role="admin", gives=Queued, act="webhook.test",
        ),
        Operation(
            "listDeliveries", "GET", f"{path}/deliveries", "alerts",
            "What became of what it was to be told", list_deliveries,
            query=DeliveriesQuestion, gives=Page[Delivery],
        ),
        Operation(
            "retryDelivery", "POST", f"{path}/deliveries/{{delivery}}/retry", "alerts",
            "Try a dead delivery again", again,
            role="admin", gives=Queued, act="webhook.retry",
        ),
    )  # fmt: skip


def _place(of: str, cursor: str) -> Place:
    place = paging.decode(of, cursor)
    match place:
        case None:
            return None
        case (int() as at_ms, str() as row_id):
            return at_ms, row_id
        case _:
            raise Problem("bad-request", "cursor: is none that a page gave")
