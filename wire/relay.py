"""The two ways a stream takes from provider to client, behind one face (`Reader`).

`SseRelay` is the base of same-dialect relays over SSE: bytes pass as they came, each
event is looked at once. `Translation` joins a decoder and an encoder; between them the
events of an answer can be edited.

Both keep the same promise: nothing comes out before the first content, or before the
answer ended without any. Until then an attempt can be replaced by another without the
client seeing a trace of it. So the first non-empty `Reading.out` commits the stream.

Sans-io; never raises on bytes from outside.
"""

from typing import Protocol, runtime_checkable

from wire.dialect import (
    ClientDialect,
    Reader,
    Reading,
    StreamDecoder,
    StreamEncoder,
    malformed,
    truncated,
)
from wire.events import Event, Fault, Finish, FinishReason, Start, Usage, is_content
from wire.events import output_chars as chars_of
from wire.jsontext import JSON_ERRORS, mended
from wire.sse import SseError, SseSplitter, split_events

HELD_BYTES_MAX = 256 * 1024
"""Bytes withheld before the first content. Role chunks, filter and moderation results
are some kB; past this bound the stream commits instead of growing."""


class SseRelay:
    """Base of the same-dialect relays: a subclass says what one event means.

    Args:
        source: the provider's dialect, named in faults.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.committed = False
        self.done = False
        self.failed = False
        self._splitter = SseSplitter()
        self._held: list[bytes] = []
        self._held_size = 0

    def __repr__(self) -> str:
        state = "done" if self.done else "failed" if self.failed else "open"
        return f"<{type(self).__name__} {self.source} {state} {self._splitter!r}>"

    def look(self, event: bytes, reading: Reading) -> bytes:
        """Look at one event (no blank line) and write what it means into `reading`.

        Answer the event to relay it (the same object when unchanged), or b"" to swallow
        it (comments too: ours are the heartbeats). The grammar's end is `reading.done`,
        an error event is `reading.fault`.
        """
        raise NotImplementedError

    def at_end(self, tail: bytes, reading: Reading) -> bytes:
        """Upstream ended before the grammar did, `tail` is what it left unfinished.

        Answer bytes that complete the client's stream and set `reading.done`, or set
        `reading.fault`; the default is a truncation.
        """
        del tail
        reading.fault = truncated(self.source)
        return b""

    def ending(self, reason: FinishReason) -> bytes:
        """Bytes that close what is open in the client's stream and end it."""
        raise NotImplementedError

    def cut(self, reason: FinishReason = "length") -> bytes:
        """See `Reader.cut`."""
        if self.done or self.failed:
            return b""
        self.done = True
        held, self._held = self._held, []
        return b"".join((*held, self.ending(reason)))

    def feed(self, data: bytes) -> Reading:
        """See `Reader.feed`."""
        reading = Reading()
        if self.done or self.failed:
            return reading
        try:
            run = self._splitter.feed(data)
        except SseError as error:
            self.failed = True
            reading.fault = malformed(self.source, str(error))
            return reading
        try:
            return self._feed(run, reading)
        except JSON_ERRORS:
            # A field that was carried raw, and is not UTF-8 or too deep after all.
            self.failed = True
            self._held.clear()
            return Reading(fault=malformed(self.source, "an event is not JSON"))

    def _feed(self, run: bytes, reading: Reading) -> Reading:
        if not run:
            return reading
        events = split_events(run)
        reading.events = len(events)
        if len(events) == 1:  # By far the most common: one delta a chunk.
            event = events[0]
            kept = self._looked(event, reading)
            if kept is not event:
                run = kept + b"\n\n" if kept else b""
        else:
            run = self._look_at_all(events, run, reading)
        if reading.fault is not None:
            self.failed = True
        elif reading.done:
            self.done = True
        if not self.committed:
            run = self._withhold(run, reading)
        reading.out = run
        return reading

    def _looked(self, event: bytes, reading: Reading) -> bytes:
        """As `look`, with half a character mended.

        It is relayed as it came: the client joins it with its other half.
        """
        whole = mended(event)
        kept = self.look(whole, reading)
        return event if kept is whole else kept

    def _look_at_all(self, events: list[bytes], run: bytes, reading: Reading) -> bytes:
        kept: list[bytes] = []
        changed = False
        for position, event in enumerate(events):
            if not event:
                continue  # Two blank lines in a row.
            relayed = self._looked(event, reading)
            changed = changed or relayed is not event
            if reading.fault is not None:
                # What came before the error in the same chunk is still the answer's.
                reading.events = position + 1
                changed = True
                break
            if relayed:
                kept.append(relayed)
            if reading.done:
                changed = changed or position + 1 < len(events)
                break
        return b"".join([event + b"\n\n" for event in kept]) if changed else run

    def _withhold(self, run: bytes, reading: Reading) -> bytes:
        """Hold `run` back until there is content, or the end without any."""
        if reading.fault is not None:
            # Content and error in one feed: nothing went out, so another may answer.
            self._held.clear()
            reading.content, reading.output_chars = False, 0
            return b""
        if reading.content or self.done:
            self.committed = True
            run = b"".join((*self._held, run))
            self._held.clear()
            return run
        if run:
            self._held.append(run)
            self._held_size += len(run)
            if self._held_size > HELD_BYTES_MAX:
                self.committed = True
                run = b"".join(self._held)
                self._held.clear()
                return run
        return b""

    def finish(self) -> Reading:
        """See `Reader.finish`."""
        reading = Reading()
        if self.done or self.failed:
            return reading
        if self._splitter.error is not None:
            reading.fault = malformed(self.source, str(self._splitter.error))
            self.failed = True
            return reading
        run = self.at_end(self._splitter.tail, reading)
        self.done = reading.fault is None
        self.failed = not self.done
        if not self.committed:
            run = self._withhold(run, reading)
        reading.done = self.done
        reading.out = run
        return reading


