"""The vocabulary of a model's answer, the same for every dialect.

Decoders turn a provider's bytes into these events, encoders turn them into the
client's bytes; nothing else passes between two dialects. A unary answer is the same
list of events with whole texts in it, so there is one mapping per dialect, not two.

Rules that every decoder keeps and every encoder may rely on:

1. `Start` comes first and once. Then deltas. Each choice ends with one `Finish`.
   `Usage` may come anywhere, is absolute (never to be added up) and the last one wins.
   `Fault` ends the stream; nothing follows it.
2. Within a choice, parts come in order. A change of kind or of `block` starts a new
   part; decoders of dialects without blocks leave `block` at 0.
3. A tool call is `ToolCallStart`, any `ToolArgsDelta`, `ToolCallEnd`, all with the same
   `index`: its place among the tool calls of its choice, from 0. Its arguments, joined,
   are JSON text as the model wrote it (possibly invalid); empty ones are "{}".
4. Tools that the provider ran itself are `ServerTool`, never tool calls: an agent would
   run them again.
5. What only the source dialect understands travels as `Opaque` or `ProviderState`, and
   only an encoder of the same `source` writes it out.

Owns no bytes on the wire. Never holds a key. Talks to nobody.
"""

from typing import Literal, TypeGuard

from msgspec import Struct

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
"""How a choice ended well. An end that is an error (a malformed tool call, a provider's
own timeout) is a `Fault`, so that no client takes it for a success."""

FaultKind = Literal["client", "context", "key", "throttle", "transient", "ours"]
"""Whose fault, hence what may be done about it (docs: wire, the class table).

- client: the request is wrong anywhere; no retry, no fallback.
- context: too long for this model; only a larger one may try.
- key: our credential or our bill; other providers may try, this key is off.
- throttle: later or elsewhere.
- transient: again or elsewhere; counts against the provider's health.
- ours: the gateway refused or broke (budget, limits, bugs); no provider is to blame.
"""


class Quiet(Struct, frozen=True):
    """What holds a client's or a model's words: its repr says only what it is.

    Reprs travel further than values: into exceptions, traces and debuggers.
    """

    def __repr__(self) -> str:
        """Which kind, and none of it."""
        return f"<{type(self).__name__}>"


class ProviderState(Struct, frozen=True):
    """Opaque state that a provider wants back in the next turn, untouched.

    Args:
        source: the dialect that can read it ("anthropic", "gemini", …).
        kind: what it is there ("signature", "redacted", "encrypted",
            "thought_signature", "reasoning_details").
        data: the state as text; JSON text where the source sends a structure.
        id: the item's id where the source has one.
    """

    source: str
    kind: str
    data: str
    id: str = ""

    def __repr__(self) -> str:
        """Name it without showing it: signatures are long and may hold thoughts."""
        return f"ProviderState({self.source} {self.kind}, {len(self.data)} chars)"


class Start(Struct, frozen=True, tag_field="event", tag="start"):
    """The answer begins: nothing of the model's output yet."""

    id: str = ""
    model: str = ""
    created: int = 0  # Unix seconds; 0 when the dialect does not say.
    service_tier: str | None = None
    fingerprint: str | None = None


class TextDelta(Quiet, frozen=True, tag_field="event", tag="text"):
    """Visible text."""

    text: str
    choice: int = 0
    block: int = 0


class ReasoningDelta(Quiet, frozen=True, tag_field="event", tag="reasoning"):
    """Thoughts, or a summary of them where that is all the provider shows."""

    text: str
    choice: int = 0
    block: int = 0
    summary: bool = False


class ReasoningState(Quiet, frozen=True, tag_field="event", tag="reasoning_state"):
    """The signature or encrypted body of the reasoning part `block`; ends that part.

    A redacted part is this event alone, with no `ReasoningDelta` before it.
    """

    state: ProviderState
    choice: int = 0
    block: int = 0


class RefusalDelta(Quiet, frozen=True, tag_field="event", tag="refusal"):
    """The model's words for declining, where the dialect keeps them apart from text."""

    text: str
    choice: int = 0
    block: int = 0


class ToolCallStart(Quiet, frozen=True, tag_field="event", tag="tool_start"):
    """The model calls a tool of the client. `custom` tools take text, not JSON."""

    index: int
    id: str
    name: str
    choice: int = 0
    custom: bool = False
    state: ProviderState | None = None  # Gemini: a thought signature rides on the call.


class ToolArgsDelta(Quiet, frozen=True, tag_field="event", tag="tool_args"):
    """A piece of the arguments, as JSON text."""

    index: int
    text: str
    choice: int = 0


class ToolCallEnd(Struct, frozen=True, tag_field="event", tag="tool_end"):
    """The arguments of this call are complete."""

    index: int
    choice: int = 0


class ServerTool(Quiet, frozen=True, tag_field="event", tag="server_tool"):
    """A step of a tool that the provider ran itself; `data` is the source's JSON."""

    source: str
    name: str
    data: bytes
    id: str = ""
    choice: int = 0
    block: int = 0


