"""What a hook is. Pure: it gets text and gives text, and knows no clock or socket.

One hook object lives as long as one answer of one provider. What is called, in order:

    on_start    once, before anything else
    on_delta    for each piece of text: what may be shown of it now
    on_flush    a part of the answer ends: what was kept back of it
    on_finish   the answer is complete
    on_abort    instead of on_finish: it ended early, for a client or a provider

Pieces are cut anywhere: a hook that looks for words keeps back what may go on. The
hooks of a stream run one after the other, each on what the one before lets through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Struct

from wire.events import FinishReason

PartKind = Literal["text", "reasoning", "refusal", "tool_arguments"]
PROSE: Final[frozenset[PartKind]] = frozenset({"text", "reasoning", "refusal"})
EVERYTHING: Final[frozenset[PartKind]] = PROSE | frozenset[PartKind]({"tool_arguments"})


class Part(Struct, frozen=True):
    """One run of text in an answer: of which choice, which kind, which block."""

    choice: int
    kind: PartKind
    block: int


class Started(Struct, frozen=True):
    """Whose answer it is. Never holds the prompt."""

    request_id: str
    site: str
    model: str
    provider: str
    dialect: str
    streamed: bool


class Finished(Struct, frozen=True):
    """How the answer ended. `chars` is what the provider wrote, before any hook."""

    reason: FinishReason | None
    chars: int
    output_tokens: int | None


class Halt(Exception):
    """Raised by a hook: the answer ends here.

    Args:
        reason: how the client is told; None is an error in its dialect.
        shown: what of the piece in hand may still be shown.
        why: for the client and the record; must not quote the answer.
    """

    def __init__(
        self,
        reason: FinishReason | None = "content_filter",
        *,
        shown: str = "",
        why: str = "a rule of this site ended the answer",
    ) -> None:
        super().__init__(why)
        self.reason: FinishReason | None = reason
        self.shown = shown
        self.why = why

    def __repr__(self) -> str:
        """Without what is shown."""
        return f"<Halt {self.reason or 'error'}>"


class Hook:
    """Does nothing; hooks override what they need."""

    parts: frozenset[PartKind] = PROSE
    """The kinds of text that it is given."""

    conceals = False
    """Whether what it takes out must not pass in another form: then logprobs and what
    the gateway cannot read are left out, and quotations are given to it as well."""

    flush_after_s: float | None = None
    """Where set, `on_flush` is also called so long after text came in, as often as the
    last call gave any: what is kept for the sake of time does not wait for more."""

    def on_start(self, started: Started) -> None:
        """The answer begins."""

    def on_delta(self, text: str, part: Part) -> str:  # noqa: ARG002 - for overriding
        """What may be shown now. May raise Halt."""
        return text

    def on_flush(self, part: Part) -> str:  # noqa: ARG002 - for overriding
        """The part is over: what is left of it. May raise Halt."""
        return ""

    def on_finish(self, finished: Finished) -> None:
        """The answer is complete."""

    def on_abort(self, why: str) -> None:
        """The answer ended early."""


Make = Callable[[Mapping[str, str]], Hook]
"""Makes a hook for one answer, of its options. Raises ValueError for bad options."""
