"""The vocabulary of a chat request, the same for every dialect.

Client dialects parse bodies into a `ChatRequest`, provider dialects build theirs from
it. Nothing is lost silently: what has no word here is kept raw in `extra` (by field,
with `source` saying whose field it is) or as an `OpaquePart`, and is written out again
by a dialect of the same source.

JSON that we only carry (schemas, arguments, metadata) stays text: it is neither parsed
nor re-ordered on the way.

Never logged: every text here is a prompt. `ChatRequest.__repr__` shows sizes only.
"""

from typing import Literal

from msgspec import field

from wire.events import ProviderState, Quiet

Role = Literal["system", "developer", "user", "assistant", "tool"]


class CacheMark(Quiet, frozen=True):
    """Cache the prompt up to here. `ttl` is "5m" or "1h"; None takes the default."""

    ttl: str | None = None


class Text(Quiet, frozen=True, tag="text"):
    """Text of any role."""

    text: str
    cache: CacheMark | None = None
    citations: bytes = b""  # The source's JSON list, on assistant texts sent back.


class Image(Quiet, frozen=True, tag="image"):
    """A picture: either `url` or base64 `data` with its `media_type`."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    detail: str | None = None
    file_id: str = ""
    cache: CacheMark | None = None


class File(Quiet, frozen=True, tag="file"):
    """A document: one of `url`, base64 `data`, `file_id`, or plain `text`."""

    url: str = ""
    data: str = ""
    text: str = ""
    media_type: str = ""
    file_id: str = ""
    name: str = ""
    cache: CacheMark | None = None
    options: bytes = b""  # The source's JSON beside it (Anthropic: context, citations).


class Audio(Quiet, frozen=True, tag="audio"):
    """Sound: base64 `data` in `format` ("wav", "mp3"), or the `id` of a former one."""

    data: str = ""
    format: str = ""
    id: str = ""
    cache: CacheMark | None = None


class ToolUse(Quiet, frozen=True, tag="tool_use"):
    """The assistant called a tool. `arguments` is JSON text (free text if `custom`)."""

    id: str
    name: str
    arguments: str = "{}"
    custom: bool = False
    state: ProviderState | None = None
    cache: CacheMark | None = None


class ToolResult(Quiet, frozen=True, tag="tool_result"):
    """What the tool said. `name` is taken from the call where the dialect omits it."""

    tool_use_id: str
    parts: tuple["Part", ...] = ()
    is_error: bool = False
    name: str = ""
    cache: CacheMark | None = None


class Reasoning(Quiet, frozen=True, tag="reasoning"):
    """Earlier thoughts sent back; `state` is what proves or replaces them."""

    text: str = ""
    state: ProviderState | None = None
    summary: bool = False


class Refusal(Quiet, frozen=True, tag="refusal"):
    """The assistant declined earlier, in these words."""

    text: str


class OpaquePart(Quiet, frozen=True, tag="opaque"):
    """A part only `source` understands, as its JSON (server tool blocks and such)."""

    source: str
    kind: str
    data: bytes


Part = (
    Text
    | Image
    | File
    | Audio
    | ToolUse
    | ToolResult
    | Reasoning
    | Refusal
    | OpaquePart
)


class Message(Quiet, frozen=True):
    """One turn. A `tool` message holds `ToolResult` parts only.

    Client dialects put each tool result in a `tool` message, also where theirs has it
    inside a user turn; provider dialects merge neighbours again where theirs wants it.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    extra: dict[str, bytes] = field(default_factory=dict[str, bytes])


class Tool(Quiet, frozen=True):
    """A tool on offer.

    `parameters` is a JSON schema as text. A server tool (run by the provider) has
    `kind` "server" and lives in `data`, for dialects of the same `source` only.
    """

    name: str
    description: str | None = None
    parameters: bytes = b""
    strict: bool | None = None
    kind: Literal["function", "custom", "server"] = "function"
    source: str = ""
    data: bytes = b""
    cache: CacheMark | None = None


class ToolChoice(Quiet, frozen=True):
    """auto, none, required (any tool), or one tool by name.

    `allowed` narrows "auto" or "required" to these names (OpenAI's allowed_tools).
    """

    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""
    allowed: tuple[str, ...] = ()


class ResponseFormat(Quiet, frozen=True):
    """The shape the answer must have; `schema` is JSON text."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema: bytes = b""
    strict: bool | None = None
    description: str | None = None


class ReasoningWish(Quiet, frozen=True):
    """How much to think. Dialects that know only one of the two map it.

    `enabled` False switches thinking off; None leaves it to the model.
    """

    effort: str | None = None  # "none", "minimal", "low", "medium", "high", "xhigh", …
    budget_tokens: int | None = None
    enabled: bool | None = None
    summary: str | None = None  # "auto", "concise", "detailed", "omitted", …


class ChatRequest(Quiet, frozen=True):
    """Everything a client asked for in one chat turn.

    Args:
        source: the client's dialect, the owner of `extra`.
        model: as the client named it; the target names its own.
        include_usage: the client itself wants usage in its stream.
        extra: top-level fields without a word here, by name, as JSON.
    """

    model: str
    messages: tuple[Message, ...]
    source: str
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_output_tokens: int | None = None
    reasoning: ReasoningWish | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int = 1
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    modalities: tuple[str, ...] = ()
    cache_key: str | None = None
    stream: bool = False
    include_usage: bool = False
    extra: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def __repr__(self) -> str:
        """Sizes only: a request in a log or a traceback must not show its prompt."""
        return (
            f"<ChatRequest {self.source} model={self.model!r} "
            f"messages={len(self.messages)} tools={len(self.tools)} "
            f"stream={self.stream}>"
        )
