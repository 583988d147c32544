"""Google's generateContent, on Gemini and on Vertex, in both directions.

    gemini_parse    client's request to ChatRequest; gemini_fields, protobuf's JSON;
                    gemini_types, Google's schemas
    gemini_build    ChatRequest to the upstream body; gemini_parts for its parts
    gemini_decode   upstream answer to events; gemini_array for streams without SSE;
                    gemini_cite, links and log probabilities
    gemini_encode   events to the client's stream, answer or error
    gemini_relay    the same chunks through, looked at once
    gemini_schema   words, enums, paths, what models take

A Gemini client names model and method in its path, so its dialect is made for one
request: `client(parse_path(path, query))`. `PROVIDER` is the other side. Vertex is the
flavour "vertex" of a target. Pure; holds no state.
"""

from typing import Final

from wire import gemini_build as build
from wire import gemini_decode as decoding
from wire import gemini_encode as encoding
from wire import gemini_parse as parsing
from wire import gemini_relay as relaying
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
from wire.events import Event, Fault
from wire.gemini_schema import SOURCE, Route, parse_path
from wire.request import ChatRequest

__all__ = [
    "PROVIDER",
    "GeminiClient",
    "GeminiProvider",
    "Route",
    "client",
    "parse_path",
]

_ARRAY_HEADERS: Final = (
    ("content-type", "application/json; charset=UTF-8"),
    *STREAM_HEADERS[1:],
)


class GeminiProvider:
    """Gemini and Vertex as providers, and the relay to them."""

    name = SOURCE

    def __repr__(self) -> str:
        return "<dialect gemini>"

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return build.build_request(request, target)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        flavour = relaying.flavour_of(target)
        events = decoding.ChunkEvents(
            vertex=build.is_vertex(target),
            flavour=flavour,
        )
        decoder = decoding.GeminiDecoder(events, flavour=flavour)
        return decoder_for(request, decoder)

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        vertex = build.is_vertex(target)
        return decoding.parse_response(status, headers, body, vertex=vertex)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        flavour = relaying.flavour_of(target)
        return decoding.classify_body(flavour, status, headers, body)

    def build_count(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `CountProvider.build_count`."""
        return build.build_count(request, target)

    def read_count(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> TokenCount | Fault:
        """See `CountProvider.read_count`."""
        vertex = build.is_vertex(target)
        return decoding.read_count(status, headers, body, vertex=vertex)

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """See `RelayDialect.forward_request`."""
        del headers
        return relaying.forward_request(body, head, target)

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """See `RelayDialect.relay`."""
        del head
        return relaying.GeminiRelay(relaying.flavour_of(target), model)

    def relay_response(
        self, status: int, headers: Headers, body: bytes, *, model: str | None = None
    ) -> Reading:
        """See `RelayDialect.relay_response`."""
        return relaying.relay_response(status, headers, body, model, SOURCE)


class GeminiClient(GeminiProvider):
    """One request of a Gemini client: the path has said model, method and framing."""

    reads_sse = False  # Any line without "data: " is JSON to them, or the event lost.

    def __init__(self, route: Route) -> None:
        self.route = route

    def __repr__(self) -> str:
        how = "sse" if self.route.sse else "array"
        return f"<dialect gemini {self.route.method} {how}>"

    @property
    def heartbeat(self) -> bytes:
        """See `ClientDialect.heartbeat`: official clients die of a comment."""
        return encoding.HEARTBEAT

    @property
    def stream_headers(self) -> tuple[tuple[str, str], ...]:
        """See `ClientDialect.stream_headers`."""
        return STREAM_HEADERS if self.route.sse else _ARRAY_HEADERS

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """See `ClientDialect.read_head`."""
        del headers
        return parsing.read_head(body, self.route)

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `ClientDialect.parse_request`."""
        del headers
        return parsing.parse_request(body, self.route)

    def parse_count(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `CountClient.parse_count`."""
        del headers
        return parsing.parse_request(body, self.route)

    def render_count(self, count: TokenCount) -> bytes:
        """See `CountClient.render_count`."""
        return encoding.render_count(count)

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """See `ClientDialect.stream_encoder`."""
        del request
        return encoding.GeminiEncoder(reply, encoding.framing(sse=self.route.sse))

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """See `ClientDialect.render_response`."""
        del request
        return encoding.render_response(completion, reply)

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect.render_error`."""
        array = self.route.stream and not self.route.sse
        return encoding.render_error(fault, array=array)

    def error_event(self, fault: Fault) -> bytes:
        """See `ClientDialect.error_event`."""
        return encoding.error_event(fault, sse=self.route.sse)

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """See `RelayDialect.relay`."""
        del head
        relay = relaying.GeminiRelay(relaying.flavour_of(target), model)
        return relay if self.route.sse else relaying.ArrayRelay(relay)


def client(route: Route) -> GeminiClient:
    """The dialect of one request."""
    return GeminiClient(route)


PROVIDER: Final = GeminiProvider()
