"""The OpenAI chat dialect, all directions in one object: `CHAT`.

Client, provider and relay of `/v1/chat/completions`, for OpenAI, Azure and every server
of `wire.flavours`. Each direction has its own file (`openai_chat_*`); here they meet
the interface of `wire.dialect`, and here are paths and headers.

Sans-io, stateless.
"""

from typing import Any
from urllib.parse import quote

from msgspec import Raw

from wire.completion import Completion
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
from wire.flavours import ANY, Flavour, flavour
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    client_error,
    decode_any,
    decode_fields,
    encode,
    mapping,
)
from wire.openai_chat_build import body_bytes, build
from wire.openai_chat_decoder import ChatDecoder, ChunkReader
from wire.openai_chat_encoder import ChatEncoder, render
from wire.openai_chat_head import read_head
from wire.openai_chat_parse import SOURCE, parse
from wire.openai_chat_relay import ChatRelay, relay_chat_response
from wire.openai_errors import error_event, render_error
from wire.request import ChatRequest
from wire.sse import HEARTBEAT
from wire.toolids import MARK_BYTES

_FORWARDED = ("openai-beta",)
"""Headers of the client that its provider must see. Never credentials, never ids."""


class OpenAIChat:
    """`ClientDialect`, `ProviderDialect` and `RelayDialect` of OpenAI chat."""

    name = SOURCE
    heartbeat = HEARTBEAT
    reads_sse = True
    stream_headers = STREAM_HEADERS

    # The client's side.

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
        return ChatEncoder(request, reply)

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """See `ClientDialect`."""
        return render(completion, request, reply)

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect`."""
        return render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """See `ClientDialect`."""
        return error_event(fault)

    # The provider's side.

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect`."""
        row = flavour(target.flavour)
        body = build(request, row, target.model)
        clamp(body, row, target)
        return upstream("/chat/completions", body_bytes(body), row, target, {})

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

    # Both sides the same.

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """See `RelayDialect`."""
        row = flavour(target.flavour)
        if MARK_BYTES in body or (not row.developer_role and b'"developer"' in body):
            # An id with another provider's state in it, or a role this server does not
            # know: messages have to change, so the bytes cannot stay.
            return self.build_request(parse(body), target)
        try:
            fields: dict[str, Any] = dict(decode_fields(body))
        except JSON_ERRORS as error:
            raise client_error(error) from None
        edit(fields, head, row, target)
        return upstream("/chat/completions", encode(fields), row, target, headers)

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


def edit(fields: dict[str, Any], head: Head, row: Flavour, target: Target) -> None:
    """Change the top level for this server; what is not named here keeps its bytes."""
    fields["model"] = target.model
    for name in row.refused & fields.keys():
        del fields[name]
    for name, theirs in row.renamed:
        if name in fields:
            fields[theirs] = fields.pop(name)
    legacy = {"max_tokens", "max_completion_tokens"} - {row.max_tokens}
    for name in legacy & fields.keys():
        value = fields.pop(name)
        if row.max_tokens in fields and head.max_output_tokens is not None:
            # Two bounds, or one and a null: the one that money was held for counts.
            fields[row.max_tokens] = head.max_output_tokens
        else:
            fields.setdefault(row.max_tokens, value)
    choice = fields.get("tool_choice")
    if isinstance(choice, Raw) and bytes(choice) == b'"required"':
        fields["tool_choice"] = row.tool_choice_required
    if not row.stream_options:
        fields.pop("stream_options", None)
    elif head.stream and not head.include_usage:
        options = fields.get("stream_options", NULL)
        given = dict(mapping(decode_any(options)))
        fields["stream_options"] = {**given, "include_usage": True}
    if target.max_output_tokens is not None:
        own = head.max_output_tokens
        if own is None or own > target.max_output_tokens:
            fields[row.max_tokens] = target.max_output_tokens


def clamp(body: dict[str, Any], row: Flavour, target: Target) -> None:
    """Bound the answer of a built request at the target's clamp."""
    if target.max_output_tokens is not None:
        own = body.get(row.max_tokens)
        if own is None or own > target.max_output_tokens:
            body[row.max_tokens] = target.max_output_tokens


def upstream(
    path: str, body: bytes, row: Flavour, target: Target, headers: Headers
) -> UpstreamRequest:
    """Path and headers of any of OpenAI's operations."""
    sent = [("content-type", "application/json")]
    sent += [(name, headers[name]) for name in _FORWARDED if name in headers]
    if row.name == "azure":
        version = target.options.get("api_version", "")
        deployment = target.options.get("deployment") or target.model
        if version:
            path = (
                f"/openai/deployments/{quote(deployment, safe='')}{path}"
                f"?api-version={quote(version, safe='')}"
            )
        else:
            path = f"/openai/v1{path}"
    return UpstreamRequest("POST", path, tuple(sent), body, row.auth)


CHAT = OpenAIChat()
