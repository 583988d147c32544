"""What tests ask of the accounts, with as few words as they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from actors.ledger.messages import Enter, Meter, Price, TakeHold

if TYPE_CHECKING:
    from actors.stream.actor import Stream
    from runtime import Ref

# The pure books know streams by their id alone.
NOBODY = cast("Ref[Stream]", None)

# A dollar and two a million tokens: 1,000 and 2,000 nano-dollars each.
PRICE = Price(1_000_000_000, 2_000_000_000)
USD = 1_000_000_000


def enter(site: str = "acme", key: str = "acme:k", **more: Any) -> Enter:
    """A request of this site."""
    given: dict[str, Any] = {"model": "fast", "prompt_tokens": 10, **more}
    return Enter(NOBODY, site, key, **given)


def hold(site: str = "acme", key: str = "acme:k", **more: Any) -> TakeHold:
    """An attempt of this site: 10 prompt tokens and 5 of output cost 20,000."""
    given: dict[str, Any] = {
        "provider": "main",
        "model": "m",
        "prompt_tokens_max": 10,
        "output_tokens_max": 5,
        "price": PRICE,
        "meter": Meter(),
        "asked": "fast",
        **more,
    }
    return TakeHold(NOBODY, site, key_id=key, **given)
