"""The OpenAI Responses dialect, all directions in one object: `RESPONSES`.

Client, provider and relay of `/v1/responses`, for OpenAI, Azure, xAI, DeepSeek,
OpenRouter and Bedrock's mantle. Stored answers (`previous_response_id`, fetching,
resuming) are the gateway's: `Head.previous_response_id` and `expand` are its tools.

Sans-io, stateless.
"""

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from wire import checks
from wire.completion import Completion
from wire.counting import TokenCount
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
    malformed,
    public,
)
from wire.errors import classify
from wire.events import Event, Fault
from wire.flavours import flavour
from wire.jsontext import (
    JSON_ERRORS,
    client_error,
    decode_fields,
    decode_object,
    encode,
)
from wire.openai_errors import render_error
from wire.openai_responses_build import body_bytes, build
from wire.openai_responses_decoder import ResponsesDecoder, read_response
from wire.openai_responses_encoder import ResponsesEncoder
from wire.openai_responses_head import read_head
from wire.openai_responses_items import STATE_MARK, failure_fields, render
from wire.openai_responses_parse import expand, parse
from wire.openai_responses_relay import ResponsesRelay, relay_response
from wire.openai_responses_schema import SOURCE
from wire.openai_upstream import upstream
from wire.request import ChatRequest
from wire.sse import HEARTBEAT, encode_frame
from wire.toolids import MARK_BYTES

PATH = "/responses"
COUNT_PATH = "/responses/input_tokens"


def build_delete(upstream_id: str, target: Target) -> UpstreamRequest:
    """DELETE /responses/{id}, by the provider's own id."""
    path = f"{PATH}/{quote(upstream_id, safe='')}"
    made = upstream(path, b"", flavour(target.flavour), _v1(target), {})
    return replace(made, method="DELETE")


_COUNTED = (
    *("model", "input", "instructions", "tools", "tool_choice", "text", "reasoning"),
    *("parallel_tool_calls", "truncation"),
)
"""Fields that a count takes; others are a 400 there."""

_FOREIGN = (MARK_BYTES, STATE_MARK.encode())
"""Marks of another provider's state in a body: its bytes cannot pass as they are."""


class OpenAIResponses:
    """`ClientDialect`, `ProviderDialect` and `RelayDialect` of OpenAI Responses."""

    name = SOURCE
    heartbeat = HEARTBEAT
    reads_sse = True
    stream_headers = STREAM_HEADERS

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """See `ClientDialect`."""
        del headers
        return read_head(body)

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `ClientDialect`."""
        del headers
        return parse(body)

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """See `ClientDialect`."""
        return ResponsesEncoder(request, reply)

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """See `ClientDialect`."""
        return render(completion, request, reply)

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect`."""
        return render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """See `ClientDialect`; `wire.relay.failure` numbers it right."""
        # No reader of an error counts on; a typed one wants a number.
        head = {"type": "error", "sequence_number": 0}
        body = {**head, **failure_fields(public(fault))}
        return encode_frame(encode(body), event="error")

    def parse_count(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `CountClient`."""
        return self.parse_request(body, headers)

    def render_count(self, count: TokenCount) -> bytes:
        """See `CountClient`."""
        return encode({"object": "response.input_tokens", "input_tokens": count.tokens})

    def build_count(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `CountProvider`."""
        body = build(request, target.model, target.flavour or "openai")
        counted = {name: body[name] for name in _COUNTED if name in body}
        row = flavour(target.flavour)
        return upstream(COUNT_PATH, body_bytes(counted), row, _v1(target), {})

    def read_count(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> TokenCount | Fault:
        """See `CountProvider`."""
        if not 200 <= status < 300:
            return self.classify_error(status, headers, body, target)
        told = (decode_object(body) or {}).get("input_tokens")
        if not isinstance(told, int):
            return malformed(target.flavour or self.name, "a count has no input_tokens")
        return TokenCount(told)

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect`."""
        if request.n != 1:
            raise checks.unsupported(
                "n", "must be 1: the provider of this model answers once."
            )
        body = build(request, target.model, target.flavour or "openai")
        _clamp(body, target, body.get("max_output_tokens"))
        return upstream(
            PATH, body_bytes(body), flavour(target.flavour), _v1(target), {}
        )

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect`."""
        del request
        return ResponsesDecoder(target.flavour or self.name)

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect`."""
        if not 200 <= status < 300:
            return [self.classify_error(status, headers, body, target)]
        return read_response(body, target.flavour or self.name)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect`."""
        return classify(target.flavour or self.name, status, headers, body)

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """See `RelayDialect`."""
        if any(mark in body for mark in _FOREIGN):
            return self.build_request(parse(body), target)
        try:
            fields: dict[str, Any] = dict(decode_fields(body))
        except JSON_ERRORS as error:
            raise client_error(error) from None
        fields["model"] = target.model
        _clamp(fields, target, head.max_output_tokens)
        row = flavour(target.flavour)
        return upstream(PATH, encode(fields), row, _v1(target), headers)

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """See `RelayDialect`."""
        del head
        return ResponsesRelay(target.flavour or self.name, model=model)

    def relay_response(
        self, status: int, headers: Headers, body: bytes, *, model: str | None = None
    ) -> Reading:
        """See `RelayDialect`."""
        if not 200 <= status < 300:
            return Reading(fault=classify(self.name, status, headers, body))
        return relay_response(body, self.name, model=model)


def _clamp(body: dict[str, Any], target: Target, own: int | None) -> None:
    clamp = target.max_output_tokens
    if clamp is not None and (own is None or own > clamp):
        body["max_output_tokens"] = clamp


def _v1(target: Target) -> Target:
    """Azure serves Responses under /openai/v1 only, whatever its api-version."""
    options = {k: v for k, v in target.options.items() if k != "api_version"}
    return Target(target.model, target.flavour, target.max_output_tokens, options)


RESPONSES = OpenAIResponses()

__all__ = ["RESPONSES", "OpenAIResponses", "expand"]
