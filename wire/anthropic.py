"""Anthropic's Messages API, in both directions: `MESSAGES` is the dialect.

    anthropic_parse   client's request to ChatRequest; anthropic_parts for its blocks
    anthropic_build   ChatRequest to the upstream body; anthropic_blocks for its parts
    anthropic_decode  upstream answer to events
    anthropic_encode  events to the client's stream or message; anthropic_errors, faults
    anthropic_relay   the same bytes through, looked at once
    anthropic_schema  shapes and words; anthropic_models, what models take;
                      anthropic_carry, other providers' state through these clients

Both logins and both API versions are accepted: the client's `anthropic-version` goes
upstream as it came, and decides how the upstream login is made. Pure; holds no state.
"""

from typing import Final

from wire import anthropic_build as build
from wire import anthropic_decode as decoding
from wire import anthropic_encode as encoding
from wire import anthropic_errors as errors
from wire import anthropic_parse as parsing
from wire import anthropic_relay as relaying
from wire.anthropic_schema import SOURCE
from wire.completion import Completion
from wire.counting import TokenCount
from wire.customtools import decoder_for
from wire.dialect import (
    STREAM_HEADERS,
    ErrorResponse,
    Head,
    Headers,
    Reader,
    Reading,
    Reply,
    StreamDecoder,
    StreamEncoder,
    Target,
    UpstreamRequest,
)
from wire.errors import classify
from wire.events import Event, Fault
from wire.request import ChatRequest


class Messages:
    """POST /v1/messages and /v1/messages/count_tokens, on both sides."""

    name = SOURCE
    heartbeat = encoding.HEARTBEAT
    reads_sse = True
    stream_headers = STREAM_HEADERS

    def __repr__(self) -> str:
        return "<dialect anthropic>"

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """See `ClientDialect.read_head`."""
        del headers
        return parsing.read_head(body)

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `ClientDialect.parse_request`."""
        return parsing.parse_request(body, headers)

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """See `ClientDialect.stream_encoder`."""
        del request
        return encoding.AnthropicEncoder(reply)

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """See `ClientDialect.render_response`."""
        del request
        return encoding.render_response(completion, reply)

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect.render_error`."""
        return errors.render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """See `ClientDialect.error_event`."""
        return errors.error_event(fault)

    def parse_count(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `CountClient.parse_count`."""
        return parsing.parse_request(body, headers, counting=True)

    def render_count(self, count: TokenCount) -> bytes:
        """See `CountClient.render_count`."""
        return encoding.render_count(count)

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return build.build_request(request, target)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        del target
        return decoder_for(request, decoding.AnthropicDecoder())

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        del target
        return decoding.parse_response(status, headers, body)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)

    def build_count(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `CountProvider.build_count`."""
        return build.build_count(request, target)

    def read_count(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> TokenCount | Fault:
        """See `CountProvider.read_count`."""
        del target
        return decoding.read_count(status, headers, body)

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """See `RelayDialect.forward_request`."""
        return relaying.forward_request(body, headers, head, target)

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """See `RelayDialect.relay`."""
        del head, target
        return relaying.AnthropicRelay(model)

    def relay_response(
        self, status: int, headers: Headers, body: bytes, *, model: str | None = None
    ) -> Reading:
        """See `RelayDialect.relay_response`."""
        return relaying.relay_response(status, headers, body, model)


MESSAGES: Final = Messages()
