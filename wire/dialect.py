"""What a dialect is: the interface that every file of codecs here implements.

A dialect speaks to clients (`ClientDialect`), to providers (`ProviderDialect`), or
both. Everything is sans-io: bytes in, values out, no clock, no randomness, no trio. Ids
and times that an encoder needs come in through `Reply`.

One request takes one of two ways, and the caller sees no difference (`Reader`):

- relay: client and provider speak the same dialect. The body is edited at its top
  level only, and deltas pass as the bytes they came in; a `Reader` looks at each once.
- translation: `ProviderDialect.stream_decoder` makes events, the encoder of
  `ClientDialect.stream_encoder` takes them; `wire.relay.Translation` joins the two and
  is a `Reader` too.

Invariant: no credential is ever in an `UpstreamRequest`. It names the `auth` scheme and
the transport writes the key from its lease, after us.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from wire.completion import Completion
from wire.events import Event, Fault, FaultKind, Finish, FinishReason, Usage
from wire.request import ChatRequest

Headers = Mapping[str, str]
"""Names in lower case (or a mapping that ignores case, as httpx's)."""

AuthScheme = Literal[
    "bearer", "x-api-key", "api-key", "x-goog-api-key", "sigv4", "none"
]

Need = Literal["tools", "images", "files", "audio", "json_schema", "reasoning"]
"""What a request needs of a model, for the router's gates."""


class ClientError(Exception):
    """The client's request cannot be served as it stands: say which field, and why.

    Never put values from the request in `message`: exceptions travel into logs.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002 - the wire's own word
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.type = type

    def fault(self) -> Fault:
        """The same, as the event that error encoders take."""
        return Fault(
            kind="client",
            message=self.message,
            status=self.status,
            code=self.code,
            type=self.type,
            param=self.param,
            source="gateway",
        )


class Head(Struct, frozen=True):
    """What router, ledger and relay need of a request, without parsing its messages.

    Args:
        prompt_bytes: size of everything that becomes prompt tokens (messages, tools,
            system, schema), as JSON: the base of the token estimate.
        media_bytes: how much of that is base64 of pictures, files and sound, whose
            tokens have nothing to do with their length.
        max_output_tokens: the client's own bound on the answer, all choices alike.
        prefix: the first blocks of the prompt as raw JSON, to hash for cache affinity.
        needs: capabilities a model must have.
        previous_response_id: a stored answer that this request goes on from.
    """

    model: str
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    n: int = 1
    prompt_bytes: int = 0
    media_bytes: int = 0
    prefix: bytes = b""
    needs: frozenset[Need] = frozenset()
    user: str | None = None
    service_tier: str | None = None
    previous_response_id: str | None = None

    def __repr__(self) -> str:
        """Without `prefix` (a prompt) and `user` (a person)."""
        return (
            f"<Head {self.model!r} stream={self.stream} n={self.n} "
            f"prompt_bytes={self.prompt_bytes} needs={sorted(self.needs)}>"
        )


class Target(Struct, frozen=True):
    """The deployment a request goes to.

    Args:
        model: the provider's name for the model (or Azure's deployment).
        flavour: which quirks apply (`wire.flavours` for OpenAI-compatible servers).
        max_output_tokens: a clamp: no answer may be longer (the ledger's bound).
        options: what the dialect's own paths and headers need ("api_version",
            "region", "project", "location", "deployment", …).
    """

    model: str
    flavour: str = ""
    max_output_tokens: int | None = None
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def bound(self, asked: int | None) -> int | None:
        """The tighter of the client's own bound on the answer, in tokens, and ours."""
        clamp = self.max_output_tokens
        if asked is None or clamp is None:
            return clamp if asked is None else asked
        return min(asked, clamp)


