"""OpenAI chat from a provider: chunks and answers into events.

Reads every server of `wire.flavours`; what they do differently is noted at the line
that copes with it. Sans-io; never raises on bytes from outside.
"""

from typing import Any, Literal

from msgspec import Raw

from wire.dialect import malformed, truncated
from wire.errors import classify_event
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    FinishReason,
    Logprobs,
    Media,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Start,
    TextDelta,
)
from wire.flavours import Flavour
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    count,
    decode_any,
    decode_object,
    encode,
    mapping,
    mended,
    text,
)
from wire.openai_chat_calls import Calls
from wire.openai_chat_schema import (
    Chunk,
    ChunkChoice,
    Delta,
    ToolDelta,
    read_chunk,
)
from wire.sse import Frame, SseDecoder, SseError
from wire.usage import from_openai

FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class _ChoiceState:
    """What has been seen of one choice."""

    __slots__ = ("calls", "details", "finished")

    def __init__(self, source: str, index: int) -> None:
        self.calls = Calls(source, index)
        self.details: list[Any] = []
        self.finished = False


class ChunkReader:
    """Chunks (or one whole answer) into events, whatever frames them."""

    def __init__(self, source: str, flavour: Flavour) -> None:
        self.source = source
        self.flavour = flavour
        self._finish: dict[str, FinishReason | Literal["error"]] = {
            **FINISH,
            **dict(flavour.finish),
        }
        self._choices: dict[int, _ChoiceState] = {}
        self._started = False
        self._id = ""
        self._cited = False

    @property
    def complete(self) -> bool:
        """Every choice that began has finished."""
        choices = self._choices.values()
        return bool(choices) and all(choice.finished for choice in choices)

    def read(self, data: bytes) -> list[Event]:
        """Events of one chunk or answer."""
        try:
            return self._read(data)
        except JSON_ERRORS:
            # A field that was carried raw, and is not UTF-8 or too deep after all.
            return [malformed(self.source, "a chunk is not JSON in UTF-8")]

    def _read(self, data: bytes) -> list[Event]:
        try:
            chunk = read_chunk(data)
        except JSON_ERRORS:
            return [malformed(self.source, "a chunk is not a JSON object")]
        if chunk.error != NULL:
            fault = self._fault(chunk.error, data)
            if fault is not None:
                return [fault]
        if chunk.choices is None and chunk.id is None:
            # Mistral's and vLLM's errors are flat: a message, and no answer around it.
            said = decode_object(data) or {}
            if said.keys() & {"message", "detail"}:
                return [classify_event(self.flavour.name, data, source=self.source)]
        events: list[Event] = []
        if not self._started and (chunk.id or chunk.choices):
            self._start(chunk, events)
        if chunk.choices:
            for choice in chunk.choices:
                self._choice(choice, events)
                if events and isinstance(events[-1], Fault):
                    return events
        if chunk.citations != NULL and not self._cited:
            self._top_citations(chunk.citations, events)
        usage = chunk.usage_anywhere()
        if usage != NULL:
            counts = decode_object(usage)
            if counts:
                if not self._started:
                    self._start(chunk, events)
                events.append(from_openai(counts))
        return events

    def _start(self, chunk: Chunk, events: list[Event]) -> None:
        # Azure's first chunk has an empty id and no choices: it starts nothing.
        self._started = True
        self._id = chunk.id or ""
        events.append(
            Start(
                id=self._id,
                model=chunk.model or "",
                created=max(chunk.created or 0, 0),
                service_tier=chunk.service_tier,
                fingerprint=chunk.system_fingerprint,
            )
        )

    def _fault(self, error: Raw, data: bytes) -> Fault | None:
        if not decode_any(error):  # "error": {} or "" beside a chunk says nothing.
            return None
        # OpenRouter sends error and choices in one chunk: the error is what counts.
        return classify_event(self.flavour.name, data, source=self.source)

    def _choice(self, choice: ChunkChoice, events: list[Event]) -> None:
        index = choice.index or 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState(self.source, index)
        delta = choice.delta or choice.message
        if delta is not None and not state.finished:
            if (
                delta.content
                and delta.tool_calls is None
                and delta.reasoning_content is None
                and delta.reasoning is None
                and delta.refusal is None
            ):
                # The common case first: a piece of text and nothing else.
                self._text(delta.content, index, state, events)
            else:
                self._delta(delta, index, state, events)
            if delta.audio != NULL or delta.images != NULL or delta.annotations != NULL:
                self._extras(delta, index, events)
        if choice.text and not state.finished:
            self._text(choice.text, index, state, events)
        if choice.logprobs != NULL and not state.finished:
            events.append(Logprobs(bytes(choice.logprobs), index))
        raw = choice.finish_reason or (
            choice.finish_details.type if choice.finish_details else None
        )
        # OpenRouter repeats the finish on its usage chunk.
        if raw and not state.finished:
            self._end(raw, index, state, events)

    def _text(
        self, piece: str, index: int, state: _ChoiceState, events: list[Event]
    ) -> None:
        if state.details or state.calls.open:
            self._close_part(index, state, events)
        events.append(TextDelta(piece, index))

    def _delta(
        self, delta: Delta, index: int, state: _ChoiceState, events: list[Event]
    ) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            state.calls.end(events)
            events.append(ReasoningDelta(thought, index))
        if delta.reasoning_details != NULL:
            details = decode_any(delta.reasoning_details)
            if isinstance(details, list):
                state.details.extend(details)
        if delta.content:
            self._text(delta.content, index, state, events)
        if delta.refusal:
            self._close_part(index, state, events)
            events.append(RefusalDelta(delta.refusal, index))
        for call in delta.tool_calls or ():
            self._tool(call, index, state, events)
            if events and isinstance(events[-1], Fault):
                return
        if delta.function_call is not None:
            self._tool(
                ToolDelta(index=0, function=delta.function_call), index, state, events
            )

    def _tool(
        self, delta: ToolDelta, index: int, state: _ChoiceState, events: list[Event]
    ) -> None:
        if state.details and state.calls.begins(delta):
            self._close_part(index, state, events)
        state.calls.add(delta, self._id, events)

    def _close_part(self, index: int, state: _ChoiceState, events: list[Event]) -> None:
        """Another part begins, or the choice ends: end what was open."""
        if state.details:
            # OpenRouter's reasoning details prove the thoughts in the next turn.
            details, state.details = state.details, []
            proof = ProviderState(
                "openrouter", "reasoning_details", encode(details).decode()
            )
            events.append(ReasoningState(proof, index))
        state.calls.end(events)

    def _extras(self, delta: Delta, index: int, events: list[Event]) -> None:
        if delta.audio != NULL:
            audio = mapping(decode_any(delta.audio))
            events.append(
                Media(
                    media_type="audio",
                    data=text(audio.get("data")),
                    id=text(audio.get("id")),
                    transcript=text(audio.get("transcript")),
                    expires_at=count(audio.get("expires_at")) or None,
                    choice=index,
                )
            )
        for image in _items(delta.images):
            url = text(mapping(mapping(image).get("image_url")).get("url"))
            head, _, data = url.partition(";base64,")
            if data and head.startswith("data:"):
                events.append(Media(head.removeprefix("data:"), data, choice=index))
        for annotation in _items(delta.annotations):
            cited = mapping(mapping(annotation).get("url_citation"))
            if cited:
                events.append(
                    Citation(
                        url=text(cited.get("url")),
                        title=text(cited.get("title")),
                        text=text(cited.get("content")),
                        start=_place_of(cited.get("start_index")),
                        end=_place_of(cited.get("end_index")),
                        choice=index,
                        source="openai_chat",
                        data=encode(annotation),
                    )
                )

    def _top_citations(self, citations: Raw, events: list[Event]) -> None:
        for url in _items(citations):
            if isinstance(url, str) and self._started:
                self._cited = True
                events.append(Citation(url=url, source=self.source))

    def _end(
        self, raw: str, index: int, state: _ChoiceState, events: list[Event]
    ) -> None:
        reason = self._finish.get(raw, "stop")
        if reason == "error":
            events.append(gave_up(self.source, raw))
            return
        self._close_part(index, state, events)
        state.finished = True
        if len(state.calls) and reason == "stop":
            reason = "tool_calls"
        events.append(Finish(reason, raw, index))


