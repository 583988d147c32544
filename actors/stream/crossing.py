"""How one request crosses from its client's dialect to a deployment's. Pure.

Same dialect: the body is edited at its top level and deltas pass as bytes. Different
dialects: through the vocabulary of `wire`. The caller sees no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from wire.completion import fold
from wire.dialect import (
    Head,
    ProviderDialect,
    Reader,
    Reading,
    RelayDialect,
    Reply,
    Target,
    UpstreamRequest,
)
from wire.events import Fault
from wire.relay import Translation
from wire.request import ChatRequest

if TYPE_CHECKING:
    from actors.provider.messages import Upstream
    from actors.stream.messages import Inquiry


@attrs.define
class Crossing:
    """What to send, and how to read what comes back."""

    request: UpstreamRequest
    reader: Reader | None  # None: the answer comes whole.
    _dialect: ProviderDialect
    _target: Target
    _relay: RelayDialect | None
    _chat: ChatRequest | None
    _inquiry: Inquiry
    _reply: Reply

    @classmethod
    def of(
        cls,
        inquiry: Inquiry,
        upstream: Upstream,
        model: str,
        output_tokens_max: int | None,
        reply: Reply,
    ) -> Crossing:
        """Prepare one attempt. Raises ClientError for what the target cannot do."""
        head = inquiry.head
        target = upstream.target(model, _clamp(head, output_tokens_max))
        relay = upstream.relay
        if relay is not None and relay.name == inquiry.dialect.name:
            request = relay.forward_request(
                inquiry.body, inquiry.headers, head, target
            )
            reader: Reader | None = relay.relay(head, target) if head.stream else None
            return cls(
                request,
                reader,
                upstream.dialect,
                target,
                relay,
                None,
                inquiry,
                reply,
            )
        chat = inquiry.dialect.parse_request(inquiry.body, inquiry.headers)
        request = upstream.dialect.build_request(chat, target)
        reader = None
        if head.stream:
            reader = Translation(
                upstream.dialect.stream_decoder(chat, target),
                inquiry.dialect.stream_encoder(chat, reply),
            )
        return cls(
            request, reader, upstream.dialect, target, None, chat, inquiry, reply
        )

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> Reading:
        """Read a complete answer; never raises."""
        if self._relay is not None:
            return self._relay.relay_response(status, headers, body, self._target)
        assert self._chat is not None
        events = self._dialect.parse_response(status, headers, body, self._target)
        completion = fold(events)
        fault: Fault | None = completion.fault
        if fault is not None:
            return Reading(fault=fault)
        finish = next(
            (c.finish.reason for c in completion.choices if c.finish is not None), None
        )
        return Reading(
            out=self._inquiry.dialect.render_response(
                completion, self._chat, self._reply
            ),
            content=True,
            usage=completion.usage,
            finish=finish,
            done=True,
            events=len(events),
        )

    def classify(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> Fault:
        """A status other than 2xx."""
        return self._dialect.classify_error(status, headers, body, self._target)


def _clamp(head: Head, output_tokens_max: int | None) -> int | None:
    """The bound to write into the request; None where the client's own will do."""
    if output_tokens_max is None or output_tokens_max == head.max_output_tokens:
        return None
    return output_tokens_max