class UpstreamRequest(Struct, frozen=True):
    """What to send. `path` starts with "/" and is joined to the provider's base URL."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    auth: AuthScheme = "bearer"

    def __repr__(self) -> str:
        """Without the body: it is the prompt."""
        return f"<UpstreamRequest {self.method} {self.path} {len(self.body)} bytes>"


class Reply(Struct, frozen=True):
    """What an encoder cannot know by itself, given by the caller.

    Args:
        id: a fresh opaque token (letters and digits), from which ids are made.
        created: Unix seconds.
        model: the name the client asked for, and is answered with.
    """

    id: str
    created: int
    model: str


class ErrorResponse(Struct, frozen=True):
    """An error as the client's dialect has it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Reading(Struct):
    """What one feed of upstream bytes amounts to.

    Args:
        out: bytes for the client; empty while a frame is incomplete.
        content: the model's output began or went on. The first True commits the
            stream; role-only chunks, empty deltas, pings and filter results do not.
        output_chars: model output relayed in `out`, for metering.
        usage: the last absolute usage seen, or None.
        service: the service that the provider says it gave ("default", "flex", …).
        finish: the provider's answer ended for this reason (the last choice's).
        fault: an error event, or broken grammar. Its bytes are never in `out`: the
            caller decides between the next candidate and `wire.relay.failure`. Where
            nothing went out before, `out` is empty: the attempt left no trace.
        done: the end of the grammar was seen. Nothing after it is relayed.
        events: events (frames) completed by this feed.
    """

    out: bytes = b""
    content: bool = False
    output_chars: int = 0
    usage: Usage | None = None
    service: str | None = None
    finish: FinishReason | None = None
    fault: Fault | None = None
    done: bool = False
    events: int = 0


class Reader(Protocol):
    """One upstream stream on its way to one client: a relay or a translation."""

    def feed(self, data: bytes) -> Reading:
        """Take upstream bytes, cut anywhere. Never raises: bad bytes are a `fault`."""
        ...

    def finish(self) -> Reading:
        """Upstream ended. A stream cut before its grammar's end is a `fault`.

        After `done` this answers an empty reading.
        """
        ...

    def cut(self, reason: FinishReason = "length") -> bytes:
        """End the client's stream cleanly now (its hold is spent, the drain is over).

        The bytes close what is open and finish with `reason` in the client's grammar.
        """
        ...


class StreamDecoder(Protocol):
    """A provider's stream into events. Never raises on bytes from outside."""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, cut anywhere."""
        ...

    def finish(self) -> list[Event]:
        """Upstream ended: [] after a complete grammar, else a truncation `Fault`."""
        ...

    @property
    def done(self) -> bool:
        """The grammar's own end was seen; bytes after it are ignored."""
        ...


class StreamEncoder(Protocol):
    """Events into a client's stream. Emits a grammar its official SDK accepts."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Bytes for these events; b"" where nothing is to be said yet.

        `Fault` is not for here: the caller ends the stream with `error_event`.
        """
        ...

    def finish(self) -> bytes:
        """Close what is open and write the grammar's end, once."""
        ...


class ClientDialect(Protocol):
    """How one kind of client speaks to us."""

    @property
    def name(self) -> str:
        """The dialect's name, as in `ChatRequest.source`."""
        ...

    @property
    def heartbeat(self) -> bytes:
        """Sent every `HEARTBEAT_S` of silence, between frames only."""
        ...

    @property
    def reads_sse(self) -> bool:
        """Whether its official clients read more of events than data: comments, ids."""
        ...

    @property
    def stream_headers(self) -> tuple[tuple[str, str], ...]:
        """Response headers of a stream."""
        ...

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """Look at the top level only. Raises ClientError."""
        ...

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """Parse and check everything. Raises ClientError with the path of the fault."""
        ...

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """A fresh encoder for one stream."""
        ...

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """The body of a unary 200."""
        ...

    def render_error(self, fault: Fault) -> ErrorResponse:
        """An error before the first byte. Calls `public` itself."""
        ...

    def error_event(self, fault: Fault) -> bytes:
        """An error after the first byte: the frames that end the stream with it."""
        ...


