"""Whether a provider's own count of an answer can be true. Pure.

Money follows what providers report, so what cannot be is not booked: one answer that
claims a billion tokens would empty a site's cap, and in time overflow the books. It is
settled at what was counted here, and marked as estimated.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from wire.events import Usage

TOKENS_MAX: Final = 100_000_000  # Ten times the longest window there is.
SEARCHES_MAX: Final = 10_000  # A research that runs for an hour makes some hundred.


def believed(usage: Usage, chars: int = 0) -> Usage | None:
    """The usage, its parts within the whole; None: it cannot be true.

    `chars` is how much of an answer there was: that is not made of nothing.
    """
    whole = (usage.prompt, usage.completion)
    parts = (
        usage.cached,
        usage.cache_write,
        usage.cache_write_1h,
        usage.reasoning,
        usage.audio_in,
        usage.audio_out,
    )
    if min(*whole, *parts) < 0 or max(whole) > TOKENS_MAX:
        return None
    if chars and not any(whole):
        return None  # Some servers have the field and never fill it in.
    if not 0 <= usage.searches <= SEARCHES_MAX:
        return None
    cached = min(usage.cached, usage.prompt)
    if cached + usage.cache_write <= usage.prompt and cached == usage.cached:
        return usage
    write = min(usage.cache_write, usage.prompt - cached)
    return replace(usage, cached=cached, cache_write=write)
