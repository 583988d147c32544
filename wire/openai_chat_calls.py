"""Tool calls of one chat choice, put together from the pieces that servers send.

OpenAI numbers its calls and sends id and name first. Others leave out the index
(Mistral), number every parallel call 0 (Google's compatible endpoint), leave out the
id, send the name late, or the arguments not at all. The events that come out keep the
rules of `wire.events` all the same.

Sans-io; never raises.
"""

from msgspec import Struct

from wire.dialect import malformed
from wire.events import (
    Event,
    ProviderState,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from wire.jsontext import NULL, decode_any, mapping, text_or_none
from wire.openai_chat_schema import FunctionDelta, ToolDelta

CALLS_MAX = 1024
"""Tool calls of one choice. More is a runaway, and each costs us memory."""


class _Call(Struct):
    """A tool call on its way. It starts once its name is known."""

    ordinal: int
    id: str
    name: str = ""
    started: bool = False
    ended: bool = False
    told: bool = False  # Some arguments went out.
    custom: bool = False
    waiting: str = ""
    state: ProviderState | None = None


class Calls:
    """The calls of one choice; `open` while one of them is under way."""

    __slots__ = ("_choice", "_current", "_places", "_source", "_told")

    def __init__(self, source: str, choice: int) -> None:
        self._source = source
        self._choice = choice
        self._told: list[_Call] = []
        self._places: dict[int, _Call] = {}
        self._current: _Call | None = None

    def __repr__(self) -> str:
        return f"<Calls {len(self._told)} open={self.open}>"

    def __len__(self) -> int:
        return len(self._told)

    @property
    def open(self) -> bool:
        """A call has begun and not ended."""
        return self._current is not None

    def begins(self, delta: ToolDelta) -> bool:
        """Whether this piece begins another call than those known."""
        return self._place(delta) is None

    def add(self, delta: ToolDelta, answer_id: str, events: list[Event]) -> None:
        """Take one piece. `answer_id` makes ids for calls that come without one."""
        call = self._place(delta)
        if call is None:
            if len(self._told) >= CALLS_MAX:
                events.append(malformed(self._source, f"over {CALLS_MAX} tool calls"))
                return
            self.end(events)
            call = self._begin(delta, answer_id)
        if call.ended:
            # No server interleaves its calls; going on would mix up arguments.
            events.append(malformed(self._source, "a tool call went on after its end"))
            return
        function = delta.function or delta.custom or FunctionDelta()
        piece = function.arguments or function.input or ""
        if not call.started:
            self._learn(call, delta, function)
            if not call.name:
                call.waiting += piece
                return
            self._start(call, events)
        if piece:
            call.told = True
            events.append(ToolArgsDelta(call.ordinal, piece, self._choice))

    def end(self, events: list[Event]) -> None:
        """The call under way is complete: another part begins, or the choice ends."""
        call, self._current = self._current, None
        if call is None:
            return
        if not call.started:
            self._start(call, events)
        if not call.told and not call.custom:
            events.append(ToolArgsDelta(call.ordinal, "{}", self._choice))
        call.ended = True
        events.append(ToolCallEnd(call.ordinal, self._choice))

    def _place(self, delta: ToolDelta) -> _Call | None:
        """The call that this piece goes on with; None when it begins one."""
        function = delta.function or delta.custom or FunctionDelta()
        if delta.index is None:
            begins = bool(delta.id or function.name)
            return None if begins or not self._told else self._told[-1]
        call = self._places.get(delta.index)
        if (
            call is not None
            and call.started
            and function.name
            and delta.id
            and delta.id != call.id
        ):
            return None  # Every parallel call at index 0, each with its own id.
        return call

    def _begin(self, delta: ToolDelta, answer_id: str) -> _Call:
        ordinal = len(self._told)
        # Ids must differ across the turns of a conversation, so ours hold the answer's.
        call = _Call(ordinal, f"call_{answer_id[-24:]}_{self._choice}_{ordinal}")
        call.custom = delta.type == "custom" or delta.custom is not None
        self._told.append(call)
        self._current = call
        self._places[ordinal if delta.index is None else delta.index] = call
        return call

    def _learn(self, call: _Call, delta: ToolDelta, function: FunctionDelta) -> None:
        call.id = delta.id or call.id
        call.name = function.name or call.name
        if delta.extra_content != NULL:
            google = mapping(mapping(decode_any(delta.extra_content)).get("google"))
            signature = text_or_none(google.get("thought_signature"))
            if signature:
                call.state = ProviderState("gemini", "thought_signature", signature)

    def _start(self, call: _Call, events: list[Event]) -> None:
        call.started = True
        start = ToolCallStart(
            call.ordinal, call.id, call.name, self._choice, call.custom, call.state
        )
        events.append(start)
        if call.waiting:
            call.told = True
            events.append(ToolArgsDelta(call.ordinal, call.waiting, self._choice))
            call.waiting = ""
