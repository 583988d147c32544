"""How long one request's prompt is: counted where there is a counter, else estimated.

Pure but for what it hands on to the counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actors.router.messages import Deployment
from actors.stream import tokens
from wire.dialect import Head
from wire.events import Usage

if TYPE_CHECKING:
    from actors.router.tokens.counter import Counter
    from actors.router.tokens.tally import Count, Tally


class Length(Struct, frozen=True):
    """Likely tokens, and the bound that holds and windows rely on."""

    tokens: int
    most: int


class Prompt:
    """One request's prompt, measured for each deployment that may get it."""

    def __init__(
        self, head: Head, counter: Counter | None, tally: Tally | None
    ) -> None:
        self._head = head
        self._counter = counter
        self._tally = tally
        # Made once: the plan, the permit, the hold and the lesson after it need them.
        self._counts: dict[Deployment, Count] = {}

    def __repr__(self) -> str:
        """Whether it was counted."""
        how = "counted" if self._tally is not None else "estimated"
        return f"<Prompt {how} {self._head.prompt_bytes} bytes>"

    def for_route(self) -> Length:
        """Before anyone was chosen: enough for each candidate."""
        if self._counter is None or self._tally is None:
            return self._estimate()
        counter, model = self._counter, self._head.model
        self._counts = counter.counts_for_route(self._tally, model)
        if len(self._counts) != 1:
            return _length(counter.count_for_route(self._tally, model))
        (count,) = self._counts.values()
        return _length(count)

    def at(self, deployment: Deployment) -> Length:
        """By the tokenizer of this deployment."""
        if self._counter is None or self._tally is None:
            return self._estimate()
        count = self._counts.get(deployment)
        if count is None:
            count = self._counter.count(self._tally, deployment)
            self._counts[deployment] = count
        return _length(count)

    def chars_per_token(self, deployment: Deployment) -> float:
        """Of the answers of this deployment."""
        if self._counter is None:
            return tokens.CHARS_PER_TOKEN
        return self._counter.chars_per_token(deployment)

    def learned(self, deployment: Deployment, usage: Usage, chars: int) -> None:
        """The provider's own count of this prompt and of the answer's characters."""
        if self._counter is None or self._tally is None:
            return
        self._counter.learned_prompt(
            self._tally, deployment, usage.prompt, self._counts.get(deployment)
        )
        if not usage.reasoning:  # Thoughts that nobody was shown would spoil the ratio.
            self._counter.learned_output(deployment, chars, usage.completion)

    def _estimate(self) -> Length:
        size = self._head.prompt_bytes
        return Length(tokens.prompt_tokens(size), tokens.prompt_tokens_max(size))


def _length(count: Count) -> Length:
    return Length(count.tokens, count.bound)
