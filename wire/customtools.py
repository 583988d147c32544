"""Custom tools for providers that know only functions. Pure.

A custom tool takes free text. Where a provider's tools take objects it is offered as a
function of one string, and what the model writes is unpacked again here, so that the
client gets the text it asked for.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from wire.dialect import StreamDecoder
from wire.events import Event, ToolArgsDelta, ToolCallEnd, ToolCallStart
from wire.jsontext import decode_object
from wire.request import ChatRequest

FIELD: Final = "input"
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {FIELD: {"type": "string"}},
    "required": [FIELD],
}


def pack(text: str) -> dict[str, str]:
    """The arguments a function call of this tool would have had."""
    return {FIELD: text}


def unpack(arguments: str) -> str:
    """The free text out of its one field; what has none stays as it is."""
    said = decode_object(arguments.encode())
    value = None if said is None else said.get(FIELD)
    return value if isinstance(value, str) else arguments


def decoder_for(request: ChatRequest, decoder: StreamDecoder) -> StreamDecoder:
    """`decoder`, unpacking the request's custom tools where it has any."""
    names = frozenset(tool.name for tool in request.tools if tool.kind == "custom")
    return _Unpacking(decoder, names) if names else decoder


class _Unpacking:
    """A decoder whose calls of custom tools come out as custom calls."""

    def __init__(self, decoder: StreamDecoder, names: frozenset[str]) -> None:
        self._decoder = decoder
        self._names = names
        self._pieces: dict[tuple[int, int], list[str]] = {}

    def __repr__(self) -> str:
        return f"<custom tools {sorted(self._names)} of {self._decoder!r}>"

    @property
    def done(self) -> bool:
        return self._decoder.done

    def feed(self, data: bytes) -> list[Event]:
        return [made for event in self._decoder.feed(data) for made in self._of(event)]

    def finish(self) -> list[Event]:
        return [made for event in self._decoder.finish() for made in self._of(event)]

    def _of(self, event: Event) -> Iterable[Event]:
        match event:
            case ToolCallStart() if event.name in self._names:
                self._pieces[event.choice, event.index] = []
                return (msgspec.structs.replace(event, custom=True),)
            case ToolArgsDelta() if (event.choice, event.index) in self._pieces:
                self._pieces[event.choice, event.index].append(event.text)
                return ()
            case ToolCallEnd() if (event.choice, event.index) in self._pieces:
                text = unpack("".join(self._pieces.pop((event.choice, event.index))))
                return (ToolArgsDelta(event.index, text, event.choice), event)
            case _:
                return (event,)
