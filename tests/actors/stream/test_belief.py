"""What a provider reports is believed where it can be true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.messages import Price
from actors.ledger.pricing import cost
from actors.stream.belief import SEARCHES_MAX, TOKENS_MAX, believed
from wire.events import Usage

COUNTS = st.integers(-(2**60), 2**60) | st.integers(-2, 5000)
USAGES = st.builds(
    Usage,
    prompt=COUNTS,
    completion=COUNTS,
    cached=COUNTS,
    cache_write=COUNTS,
    cache_write_1h=COUNTS,
    reasoning=COUNTS,
    audio_in=COUNTS,
    audio_out=COUNTS,
    searches=COUNTS,
)
DEAR = Price(600 * 10**9, 3600 * 10**9, 600 * 10**9, search_nanousd=10**8)


@given(USAGES)
def test_no_report_costs_less_than_nothing_or_more_than_the_books_hold(
    usage: Usage,
) -> None:
    found = believed(usage)

    if found is None:
        parts = min(getattr(usage, name) for name in usage.__struct_fields__[:9])
        wrong = parts < 0 or max(usage.prompt, usage.completion) > TOKENS_MAX
        assert wrong or usage.searches > SEARCHES_MAX
    else:
        assert 0 <= cost(DEAR, found) < 2**63 // 1000


def test_what_is_true_is_not_touched() -> None:
    usage = Usage(prompt=900, completion=50, cached=600, cache_write=200, reasoning=40)

    assert believed(usage) is usage


def test_an_answer_is_not_made_of_nothing() -> None:
    """Some servers have the field and never fill it in; a count does cost nothing."""
    assert believed(Usage(), chars=11) is None
    assert believed(Usage(), chars=0) == Usage()


def test_no_more_is_cached_than_there_was() -> None:
    found = believed(Usage(prompt=100, completion=5, cached=1000, cache_write=1000))

    assert found == Usage(prompt=100, completion=5, cached=100, cache_write=0)
