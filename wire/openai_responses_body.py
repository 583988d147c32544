"""The body of an OpenAI Responses request, typed. Pure data.

Items stay raw: they are a union of some thirty types, read one by one by the parser.
"""

from typing import Literal

from msgspec import Raw, Struct

from wire.jsontext import NULL


class InFormat(Struct):
    """The shape the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = "response"
    schema: Raw = NULL
    strict: bool | None = None
    description: str | None = None


class InText(Struct):
    """What concerns the visible text."""

    format: InFormat | None = None
    verbosity: str | None = None


class InReasoning(Struct):
    """How much to think, and what to show of it."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class InBody(Struct):
    """All fields that have a word in `ChatRequest`, and those that rule one out."""

    model: str = ""
    input: str | list[Raw] | None = None
    instructions: str | list[Raw] | None = None
    tools: list[Raw] | None = None
    tool_choice: Raw = NULL
    parallel_tool_calls: bool | None = None
    text: InText | None = None
    reasoning: InReasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Raw = NULL
    prompt: Raw = NULL
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None


class InTop(Struct):
    """The top level as the relay's way needs it."""

    model: str = ""
    input: Raw = NULL
    instructions: Raw = NULL
    tools: Raw = NULL
    text: Raw = NULL
    reasoning: InReasoning | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    user: str | None = None
    service_tier: str | None = None


class InPart(Struct):
    """A content part of any type; which fields count depends on `type`."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: Raw = NULL
    prompt_cache_breakpoint: Raw = NULL


class InKind(Struct):
    """What an input item is, before the rest of it is read."""

    type: str = "message"
    role: str | None = None


class InItem(Struct):
    """An input item of any type; which fields count depends on `type`."""

    type: str = "message"
    role: str | None = None
    content: str | list[InPart] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[InPart] | None = None
    summary: list[InPart] | None = None
    encrypted_content: str | None = None


class InTool(Struct):
    """A tool on offer; types beside function and custom run at the provider."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None
    format: Raw = NULL
