"""Alerts, webhooks and deliveries in the database. Implements `AlertBook`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec

from actors.herald.messages import AlertKind, Raise
from actors.herald.policy import body_of, wants
from actors.herald.ports import (
    Alert,
    Delivery,
    Job,
    Outcome,
    Place,
    Sealed,
    Webhook,
)
from storage.sql.port import Database, Query, Row, Transaction, Value
from storage.sql.records import told

DELIVERIES_MAX: Final = 10_000  # Of one webhook: then the oldest dead ones go.
PURGE_ROWS_MAX: Final = 2000

_ALERT: Final = "id, at_ms, kind, tenant, subject, message, detail"
_WEBHOOK: Final = (
    "id, url, label, kinds, tenants, enabled, disabled_for, version, created_ms, "
    "created_by"
)
_DELIVERY: Final = (
    "id, webhook, alert, state, tries, due_ms, created_ms, tried_ms, status, error"
)


class SqlAlerts:
    """See AlertBook."""

    def __init__(
        self, database: Database, new_id: Callable[[str], str] | None = None
    ) -> None:
        self._database = database
        self._new_id = new_id or _random_id

    def __repr__(self) -> str:
        return f"<SqlAlerts {self._database!r}>"

    async def add(self, raised: Raise, dedupe: str, now_ms: int) -> bool:
        """See AlertBook."""
        alert = Alert(
            id=self._new_id("alr"),
            at_ms=now_ms,
            kind=raised.kind,
            tenant=raised.tenant,
            subject=raised.subject,
            message=raised.message,
            detail=dict(raised.detail),
        )

        def work(tx: Transaction) -> bool:
            added = tx.run(
                f"INSERT INTO alert ({_ALERT}, dedupe) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (dedupe) DO NOTHING",
                alert.id,
                alert.at_ms,
                alert.kind,
                alert.tenant,
                alert.subject,
                alert.message,
                _json(alert.detail),
                dedupe,
            )
            if not added:
                return False
            for webhook in _webhooks(tx):
                if wants(webhook, alert.kind, alert.tenant):
                    self._queue(tx, webhook.id, alert, now_ms)
            return True

        with told():
            return await self._database.transact(work)

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> list[Job]:
        """See AlertBook."""

        def work(tx: Transaction) -> list[Job]:
            rows = tx.rows(
                "SELECT d.id, d.webhook, w.url, d.body, d.tries, w.kms, w.blob "
                "FROM webhook_delivery AS d JOIN webhook AS w ON w.id = d.webhook "
                "WHERE d.state = 'pending' AND d.due_ms <= ? AND w.enabled = 1 "
                "ORDER BY d.due_ms, d.id LIMIT ?",
                now_ms,
                limit,
            )
            jobs: list[Job] = []
            for job_id, webhook, url, body, tries, kms, blob in rows:
                if tx.run(
                    "UPDATE webhook_delivery SET tries = ?, due_ms = ?, tried_ms = ? "
                    "WHERE id = ? AND state = 'pending' AND tries = ?",
                    tries + 1,
                    until_ms,
                    now_ms,
                    job_id,
                    tries,
                ):
                    sealed = Sealed(kms, bytes(blob))
                    jobs.append(
                        Job(job_id, webhook, url, bytes(body), tries + 1, sealed)
                    )
            return jobs

        with told():
            return await self._database.transact(work)

    async def finished(self, job: Job, now_ms: int, outcome: Outcome) -> None:
        """See AlertBook."""
        state = "delivered" if outcome.delivered else "dead"
        if outcome.due_ms is not None:
            state = "pending"

        def work(tx: Transaction) -> None:
            # Only of its own try: it may have lapsed, and be another's by now.
            tx.run(
                "UPDATE webhook_delivery SET state = ?, due_ms = ?, status = ?, "
                "error = ? WHERE id = ? AND tries = ? AND state = 'pending'",
                state,
                outcome.due_ms if outcome.due_ms is not None else now_ms,
                outcome.status,
                outcome.error,
                job.id,
                job.tries,
            )
            if outcome.disable:
                tx.run(
                    "UPDATE webhook SET enabled = 0, disabled_for = ?, "
                    "version = version + 1 WHERE id = ?",
                    outcome.disable,
                    job.webhook,
                )

        with told():
            await self._database.transact(work)

    async def next_due_ms(self) -> int | None:
        """See AlertBook."""
        with told():
            rows = await self._database.read(
                "SELECT MIN(d.due_ms) FROM webhook_delivery AS d "
                "JOIN webhook AS w ON w.id = d.webhook "
                "WHERE d.state = 'pending' AND w.enabled = 1"
            )
        return rows[0][0] if rows else None

    async def purge(self, since_ms: int) -> int:
        """See AlertBook."""

        def work(tx: Transaction) -> int:
            gone = 0
            for table, column, more in (
                ("webhook_delivery", "created_ms", " AND state <> 'pending'"),
                ("alert", "at_ms", ""),
            ):
                gone += tx.run(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} "
                    f"WHERE {column} < ?{more} LIMIT {PURGE_ROWS_MAX})",
                    since_ms,
                )
            return gone

        with told():
            return await self._database.transact(work)

    # -- for operators -----------------------------------------------------------------

    async def alerts(
        self, tenants: frozenset[str] | None, kind: str, before: Place, limit: int
    ) -> list[Alert]:
        """See AlertBook."""
        parts, args = ["1 = 1"], list[Value]()
        if tenants is not None:
            names = sorted(tenants)
            parts.append(f"tenant IN ({', '.join('?' * len(names)) or 'NULL'})")
            args += names
        if kind:
            parts.append("kind = ?")
            args.append(kind)
        _before(parts, args, "at_ms", before)
        with told():
            rows = await self._database.read(
                f"SELECT {_ALERT} FROM alert WHERE {' AND '.join(parts)} "
                "ORDER BY at_ms DESC, id DESC LIMIT ?",
                *args,
                limit,
            )
        return [_alert(row) for row in rows]

    async def webhooks(self, after: str, limit: int) -> list[Webhook]:
        """See AlertBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_WEBHOOK} FROM webhook WHERE id > ? ORDER BY id LIMIT ?",
                after,
                limit,
            )
        return [_webhook(row) for row in rows]

    async def webhook(self, webhook_id: str) -> Webhook | None:
        """See AlertBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_WEBHOOK} FROM webhook WHERE id = ?", webhook_id
            )
        return _webhook(rows[0]) if rows else None

    async def add_webhook(self, made: Webhook, sealed: Sealed) -> None:
        """See AlertBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                f"INSERT INTO webhook ({_WEBHOOK}, kms, blob) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                made.id,
                *_columns(made),
                sealed.kms,
                sealed.blob,
            )

        with told():
            await self._database.transact(work)

    async def change_webhook(
        self, changed: Webhook, expected: int, sealed: Sealed | None = None
    ) -> bool:
        """See AlertBook."""
        more, secret = "", list[Value]()
        if sealed is not None:
            more, secret = ", kms = ?, blob = ?", [sealed.kms, sealed.blob]

        def work(tx: Transaction) -> bool:
            return bool(
                tx.run(
                    "UPDATE webhook SET url = ?, label = ?, kinds = ?, tenants = ?, "
                    "enabled = ?, disabled_for = ?, version = ?, created_ms = ?, "
                    f"created_by = ?{more} WHERE id = ? AND version = ?",
                    *_columns(changed),
                    *secret,
                    changed.id,
                    expected,
                )
            )

        with told():
            return await self._database.transact(work)

    async def remove_webhook(self, webhook_id: str) -> bool:
        """See AlertBook."""

        def work(tx: Transaction) -> bool:
            tx.run("DELETE FROM webhook_delivery WHERE webhook = ?", webhook_id)
            return bool(tx.run("DELETE FROM webhook WHERE id = ?", webhook_id))

        with told():
            return await self._database.transact(work)

    async def deliveries(
        self, webhook_id: str, state: str, before: Place, limit: int
    ) -> list[Delivery]:
        """See AlertBook."""
        parts, args = ["webhook = ?"], list[Value]()
        args.append(webhook_id)
        if state:
            parts.append("state = ?")
            args.append(state)
        _before(parts, args, "created_ms", before)
        with told():
            rows = await self._database.read(
                f"SELECT {_DELIVERY} FROM webhook_delivery "
                f"WHERE {' AND '.join(parts)} "
                "ORDER BY created_ms DESC, id DESC LIMIT ?",
                *args,
                limit,
            )
        return [Delivery(*row) for row in rows]

    async def send(self, webhook_id: str, alert: Alert, now_ms: int) -> str:
        """See AlertBook."""
        with told():
            return await self._database.transact(
                lambda tx: self._queue(tx, webhook_id, alert, now_ms)
            )

    async def again(self, webhook_id: str, delivery_id: str, now_ms: int) -> bool:
        """See AlertBook."""

        def work(tx: Transaction) -> bool:
            return bool(
                tx.run(
                    "UPDATE webhook_delivery SET state = 'pending', tries = 0, "
                    "due_ms = ? WHERE id = ? AND webhook = ? AND state = 'dead'",
                    now_ms,
                    delivery_id,
                    webhook_id,
                )
            )

        with told():
            return await self._database.transact(work)

    def _queue(self, tx: Transaction, webhook: str, alert: Alert, now_ms: int) -> str:
        delivery = self._new_id("msg")
        # A receiver that is gone for good must not fill the database.
        row = tx.row("SELECT COUNT(*) FROM webhook_delivery WHERE webhook = ?", webhook)
        if row is not None and row[0] >= DELIVERIES_MAX:
            tx.run(
                "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM "
                "webhook_delivery WHERE webhook = ? ORDER BY created_ms, id LIMIT 1)",
                webhook,
            )
        tx.run(
            f"INSERT INTO webhook_delivery ({_DELIVERY}, body) "
            "VALUES (?, ?, ?, 'pending', 0, ?, ?, NULL, NULL, '', ?)",
            delivery,
            webhook,
            alert.id,
            now_ms,
            now_ms,
            body_of(alert),
        )
        return delivery