class ProviderDialect(Protocol):
    """How we speak to one kind of provider."""

    @property
    def name(self) -> str:
        """The dialect's name, as in `ProviderState.source`."""
        ...

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """The provider's request. Raises ClientError for what it cannot express."""
        ...

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """A fresh decoder for the answer to `request` (a stream with status 200)."""
        ...

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """A unary answer as events; `[Fault]` for an error or an unreadable body."""
        ...

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """A non-2xx answer. The body decides, not its content-type; never raises."""
        ...


class RelayDialect(Protocol):
    """A dialect on both sides: the fast way, without the vocabulary in between."""

    @property
    def name(self) -> str:
        """The dialect's name; equal on both sides of a relay."""
        ...

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """Edit the top level (model, output clamp, usage); the rest keeps its bytes."""
        ...

    def relay(self, head: Head, target: Target, *, model: str | None = None) -> Reader:
        """A fresh relay. `model` rewrites the answer's model name; None keeps it."""
        ...

    def relay_response(
        self, status: int, headers: Headers, body: bytes, *, model: str | None = None
    ) -> Reading:
        """A unary answer: `out` is the body, usage and finish are read from it."""
        ...


HEARTBEAT_S = 15.0
"""Shorter than the 60 s of nginx and the 100 s of Cloudflare, four times over."""

RETRY_AFTER_FORWARDED_MAX_S = 60.0
"""Anthropic's client sleeps whatever it is told, OpenAI's up to 120 s: cap it."""

STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
)
"""Of every SSE answer. No compression, no Connection header (HTTP/2 forbids it)."""

_PUBLIC_STATUS: dict[FaultKind, int] = {"key": 502, "transient": 502, "throttle": 429}


def public(fault: Fault) -> Fault:
    """What the client may see of a fault: never an upstream's 401 or 403 as its own.

    A key fault is ours to mend, and its message may quote the key: both are replaced.
    """
    if fault.kind == "key":
        who = fault.source or "the provider"
        return Fault(
            kind="key",
            message=(
                f"The gateway's own credential for {who} was refused. "
                "The request was not at fault; its operator has to mend it."
            ),
            status=_PUBLIC_STATUS["key"],
            code="upstream_credential_refused",
            type="upstream_error",
            source=fault.source,
            request_id=fault.request_id,
        )
    status = fault.status
    if fault.kind == "transient" and not 500 <= status < 600:
        status = _PUBLIC_STATUS["transient"]
    if fault.kind == "throttle" and status not in {429, 503, 529}:
        status = _PUBLIC_STATUS["throttle"]
    retry_after_s = fault.retry_after_s
    if retry_after_s is not None:
        retry_after_s = min(max(retry_after_s, 0.0), RETRY_AFTER_FORWARDED_MAX_S)
    return Fault(
        kind=fault.kind,
        message=fault.message,
        status=status,
        code=fault.code,
        type=fault.type,
        param=fault.param,
        retry_after_s=retry_after_s,
        source=fault.source,
        request_id=fault.request_id,
        truncated=fault.truncated,
    )


def truncated(source: str) -> Fault:
    """The stream ended before its grammar did: a cut, never a silent stop."""
    return Fault(
        kind="transient",
        message=f"{source} closed the stream before the answer was complete.",
        status=502,
        code="upstream_truncated",
        type="upstream_error",
        source=source,
        truncated=True,
    )


def malformed(source: str, why: str) -> Fault:
    """Bytes that do not follow the dialect. `why` must not quote them."""
    return Fault(
        kind="transient",
        message=f"{source} sent something that is not its own dialect: {why}.",
        status=502,
        code="upstream_malformed",
        type="upstream_error",
        source=source,
    )


def finish_reason(event: Finish, tool_calls: int) -> FinishReason:
    """A `stop` after tool calls is `tool_calls`, whatever the provider called it."""
    return "tool_calls" if event.reason == "stop" and tool_calls else event.reason
