"""The catalogue and our arithmetic, against bills that were worked out by hand."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.ledger.pricing import cost, for_service
from actors.router.catalogue.files import lookup
from wire.events import Usage

TABLE = Path(__file__).with_name("invoices.toml")
INVOICES = tomllib.loads(TABLE.read_text("utf-8"))["invoice"]
CATALOGUE = lookup(Path("/nowhere"))  # As it is shipped: nobody has refreshed it.
MTOK = 1_000_000
NANO = 1_000_000_000


@pytest.mark.parametrize("invoice", INVOICES, ids=lambda one: str(one["name"]))
def test_what_a_call_costs_is_what_its_invoice_says(invoice: dict[str, Any]) -> None:
    lines = [Decimal(tokens) * Decimal(usd) / MTOK for tokens, usd, _ in invoice["sum"]]
    count, each = invoice.get("searches", (0, "0"))
    usd = Decimal(invoice["usd"])
    # First the table itself.
    assert sum(lines) + count * Decimal(each) == usd
    usage = Usage(**{"completion": 0, **invoice["usage"]})
    assert sum(tokens for tokens, _, _ in invoice["sum"]) == usage.total

    found = CATALOGUE.find(invoice["kind"], invoice["model"])

    assert found is not None
    assert found.entry.price is not None
    price = for_service(found.entry.price, invoice.get("service"))
    assert cost(price, usage) == -(-usd * NANO // 1)


def test_there_are_thirty_of_them_and_each_kind_of_token_is_in_some() -> None:
    assert len(INVOICES) >= 30
    kinds = {kind for invoice in INVOICES for kind in invoice["usage"]}
    assert kinds >= {
        "cached",
        "cache_write",
        "cache_write_1h",
        "reasoning",
        "audio_in",
        "searches",
    }
    assert {invoice.get("service", "") for invoice in INVOICES} >= {
        "",
        "batch",
        "flex",
        "priority",
    }
