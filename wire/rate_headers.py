"""What clients are told of pace: allowances passed on, and when to come back. Pure.

A provider's own allowance is told in the words of the client's dialect, so that its
rate-limit handling works whoever answers. Google's and AWS's clients know none.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from wire.events import Fault
from wire.ratelimits import RateWindow, lower_names, rate_windows, server_now_s

FIELDS_PASSED_MAX: Final = 24  # OpenAI sends 6, Anthropic 12; a server may send many.
VALUE_CHARS_MAX: Final = 64

_OPENAI: Final = b"x-ratelimit-"
_ANTHROPIC: Final = b"anthropic-ratelimit-"
_OWN: Final = {
    "openai_chat": _OPENAI,
    "openai_completions": _OPENAI,
    "openai_responses": _OPENAI,
    "openai_embeddings": _OPENAI,
    "anthropic": _ANTHROPIC,
}
# What both have a word for; the others are one provider's own affair.
_COMMON: Final = frozenset({"requests", "tokens"})

# A spend cap, or a key of ours: the same in a second as now.
_HOPELESS_CODES: Final = frozenset({"insufficient_quota", "unpriced"})

Fields = tuple[tuple[str, str], ...]


def passed_on(client: str, raw: Sequence[tuple[bytes, bytes]]) -> Fields:
    """The fields about allowances for this client, from a provider's raw head."""
    own = _OWN.get(client)
    if own is None:
        return ()
    other = _ANTHROPIC if own is _OPENAI else _OPENAI
    same: list[tuple[str, str]] = []
    foreign = False
    for name, value in raw:
        lower = name.lower()
        if lower.startswith(own):
            told = value.decode("latin-1")
            # Header splitting ends here, whatever let the value in.
            if len(told) <= VALUE_CHARS_MAX and told.isprintable():
                same.append((lower.decode("latin-1"), told))
        elif lower.startswith(other):
            foreign = True
    if same or not foreign:
        return tuple(same[:FIELDS_PASSED_MAX])
    named = lower_names((n.decode("latin-1"), v.decode("latin-1")) for n, v in raw)
    now_s = server_now_s(named)
    windows = [w for w in rate_windows(named, now_s) if w.of in _COMMON]
    told_of = _for_openai if own is _OPENAI else _for_anthropic
    fields = [field for window in windows for field in told_of(window, now_s)]
    return tuple(dict(fields).items())[:FIELDS_PASSED_MAX]


def _for_openai(window: RateWindow, now_s: float | None) -> list[tuple[str, str]]:
    del now_s
    fields: list[tuple[str, str]] = []
    if window.limit is not None:
        fields.append((f"x-ratelimit-limit-{window.of}", str(window.limit)))
    if window.remaining is not None:
        fields.append((f"x-ratelimit-remaining-{window.of}", str(window.remaining)))
    if window.reset_s is not None:
        fields.append((f"x-ratelimit-reset-{window.of}", f"{window.reset_s:.3f}s"))
    return fields


def _for_anthropic(window: RateWindow, now_s: float | None) -> list[tuple[str, str]]:
    prefix = f"anthropic-ratelimit-{window.of}"
    fields: list[tuple[str, str]] = []
    if window.limit is not None:
        fields.append((f"{prefix}-limit", str(window.limit)))
    if window.remaining is not None:
        fields.append((f"{prefix}-remaining", str(window.remaining)))
    if window.reset_s is not None and now_s is not None:
        at = datetime.fromtimestamp(now_s + window.reset_s, UTC)
        fields.append((f"{prefix}-reset", at.strftime("%Y-%m-%dT%H:%M:%SZ")))
    return fields


def retry_fields(shown: Fault) -> list[tuple[str, str]]:
    """When to come back, and whether at all, of a fault that is already `public`.

    Official clients retry every 429 and 5xx unless `x-should-retry` forbids it.
    """
    hopeless = (
        shown.kind in {"client", "context", "key"} or shown.code in _HOPELESS_CODES
    )
    fields: list[tuple[str, str]] = []
    if shown.retry_after_s is not None:
        # Whole seconds, rounded up: OpenAI's client takes 0 for no answer.
        fields.append(("retry-after", str(max(1, int(-(-shown.retry_after_s // 1))))))
    if hopeless:
        fields.append(("x-should-retry", "false"))
    elif shown.retry_after_s is not None:
        fields.append(("x-should-retry", "true"))
    return fields
