"""OpenAI Responses to OpenAI Responses: bytes pass, each event is looked at once.

Sequence numbers stay the provider's, so nothing is swallowed but comments, not even the
undocumented `keepalive`, which consumes a number.
"""

from typing import Any

from msgspec import Raw

from wire.dialect import Reading, malformed, public
from wire.errors import classify_event
from wire.events import Fault, Finish, FinishReason
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    decode_any,
    decode_fields,
    decode_object,
    encode,
    listing,
    mapping,
)
from wire.openai_responses_decoder import CALL_TYPES, failure_of
from wire.openai_responses_items import ending, failure_fields
from wire.openai_responses_schema import (
    Snapshot,
    StreamEvent,
    finish_of,
    read_event,
    read_snapshot,
    usage_of,
)
from wire.relay import SseRelay
from wire.sse import encode_data, parse_event

_SILENT_ITEMS = frozenset({"message", "reasoning"})
"""Items that begin with nothing in them; all others show work at once."""


class ResponsesRelay(SseRelay):
    """`Reader` of one Responses stream; `model` renames the answer's model."""

    def __init__(self, source: str, *, model: str | None = None) -> None:
        super().__init__(source)
        self._model = model
        self._calls = 0
        self._response = NULL  # The last snapshot, for a cut.
        self._items: dict[int, Raw] = {}
        self._open: dict[int, tuple[str, list[str]]] = {}
        self._sequence = 0

    def look(self, event: bytes, reading: Reading) -> bytes:
        """See `SseRelay.look`."""
        frame = parse_event(event)
        if frame is None or not frame.data.strip():
            return b""
        data = frame.data
        if data.startswith(b"[DONE]"):
            return event  # OpenRouter's; ours ends at the terminal event before it.
        try:
            told = read_event(data)
        except JSON_ERRORS:
            if "error" in (decode_object(data) or {}):
                reading.fault = classify_event(self.source, data)
            else:
                reading.fault = malformed(self.source, "an event has no type")
            return b""
        self._sequence += 1
        kind = told.type
        if kind.endswith(".delta"):
            if told.delta:
                reading.content = True
                reading.output_chars += len(told.delta)
                self._remember(kind, told)
            return event
        return self._other(told, event, data, reading)

    def _remember(self, kind: str, told: StreamEvent) -> None:
        """Keep the text of the open message, so that a cut can show it."""
        if kind == "response.output_text.delta" and told.delta is not None:
            place = told.output_index or 0
            if place not in self._open:
                self._open[place] = (told.item_id or "", [])
            self._open[place][1].append(told.delta)

    def _other(
        self, told: StreamEvent, event: bytes, data: bytes, reading: Reading
    ) -> bytes:
        match told.type:
            case "response.output_item.added":
                item = mapping(decode_any(told.item))
                if item.get("type") in CALL_TYPES:
                    self._calls += 1
                    reading.output_chars += len(str(item.get("name") or ""))
                if item.get("type") not in _SILENT_ITEMS:
                    reading.content = True
                return event
            case "response.output_item.done":
                place = told.output_index or 0
                self._items[place] = told.item
                self._open.pop(place, None)
                return event
            case "response.created" | "response.queued" | "response.in_progress":
                self._response = told.response
                return self._renamed(event, data, read_snapshot(told.response))
            case "response.completed" | "response.incomplete":
                snapshot = read_snapshot(told.response)
                self._end(snapshot, reading)
                return self._renamed(event, data, snapshot)
            case "response.failed" | "response.cancelled":
                snapshot = read_snapshot(told.response)
                reading.fault = failure_of(snapshot, self.source)
                return b""
            case "error":
                reading.fault = classify_event(self.source, data)
                return b""
            case _:
                return event

    def _end(self, snapshot: Snapshot, reading: Reading) -> None:
        reading.usage = usage_of(snapshot)
        reading.service = snapshot.service_tier
        reading.finish = finish_of(snapshot, self._calls)[0]
        reading.done = True

    def _renamed(self, event: bytes, data: bytes, snapshot: Snapshot) -> bytes:
        if self._model is None or snapshot.model in {None, self._model}:
            return event
        told, mine = encode(snapshot.model), encode(self._model)
        for colon in (b":", b": "):
            # Inside a string the quotes would be escaped, so this cannot be text.
            found = b'"model"' + colon + told
            if event.count(found) == 1:
                return event.replace(found, b'"model"' + colon + mine)
        fields: dict[str, Any] = dict(decode_fields(data))
        response: dict[str, Any] = dict(decode_fields(bytes(fields["response"])))
        response["model"] = self._model
        fields["response"] = response
        name = encode_event_name(fields.get("type"))
        return name + b"data: " + encode(fields)

    def fail(self, fault: Fault) -> bytes:
        """See `wire.relay.Fails`: the error event, then the failed response."""
        shown = public(fault)
        fields = failure_fields(shown)
        response = self._shown()
        response["status"] = "failed"
        response["error"] = {
            "code": fields["code"] or "server_error",
            "message": shown.message,
        }
        return self._told("error", fields) + self._told(
            "response.failed", {"response": response}
        )

    def _told(self, kind: str, fields: dict[str, Any]) -> bytes:
        """An event of our own, numbered after the last one relayed."""
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + kind.encode() + b"\n" + encode_data(encode(body))

    def ending(self, reason: FinishReason) -> bytes:
        """See `SseRelay.ending`: an incomplete response with what was told so far."""
        response = self._shown() | ending(Finish(reason))
        return self._told(f"response.{response['status']}", {"response": response})

    def _shown(self) -> dict[str, Any]:
        """The response as told so far: finished items, and the text of open ones."""
        try:
            response: dict[str, Any] = dict(decode_fields(bytes(self._response)))
        except JSON_ERRORS:
            response = {"object": "response"}
        output: dict[int, Any] = dict(self._items)
        for place, (item_id, texts) in self._open.items():
            part = {"type": "output_text", "text": "".join(texts), "annotations": []}
            item = {"id": item_id, "type": "message", "role": "assistant"}
            output[place] = {**item, "status": "incomplete", "content": [part]}
        response["output"] = [output[place] for place in sorted(output)]
        if self._model is not None:
            response["model"] = self._model
        return response


def encode_event_name(kind: Any) -> bytes:
    """The `event:` line of an event rewritten whole."""
    name = decode_any(kind) if isinstance(kind, Raw) else kind
    return b"event: " + name.encode() + b"\n" if isinstance(name, str) else b""


def relay_response(body: bytes, source: str, *, model: str | None = None) -> Reading:
    """A unary answer on its way through."""
    value = decode_object(body)
    if value is None:
        return Reading(fault=malformed(source, "the answer is not a JSON object"))
    snapshot = read_snapshot(body)
    if snapshot.error != NULL or snapshot.status in {"failed", "cancelled"}:
        return Reading(fault=failure_of(snapshot, source))
    calls = sum(
        mapping(item).get("type") in CALL_TYPES for item in listing(value.get("output"))
    )
    reading = Reading(out=body, content=True, done=True, events=1)
    reading.usage = usage_of(snapshot)
    reading.service = snapshot.service_tier
    # A background answer is not finished yet: it is fetched again later.
    if snapshot.status not in {"queued", "in_progress"}:
        reading.finish = finish_of(snapshot, calls)[0]
    if model is not None and snapshot.model not in {None, model}:
        fields: dict[str, Any] = dict(decode_fields(body))
        fields["model"] = model
        reading.out = encode(fields)
    return reading
