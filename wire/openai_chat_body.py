"""The body of an OpenAI chat request, typed: what `wire.openai_chat_parse` reads.

msgspec checks types and names the path of what is wrong; what types cannot say is
checked by the parser. Pure data.
"""

from typing import Literal

from msgspec import Raw, Struct

from wire.jsontext import NULL


class InStreamOptions(Struct):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None


class InCacheControl(Struct):
    """Anthropic's cache mark, as OpenRouter's users write it."""

    ttl: str | None = None


class InImageUrl(Struct):
    """Where a picture is, or the picture as a data URL."""

    url: str
    detail: str | None = None


class InSound(Struct):
    """Sound as base64."""

    data: str
    format: str = ""


class InFileData(Struct):
    """A file as a data URL, or the id of an uploaded one."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class InTextPart(Struct, tag_field="type", tag="text"):
    """Text."""

    text: str
    prompt_cache_breakpoint: Raw = NULL  # OpenAI's own cache mark.
    cache_control: InCacheControl | None = None


class InImagePart(Struct, tag_field="type", tag="image_url"):
    """A picture."""

    image_url: InImageUrl | str
    cache_control: InCacheControl | None = None


class InAudioPart(Struct, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: InSound
    cache_control: InCacheControl | None = None


class InFilePart(Struct, tag_field="type", tag="file"):
    """A document."""

    file: InFileData
    cache_control: InCacheControl | None = None


class InRefusalPart(Struct, tag_field="type", tag="refusal"):
    """An earlier refusal."""

    refusal: str


InPart = InTextPart | InImagePart | InAudioPart | InFilePart | InRefusalPart


class InFunction(Struct):
    """Name and arguments of a call."""

    name: str
    arguments: str = ""


class InCustom(Struct):
    """Name and text of a custom call."""

    name: str
    input: str = ""


class InCall(Struct):
    """A call of the assistant."""

    id: str
    type: Literal["function", "custom"] = "function"
    function: InFunction | None = None
    custom: InCustom | None = None
    extra_content: Raw = NULL


class InAudioRef(Struct):
    """An earlier answer in sound."""

    id: str


class InMessage(Struct):
    """One message of any role."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[InPart] | None = None
    name: str | None = None
    tool_calls: list[InCall] | None = None
    tool_call_id: str | None = None
    function_call: InFunction | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Raw = NULL
    audio: InAudioRef | None = None


class InFunctionTool(Struct):
    """A function on offer."""

    name: str
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None


class InCustomTool(Struct):
    """A custom tool on offer."""

    name: str
    description: str | None = None
    format: Raw = NULL


class InTool(Struct):
    """A tool on offer; server tools have types of their own."""

    type: str = "function"
    function: InFunctionTool | None = None
    custom: InCustomTool | None = None
    cache_control: InCacheControl | None = None


class InSchema(Struct):
    """A JSON schema with its name."""

    name: str = "response"
    schema: Raw = NULL
    strict: bool | None = None
    description: str | None = None


class InFormat(Struct):
    """The shape the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: InSchema | None = None


class InReasoning(Struct):
    """OpenRouter's reasoning object."""

    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None


class InThinking(Struct):
    """DeepSeek's, Moonshot's and Anthropic's switch."""

    type: str = "enabled"
    budget_tokens: int | None = None


class InBody(Struct):
    """All fields that have a word in `ChatRequest`."""

    model: str
    messages: list[InMessage]
    tools: list[Raw] | None = None
    tool_choice: Raw = NULL
    parallel_tool_calls: bool | None = None
    response_format: InFormat | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    reasoning: InReasoning | None = None
    thinking: InThinking | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    prompt_cache_key: str | None = None
    stream: bool | None = None
    stream_options: InStreamOptions | None = None
    functions: Raw = NULL
    function_call: Raw = NULL
