"""What tokens cost. Pure integers: nano-dollars, rounded up once per bill."""

from actors.ledger.messages import Price
from wire.events import Usage

TOKENS_PER_MTOK = 1_000_000


def worst(price: Price, *, prompt_tokens_max: int, output_tokens_max: int) -> int:
    """The most that a call within these bounds can cost, in nano-dollars."""
    dearest_input = max(
        price.input_nanousd_per_mtok,
        price.cached_input_nanousd_per_mtok or 0,
        price.cache_write_nanousd_per_mtok or 0,
    )
    return _up(
        prompt_tokens_max * dearest_input
        + output_tokens_max * price.output_nanousd_per_mtok
    )


def cost(price: Price, usage: Usage) -> int:
    """What this usage costs, in nano-dollars.

    `Usage.prompt` holds cached and cache-written tokens; they are taken out first.
    Providers have been seen to report more cached than prompt tokens: the plain rest
    is never negative.
    """
    plain = max(0, usage.prompt - usage.cached - usage.cache_write)
    cached_price = price.cached_input_nanousd_per_mtok
    if cached_price is None:
        cached_price = price.input_nanousd_per_mtok
    write_price = price.cache_write_nanousd_per_mtok
    if write_price is None:
        write_price = price.input_nanousd_per_mtok
    return _up(
        plain * price.input_nanousd_per_mtok
        + usage.cached * cached_price
        + usage.cache_write * write_price
        + usage.completion * price.output_nanousd_per_mtok
    )


def _up(nanousd_mtok: int) -> int:
    return -(-nanousd_mtok // TOKENS_PER_MTOK)
