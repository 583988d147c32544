"""What tokens cost. Pure integers: nano-dollars, rounded up once per bill.

A price has parts. Which one applies is decided in this order: the service that was
asked for (`for_service`), the tier of the prompt's length (`at`), then each token's
kind. A kind without a price of its own is charged as what it is a kind of.
"""

from collections.abc import Iterator
from typing import Final

from actors.ledger.messages import Price
from wire.events import Usage

TOKENS_PER_MTOK: Final = 1_000_000
UNTOLD: Final = frozenset(
    {"", "auto", "unspecified"}
)  # Says nothing of what was given.


def for_service(price: Price, service: str | None) -> Price:
    """The price of the service that a request asks for ("flex", "priority", …).

    A service without a price of its own is charged as the standard one.
    """
    match service:
        case "batch":
            return price.batch or price
        case "flex":
            return price.flex or price
        case "priority":
            return price.priority or price
        case _:
            return price


def at(price: Price, prompt_tokens: int) -> Price:
    """The price that a prompt of this length is charged at."""
    for tier in reversed(price.tiers):
        if prompt_tokens > tier.above_tokens:
            return tier.price
    return price


def worst(
    price: Price,
    *,
    prompt_tokens_max: int,
    output_tokens_max: int,
    audio: bool = True,
    cache_1h: bool = True,
) -> int:
    """The most that a call within these bounds can cost, in nano-dollars.

    Every tier that the prompt may reach counts, and every kind of token that it may
    hold: without sound or long-lived cache writes in the request, their prices do not.
    Searches are unknown before the call; they settle as what they were.
    """
    return max(
        _up(
            prompt_tokens_max * _dearest_input(one, audio=audio, cache_1h=cache_1h)
            + output_tokens_max * _dearest_output(one, audio=audio)
        )
        for one in _reachable(price, prompt_tokens_max)
    )


def output_within(
    price: Price,
    nanousd: int,
    *,
    prompt_tokens_max: int,
    audio: bool = True,
    cache_1h: bool = True,
) -> int | None:
    """How many output tokens this much money holds at the worst; None: any number.

    Negative where not even the prompt fits. The inverse of `worst`.
    """
    most: int | None = None
    for one in _reachable(price, prompt_tokens_max):
        rest = nanousd * TOKENS_PER_MTOK - prompt_tokens_max * _dearest_input(
            one, audio=audio, cache_1h=cache_1h
        )
        dearest = _dearest_output(one, audio=audio)
        if rest < 0:
            return -1
        if dearest:
            fits = rest // dearest
            most = fits if most is None else min(most, fits)
    return most


def cost(price: Price, usage: Usage) -> int:
    """What this usage costs, in nano-dollars.

    `Usage.prompt` holds cached, cache-written and audio tokens, `completion` holds
    reasoning and audio: they are taken out first. Providers have been seen to report
    more cached than prompt tokens: the plain rest is never negative.
    """
    now = at(price, usage.prompt)
    text_in = now.input_nanousd_per_mtok
    text_out = now.output_nanousd_per_mtok
    write = _or(now.cache_write_nanousd_per_mtok, text_in)
    write_1h = _or(now.cache_write_1h_nanousd_per_mtok, write)
    written_1h = min(usage.cache_write_1h, usage.cache_write)
    plain = max(0, usage.prompt - usage.cached - usage.cache_write)
    audio_in = min(usage.audio_in, plain)
    audio_out = min(usage.audio_out, usage.completion)
    reasoning = min(usage.reasoning, usage.completion - audio_out)
    tokens = (
        (plain - audio_in) * text_in
        + audio_in * _or(now.audio_input_nanousd_per_mtok, text_in)
        + usage.cached * _or(now.cached_input_nanousd_per_mtok, text_in)
        + (usage.cache_write - written_1h) * write
        + written_1h * write_1h
        + (usage.completion - audio_out - reasoning) * text_out
        + audio_out * _or(now.audio_output_nanousd_per_mtok, text_out)
        + reasoning * _or(now.reasoning_nanousd_per_mtok, text_out)
    )
    return _up(tokens) + usage.searches * now.search_nanousd


def bills_output(price: Price) -> bool:
    """Whether an answer's length costs anything."""
    return any(_dearest_output(one, audio=True) for one in _all(price))


def to_hold(price: Price, service: str | None) -> Price:
    """The price to hold at: of the service asked for and the standard, the dearer.

    Where a service has no room, providers serve the request as a standard one.
    """
    asked = for_service(price, service)
    dearer = asked.output_nanousd_per_mtok > price.output_nanousd_per_mtok
    return asked if dearer else price


def served(price: Price, asked: str | None, told: str | None) -> Price:
    """The price to charge: of the service that the provider says it gave.

    What a client asks for is not always what it gets, and not everybody tells: then it
    is charged as it was held. Nobody gets a cheaper service by asking for it.
    """
    service = "" if told is None else told.lower().removeprefix("service_tier_")
    if service in UNTOLD:
        return to_hold(price, asked)
    return for_service(price, service)


def _all(price: Price) -> Iterator[Price]:
    yield price
    for tier in price.tiers:
        yield tier.price


def _reachable(price: Price, prompt_tokens_max: int) -> Iterator[Price]:
    yield price
    for tier in price.tiers:
        if prompt_tokens_max > tier.above_tokens:
            yield tier.price


def has_1h(price: Price) -> bool:
    """Whether cache writes that last an hour have a price of their own."""
    return price.cache_write_1h_nanousd_per_mtok is not None or any(
        has_1h(tier.price) for tier in price.tiers
    )


def _dearest_input(price: Price, *, audio: bool, cache_1h: bool) -> int:
    return max(
        price.input_nanousd_per_mtok,
        price.cached_input_nanousd_per_mtok or 0,
        price.cache_write_nanousd_per_mtok or 0,
        (price.cache_write_1h_nanousd_per_mtok or 0) if cache_1h else 0,
        (price.audio_input_nanousd_per_mtok or 0) if audio else 0,
    )


def _dearest_output(price: Price, *, audio: bool) -> int:
    return max(
        price.output_nanousd_per_mtok,
        price.reasoning_nanousd_per_mtok or 0,
        (price.audio_output_nanousd_per_mtok or 0) if audio else 0,
    )


def _or(own: int | None, other: int) -> int:
    return other if own is None else own


def _up(nanousd_mtok: int) -> int:
    return -(-nanousd_mtok // TOKENS_PER_MTOK)
