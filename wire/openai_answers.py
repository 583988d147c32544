"""How chat's answers are read and passed on, and those of legacy completions alike.

The two differ in what is asked; an answer differs in one name (`text` for a delta), and
the same readers know both.
"""

from wire.dialect import (
    STREAM_HEADERS,
    ErrorResponse,
    Head,
    Headers,
    Reader,
    Reading,
    StreamDecoder,
    Target,
)
from wire.errors import classify
from wire.events import Event, Fault
from wire.flavours import ANY, flavour
from wire.openai_chat_decoder import ChatDecoder, ChunkReader
from wire.openai_chat_relay import ChatRelay, relay_chat_response
from wire.openai_errors import error_event, render_error
from wire.request import ChatRequest
from wire.sse import HEARTBEAT


class ChatAnswers:
    """The answers' part of `ClientDialect`, `ProviderDialect` and `RelayDialect`."""

    name: str
    heartbeat = HEARTBEAT
    reads_sse = True
    stream_headers = STREAM_HEADERS

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect`."""
        return render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """See `ClientDialect`."""
        return error_event(fault)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect`."""
        del request
        row = flavour(target.flavour)
        return ChatDecoder(target.flavour or self.name, row)

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect`."""
        if not 200 <= status < 300:
            return [self.classify_error(status, headers, body, target)]
        row = flavour(target.flavour)
        return ChunkReader(target.flavour or self.name, row).read(body)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect`."""
        return classify(target.flavour or self.name, status, headers, body)

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """See `RelayDialect`."""
        row = flavour(target.flavour)
        return ChatRelay(
            target.flavour or self.name,
            row,
            swallow_usage=not head.include_usage and row.stream_options,
            model=model,
        )

    def relay_response(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        *,
        model: str | None = None,
    ) -> Reading:
        """See `RelayDialect`."""
        if not 200 <= status < 300:
            return Reading(fault=classify(self.name, status, headers, body))
        return relay_chat_response(body, self.name, ANY, model=model)
