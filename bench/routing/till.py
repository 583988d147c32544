"""The ledger inside the simulation: its own books, asked without its actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from actors.ledger.accounts import Accounts
from actors.ledger.messages import Hold, Meter, Price, SiteLimits, TakeHold
from bench.routing.load import Arrival

if TYPE_CHECKING:
    from actors.stream.actor import Stream
    from runtime import Ref

SITE = "site"
NANOUSD_PER_USD = 1_000_000_000


class Till:
    """One site's money: a hold before each call, a settle after it."""

    def __init__(self, cap_usd: float | None) -> None:
        cap = None if cap_usd is None else round(cap_usd * NANOUSD_PER_USD)
        limits = SiteLimits(SITE, spend_nanousd_max=cap, spend_window="total")
        self.cap_nanousd = cap
        self.spent_nanousd = 0
        self.accounts = Accounts()
        self.accounts.set_limits((limits,), (), 0.0)

    def __repr__(self) -> str:
        return f"<Till {self.accounts!r}>"

    @property
    def overspent_nanousd(self) -> int:
        """Spend over the cap; negative is what is left."""
        return 0 if self.cap_nanousd is None else self.spent_nanousd - self.cap_nanousd

    def hold(
        self,
        arrival: Arrival,
        provider: str,
        price: Price,
        *,
        prompt_tokens_max: int,
        output_tokens_max: int,
        now: float,
    ) -> int | None:
        """Set the worst case aside; None: there is no room."""
        ask = TakeHold(
            # The pure books know streams by their id alone.
            stream=cast("Ref[Stream]", None),
            site=SITE,
            provider=provider,
            model="m",
            prompt_tokens_max=prompt_tokens_max,
            output_tokens_max=output_tokens_max,
            price=price,
            meter=Meter(prompt_tokens=arrival.prompt_tokens),
        )
        held = self.accounts.take(str(arrival.id), ask, now, now)
        return held.id if isinstance(held, Hold) else None

    def settle(self, hold: int, nanousd: int, output_tokens: int, now: float) -> None:
        """End a hold at its true cost."""
        self.spent_nanousd += nanousd
        self.accounts.settle(hold, nanousd, output_tokens, now, now)

    def leave(self, arrival: Arrival, now: float) -> None:
        """The request is over."""
        self.accounts.leave(str(arrival.id), now, now)
