"""Gemini's and Vertex's answers into events: SSE, JSON arrays, single objects, counts.

Owns: what their grammar leaves unsaid. There is no end marker: an answer is whole when
its candidates have finish reasons and the body ends. Errors in mid-stream may be bare
JSON that SSE tells everybody to ignore: when an answer ends without having finished,
the ignored lines are read after all. Usage is a running total. Never raises on bytes
from outside.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from wire.counting import TokenCount
from wire.dialect import Headers, finish_reason, malformed, truncated
from wire.errors import classify, classify_event
from wire.events import (
    Event,
    Fault,
    Finish,
    Logprobs,
    Media,
    Opaque,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.gemini_array import ArrayError, ArraySplitter
from wire.gemini_cite import citations, openai_logprobs
from wire.gemini_parts import SYNTHETIC_ID
from wire.gemini_schema import (
    FAILED,
    FINISH,
    SOURCE,
    AnswerPart,
    Candidate,
    Chunk,
    Counted,
    Counts,
    Modality,
    finish_word,
)
from wire.gemini_search import searches_of
from wire.jsontext import JSON_ERRORS, mended
from wire.sse import SseDecoder, SseError

_chunk = msgspec.json.Decoder(Chunk)

SERVER_KINDS: Final = (
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
"""Parts that tell of tools the provider runs itself."""

_THOUGHTS: Final = 0
_SIGNATURES: Final = 1
"""Blocks: a signature that follows text must not be taken for the thought's before."""


def usage_of(raw: Counts) -> Usage | None:
    """Google's counts in our meaning; None where they are not there yet."""
    if raw.promptTokenCount is None:
        return None
    thoughts = raw.thoughtsTokenCount or 0
    return Usage(
        prompt=raw.promptTokenCount + (raw.toolUsePromptTokenCount or 0),
        completion=(raw.candidatesTokenCount or 0) + thoughts,
        cached=raw.cachedContentTokenCount or 0,
        reasoning=thoughts,
        audio_in=_audio(raw.promptTokensDetails),
        audio_out=_audio(raw.candidatesTokensDetails),
        total_reported=raw.totalTokenCount,
    )


def _audio(details: list[Modality] | None) -> int:
    tokens = 0
    for one in details or ():
        if one.modality == "AUDIO":
            tokens += one.tokenCount
    return tokens


class _Choice(Struct):
    """What is known of one candidate so far."""

    tools: int = 0
    finish: str = ""
    details: bytes = b""
    text: list[str] = []


