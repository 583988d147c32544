"""What the ledger can be asked and told. Money is integers of nano-dollars.

A request enters once (`Enter -> Standing`): that counts it, and says how thrifty it
must be. A hold is taken before each attempt at its worst price and ended exactly once:
by `Settle`, or by the death of its stream (then at what the shared `Meter` shows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actors.directory.messages import KeyTerms
from runtime import ControlTell, DomainError, Ref, Request

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


Window = Literal["day", "week", "month", "total"]
CapKind = Literal["soft", "degrade", "hard"]
Per = Literal["all", "site", "key", "model", "provider"]


class Cap(Struct, frozen=True):
    """How much may be spent in a window, by whom, on what.

    Args:
        name: how operators and refusals call it.
        kind: what happens when it is reached. soft: an alert. degrade: the whole
            ladder short of refusing. hard: refusals, so that it is never exceeded.
        per: one sum for everything that it covers, or one for each site, key, ….
        rolling: the last 24 hours, 7 or 30 days instead of a calendar's.
        zone: whose midnight a calendar window begins at.
        sites, keys, models, providers: what it covers, as shell patterns; empty is
            everything. Keys are named SITE:PREFIX, models as clients ask for them.
    """

    name: str
    nanousd_max: int
    window: Window = "month"
    kind: CapKind = "hard"
    per: Per = "site"
    rolling: bool = False
    zone: str = "UTC"
    sites: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


class Rung(Struct, frozen=True):
    """One step of a site's ladder: in force from `percent` of a cap that is used.

    Lower rungs stay in force. What two of them say, the higher one's counts; bounds
    only get tighter.

    Args:
        prefer_cheap: price decides among candidates.
        output_nanousd_per_mtok_max: only candidates whose output costs at most this.
        output_tokens_max: answers are at most this long.
        model: served by this route instead of the one asked for.
        refuse: no more, though the cap may have room left.
    """

    name: str
    percent: int
    prefer_cheap: bool = False
    output_nanousd_per_mtok_max: int | None = None
    output_tokens_max: int | None = None
    model: str = ""
    refuse: bool = False


class Rates(Struct, frozen=True):
    """How much at once, and a minute. None means no limit."""

    requests_per_minute_max: int | None = None
    tokens_per_minute_max: int | None = None
    in_flight_max: int | None = None


class SiteLimits(Struct, frozen=True):
    """One site's limits. None means no limit.

    `spend_nanousd_max` is a hard cap on its own; other caps are `Cap`s. `each_key` is
    what each of its keys is held to, on top of the site's own.
    """

    name: str
    spend_nanousd_max: int | None = None
    spend_window: Window = "month"
    spend_zone: str = "UTC"
    in_flight_max: int | None = None
    requests_per_minute_max: int | None = None
    tokens_per_minute_max: int | None = None
    each_key: Rates = Rates()
    ladder: tuple[Rung, ...] = ()
    pacing: bool = True


class Thrift(Struct, frozen=True, omit_defaults=True):
    """What the ledger asks of the router for one request.

    Args:
        price_pressure: how far price should decide, from 0 (as configured) to 1.
        prefer_cheap: as a rung says: also where a route has an order of its own.
        output_nanousd_per_mtok_max: candidates with dearer output are out.
    """

    price_pressure: float = 0.0
    prefer_cheap: bool = False
    output_nanousd_per_mtok_max: int | None = None


class Enter(Request["Ledger", "Standing | HoldRefused"], frozen=True):
    """Count this request among its site's and its key's, and say how it stands.

    Asked again by the same stream, it counts nothing: it says what is allowed from
    `rung_min` on, which is how a request that found no room goes down the ladder.
    """

    stream: Ref[Stream]
    site: str
    key_id: str
    model: str
    prompt_tokens: int
    rung_min: int = 0
    terms: KeyTerms | None = None  # Its key's own limits, on top of its site's.
    spare: bool = False  # No client waits: no place, no rate; caps with room to spare.


class Standing(Struct, frozen=True):
    """How thrifty a request must be now.

    Args:
        rung: how many rungs of the ladder are in force; 0 is none.
        degraded: the name of the last of them, for header, record and metrics.
        lower: whether there is a rung below that is no refusal.
        output_tokens_max, model: what the answer and its route become; None and empty
            leave them as they were asked for.
    """

    rung: int = 0
    degraded: str = ""
    lower: bool = False
    thrift: Thrift = Thrift()
    output_tokens_max: int | None = None
    model: str = ""


class TakeHold(Request["Ledger", "Hold | HoldRefused"], frozen=True):
    """Reserve the worst case of one attempt, at every cap that it touches, or at none.

    Args:
        model: the deployment's own name; `asked` is the route's, what clients ask for.
        output_tokens_max: of the whole answer; None leaves it open.
        output_tokens_limit: the most that the deployment can answer, where that is
            known; an answer that is left open is held at it. Where neither is known
            and a hard cap covers it, there is no hold.
        output_tokens_least: where this is less, and the site's ladder shortens answers,
            a hold for a shorter answer is taken rather than none.
    """

    stream: Ref[Stream]
    site: str
    provider: str
    model: str
    prompt_tokens_max: int
    output_tokens_max: int | None
    price: Price | None
    meter: Meter
    key_id: str = ""
    asked: str = ""
    output_tokens_least: int | None = None
    output_tokens_limit: int | None = None
    audio: bool = False  # It may hold or bring sound, which is dearer than text.
    cache_1h: bool = False  # It asks for cache writes that last an hour.


class Hold(Struct, frozen=True):
    """Money set aside; `nanousd` is 0 for a model without a price.

    `output_tokens_max` is what it pays for, less than asked in a partial hold. `at_ms`
    (Unix time) is when it was taken: its cost belongs to the windows of that moment.
    """

    id: int
    nanousd: int
    output_tokens_max: int | None = None
    at_ms: int = 0


RefusedFor = Literal[
    "spend_cap",
    "in_flight",
    "unpriced",
    "unbounded",
    "requests",
    "tokens",
    "removed",
    "store",
]


class HoldRefused(Struct, frozen=True):
    """No room. `resets_at_s` is Unix time, None for caps that never reset.

    store: what is shared with other processes cannot be asked about now.
    unbounded: nothing says how long the answer may be, and a hard cap covers it.
    """

    reason: RefusedFor
    message: str
    resets_at_s: float | None = None
    retry_after_s: float | None = None


class LedgerUnavailable(DomainError):
    """The store that the ledger's replicas share cannot be asked now."""


