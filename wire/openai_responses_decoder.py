"""OpenAI Responses from a provider: events and whole answers into the vocabulary.

Every output item is a part; its place (`output_index`) orders them. Items that the
provider ran itself (web search, code, MCP) become `ServerTool`s, never tool calls.

Sans-io; never raises on bytes from outside.
"""

from typing import Any

from msgspec import Raw

from wire.dialect import malformed, truncated
from wire.errors import classify_event
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Logprobs,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    decode_any,
    decode_object,
    encode,
    listing,
    mapping,
    mended,
    text,
)
from wire.openai_responses_schema import (
    SOURCE,
    Snapshot,
    StreamEvent,
    finish_of,
    read_event,
    read_snapshot,
    usage_of,
)
from wire.sse import Frame, SseDecoder, SseError

CALL_TYPES = frozenset({"function_call", "custom_tool_call"})

ITEMS_MAX = 4096
"""Output items of one answer; each costs us a little memory."""


class ItemReader:
    """Output items into events, streamed or whole, in the order they come."""

    def __init__(self) -> None:
        self.calls = 0
        self.content = False
        self._block = -1
        self._part: tuple[int, str, int] | None = None
        self._indexes: dict[int, int] = {}  # output_index to our tool call index
        self._told: set[int] = set()  # calls whose arguments began
        self._done: set[int] = set()

    def text(self, place: int, kind: str, part: int, piece: str) -> Event:
        """A piece of text, thoughts or refusal of the item at `place`."""
        self.content = True
        block = self._block_of(place, kind, part)
        match kind:
            case "refusal":
                return RefusalDelta(piece, 0, block)
            case "summary":
                return ReasoningDelta(piece, 0, block, summary=True)
            case "reasoning":
                return ReasoningDelta(piece, 0, block)
            case _:
                return TextDelta(piece, 0, block)

    def _block_of(self, place: int, kind: str, part: int) -> int:
        if self._part != (place, kind, part):
            self._part = (place, kind, part)
            self._block += 1
        return self._block

    def call(self, place: int, item: Any, events: list[Event]) -> int:
        """The index of the call at `place`; begins it when it is new."""
        index = self._indexes.get(place)
        if index is None:
            index = self._indexes[place] = self.calls
            self.calls += 1
            self.content = True
            call_id = text(item.get("call_id")) or text(item.get("id"))
            custom = item.get("type") == "custom_tool_call"
            name = text(item.get("name"))
            events.append(ToolCallStart(index, call_id, name, custom=custom))
        return index

    def arguments(self, place: int, piece: str, events: list[Event]) -> None:
        """A piece of the arguments of the call at `place`."""
        index = self._indexes.get(place)
        if index is not None and piece and place not in self._done:
            self._told.add(place)
            events.append(ToolArgsDelta(index, piece))

    def done(self, place: int, item: Any, events: list[Event], *, whole: bool) -> None:
        """The item at `place` is complete; `whole`: none of it was told before."""
        if place in self._done:
            return
        kind = text(item.get("type"))
        if kind in CALL_TYPES:
            index = self.call(place, item, events)
            if place not in self._told:
                given = item.get("arguments", item.get("input"))
                empty = "" if kind == "custom_tool_call" else "{}"
                self.arguments(place, text(given) or empty, events)
            events.append(ToolCallEnd(index))
        elif kind == "message":
            if whole:
                self._message(place, item, events)
        elif kind == "reasoning":
            self._reasoning(place, item, events, whole=whole)
        else:
            self.content = True
            self._block += 1
            data = encode(item)
            item_id = text(item.get("id"))
            events.append(ServerTool(SOURCE, kind, data, item_id, 0, self._block))
        self._done.add(place)

    def _message(self, place: int, item: Any, events: list[Event]) -> None:
        for number, raw in enumerate(listing(item.get("content"))):
            part = mapping(raw)
            if part.get("refusal"):
                refusal = text(part.get("refusal"))
                events.append(self.text(place, "refusal", number, refusal))
            if part.get("text"):
                events.append(self.text(place, "text", number, text(part.get("text"))))
            events += map(self.citation, listing(part.get("annotations")))
            if part.get("logprobs"):
                events.append(Logprobs(encode({"content": part["logprobs"]})))

    def _reasoning(
        self, place: int, item: Any, events: list[Event], *, whole: bool
    ) -> None:
        if whole:
            for field, kind in (("summary", "summary"), ("content", "reasoning")):
                for number, raw in enumerate(listing(item.get(field))):
                    piece = text(mapping(raw).get("text"))
                    if piece:
                        events.append(self.text(place, kind, number, piece))
        secret = text(item.get("encrypted_content"))
        if secret:
            if self._part is None or self._part[0] != place:
                self._block_of(place, "state", 0)
            proof = ProviderState(SOURCE, "encrypted", secret, text(item.get("id")))
            events.append(ReasoningState(proof, 0, self._block))

    def citation(self, annotation: Any) -> Citation:
        """An annotation of the text being told."""
        cited = mapping(annotation)
        start, end = cited.get("start_index"), cited.get("end_index")
        return Citation(
            url=text(cited.get("url")),
            title=text(cited.get("title")) or text(cited.get("filename")),
            start=start if isinstance(start, int) else None,
            end=end if isinstance(end, int) else None,
            block=max(self._block, 0),
            source=SOURCE,
            data=encode(annotation),
        )


