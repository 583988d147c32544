"""What was learned from calls that cost more than their hold. Pure integers.

An overrun says that the bound of a deployment's tokens was wrong (thoughts that are
billed beside the answer, a tokenizer of its own). Its next holds are larger by what was
missing; each call that stays within the plain bound takes a little of that back.
"""

from __future__ import annotations

from typing import Final

PER_MILLE: Final = 1000
MARGIN_MAX: Final = 3 * PER_MILLE  # Four times the bound; beyond it the price is wrong.
FORGET_SHARE: Final = 64  # A margin halves in some 45 good calls.
DEPLOYMENTS_MAX: Final = 10_000  # As many as a configuration can name.


class Margins:
    """By deployment: how much more than the worst case is held, in thousandths."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        return f"<Margins {len(self._of)} of deployments>"

    def of(self, provider: str, model: str) -> int:
        """In thousandths; mostly 0."""
        return self._of.get((provider, model), 0) if self._of else 0

    def learn(self, provider: str, model: str, *, worst: int, cost: int) -> None:
        """A call with this worst case came to this cost."""
        key = provider, model
        margin = self._of.get(key, 0)
        if cost > worst:
            # Something that was thought to be free says nothing in proportion.
            missing = -(-(cost - worst) * PER_MILLE // worst) if worst else 0
            margin = min(MARGIN_MAX, max(margin, missing))
        elif margin:
            margin -= -(-margin // FORGET_SHARE)
        else:
            return
        if margin and (key in self._of or len(self._of) < DEPLOYMENTS_MAX):
            self._of[key] = margin
        else:
            self._of.pop(key, None)


def with_margin(nanousd: int, margin: int) -> int:
    """The hold for this worst case."""
    return nanousd if not margin else -(-nanousd * (PER_MILLE + margin) // PER_MILLE)


def without_margin(nanousd: int, margin: int) -> int:
    """The worst case that this much money can hold."""
    return nanousd * PER_MILLE // (PER_MILLE + margin)