class ChunkEvents:
    """Google's chunks, one JSON object at a time, into events."""

    def __init__(
        self,
        *,
        vertex: bool = False,
        flavour: str = SOURCE,
    ) -> None:
        self.failed = False
        self._vertex = vertex
        self._flavour = flavour
        self._started = False
        self._id = ""
        self._choices: dict[int, _Choice] = {}
        self._model = ""
        self._searches: dict[int, int] = {}

    def __repr__(self) -> str:
        ended = sum(bool(choice.finish) for choice in self._choices.values())
        return f"<ChunkEvents choices={len(self._choices)} ended={ended}>"

    @property
    def complete(self) -> bool:
        """Whether every candidate has said why it ended."""
        choices = self._choices.values()
        return bool(choices) and all(choice.finish for choice in choices)

    def push(self, data: bytes) -> list[Event]:
        """Take one chunk."""
        if self.failed:
            return []
        try:
            chunk = _chunk.decode(data)
            if chunk.error:
                return self._fail(classify_event(self._flavour, data))
            return self._take(chunk)
        except JSON_ERRORS:
            return self._fail(malformed(SOURCE, "a chunk is not the JSON it should be"))

    def _fail(self, fault: Fault) -> list[Event]:
        self.failed = True
        return [fault]

    def _take(self, chunk: Chunk) -> list[Event]:
        events: list[Event] = []
        if not self._started:
            self._started = True
            self._id = chunk.responseId or ""
            counts = chunk.usageMetadata
            tier = None if counts is None else counts.serviceTier
            model = chunk.modelVersion or ""
            events.append(Start(self._id, model, service_tier=tier))
        self._model = chunk.modelVersion or self._model
        for candidate in chunk.candidates or ():
            events += self._candidate(candidate)
        feedback = chunk.promptFeedback
        if feedback is not None and feedback.blockReason and not chunk.candidates:
            blocked = self._choices.setdefault(0, _Choice(text=[]))
            blocked.finish = feedback.blockReason
            blocked.details = msgspec.json.encode(feedback)
        usage = usage_of(chunk.usageMetadata) if chunk.usageMetadata else None
        if usage is not None:
            if self._searches:
                searches = sum(self._searches.values())
                usage = msgspec.structs.replace(usage, searches=searches)
            events.append(usage)
        return events

    def _candidate(self, candidate: Candidate) -> list[Event]:
        index = candidate.index
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(text=[])
        events: list[Event] = []
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                events += self._part(part, index, choice)
        if candidate.groundingMetadata:
            count = searches_of(candidate.groundingMetadata, self._model)
            self._searches[index] = max(self._searches.get(index, 0), count)
        if candidate.groundingMetadata or candidate.citationMetadata:
            text = "".join(choice.text)
            events += citations(candidate, text)
            for name in ("groundingMetadata", "citationMetadata"):
                said = bytes(getattr(candidate, name))
                if said:
                    events.append(Opaque(SOURCE, name, said, index))
        if candidate.logprobsResult:
            said = openai_logprobs(candidate.logprobsResult)
            if said:
                events.append(Logprobs(said, index))
        if candidate.finishReason is not None:
            choice.finish = finish_word(candidate.finishReason, vertex=self._vertex)
            choice.details = bytes(candidate.safetyRatings)
        return events

    def _part(self, part: AnswerPart, index: int, choice: _Choice) -> list[Event]:
        events: list[Event] = []
        signature = part.thoughtSignature
        state = None
        if signature:
            state = ProviderState(SOURCE, "thought_signature", signature)
        if part.functionCall is not None:
            return self._call(part, index, choice, state)
        block = _SIGNATURES
        if part.text is not None:
            if part.thought:
                block = _THOUGHTS
                if part.text:
                    thought = ReasoningDelta(part.text, index, _THOUGHTS, summary=True)
                    events.append(thought)
            elif part.text:
                choice.text.append(part.text)
                events.append(TextDelta(part.text, index))
        elif part.inlineData is not None:
            blob = part.inlineData
            events.append(Media(blob.mimeType, blob.data, choice=index))
        else:
            for kind in SERVER_KINDS:
                raw: Raw = getattr(part, kind)
                if raw:
                    fields: dict[str, Any] = {kind: raw}
                    if signature:
                        fields["thoughtSignature"] = signature
                    data = msgspec.json.encode(fields)
                    return [ServerTool(SOURCE, kind, data, choice=index)]
        if state is not None:
            events.append(ReasoningState(state, index, block))
        return events

    def _call(
        self,
        part: AnswerPart,
        index: int,
        choice: _Choice,
        state: ProviderState | None,
    ) -> list[Event]:
        call = part.functionCall
        assert call is not None
        at = choice.tools
        choice.tools += 1
        call_id = call.id or f"{SYNTHETIC_ID}{self._id or 'x'}_{index}_{at}"
        args = bytes(call.args)
        text = "{}" if args in {b"", b"null"} else args.decode()
        return [
            ToolCallStart(at, call_id, call.name, index, state=state),
            ToolArgsDelta(at, text, index),
            ToolCallEnd(at, index),
        ]

    def finish(self) -> list[Event]:
        """The body ended: say how each choice did, or that it did not."""
        if self.failed:
            return []
        events: list[Event] = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            if choice.finish in FAILED:
                return [*events, *self._fail(_failed(choice.finish))]
            if choice.finish:
                reason = FINISH.get(choice.finish, "stop")
                if not choice.tools and not choice.text and choice.finish not in FINISH:
                    reason = "content_filter"  # A block reason we do not know yet.
                ended = Finish(reason, choice.finish, index, details=choice.details)
                reason = finish_reason(ended, choice.tools)
                events.append(msgspec.structs.replace(ended, reason=reason))
        if not self.complete:
            events += self._fail(truncated(SOURCE))
        return events