def start_of(snapshot: Snapshot) -> Start:
    """The answer's beginning, from its first snapshot."""
    return Start(
        id=snapshot.id or "",
        model=snapshot.model or "",
        created=max(int(snapshot.created_at or 0), 0),
        service_tier=snapshot.service_tier,
    )


def failure_of(snapshot: Snapshot, source: str) -> Fault:
    """The fault of a response that failed or was cancelled."""
    if snapshot.error != NULL:
        data = b'{"error":' + bytes(snapshot.error) + b"}"
        return classify_event(source, data)
    return Fault(
        kind="transient",
        message=f"{source} ended the answer as {snapshot.status or 'failed'}.",
        code="upstream_failed",
        type="upstream_error",
        source=source,
    )


class ResponsesDecoder:
    """`StreamDecoder` of OpenAI Responses over SSE."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sse = SseDecoder()
        self._items = ItemReader()
        self._started = False
        self._done = False
        self._failed = False

    def __repr__(self) -> str:
        state = "done" if self._done else "failed" if self._failed else "open"
        return f"<ResponsesDecoder {self._source} {state}>"

    @property
    def done(self) -> bool:
        """A terminal event was seen."""
        return self._done

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self._over():
            return []
        try:
            frames = self._sse.feed(data)
        except SseError as error:
            self._failed = True
            return [malformed(self._source, str(error))]
        events: list[Event] = []
        for frame in frames:
            self._frame(frame, events)
            self._failed = bool(events) and isinstance(events[-1], Fault)
            if self._over():
                break
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self._over():
            return []
        self._failed = True
        if self._sse.error is not None:
            return [malformed(self._source, str(self._sse.error))]
        bare = b"\n".join((*self._sse.strays, self._sse.tail)).strip()
        if "error" in (decode_object(bare) or {}):
            return [classify_event(self._source, bare)]
        return [truncated(self._source)]

    def _over(self) -> bool:
        return self._done or self._failed

    def _frame(self, frame: Frame, events: list[Event]) -> None:
        data = mended(frame.data)
        if not data.strip() or data.startswith(b"[DONE]"):
            return
        try:
            event = read_event(data)
        except JSON_ERRORS:
            if "error" in (decode_object(data) or {}):
                events.append(classify_event(self._source, data))
            else:
                events.append(malformed(self._source, "an event has no type"))
            return
        try:
            self._event(event, data, events)
        except JSON_ERRORS:
            # A field that was carried raw, and is not UTF-8 or too deep after all.
            events.append(malformed(self._source, "an event is not JSON in UTF-8"))

    def _event(self, event: StreamEvent, data: bytes, events: list[Event]) -> None:
        place = event.output_index or 0
        match event.type:
            case "response.output_text.delta":
                self._delta(event, "text", event.content_index, events)
                if event.logprobs not in _NO_LOGPROBS:
                    logprobs = b'{"content":' + bytes(event.logprobs) + b"}"
                    events.append(Logprobs(logprobs))
            case "response.refusal.delta":
                self._delta(event, "refusal", event.content_index, events)
            case "response.reasoning_summary_text.delta":
                self._delta(event, "summary", event.summary_index, events)
            case "response.reasoning_text.delta":
                self._delta(event, "reasoning", event.content_index, events)
            case (
                "response.function_call_arguments.delta"
                | "response.custom_tool_call_input.delta"
            ):
                self._items.arguments(place, event.delta or "", events)
            case "response.output_item.added":
                item = mapping(decode_any(event.item))
                if item.get("type") in CALL_TYPES:
                    self._begin(NULL, events)
                    self._items.call(place, item, events)
            case "response.output_item.done":
                self._item_done(place, event.item, events)
            case "response.output_text.annotation.added":
                cited = decode_any(event.annotation)
                events.append(self._items.citation(cited))
            case "response.created" | "response.queued" | "response.in_progress":
                self._begin(event.response, events)
            case "response.completed" | "response.incomplete":
                self._end(event.response, events)
            case "response.failed" | "response.cancelled":
                snapshot = read_snapshot(event.response)
                events.append(failure_of(snapshot, self._source))
            case "error":
                # Nested as on the wire, or flat as in the specification.
                events.append(classify_event(self._source, data))
            case _:  # Progress of server tools, keepalive, and what is yet to come.
                pass

    def _begin(self, response: Raw, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(start_of(read_snapshot(response)))

    def _delta(
        self, event: StreamEvent, kind: str, part: int | None, events: list[Event]
    ) -> None:
        if event.delta:
            self._begin(NULL, events)
            place = event.output_index or 0
            events.append(self._items.text(place, kind, part or 0, event.delta))

    def _item_done(self, place: int, raw: Raw, events: list[Event]) -> None:
        item = mapping(decode_any(raw))
        if not item:
            return
        if place >= ITEMS_MAX:
            events.append(malformed(self._source, f"over {ITEMS_MAX} output items"))
            return
        self._begin(NULL, events)
        self._items.done(place, item, events, whole=False)

    def _end(self, response: Raw, events: list[Event]) -> None:
        self._begin(response, events)
        snapshot = read_snapshot(response)
        if not self._items.content:
            # A server that tells nothing until the end tells it all there.
            for place, item in enumerate(listing(decode_any(snapshot.output))):
                self._items.done(place, mapping(item), events, whole=True)
        usage = usage_of(snapshot)
        if usage is not None:
            events.append(usage)
        reason, raw = finish_of(snapshot, self._items.calls)
        events.append(Finish(reason, raw))
        self._done = True


_NO_LOGPROBS = (NULL, Raw(b"[]"))


def read_response(body: bytes, source: str) -> list[Event]:
    """A whole answer as events; `[Fault]` for one that failed or cannot be read."""
    value = decode_object(body)
    if value is None or not ("output" in value or "error" in value):
        return [malformed(source, "the answer is not a response object")]
    snapshot = read_snapshot(body)
    failed = snapshot.error != NULL or snapshot.status in {"failed", "cancelled"}
    if failed:
        return [failure_of(snapshot, source)]
    events: list[Event] = [start_of(snapshot)]
    items = ItemReader()
    for place, item in enumerate(listing(value.get("output"))):
        items.done(place, mapping(item), events, whole=True)
    usage = usage_of(snapshot)
    if usage is not None:
        events.append(usage)
    reason, raw = finish_of(snapshot, items.calls)
    events.append(Finish(reason, raw))
    return events
