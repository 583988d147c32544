"""Refusals in words: what clients read begins with a capital, and a name has none."""

from actors.ledger.wording import unpriced


def test_a_refusal_does_not_begin_with_a_name() -> None:
    """A name with a capital letter put before it is another one."""
    assert unpriced("spare", "m", "blog").message.startswith("the model spare/m has")
