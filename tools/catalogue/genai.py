"""genai-prices' table as plain values, read without running it.

Its wheel holds a Python file of constructor calls. Only the syntax tree is walked:
names of calls become tags, keyword arguments become fields.
"""

from __future__ import annotations

import ast
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

DATA = "genai_prices/data.py"
NANOUSD = Decimal(10**9)


@dataclass(frozen=True)
class Second:
    """A second opinion, in nano-dollars a million tokens, for prompts of any length."""

    input: int
    output: int
    cached: int | None
    cache_write: int | None


Prices = dict[str, dict[str, Second]]


def read_wheel(wheel: Path, date: str) -> Prices:
    """The prices on one day, by provider and model id."""
    with zipfile.ZipFile(wheel) as packed:
        tree = ast.parse(packed.read(DATA))
    found: Prices = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.List):
            for provider in (value_of(one) for one in node.value.elts):
                models = {
                    model["id"]: second
                    for model in provider.get("models") or ()
                    if (second := _second(model, date)) is not None
                }
                found[provider["id"]] = models
    return found


def value_of(node: ast.AST) -> Any:
    """A literal, or a call as a dict with its name as `call`."""
    match node:
        case ast.Constant(value):
            return value
        case ast.List(items) | ast.Tuple(items):
            return [value_of(one) for one in items]
        case ast.Dict(keys, values):
            return {
                value_of(key): value_of(value)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Call(func, args, keywords):
            name = func.attr if isinstance(func, ast.Attribute) else func.id  # type: ignore[attr-defined]
            if name == "Decimal":
                return Decimal(value_of(args[0]))
            if name in {"date", "time"}:
                return "-".join(f"{value_of(one):02}" for one in args)
            return {"call": name, **{k.arg: value_of(k.value) for k in keywords}}
        case ast.UnaryOp(ast.USub(), operand):
            return -value_of(operand)
        case _:
            return None


def _second(model: dict[str, Any], date: str) -> Second | None:
    prices = model.get("prices")
    if isinstance(prices, list):
        prices = _on(prices, date)
    if not prices:
        return None
    took, gave = _base(prices.get("input_mtok")), _base(prices.get("output_mtok"))
    if took is None or gave is None:
        return None
    return Second(
        took,
        gave,
        _base(prices.get("cache_read_mtok")),
        _base(prices.get("cache_write_mtok")),
    )


def _on(conditional: list[dict[str, Any]], date: str) -> dict[str, Any] | None:
    """The prices of a day: the last that began before it; times of day are left out."""
    chosen = None
    for one in conditional:
        constraint = one.get("constraint") or {}
        start = constraint.get("start_date")
        if constraint.get("call") == "TimeOfDateConstraint":
            continue
        if start is None or start <= date:
            chosen = one.get("prices")
    return chosen


def _base(price: Any) -> int | None:
    if isinstance(price, dict):
        price = price.get("base")
    return None if price is None else int(Decimal(price) * NANOUSD)
