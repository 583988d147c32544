"""An answer whose length nobody bounds, under a hard cap."""

from __future__ import annotations

import pytest

from actors.ledger.accounts import Accounts
from actors.ledger.messages import Hold, HoldRefused, Price, SiteLimits
from tests.actors.ledger.asks import USD, hold

CAPPED = (SiteLimits("acme", spend_nanousd_max=USD),)


def test_it_is_held_at_what_fits_the_model() -> None:
    accounts = Accounts(CAPPED)

    held = accounts.take(
        "s", hold(output_tokens_max=None, output_tokens_limit=1_000), 0.0, 0.0
    )

    # Ten prompt tokens at 1,000 nano-dollars, a thousand of output at 2,000.
    assert isinstance(held, Hold)
    assert held.nanousd == 10 * 1_000 + 1_000 * 2_000
    assert held.output_tokens_max == 1_000


def test_without_a_known_limit_it_is_refused_and_told_what_to_send() -> None:
    accounts = Accounts(CAPPED)

    said = accounts.take("s", hold(output_tokens_max=None), 0.0, 0.0)

    assert isinstance(said, HoldRefused)
    assert said.reason == "unbounded"
    assert "max_tokens" in said.message


@pytest.mark.parametrize(
    ("limits", "price"),
    [
        ((SiteLimits("acme"),), Price(USD, USD)),
        (CAPPED, Price(USD, 0)),
    ],
    ids=["no cap", "free answers"],
)
def test_where_no_cap_is_at_stake_it_may_be_any_length(
    limits: tuple[SiteLimits, ...], price: Price
) -> None:
    said = Accounts(limits).take(
        "s", hold(output_tokens_max=None, price=price), 0.0, 0.0
    )

    assert isinstance(said, Hold)
