"""What is written down about requests, and who is told: put together over a database.

Owns: which port is implemented by what. The archivist and the herald get their cells
here, the admin API its books.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from random import Random

import attrs

from actors.archivist.cell import ArchivistCell
from actors.archivist.policy import KeepDays
from actors.archivist.ports import JournalReader
from actors.herald.cell import HeraldCell
from actors.herald.ports import Post
from actors.vault.safe import Safe
from gateway.admin.office import Books
from gateway.alerting import Watcher
from gateway.gate import Gate
from gateway.pausing import Pausing
from gateway.settings.config import Config
from gateway.webhook_post import Poster
from storage.sql.admin_books import SqlRepeats, SqlTokens
from storage.sql.alerts import SqlAlerts
from storage.sql.pauses import SqlPauses
from storage.sql.port import Database
from storage.sql.records import SqlRecords
from storage.webhook_secrets import KmsSecrets


@attrs.frozen
class Bookkeeping:
    """The cells of the two actors; no archivist where nothing is to be stored."""

    archivist: ArchivistCell | None
    herald: HeraldCell
    pausing: Pausing


def open_books(
    books: Books,
    gate: Gate,
    database: Database,
    safe: Safe,
    *,
    journal: JournalReader,
    post: Post | None = None,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> Bookkeeping:
    """Fill the admin API's books, and give the actors theirs.

    `journal` is this process's own; `post` sends webhooks, over the network if none.
    """
    config = gate.config
    records = SqlRecords(database)
    secrets = KmsSecrets(
        safe, tenant=config.vault.tenant, environment=config.vault.environment
    )
    books.tokens = SqlTokens(database)
    books.repeats = SqlRepeats(database)
    books.records = gate.records = records
    books.alerts = SqlAlerts(database)
    books.webhook_secrets = secrets
    books.pauses = SqlPauses(database)
    archivist = ArchivistCell(
        journal,
        records,
        lambda: keep_days(gate.config),
        wall,
    )
    herald = HeraldCell(
        book=books.alerts,
        secrets=secrets,
        post=post
        or Poster(
            ssl.create_default_context(), lambda: gate.config.alerts.private_networks
        ),
        watch=Watcher(gate),
        keep_days=lambda: gate.config.alerts.keep_days,
        wall=wall,
        rng=rng or Random(),  # noqa: S311 - jitter, not secrets
    )
    return Bookkeeping(
        archivist if config.records.store else None,
        herald,
        Pausing(gate, books.pauses),
    )


def keep_days(config: Config) -> KeepDays:
    """How long records and their sums are kept."""
    records = config.records
    return KeepDays(
        records.keep_days,
        records.minutes_keep_days,
        records.hours_keep_days,
        records.days_keep_days,
    )