def gave_up(source: str, word: str) -> Fault:
    """An answer that its server itself calls an error, in the place of a finish."""
    return Fault(
        kind="transient",
        message=f"{source} gave up on the answer ({word}).",
        code="upstream_failed",
        type="upstream_error",
        source=source,
    )


def _items(raw: Raw) -> list[Any]:
    value = decode_any(raw)
    return value if isinstance(value, list) else []


def _place_of(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class ChatDecoder:
    """`StreamDecoder` of OpenAI chat over SSE."""

    def __init__(self, source: str, flavour: Flavour) -> None:
        self._reader = ChunkReader(source, flavour)
        self._sse = SseDecoder()
        self._done = False
        self._failed = False

    def __repr__(self) -> str:
        state = "done" if self._done else "failed" if self._failed else "open"
        return f"<ChatDecoder {self._reader.source} {state}>"

    @property
    def done(self) -> bool:
        """`[DONE]` was seen, or the end of a server that sends none."""
        return self._done

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self._over():
            return []
        try:
            frames = self._sse.feed(data)
        except SseError as error:
            self._failed = True
            return [malformed(self._reader.source, str(error))]
        if len(frames) == 1:
            return self._frame(frames[0])
        events: list[Event] = []
        for frame in frames:
            events += self._frame(frame)
            if self._over():
                break
        return events

    def _over(self) -> bool:
        return self._done or self._failed

    def _frame(self, frame: Frame) -> list[Event]:
        if frame.data.startswith(b"[DONE]"):
            self._done = True
            return []
        if not frame.data.strip():
            return []
        events = self._reader.read(mended(frame.data))
        if events and isinstance(events[-1], Fault):
            self._failed = True
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self._over():
            return []
        source = self._reader.source
        if self._sse.error is not None:
            self._failed = True
            return [malformed(source, str(self._sse.error))]
        tail = self._sse.tail
        if tail.strip() == b"data: [DONE]" or (
            self._reader.complete and not tail.strip()
        ):
            self._done = True
            return []
        self._failed = True
        # An error that is no SSE at all: a bare JSON body in a 200.
        bare = b"\n".join((*self._sse.strays, tail)).strip()
        if (decode_object(bare) or {}).keys() & {"error", "message", "detail"}:
            return [classify_event(self._reader.flavour.name, bare, source=source)]
        return [truncated(source)]
