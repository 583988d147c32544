"""What ends in the ledger's shared store: replicas, sums, windows, old lines.

Each function is one transaction's work, or a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actors.ledger import clearing, windows
from actors.ledger.clearing import Sum
from actors.ledger.messages import Cap
from actors.ledger.shares import PLACES, SumKey, Sync, cap_id
from actors.ledger.windows import QUARTER_S, quarter
from storage.sql import ledger_rows as rows
from storage.sql.port import Transaction

OVER_KEPT_S: Final = 2 * 86_400  # Of a window that is over: for whoever looks back.
LINES_KEPT_S: Final = 62 * 86_400  # By quarters: twice what the longest window reaches.
DEAD_KEPT_S: Final = 86_400  # Longer than any request that could still settle.
FORGIVEN_S: Final = 3_600  # A request is over by then, and so is whoever died with it.

# -- replicas -------------------------------------------------------------------------


def bury_ancestors(tx: Transaction, sync: Sync) -> None:
    """Whoever lived here before this replica is dead."""
    found = tx.rows(
        "SELECT id FROM ledger_replica WHERE instance = ? AND alive = 1 AND id <> ? "
        "ORDER BY id",
        sync.instance,
        sync.replica,
    )
    for (name,) in found:
        bury(tx, str(name), sync.now_s)


def bury(
    tx: Transaction, replica: str, now_s: float, *, beats: int | None = None
) -> bool:
    """Write it off, if it has not moved since it was seen at so many beats."""
    row = tx.row(
        "SELECT beats FROM ledger_replica WHERE id = ? AND alive = 1 FOR UPDATE",
        replica,
    )
    if row is None or (beats is not None and row[0] != beats):
        return False
    tx.run(
        "UPDATE ledger_replica SET alive = 0, died_s = ? WHERE id = ?",
        int(now_s),
        replica,
    )
    found = tx.rows(
        "SELECT cap, subject, slot FROM ledger_slice WHERE replica = ?", replica
    )
    keys = [SumKey(*row) for row in found]
    sums = rows.lock_sums(tx, keys)
    for key, held in rows.slices(tx, replica, keys).items():
        row_ = sums[key]
        if clearing.bury(key, row_, held):
            rows.remove_slice(tx, key, replica)
        else:
            tx.run(rows.SLICE, *key, replica, held.granted, held.used)
        tx.run(rows.SUM, *rows.columns(row_), *key)
    return True


def forgive(tx: Transaction, key: SumKey, row: Sum, died_before_s: float) -> None:
    """What the dead have had of a sum for so long counts as spent no longer."""
    found = tx.rows(
        "SELECT s.replica, s.granted, s.used FROM ledger_slice s "
        "JOIN ledger_replica r ON r.id = s.replica "
        "WHERE s.cap = ? AND s.subject = ? AND s.slot = ? "
        "AND r.alive = 0 AND r.died_s < ?",
        *key,
        int(died_before_s),
    )
    for replica, granted, used in found:
        row.leased -= granted
        row.used -= used
        rows.remove_slice(tx, key, replica)


# -- sums, at an operator's word ------------------------------------------------------


def restart(tx: Transaction, caps: Iterable[Cap], subject: str, now_s: float) -> int:
    """Begin these caps' sums of now anew, one subject's or all ("").

    Returns how many there were.
    """
    count = 0
    for cap in caps:
        name, slot = cap_id(cap), clearing.slot_of(cap, now_s)
        found = tx.rows(
            "SELECT subject FROM ledger_sum WHERE cap = ? AND slot = ?", name, slot
        )
        keys = [SumKey(name, one, slot) for (one,) in found if subject in ("", one)]
        for key, row in rows.lock_sums(tx, keys).items():
            clearing.restart(row)
            forgive(tx, key, row, now_s - FORGIVEN_S)
            tx.run(rows.SUM, *rows.columns(row), *key)
            tx.run(
                "DELETE FROM ledger_quarter WHERE cap = ? AND subject = ?",
                key.cap,
                key.subject,
            )
            count += 1
    return count


# -- what no window reaches any more --------------------------------------------------


def tidy(tx: Transaction, now_s: float) -> None:
    """Forget what no window reaches any more."""
    tx.row("SELECT version FROM ledger_state WHERE id = 1 FOR UPDATE")
    _tidy_sums(tx, rows.caps(tx), now_s)
    _tidy_lines(tx, now_s)
    tx.run(
        "DELETE FROM ledger_replica WHERE alive = 0 AND died_s < ? AND NOT EXISTS "
        "(SELECT 1 FROM ledger_slice s WHERE s.replica = ledger_replica.id)",
        int(now_s) - DEAD_KEPT_S,
    )
    tx.run(
        "DELETE FROM ledger_rate WHERE paid_at_us < ?", int(now_s - 3_600) * rows.MICROS
    )


def _tidy_sums(tx: Transaction, caps: dict[str, Cap], now_s: float) -> None:
    found = tx.rows("SELECT cap, subject, slot FROM ledger_sum WHERE cap <> ?", PLACES)
    used: set[str] = set()
    for key in (SumKey(*row) for row in found):
        cap = caps.get(key.cap)
        if cap is not None and not _is_over(cap, key, now_s):
            used.add(key.cap)
            if cap.rolling:
                _age(tx, cap, key, now_s)
            continue
        for table in ("ledger_sum", "ledger_slice"):
            tx.run(
                f"DELETE FROM {table} WHERE cap = ? AND subject = ? AND slot = ?",
                *key,
            )
    gone = [name for name in caps if name not in used]
    if gone:
        tx.run_many("DELETE FROM ledger_cap WHERE id = ?", [(name,) for name in gone])
        tx.run("UPDATE ledger_state SET version = version + 1 WHERE id = 1")


def _is_over(cap: Cap, key: SumKey, now_s: float) -> bool:
    if not key.slot:
        return False
    until_s = windows.calendar(cap.window, cap.zone, key.slot)[1]
    return until_s + OVER_KEPT_S < now_s


def _age(tx: Transaction, cap: Cap, key: SumKey, now_s: float) -> None:
    """What the dead had of a rolling window leaves it, as what was spent does."""
    for found, row in rows.lock_sums(tx, [key]).items():
        died_s = now_s - windows.rolling_s(cap.window) - QUARTER_S
        forgive(tx, found, row, died_s)
        tx.run(rows.SUM, *rows.columns(row), *found)


def _tidy_lines(tx: Transaction, now_s: float) -> None:
    """Old lines in one sum each: windows without a beginning still reach them."""
    last = quarter(now_s - LINES_KEPT_S)
    tx.run(
        "INSERT INTO ledger_line (site, key_id, asked, provider, quarter, nanousd) "
        "SELECT site, key_id, asked, provider, 0, SUM(nanousd) FROM ledger_line "
        "WHERE quarter > 0 AND quarter < ? GROUP BY site, key_id, asked, provider "
        "ON CONFLICT (site, key_id, asked, provider, quarter) "
        "DO UPDATE SET nanousd = ledger_line.nanousd + excluded.nanousd",
        last,
    )
    tx.run("DELETE FROM ledger_line WHERE quarter > 0 AND quarter < ?", last)
