"""What the herald needs: a place for alerts and deliveries, and a way out.

Every method of the book raises `actors.archivist.ports.Unavailable` where the database
is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from actors.herald.messages import AlertKind, Raise

DeliveryState = Literal["pending", "delivered", "dead"]


class Alert(Struct, frozen=True):
    """An alert as it is stored and sent."""

    id: str
    at_ms: int
    kind: AlertKind
    tenant: str
    subject: str
    message: str
    detail: dict[str, str | int]


class Webhook(Struct, frozen=True):
    """Who is told, and of what. An empty `kinds` is all; `tenants` None is all."""

    id: str
    url: str
    label: str
    kinds: tuple[AlertKind, ...]
    tenants: tuple[str, ...] | None
    enabled: bool
    disabled_for: str
    version: int
    created_ms: int
    created_by: str


class Sealed(Struct, frozen=True):
    """A webhook's secret as it is stored."""

    kms: str
    blob: bytes


class Delivery(Struct, frozen=True):
    """One alert on its way to one webhook."""

    id: str
    webhook: str
    alert: str
    state: DeliveryState
    tries: int
    due_ms: int
    created_ms: int
    tried_ms: int | None
    status: int | None
    error: str


class Job(Struct, frozen=True):
    """A delivery that is this process's to try now."""

    id: str
    webhook: str
    url: str
    body: bytes
    tries: int  # This one counted.
    sealed: Sealed


class AlertBook(Protocol):
    """Alerts, webhooks and deliveries."""

    async def add(self, raised: Raise, dedupe: str, now_ms: int) -> bool:
        """Keep it, with a delivery for each webhook; False: it was there already."""
        ...

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> list[Job]:
        """Deliveries that are due, and nobody else's before `until_ms`."""
        ...

    async def finished(self, job: Job, now_ms: int, outcome: Outcome) -> None:
        """What became of one."""
        ...

    async def next_due_ms(self) -> int | None:
        """When the next one is due."""
        ...

    async def purge(self, since_ms: int) -> int:
        """Forget older alerts and what is done with; how many rows went."""
        ...

    # -- for operators -----------------------------------------------------------------

    async def alerts(
        self, tenants: frozenset[str] | None, kind: str, before: Place, limit: int
    ) -> list[Alert]:
        """The newest first."""
        ...

    async def webhooks(self, after: str, limit: int) -> list[Webhook]:
        """By id."""
        ...

    async def webhook(self, webhook_id: str) -> Webhook | None:
        """One."""
        ...

    async def add_webhook(self, made: Webhook, sealed: Sealed) -> None:
        """A new one."""
        ...

    async def change_webhook(
        self, changed: Webhook, expected: int, sealed: Sealed | None = None
    ) -> bool:
        """Replace it, and its secret if one is given; False: at another version."""
        ...

    async def remove_webhook(self, webhook_id: str) -> bool:
        """With its deliveries."""
        ...

    async def deliveries(
        self, webhook_id: str, state: str, before: Place, limit: int
    ) -> list[Delivery]:
        """The newest first."""
        ...

    async def send(self, webhook_id: str, alert: Alert, now_ms: int) -> str:
        """Queue an alert for one webhook alone; the delivery's id."""
        ...

    async def again(self, webhook_id: str, delivery_id: str, now_ms: int) -> bool:
        """Try a delivery again from the start."""
        ...


Place = tuple[int, str] | None
"""Where a page begins: before this time and id."""


class Outcome(Struct, frozen=True):
    """What a try came to. `due_ms` None ends it: delivered, or dead."""

    delivered: bool
    status: int | None
    error: str
    due_ms: int | None = None
    disable: str = ""  # Why the webhook itself is told nothing more.


class Secrets(Protocol):
    """Opens the secrets of webhooks. Raises SecretUnavailable."""

    async def open(self, webhook_id: str, sealed: Sealed) -> bytes:
        """The secret."""
        ...

    async def make(self, webhook_id: str) -> tuple[bytes, Sealed]:
        """A new one."""
        ...


class SecretUnavailable(Exception):
    """The KMS does not give it out now. Says which kind of trouble, nothing else."""


class Post(Protocol):
    """Sends one request and reads the answer's status. Follows no redirect."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status. Raises PostFailed."""
        ...


class PostFailed(Exception):
    """There was no answer; says why, for operators."""