def _random_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _before(parts: list[str], args: list[Value], column: str, place: Place) -> None:
    if place is not None:
        parts.append(f"({column} < ? OR ({column} = ? AND id < ?))")
        args += [place[0], place[0], place[1]]


def _webhooks(query: Query) -> list[Webhook]:
    rows = query.rows(f"SELECT {_WEBHOOK} FROM webhook WHERE enabled = 1 ORDER BY id")
    return [_webhook(row) for row in rows]


def _columns(made: Webhook) -> tuple[Value, ...]:
    """All but the id, in the table's order."""
    return (
        made.url,
        made.label,
        _json(made.kinds),
        None if made.tenants is None else _json(made.tenants),
        int(made.enabled),
        made.disabled_for,
        made.version,
        made.created_ms,
        made.created_by,
    )


def _alert(row: Row) -> Alert:
    alert_id, at_ms, kind, tenant, subject, message, detail = row
    return Alert(
        alert_id,
        at_ms,
        kind,
        tenant,
        subject,
        message,
        msgspec.json.decode(detail, type=dict[str, str | int]),
    )


def _webhook(row: Row) -> Webhook:
    values = list(row)
    values[3] = msgspec.json.decode(values[3], type=tuple[AlertKind, ...])
    if values[4] is not None:
        values[4] = msgspec.json.decode(values[4], type=tuple[str, ...])
    values[5] = bool(values[5])
    return Webhook(*values)