def _failed(word: str) -> Fault:
    return Fault(
        kind="transient",
        message=f"{SOURCE} ended its answer with {word}; another attempt may not.",
        status=502,
        code=word.lower(),
        type="upstream_error",
        source=SOURCE,
    )


def bare_error(flavour: str, pieces: list[bytes]) -> Fault | None:
    """An error among lines that are no SSE: one on a line, or one over many."""
    for text in (*pieces, b"\n".join(pieces)):
        try:
            found = msgspec.json.decode(text)
        except JSON_ERRORS:
            continue
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if isinstance(found, dict) and found.get("error"):
            return classify_event(flavour, msgspec.json.encode(found))
    return None


class GeminiDecoder:
    """A stream of either framing into events."""

    def __init__(self, events: ChunkEvents, *, flavour: str = SOURCE) -> None:
        self._events = events
        self._flavour = flavour
        self._head = b""
        self._sse: SseDecoder | None = None
        self._array: ArraySplitter | None = None
        self._ended = False

    def __repr__(self) -> str:
        how = self._sse or self._array or "nothing yet"
        return f"<GeminiDecoder {self._events!r} {how!r}>"

    @property
    def done(self) -> bool:
        """See `StreamDecoder.done`: only the end of the body is Google's end."""
        return self._ended or self._events.failed

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self.done:
            return []
        try:
            return self._feed(data)
        except (SseError, ArrayError) as error:
            self._events.failed = True
            return [malformed(SOURCE, str(error))]

    def _feed(self, data: bytes) -> list[Event]:
        if self._sse is None and self._array is None:
            self._head += data
            first = self._head.lstrip(b" \t\r\n\xef\xbb\xbf")
            if not first:
                self._head = self._head[-8:]  # White space is all it was.
                return []
            data, self._head = self._head, b""
            if first[:1] in b"[{":
                self._array = ArraySplitter()
                data = first
            else:
                self._sse = SseDecoder()
        if self._sse is not None:
            pieces = [mended(frame.data) for frame in self._sse.feed(data)]
        else:
            assert self._array is not None
            pieces = self._array.feed(data)
        events: list[Event] = []
        for piece in pieces:
            if not self.done:
                events += self._events.push(piece)
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self.done:
            return []
        events: list[Event] = []
        if self._sse is not None:
            if self._sse.error is None and self._sse.tail:
                events = self.feed(b"\n\n")  # A last event may lack its blank line.
            strays = self._sse.strays
            if not self._events.complete and strays:
                fault = bare_error(self._flavour, strays)
                if fault is not None:
                    self._events.failed = True
                    return [*events, fault]
        events += self._events.finish()
        self._ended = True
        return events


def parse_response(
    status: int, headers: Headers, body: bytes, *, vertex: bool
) -> list[Event]:
    """A unary answer as events; `[Fault]` for an error or an unreadable body."""
    flavour = "vertex" if vertex else SOURCE
    if status >= 300:
        return [classify_body(flavour, status, headers, body)]
    chunk = ChunkEvents(vertex=vertex, flavour=flavour)
    events = chunk.push(body)
    return events + chunk.finish()


def classify_body(flavour: str, status: int, headers: Headers, body: bytes) -> Fault:
    """A non-2xx answer; to a stream without SSE it comes inside an array."""
    inner = body.strip()
    if inner.startswith(b"["):
        try:
            found = msgspec.json.decode(inner, type=list[Raw])
        except JSON_ERRORS:
            found = []
        if len(found) == 1:
            body = bytes(found[0])
    return classify(flavour, status, headers, body, source=SOURCE)


def read_count(
    status: int, headers: Headers, body: bytes, *, vertex: bool
) -> TokenCount | Fault:
    """The answer of countTokens."""
    if status >= 300:
        return classify_body("vertex" if vertex else SOURCE, status, headers, body)
    try:
        counted = msgspec.json.decode(body, type=Counted)
    except JSON_ERRORS:
        return malformed(SOURCE, "the count is not the JSON it should be")
    return TokenCount(counted.totalTokens, counted.cachedContentTokenCount or 0)
