"""OpenAI Responses to a client: events into its stream grammar.

What official SDKs take: created, in_progress, then each output item with its parts
(added, deltas, done), then completed or incomplete; sequence numbers from 0 without a
gap. An item closes when the next one begins, since here they never interleave.

Sans-io.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from wire.dialect import Reply, public
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Logprobs,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.jsontext import decode_any, encode, listing, mapping
from wire.openai_responses_items import (
    annotation_of,
    call_item,
    carry,
    ending,
    failure_fields,
    part_of,
    reasoning_fields,
    response_object,
)
from wire.openai_responses_schema import SOURCE, usage_to
from wire.request import ChatRequest
from wire.sse import encode_data


class _Item(Struct):
    """The output item being written."""

    kind: str  # "message", "reasoning", "call"
    id: str
    place: int
    block: int = 0
    part_kind: str = ""  # of the open part: "text", "refusal", "summary", "reasoning"
    texts: list[str] = field(default_factory=list[str])
    parts: list[Any] = field(default_factory=list[Any])
    annotations: list[Any] = field(default_factory=list[Any])
    logprobs: list[Any] = field(default_factory=list[Any])
    secret: str | None = None
    call: ToolCallStart | None = None

    def __repr__(self) -> str:
        """Which one, and how much of it."""
        return f"<_Item {self.id} {self.kind} texts={len(self.texts)}>"


class ResponsesEncoder:
    """`StreamEncoder` of OpenAI Responses."""

    def __init__(self, request: ChatRequest, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self._start = Start()
        self._sequence = 0
        self._begun = False
        self._item: _Item | None = None
        self._output: list[Any] = []
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._out: list[bytes] = []
        self._waiting: list[Any] = []  # Logprobs come after their text.

    def __repr__(self) -> str:
        return f"<ResponsesEncoder {len(self._output)} items, {self._sequence} events>"

    def encode(self, events: Sequence[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        for event in events:
            if getattr(event, "choice", 0):
                continue  # A response is one answer; the dialect has no place for more.
            if isinstance(event, TextDelta):
                self._piece("message", "text", event.block, event.text)
            else:
                self._other(event)
        out, self._out = self._out, []
        return b"".join(out)

    def finish(self) -> bytes:
        """See `StreamEncoder.finish`."""
        self._begin()
        self._close()
        end = ending(self._finish)
        usage = usage_to(self._usage or Usage())
        response = response_object(
            self._request,
            self._reply,
            self._start,
            **end,
            output=self._output,
            usage=usage,
        )
        self._emit(f"response.{end['status']}", {"response": response})
        out, self._out = self._out, []
        return b"".join(out)

    def fail(self, fault: Fault) -> bytes:
        """See `wire.relay.Fails`: the error event, then the failed response."""
        self._begin()
        shown = public(fault)
        error = failure_fields(shown)
        response = response_object(
            self._request,
            self._reply,
            self._start,
            status="failed",
            output=self._output,
            error={"code": error["code"] or "server_error", "message": shown.message},
        )
        self._emit("error", error)
        self._emit("response.failed", {"response": response})
        out, self._out = self._out, []
        return b"".join(out)

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        self._out.append(b"event: " + kind.encode() + b"\n" + encode_data(encode(body)))

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        response = response_object(self._request, self._reply, self._start)
        self._emit("response.created", {"response": response})
        self._emit("response.in_progress", {"response": response})

    def _other(self, event: Event) -> None:
        match event:
            case Start():
                self._start = event
                self._begin()
            case ReasoningDelta():
                kind = "summary" if event.summary else "reasoning"
                self._piece("reasoning", kind, event.block, event.text)
            case RefusalDelta():
                self._piece("message", "refusal", event.block, event.text)
            case ReasoningState():
                self._state(event)
            case ToolCallStart():
                self._call(event)
            case ToolArgsDelta():
                self._arguments(event.text)
            case ToolCallEnd():
                if self._item is not None and self._item.kind == "call":
                    self._close()
            case ServerTool():
                self._server_tool(event)
            case Citation():
                self._cite(event)
            case Logprobs():
                self._logprobs(event)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case _:
                pass

    def _open(self, kind: str, prefix: str, block: int) -> _Item:
        self._begin()
        self._close()
        place = len(self._output)
        item = _Item(kind, f"{prefix}_{self._reply.id}{place}", place, block)
        self._item = item
        return item

    def _added(self, item: _Item, fields: dict[str, Any]) -> None:
        shown = {"id": item.id, "status": "in_progress", **fields}
        placed = {"output_index": item.place, "item": shown}
        self._emit("response.output_item.added", placed)

    def _piece(self, kind: str, part: str, block: int, piece: str) -> None:
        """A piece of a message or of reasoning: opens item and part as needed."""
        item = self._item
        if item is None or item.kind != kind or (kind == "reasoning" and item.secret):
            item = self._open(kind, "msg" if kind == "message" else "rs", block)
            empty: dict[str, Any] = (
                {"role": "assistant", "content": []}
                if kind == "message"
                else {"summary": []}
            )
            self._added(item, {"type": kind, **empty})
        if item.part_kind != part or (part == "summary" and item.block != block):
            self._close_part(item)
            item.part_kind = part
            item.block = block
            self._part_event("added", item, part_of(part, ""))
        item.texts.append(piece)
        fields: dict[str, Any] = {**self._where(item), "delta": piece}
        if part == "text":
            fields["logprobs"] = []
        self._emit(f"{_PART_EVENTS[part]}.delta", fields)

    def _where(self, item: _Item) -> dict[str, Any]:
        where: dict[str, Any] = {"item_id": item.id, "output_index": item.place}
        number = sum(part["type"] != "reasoning_text" for part in item.parts)
        if item.part_kind == "summary":
            where["summary_index"] = number
        elif item.part_kind == "reasoning":
            where["content_index"] = len(item.parts) - number
        else:
            where["content_index"] = len(item.parts)
        return where

    def _part_event(self, word: str, item: _Item, part: Any) -> None:
        kind = (
            "reasoning_summary_part" if item.part_kind == "summary" else "content_part"
        )
        self._emit(f"response.{kind}.{word}", {**self._where(item), "part": part})

    def _close_part(self, item: _Item) -> None:
        if not item.part_kind:
            return
        whole = "".join(item.texts)
        part = part_of(item.part_kind, whole, item.annotations, item.logprobs)
        word = "refusal" if item.part_kind == "refusal" else "text"
        fields: dict[str, Any] = {**self._where(item), word: whole}
        if item.part_kind == "text":
            fields["logprobs"] = item.logprobs
        self._emit(f"{_PART_EVENTS[item.part_kind]}.done", fields)
        self._part_event("done", item, part)
        item.parts.append(part)
        item.part_kind = ""
        item.texts, item.annotations, item.logprobs = [], [], []

    def _close(self) -> None:
        item, self._item = self._item, None
        if item is None:
            return
        shown: dict[str, Any]
        if item.kind == "call":
            shown = self._close_call(item)
        else:
            self._close_part(item)
            shown = {
                "id": item.id,
                "type": item.kind,
                "status": "completed",
            }
            if item.kind == "message":
                shown |= {"role": "assistant", "content": item.parts}
            else:
                shown |= reasoning_fields(item.parts, item.secret)
        self._output.append(shown)
        fields = {"output_index": item.place, "item": shown}
        self._emit("response.output_item.done", fields)

    def _state(self, event: ReasoningState) -> None:
        item = self._item
        if item is None or item.kind != "reasoning" or item.secret:
            item = self._open("reasoning", "rs", event.block)
            self._added(item, {"type": "reasoning", "summary": []})
        item.secret = carry(event.state)
        if event.state.source == SOURCE and event.state.id:
            # Its own id would be refused with another item's content.
            item.id = event.state.id if not item.parts and not item.texts else item.id

    def _call(self, event: ToolCallStart) -> None:
        item = self._open("call", "ctc" if event.custom else "fc", 0)
        item.call = event
        self._emit(
            "response.output_item.added",
            {
                "output_index": item.place,
                "item": call_item(item.id, event, "", "in_progress"),
            },
        )

    def _arguments(self, piece: str) -> None:
        item = self._item
        if item is None or item.call is None:
            return
        item.texts.append(piece)
        kind = _call_event(item)
        where = {"item_id": item.id, "output_index": item.place, "delta": piece}
        self._emit(f"{kind}.delta", where)

    def _close_call(self, item: _Item) -> dict[str, Any]:
        assert item.call is not None
        whole = "".join(item.texts)
        if not whole and not item.call.custom:
            whole = "{}"
        word = "input" if item.call.custom else "arguments"
        self._emit(
            f"{_call_event(item)}.done",
            {"item_id": item.id, "output_index": item.place, word: whole},
        )
        return call_item(item.id, item.call, whole, "completed")

    def _server_tool(self, event: ServerTool) -> None:
        if event.source != SOURCE:
            return  # What ran at another provider has no item type here.
        self._begin()
        self._close()
        item = decode_any(event.data)
        place = len(self._output)
        self._output.append(item)
        for word in ("added", "done"):
            fields = {"output_index": place, "item": item}
            self._emit(f"response.output_item.{word}", fields)

    def _cite(self, event: Citation) -> None:
        item = self._item
        if item is None or item.part_kind != "text":
            return
        annotation = annotation_of(event)
        fields = {
            **self._where(item),
            "annotation_index": len(item.annotations),
            "annotation": annotation,
        }
        item.annotations.append(annotation)
        self._emit("response.output_text.annotation.added", fields)

    def _logprobs(self, event: Logprobs) -> None:
        item = self._item
        if item is not None and item.part_kind == "text":
            item.logprobs += listing(mapping(decode_any(event.data)).get("content"))


_PART_EVENTS = {
    "text": "response.output_text",
    "refusal": "response.refusal",
    "summary": "response.reasoning_summary_text",
    "reasoning": "response.reasoning_text",
}


def _call_event(item: _Item) -> str:
    custom = item.call is not None and item.call.custom
    kind = "custom_tool_call_input" if custom else "function_call_arguments"
    return f"response.{kind}"
