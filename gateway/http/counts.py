"""How long is this prompt? In each dialect that asks, and never a 404.

Claude's clients answer a 404 here with a flood of one-token messages, so what cannot be
counted is estimated. Exact counts are a call to the provider like any other: a stream
with a permit, a lease and a record, but without a price.

Owns: which of the two a question gets. Never: how tokens are counted.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
import trio

from actors.stream.messages import ClientGone, Inquiry, Open, Opened, Whole
from actors.stream.tokens import prompt_tokens
from gateway.assembly import speech_of
from gateway.gate import Gate
from gateway.http.inquiries import Endpoint
from gateway.http.replies import JSON, reply
from gateway.http.request import Request
from gateway.http.responses import gone_on, unavailable
from runtime import AskError, Draining
from wire.count_exchange import counter_of
from wire.counting import CountClient, TokenCount
from wire.dialect import ClientDialect, ClientError, Head
from wire.openai_responses_stored import read_control

HOW: Final = "x-stagedoor-count"
# A picture's tokens follow its pixels, not its bytes: about a large one.
MEDIA_TOKENS: Final = 1500


class CountingClient(ClientDialect, CountClient, Protocol):
    """A client dialect that can ask."""


class CountEndpoint(Endpoint):
    """POST to a dialect's count path."""

    def __init__(self, gate: Gate, dialect: CountingClient) -> None:
        super().__init__(gate, dialect, "count")
        self.counting = dialect

    async def answer(self, request: Request, inquiry: Inquiry) -> None:
        """See Endpoint."""
        try:
            if inquiry.head.previous_response_id:
                previous = read_control(inquiry.body).previous_response_id or ""
                inquiry = await gone_on(self.gate, inquiry, previous)
            asked = self.counting.parse_count(inquiry.body, inquiry.headers)
        except ClientError as error:
            await self.turn_away(request, inquiry, error.fault())
            return
        except AskError:
            await self.turn_away(request, inquiry, unavailable())
            return
        body, how = None, "exact"
        if self._is_exact(inquiry):
            body = await self._asked(request, inquiry)
        if body is None:
            how = "estimate"
            counter = self.gate.counter
            tokens = estimate(inquiry.head)
            if counter is not None:
                tokens = (await counter.count_request(asked)).tokens
            body = self.counting.render_count(TokenCount(tokens))
        headers = (
            ("content-type", JSON),
            ("x-request-id", inquiry.request_id),
            *self.ids(inquiry.request_id),
            (HOW, how),
        )
        await reply(request.send, 200, body, headers)

    def _is_exact(self, inquiry: Inquiry) -> bool:
        """Whether the site wants it, and a provider of this model counts."""
        config = self.gate.config
        site = next((s for s in config.sites if s.name == inquiry.site), None)
        if site is None or site.count_tokens != "exact":
            return False
        kinds = {provider.name: provider for provider in config.providers}
        return any(
            counter_of(speech_of(kinds[candidate.provider])) is not None
            for model in config.models
            if model.name == inquiry.head.model
            for candidate in model.route
            if candidate.provider in kinds
        )

    async def _asked(self, request: Request, inquiry: Inquiry) -> bytes | None:
        """The provider's own count; None where it was not to be had."""
        # Nothing is generated: the hold is for one token, and is given back.
        head = msgspec.structs.replace(
            inquiry.head, stream=False, prompt_bytes=0, max_output_tokens=1, n=1
        )
        try:
            opened = await self.gate.streams.ask(
                Open(msgspec.structs.replace(inquiry, head=head))
            )
        except (Draining, AskError):
            return None
        with trio.CancelScope() as scope:

            def gone() -> None:
                opened.ref.offer(ClientGone())
                scope.cancel(reason="the client left")

            request.when_gone(gone)
            return await _whole(opened)
        return None


async def _whole(opened: Opened) -> bytes | None:
    body = None
    async for piece in opened.channel:
        if isinstance(piece, Whole) and piece.status == 200:
            body = piece.body
    return body


def estimate(head: Head) -> int:
    """By length, which is right to about a sixth for text."""
    text_bytes = max(0, head.prompt_bytes - head.media_bytes)
    return prompt_tokens(text_bytes) + (MEDIA_TOKENS if head.media_bytes else 0)