class Settle(ControlTell["Ledger"], frozen=True):
    """End a hold at its true cost; 0 where nothing was billed.

    `output_tokens` count against the site's and the key's tokens a minute.
    """

    hold: int
    nanousd: int
    output_tokens: int = 0


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


class CapAccount(Struct, frozen=True):
    """One sum of one cap right now. `subject` is the site, key, … it is kept for."""

    cap: Cap
    subject: str
    spent_nanousd: int
    held_nanousd: int
    resets_at_s: float | None


class ReportCaps(Request["Ledger", "tuple[CapAccount, ...]"], frozen=True):
    """All caps that were used, for metrics and operators."""


class SetLimits(Request["Ledger", None], frozen=True):
    """New limits after a reload. Holds and spend stay, and count against new caps."""

    sites: tuple[SiteLimits, ...]
    caps: tuple[Cap, ...] = ()


class Adjust(Request["Ledger", None], frozen=True):
    """A refund (negative) or a charge that no hold was taken for.

    It counts now, in the current window of every cap that covers it. A refund may
    leave a credit.
    """

    site: str
    nanousd: int
    key_id: str = ""
    asked: str = ""
    provider: str = ""


class ResetCap(Request["Ledger", int], frozen=True):
    """Forget what this cap's current windows hold; the reply is how many sums.

    Open holds stay held. An empty `subject` means all.
    """

    cap: str
    subject: str = ""


class Spend(Struct, frozen=True):
    """What was spent, by whom, on what, when: for the ledger's memory at the start."""

    site: str
    key_id: str
    asked: str
    provider: str
    at_s: float
    nanousd: int


AlertKind = Literal["soft", "degrade", "hard", "overrun"]


class Alert(Struct, frozen=True):
    """Something about money that a person should know, once a window.

    soft, degrade, hard: this cap was reached (hard: it refused somebody). overrun: a
    call cost more than its hold.
    """

    kind: AlertKind
    cap: str
    subject: str
    message: str
    nanousd: int = 0
