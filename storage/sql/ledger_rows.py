"""The rows of the ledger's shared store: their SQL, and what they are read as.

No transaction begins or ends here, and nothing is decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from actors.ledger.clearing import Held, Sum
from actors.ledger.covering import Who
from actors.ledger.messages import Cap, Spend
from actors.ledger.shares import Line, SumKey
from actors.ledger.windows import quarter
from storage.sql.port import Transaction

KEYS_A_QUERY: Final = 256  # Three arguments each; more go in several.
MICROS: Final = 1_000_000

LINE: Final = (
    "INSERT INTO ledger_line (site, key_id, asked, provider, quarter, nanousd) "
    "VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (site, key_id, asked, provider, quarter) "
    "DO UPDATE SET nanousd = ledger_line.nanousd + excluded.nanousd"
)
QUARTER: Final = (
    "INSERT INTO ledger_quarter (cap, subject, quarter, nanousd) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (cap, subject, quarter) "
    "DO UPDATE SET nanousd = ledger_quarter.nanousd + excluded.nanousd"
)
SLICE: Final = (
    "INSERT INTO ledger_slice (cap, subject, slot, replica, granted, used) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cap, subject, slot, replica) "
    "DO UPDATE SET granted = excluded.granted, used = excluded.used"
)
SUM: Final = (
    "UPDATE ledger_sum SET spent = ?, leased = ?, used = ?, wanted = ? "
    "WHERE cap = ? AND subject = ? AND slot = ?"
)


def line(one: Spend) -> tuple[Line, int]:
    """What was spent, as a line counts it."""
    who = Who(one.site, one.key_id, one.asked, one.provider)
    return Line(who, quarter(one.at_s)), one.nanousd


def columns(one: Sum) -> tuple[int, int, int, int]:
    """A sum's columns, in the order of `SUM`."""
    return one.spent, one.leased, one.used, one.wanted


def write_lines(tx: Transaction, spent: Iterable[tuple[Line, int]]) -> None:
    """Add to them, in one order, so that two writers never wait in a circle."""
    ordered = sorted((*one.who, one.quarter, nanousd) for one, nanousd in spent)
    if ordered:
        tx.run_many(LINE, ordered)


def _chunks(keys: Iterable[SumKey]) -> Iterable[tuple[str, list[str | int]]]:
    """The keys, in order, as SQL takes them: few texts, whatever their number."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), KEYS_A_QUERY):
        chunk = ordered[start : start + KEYS_A_QUERY]
        size = 1
        while size < len(chunk):
            size *= 2
        chunk += [chunk[-1]] * (size - len(chunk))
        one = "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT))"
        yield ", ".join([one] * size), [part for key in chunk for part in key]


def there(tx: Transaction, keys: Iterable[SumKey]) -> set[SumKey]:
    """Which of these sums are open."""
    found: set[SumKey] = set()
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot FROM ledger_sum "
            f"WHERE (cap, subject, slot) IN (VALUES {marks})"
        )
        found.update(SumKey(*row) for row in tx.rows(sql, *args))
    return found


def lock_sums(tx: Transaction, keys: Iterable[SumKey]) -> dict[SumKey, Sum]:
    """Those of these sums that are open, held until the transaction's end."""
    found: dict[SumKey, Sum] = {}
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot, spent, leased, used, wanted FROM ledger_sum "
            f"WHERE (cap, subject, slot) IN (VALUES {marks}) "
            "ORDER BY cap, subject, slot FOR UPDATE"
        )
        for cap, subject, slot, spent, leased, used, wanted in tx.rows(sql, *args):
            found[SumKey(cap, subject, slot)] = Sum(spent, leased, used, wanted)
    return found


def slices(tx: Transaction, replica: str, keys: Iterable[SumKey]) -> dict[SumKey, Held]:
    """What a replica has of these sums; what it has nothing of is left out."""
    found: dict[SumKey, Held] = {}
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot, granted, used FROM ledger_slice "
            f"WHERE (cap, subject, slot) IN (VALUES {marks}) AND replica = ?"
        )
        for cap, subject, slot, granted, used in tx.rows(sql, *args, replica):
            found[SumKey(cap, subject, slot)] = Held(granted, used)
    return found


def lines(
    tx: Transaction, cap: Cap, key: SumKey, since: int
) -> Iterable[tuple[Line, int]]:
    """The lines that such a sum may be made of."""
    where, args = ["quarter >= ?"], list[str | int]([since])
    for column, per in (("site", "site"), ("key_id", "key"), ("asked", "model"),
                        ("provider", "provider")):  # fmt: skip
        if cap.per == per:
            where.append(f"{column} = ?")
            args.append(key.subject)
    sql = (
        "SELECT site, key_id, asked, provider, quarter, nanousd FROM ledger_line "
        f"WHERE {' AND '.join(where)}"
    )
    for site, key_id, asked, provider, at, nanousd in tx.rows(sql, *args):
        yield Line(Who(site, key_id, asked, provider), at), nanousd


def caps(tx: Transaction) -> dict[str, Cap]:
    """Every cap that a sum was opened under, by its id."""
    return {
        str(name): msgspec.json.decode(text, type=Cap)
        for name, text in tx.rows("SELECT id, definition FROM ledger_cap")
    }


def remove_slice(tx: Transaction, key: SumKey, replica: str) -> None:
    """It has nothing of this sum any more."""
    tx.run(
        "DELETE FROM ledger_slice "
        "WHERE cap = ? AND subject = ? AND slot = ? AND replica = ?",
        *key,
        replica,
    )
