"""Whether what a catalogue file says can be meant. Pure.

The converter writes nothing else; a file that was edited, or is somebody else's, may
say that a model pays its users back, or has a window of no tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.ledger.messages import Price
from actors.router.catalogue.schema import Catalogue, Entry

TOKENS_MAX: Final = 10**9
NANOUSD_MAX: Final = 10**18  # A thousand dollars a token, of a million of them.


def unsound(catalogue: Catalogue) -> str:
    """The first thing that cannot be meant; empty when there is none."""
    for kind, models in catalogue.kinds.items():
        for name, entry in models.items():
            for what in _of_entry(entry):
                return f"{kind[:64]}/{name[:128]} has {what}"
    return ""


def _of_entry(entry: Entry) -> Iterator[str]:
    for field in ("window_tokens", "output_tokens_max", "cache_tokens_min"):
        tokens: int | None = getattr(entry, field)
        if tokens is not None and not 0 < tokens <= TOKENS_MAX:
            yield f"{field} {tokens}"
    if entry.price is not None:
        yield from _of_price(entry.price, deep=True)


def _of_price(price: Price, *, deep: bool) -> Iterator[str]:
    for field in price.__struct_fields__:
        value = getattr(price, field)
        if isinstance(value, int) and not 0 <= value <= NANOUSD_MAX:
            yield f"{field} {value}"
    above = 0
    for tier in price.tiers:
        if not above < tier.above_tokens <= TOKENS_MAX:
            yield f"a tier above {tier.above_tokens} tokens, which is out of order"
        above = tier.above_tokens
        yield from _of_price(tier.price, deep=False)
    services = [one for one in (price.batch, price.flex, price.priority) if one]
    if not deep and (price.tiers or services):
        yield "prices within the prices of a tier"
        return
    for service in services:
        yield from _of_service(service)


def _of_service(price: Price) -> Iterator[str]:
    """A service has tiers of its own, and no services."""
    if price.batch or price.flex or price.priority:
        yield "prices of services within those of a service"
        return
    yield from _of_price(price, deep=True)
