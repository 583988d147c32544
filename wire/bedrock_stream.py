"""Amazon Bedrock's streams: AWS frames into events.

Owns: which frames are events, errors or padding. Never: what an event means
(`bedrock_read`). Never raises on bytes from outside.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from wire.bedrock_read import ConverseReader
from wire.bedrock_terms import SOURCE
from wire.dialect import malformed, truncated
from wire.errors import classify_event
from wire.events import Event, Fault
from wire.eventstream import EventStreamDecoder, EventStreamError, Frame
from wire.jsontext import decode_object


class BedrockDecoder:
    """A ConverseStream: AWS frames into events."""

    def __init__(self, model: str) -> None:
        self._frames = EventStreamDecoder()
        self._reader = ConverseReader(model)

    def __repr__(self) -> str:
        state = "over" if self.done else "open"
        return f"<BedrockDecoder {state} {self._frames!r}>"

    @property
    def done(self) -> bool:
        """Metadata or a fault was seen: nothing can follow."""
        return self._reader.over

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self.done:
            return []
        events: list[Event] = []
        try:
            for frame in self._frames.feed(data):
                events.extend(self._read(frame))
                if self._reader.over:
                    break
        except EventStreamError as error:
            events.append(self._fail(malformed(SOURCE, str(error))))
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self.done:
            return []
        try:
            self._frames.close()
        except EventStreamError:
            return [self._fail(truncated(SOURCE))]
        if self._reader.stopped:
            self._reader.over = True  # Complete, though without its usage.
            return []
        return [self._fail(truncated(SOURCE))]

    def _read(self, frame: Frame) -> list[Event]:
        fault = frame_fault(frame)
        if fault is not None:
            return [self._fail(fault)]
        kind = frame.text(":event-type") or ""
        payload = frame_object(frame)
        if payload is None:
            return [self._fail(malformed(SOURCE, f"{kind} without a JSON object"))]
        return self._reader.read(kind, payload)

    def _fail(self, fault: Fault) -> Fault:
        self._reader.over = True
        return fault


def frame_fault(frame: Frame) -> Fault | None:
    """The fault that a frame reports: a modelled exception, or a bare error."""
    match frame.text(":message-type"):
        case "event" | None:
            return None
        case "exception":
            name = frame.text(":exception-type") or "exception"
            return classify_event(
                SOURCE, frame.payload, word=name[:1].upper() + name[1:]
            )
        case _:
            code = frame.text(":error-code") or "InternalServerException"
            said = {"message": frame.text(":error-message") or ""}
            return classify_event(SOURCE, msgspec.json.encode(said), word=code)


def frame_object(frame: Frame) -> Mapping[str, Any] | None:
    """The payload of an event frame; None when it is no JSON object."""
    value = decode_object(frame.payload)
    if value is not None:
        value.pop("p", None)
    return value
