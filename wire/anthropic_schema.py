"""The shapes of Anthropic's Messages API that we read, and the words they use.

Owns: msgspec structs (lenient: unknown fields are ignored, absent ones have defaults)
and the tables between Anthropic's words and ours. Decides nothing.
"""

from typing import Final

from msgspec import Raw, Struct

from wire.events import FinishReason

SOURCE: Final = "anthropic"

VERSION_SAMPLING: Final = "2023-06-01"
"""The API version that takes temperature, top_p and top_k on models that still do."""

VERSION_BEARER: Final = "2026-10-21"
"""From here on official clients log in with `Authorization: Bearer`, and sampling
parameters are a 400, as are documents in assistant turns."""


class CacheControl(Struct, omit_defaults=True):
    """`cache_control` of any block."""

    type: str = "ephemeral"
    ttl: str | None = None


class InMessage(Struct):
    """One turn of a request."""

    role: str
    content: str | list[Raw]


class InThinking(Struct):
    """`thinking`; "between_tools" and later kinds stay raw in `extra`."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class InFormat(Struct):
    """`output_config.format`."""

    type: str
    schema: Raw = Raw(b"")


class InOutputConfig(Struct):
    """`output_config`."""

    effort: str | None = None
    format: InFormat | None = None


class InToolChoice(Struct):
    """`tool_choice`."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class InTool(Struct):
    """A tool of the client (`type` absent or "custom"); others are the server's."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Raw = Raw(b"")
    strict: bool | None = None
    cache_control: CacheControl | None = None


class InMetadata(Struct):
    """`metadata`."""

    user_id: str | None = None


class InRequest(Struct):
    """The body of POST /v1/messages, its messages left for later."""

    model: str
    messages: list[InMessage]
    max_tokens: int | None = None
    system: str | list[Raw] | None = None
    tools: list[Raw] | None = None
    tool_choice: InToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Raw = Raw(b"")
    output_config: Raw = Raw(b"")
    metadata: InMetadata | None = None
    service_tier: str | None = None
    stream: bool | None = None


REQUEST_FIELDS: Final = frozenset(InRequest.__struct_fields__)


class HeadRequest(Struct):
    """The top level of a request, nothing below it decoded."""

    model: str
    messages: Raw
    max_tokens: int | None = None
    system: Raw = Raw(b"")
    tools: Raw = Raw(b"")
    thinking: Raw = Raw(b"")
    output_config: Raw = Raw(b"")
    metadata: InMetadata | None = None
    service_tier: str | None = None
    stream: bool | None = None


class CacheCreation(Struct):
    """How long cache writes live."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUse(Struct):
    """Requests of server tools, which are billed one by one."""

    web_search_requests: int | None = None


class OutputDetails(Struct):
    """What output tokens were spent on."""

    thinking_tokens: int | None = None


class AUsage(Struct):
    """Usage as Anthropic counts: cached input is not in `input_tokens`."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: str | None = None


class AError(Struct):
    """`error` of an error body or event."""

    type: str = ""
    message: str = ""
    details: Raw = Raw(b"")


class ErrorBody(Struct):
    """An error response."""

    error: AError | None = None
    request_id: str | None = None


class Block(Struct):
    """A content block of an answer. What kind it is decides which fields count."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"")
    citations: list[Raw] | None = None


class AMessage(Struct):
    """A whole answer, or the empty one in message_start."""

    id: str = ""
    model: str = ""
    content: list[Raw] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = Raw(b"")
    usage: AUsage | None = None
    container: Raw = Raw(b"")
    context_management: Raw = Raw(b"")


class Delta(Struct):
    """`delta` of content_block_delta and of message_delta, in one struct for speed."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: Raw = Raw(b"")
    content: str | None = None  # compaction_delta
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = Raw(b"")
    container: Raw = Raw(b"")


class StreamEvent(Struct):
    """Any event of a stream: one decode, whatever it is."""

    type: str
    index: int = 0
    delta: Delta | None = None
    content_block: Raw = Raw(b"")
    message: AMessage | None = None
    usage: AUsage | None = None
    error: AError | None = None
    context_management: Raw = Raw(b"")


STOP_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""An unknown stop reason is taken for "stop": new ones have all been good ends."""

STOP_WORDS: Final[dict[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

ERROR_STATUSES: Final[dict[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "gateway_timeout_error": 504,
    "overloaded_error": 529,
}
"""What status an error type has, for errors that come inside a stream of status 200."""