@runtime_checkable
class Fails(Protocol):
    """A reader or encoder whose grammar needs the stream's state even to fail.

    Responses numbers its events and ends in a snapshot; others need nothing of it.
    """

    def fail(self, fault: Fault) -> bytes:
        """Bytes that end the client's stream with this error; b"" for none."""
        ...


def failure(reader: Reader, client: ClientDialect, fault: Fault) -> bytes:
    """End a stream that has begun with an error, in its client's grammar."""
    told = reader.fail(fault) if isinstance(reader, Fails) else b""
    return told or client.error_event(fault)


class Translation:
    """A stream of one dialect told in another: decoder, events, encoder.

    `feed` is `put(*take(data))`: between the two, the events of the answer may be
    edited (`Staged`). Usage, length and finish are those that the provider told.
    """

    def __init__(self, decoder: StreamDecoder, encoder: StreamEncoder) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._committed = False
        self._held: list[Event] = []
        self._ended = False
        self._open: set[int] = set()

    def __repr__(self) -> str:
        return f"<Translation {self._decoder!r} to {self._encoder!r}>"

    @property
    def done(self) -> bool:
        """The stream has ended, well, badly or cut."""
        return self._ended

    def feed(self, data: bytes) -> Reading:
        """See `Reader.feed`."""
        return self.put(*self.take(data))

    def finish(self) -> Reading:
        """See `Reader.finish`."""
        return self.put(*self.take_end())

    def take(self, data: bytes) -> tuple[Reading, list[Event]]:
        """Decode, and look: what is to be told, and what it means."""
        if self._ended:
            return Reading(), []
        return self._look(self._decoder.feed(data))

    def take_end(self) -> tuple[Reading, list[Event]]:
        """Upstream ended. See `take`."""
        if self._ended:
            return Reading(), []
        reading, events = self._look(self._decoder.finish())
        if reading.fault is None and not reading.done:
            reading.done = True
            events = self._commit() + events
        return reading, events

    def put(self, reading: Reading, events: list[Event]) -> Reading:
        """Tell these events; `reading` is of the same `take`."""
        if events:
            reading.out = self._encoder.encode(events)
        if reading.done:
            self._ended = True
            reading.out += self._encoder.finish()
        return reading

    def cut(self, reason: FinishReason = "length") -> bytes:
        """See `Reader.cut`."""
        return self.cut_choices(reason, tuple(sorted(self._open)) or (0,))

    def cut_choices(self, reason: FinishReason, choices: tuple[int, ...]) -> bytes:
        """As `cut`, of an answer that was edited: these of its choices are open."""
        if self._ended:
            return b""
        self._ended = True
        held = self._commit()
        out = self._encoder.encode(held) if held else b""
        ends = [Finish(reason, "", choice) for choice in choices]
        return out + self._encoder.encode(ends) + self._encoder.finish()

    def fail(self, fault: Fault) -> bytes:
        """See `Fails.fail`; b"" where the encoder needs no state for it."""
        self._ended = True
        if isinstance(self._encoder, Fails):
            return self._encoder.fail(fault)
        return b""

    def _commit(self) -> list[Event]:
        self._committed = True
        held, self._held = self._held, []
        return held

    def _look(self, events: list[Event]) -> tuple[Reading, list[Event]]:
        reading = Reading(events=len(events))
        for position, event in enumerate(events):
            if is_content(event):
                reading.content = True
                reading.output_chars += chars_of(event)
                self._open.add(event.choice)
            elif isinstance(event, Usage):
                reading.usage = event
            elif isinstance(event, Finish):
                reading.finish = event.reason
                self._open.discard(event.choice)
            elif isinstance(event, Start):
                reading.service = event.service_tier
            elif isinstance(event, Fault):
                reading.fault = event
                self._ended = True
                events = events[:position]
                break
            else:
                reading.output_chars += chars_of(event)
        if not self._committed:
            if reading.fault is not None:
                # Content and error in one feed: nothing went out, another may answer.
                self._held.clear()
                reading.content, reading.output_chars = False, 0
                return reading, []
            if not reading.content and not self._decoder.done:
                self._held.extend(events)
                return reading, []
            events = self._commit() + events
        if self._decoder.done and reading.fault is None:
            reading.done = True
        return reading, events
