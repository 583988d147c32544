"""Rows as files: CSV that a spreadsheet can open safely, and JSON lines. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

CSV: Final = "text/csv"
JSON_LINES: Final = "application/jsonl"
Format = Literal["csv", "jsonl"]
# How a cell begins that a spreadsheet would run. Clients choose models' names.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_encode: Final = msgspec.json.Encoder().encode


def csv_line(cells: Sequence[str | float | None]) -> bytes:
    """One line (RFC 4180)."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(one) for one in cells])
    return line.getvalue().encode("utf-8", "replace")


def json_line(value: Any) -> bytes:
    """One line."""
    return _encode(value) + b"\n"


def _cell(value: str | float | None) -> str | float:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
