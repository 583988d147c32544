"""What changed between two catalogues, a line each, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from actors.ledger.messages import NANOUSD_PER_USD, Price
from actors.router.catalogue.schema import Catalogue, Entry


def diff(old: Catalogue, new: Catalogue) -> Iterator[str]:
    """Models that came, went or changed, in the order of their names."""
    kinds = sorted({*old.kinds, *new.kinds})
    for kind in kinds:
        before, after = old.kinds.get(kind, {}), new.kinds.get(kind, {})
        for name in sorted({*before, *after}):
            was, now = before.get(name), after.get(name)
            if was is None and now is not None:
                yield f"+ {kind}/{name}  {short(now)}"
            elif now is None and was is not None:
                yield f"- {kind}/{name}  {short(was)}"
            elif was is not None and now is not None and was != now:
                changes = "; ".join(_changes(was, now))
                yield f"~ {kind}/{name}  {changes}"


def short(entry: Entry) -> str:
    """An entry on one line."""
    price = entry.price
    window = f"window {entry.window_tokens}" if entry.window_tokens else "window ?"
    if price is None:
        return f"{window}, unpriced"
    return (
        f"{window}, {usd(price.input_nanousd_per_mtok)} in, "
        f"{usd(price.output_nanousd_per_mtok)} out"
    )


def _changes(was: Entry, now: Entry) -> Iterator[str]:
    for field in structs.fields(Entry):
        old, new = getattr(was, field.name), getattr(now, field.name)
        if old == new:
            continue
        if field.name == "price" and old is not None and new is not None:
            yield from _price_changes(old, new)
        else:
            yield f"{field.name} {_shown(old)} -> {_shown(new)}"


def _price_changes(was: Price, now: Price) -> Iterator[str]:
    for field in structs.fields(Price):
        old, new = getattr(was, field.name), getattr(now, field.name)
        if old == new:
            continue
        label = field.name.removesuffix("_nanousd_per_mtok").removesuffix("_nanousd")
        yield f"{label} {_amount(old)} -> {_amount(new)}"


def _amount(value: object) -> str:
    return usd(value) if isinstance(value, int) else _shown(value)


def _shown(value: object) -> str:
    match value:
        case None | "" | ():
            return "none"
        case Price():
            return (
                f"{usd(value.input_nanousd_per_mtok)} in, "
                f"{usd(value.output_nanousd_per_mtok)} out"
            )
        case tuple():
            return (
                f"{len(value)} entries"
                if value and not isinstance(value[0], str)
                else ",".join(value)
            )
        case _:
            return str(value)


def usd(nanousd: int) -> str:
    """Dollars as a person writes them."""
    whole, rest = divmod(nanousd, NANOUSD_PER_USD)
    text = f"{rest:09d}".rstrip("0")
    return f"${whole}.{text:0<2}" if text else f"${whole}"
