"""What the ledger can be asked and told. Money is integers of nano-dollars.

A hold is taken before each attempt at its worst price and ended exactly once: by
`Settle`, or by the death of its stream (then at what the shared `Meter` shows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from runtime import ControlTell, Ref, Request

if TYPE_CHECKING:
    from actors.ledger.actor import Ledger
    from actors.stream.actor import Stream

NANOUSD_PER_USD = 1_000_000_000


class Price(Struct, frozen=True, omit_defaults=True):
    """What one deployment charges, in nano-dollars per million tokens.

    None: charged as plain input (cache and audio input) or plain output (audio output,
    reasoning). Searches are charged one by one.

    Args:
        tiers: dearer prices for long prompts, in rising order; the whole request is
            charged at the last whose `above_tokens` its prompt exceeds.
        batch, flex, priority: the prices of these services, where they differ.
    """

    input_nanousd_per_mtok: int
    output_nanousd_per_mtok: int
    cached_input_nanousd_per_mtok: int | None = None
    cache_write_nanousd_per_mtok: int | None = None
    cache_write_1h_nanousd_per_mtok: int | None = None  # None: as other cache writes.
    audio_input_nanousd_per_mtok: int | None = None
    audio_output_nanousd_per_mtok: int | None = None
    reasoning_nanousd_per_mtok: int | None = None
    search_nanousd: int = 0
    tiers: tuple[PriceTier, ...] = ()
    batch: Price | None = None
    flex: Price | None = None
    priority: Price | None = None


class PriceTier(Struct, frozen=True, omit_defaults=True):
    """The price of prompts with more tokens than this."""

    above_tokens: int
    price: Price


class Meter(Struct):
    """What one stream relayed so far. The stream writes it, the ledger only reads.

    It is shared memory on purpose: when a stream dies without a word, the ledger must
    still know what the client got.
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    accepted: bool = False  # Upstream answered 200: the prompt is billed.


class SiteLimits(Struct, frozen=True):
    """One site's limits. None means no limit."""

    name: str
    spend_nanousd_max: int | None = None
    spend_window: Literal["day", "month", "total"] = "month"
    in_flight_max: int | None = None


class TakeHold(Request["Ledger", "Hold | HoldRefused"], frozen=True):
    """Reserve the worst case of one attempt.

    The stream's first hold also enters it among its site's requests in flight.
    """

    stream: Ref[Stream]
    site: str
    provider: str
    model: str
    prompt_tokens_max: int
    output_tokens_max: int
    price: Price | None
    meter: Meter
    audio: bool = False  # It may hold or bring sound, which is dearer than text.
    cache_1h: bool = False  # It asks for cache writes that last an hour.


class Hold(Struct, frozen=True):
    """Money set aside; `nanousd` is 0 for a model without a price."""

    id: int
    nanousd: int


class HoldRefused(Struct, frozen=True):
    """No room. `resets_at_s` is Unix time, None for caps that never reset."""

    reason: Literal["spend_cap", "in_flight", "unpriced"]
    message: str
    resets_at_s: float | None = None
    retry_after_s: float | None = None


class Settle(ControlTell["Ledger"], frozen=True):
    """End a hold at its true cost; 0 where nothing was billed."""

    hold: int
    nanousd: int


class Leave(ControlTell["Ledger"], frozen=True):
    """The stream is over. Its death says so too, but later."""

    stream_id: str


class SiteAccount(Struct, frozen=True):
    """A site's money and load right now."""

    site: str
    spent_nanousd: int
    held_nanousd: int
    in_flight: int
    spend_nanousd_max: int | None
    resets_at_s: float | None


class ReportAccounts(Request["Ledger", "tuple[SiteAccount, ...]"], frozen=True):
    """All accounts, for metrics and operators."""


class SetLimits(Request["Ledger", None], frozen=True):
    """New limits after a reload. Holds and spend stay."""

    sites: tuple[SiteLimits, ...]