class Citation(Quiet, frozen=True, tag_field="event", tag="citation"):
    """Where the text of `block` comes from. `start` and `end` are in characters.

    `data` is the source's own JSON, for an encoder of the same dialect.
    """

    url: str = ""
    title: str = ""
    text: str = ""
    start: int | None = None
    end: int | None = None
    choice: int = 0
    block: int = 0
    source: str = ""
    data: bytes = b""


class Media(Quiet, frozen=True, tag_field="event", tag="media"):
    """A piece of sound or a picture that the model made; `data` is base64."""

    media_type: str  # "image/png", "audio/pcm16", …
    data: str = ""
    id: str = ""
    transcript: str = ""
    expires_at: int | None = None
    choice: int = 0
    block: int = 0


class Logprobs(Quiet, frozen=True, tag_field="event", tag="logprobs"):
    """Log probabilities of the text just sent: OpenAI's `logprobs` object as JSON."""

    data: bytes
    choice: int = 0


class Usage(Struct, frozen=True, tag_field="event", tag="usage"):
    """What the answer cost in tokens, as the provider counts, in one normal form.

    `prompt` holds cached and cache-written tokens too; `completion` holds reasoning
    tokens too; `cache_write` holds the 1 h ones too. Providers count each of these
    differently: their decoders put it right, never the ledger.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    searches: int = 0  # Server tool requests that are billed one by one.
    cost_microusd: int | None = None  # What the provider says it charged (OpenRouter).
    total_reported: int | None = None  # Their own sum, where it is more than ours.

    @property
    def total(self) -> int:
        """Prompt and completion; what clients know as `total_tokens`."""
        return self.prompt + self.completion


class Finish(Struct, frozen=True, tag_field="event", tag="finish"):
    """One choice is complete. `raw` is the provider's own word for why."""

    reason: FinishReason
    raw: str = ""
    choice: int = 0
    stop_sequence: str | None = None
    details: bytes = b""  # The source's JSON beside it (filter results, stop details).


class Fault(Struct, frozen=True, tag_field="event", tag="fault"):
    """The answer failed. Says who, why and what next; never holds a key or a prompt.

    Args:
        kind: whose fault; decides retry, fallback and breaker.
        message: for the client to read, after `dialect.public` for upstream faults.
        status: the HTTP status of the upstream, or what the gateway answers with.
        code: what agents branch on ("context_length_exceeded", "model_not_found"):
            kept from the provider or mapped, never a status as text.
        type: the error family in OpenAI's words ("invalid_request_error").
        param: the path of the offending field, where known.
        retry_after_s: what the provider asked for; None when it said nothing.
        source: the dialect or actor that says so.
        request_id: the provider's id for the exchange, for support tickets.
        truncated: the stream ended before its grammar did.
    """

    kind: FaultKind
    message: str
    status: int = 502
    code: str | None = None
    type: str = ""
    param: str | None = None
    retry_after_s: float | None = None
    source: str = ""
    request_id: str = ""
    truncated: bool = False

    def __repr__(self) -> str:
        """Without `message`: providers quote prompts and keys in theirs."""
        return (
            f"<Fault {self.kind} {self.status} code={self.code} param={self.param} "
            f"source={self.source}{' truncated' if self.truncated else ''}>"
        )


class Opaque(Quiet, frozen=True, tag_field="event", tag="opaque"):
    """An event that the vocabulary has no word for; `data` is the source's JSON."""

    source: str
    name: str
    data: bytes
    choice: int = 0


Event = (
    Start
    | TextDelta
    | ReasoningDelta
    | ReasoningState
    | RefusalDelta
    | ToolCallStart
    | ToolArgsDelta
    | ToolCallEnd
    | ServerTool
    | Citation
    | Media
    | Logprobs
    | Usage
    | Finish
    | Fault
    | Opaque
)

ContentEvent = (
    TextDelta
    | ReasoningDelta
    | ReasoningState
    | RefusalDelta
    | ToolCallStart
    | ServerTool
    | Media
)

CONTENT = (
    TextDelta,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ToolCallStart,
    ServerTool,
    Media,
)
"""Events that are content: the first of them commits a stream to its provider.

An empty text or reasoning delta is none (see `is_content`)."""


def is_content(event: Event) -> TypeGuard[ContentEvent]:
    """Whether this event shows the client something of the model's output."""
    if isinstance(event, (TextDelta, ReasoningDelta, RefusalDelta)):
        return bool(event.text)
    return isinstance(event, CONTENT)


def output_chars(event: Event) -> int:
    """How many characters of model output this event relays, for metering."""
    match event:
        case TextDelta(text) | ReasoningDelta(text) | RefusalDelta(text):
            return len(text)
        case ToolArgsDelta():
            return len(event.text)
        case ToolCallStart():
            return len(event.name)
        case _:
            return 0
