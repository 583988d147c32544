"""Where a request is in a trace, and which requests' spans are told.

Owns: the decision to sample. Never: does I/O; `offer` must not wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from actors.auditor.messages import RequestRecord
from gateway.settings.tracing import PER_MILLION, TracingConfig
from wire.trace_context import Trace, parent_of

TRACE_BYTES: Final = 16
SPAN_BYTES: Final = 8
CHANCE_BYTES: Final = 7  # Of a trace's id: what other samplers go by, too.


class Tracing:
    """Places requests in traces."""

    def __init__(
        self,
        settings: TracingConfig,
        offer: Callable[[RequestRecord], None],
        entropy: Callable[[int], bytes] = os.urandom,
        *,
        offer_refusal: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        self._outward = settings.to_providers
        # By the id and not by another die: whoever samples by it, samples the same.
        self._below: int = settings.sample_per_million * 2 ** (8 * CHANCE_BYTES)
        self._offer = offer
        self._offer_refusal = offer_refusal or offer
        self._entropy = entropy

    def __repr__(self) -> str:
        """Whether providers hear of it."""
        return f"<Tracing outward={self._outward}>"

    def begin(self, fields: Iterable[tuple[bytes, bytes]]) -> Trace:
        """A request's place, of the header fields that its client sent."""
        parent = parent_of(fields)
        if parent is not None:
            return Trace(
                parent.trace_id,
                self._entropy(SPAN_BYTES).hex(),
                parent.span_id,
                sampled=parent.sampled,
                state=parent.state,
                outward=self._outward,
            )
        drawn = self._entropy(TRACE_BYTES + SPAN_BYTES)
        trace_id = drawn[:TRACE_BYTES].hex()
        return Trace(
            trace_id,
            drawn[TRACE_BYTES:].hex(),
            sampled=self._samples(trace_id),
            outward=self._outward,
        )

    def refused(
        self,
        fields: Iterable[tuple[bytes, bytes]],
        record: RequestRecord,
        *,
        known: bool,
    ) -> str:
        """A request that was turned away before it began: its trace's id.

        `known`: whether it had a key of ours. Of others the sampled flag is not
        believed, so that nobody fills the queue from outside.
        """
        trace = self.begin(fields)
        if not known:
            trace = replace(trace, sampled=self._samples(trace.trace_id))
        if trace.sampled:
            self._offer_refusal(replace(record, trace=trace.text))
        return trace.trace_id

    def _samples(self, trace_id: str) -> bool:
        chance = int(trace_id[-2 * CHANCE_BYTES :], 16)
        return chance * PER_MILLION < self._below

    def ended(self, record: RequestRecord) -> None:
        """A request that was traced has ended: tell its spans, if it is sampled."""
        if record.trace.endswith("-1"):
            self._offer(record)
