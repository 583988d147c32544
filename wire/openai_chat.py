"""The OpenAI chat dialect, all directions in one object: `CHAT`.

Client, provider and relay of `/v1/chat/completions`, for OpenAI, Azure and every server
of `wire.flavours`. Each direction has its own file (`openai_chat_*`, answers
`openai_answers`); here they meet the interface of `wire.dialect`.

Sans-io, stateless.
"""

from typing import Any

from wire.completion import Completion
from wire.dialect import (
    Head,
    Headers,
    Reply,
    StreamEncoder,
    Target,
    UpstreamRequest,
)
from wire.flavours import flavour
from wire.jsontext import (
    JSON_ERRORS,
    client_error,
    decode_fields,
    encode,
)
from wire.openai_answers import ChatAnswers
from wire.openai_chat_build import body_bytes, build
from wire.openai_chat_encoder import ChatEncoder, render
from wire.openai_chat_head import read_head
from wire.openai_chat_parse import SOURCE, parse
from wire.openai_upstream import clamp, edit, upstream
from wire.request import ChatRequest
from wire.toolids import MARK_BYTES


class OpenAIChat(ChatAnswers):
    """`ClientDialect`, `ProviderDialect` and `RelayDialect` of OpenAI chat."""

    name = SOURCE

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

    # The provider's side.

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect`."""
        row = flavour(target.flavour)
        body = build(request, row, target.model)
        clamp(body, row, target)
        return upstream("/chat/completions", body_bytes(body), row, target, {})

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


CHAT = OpenAIChat()
