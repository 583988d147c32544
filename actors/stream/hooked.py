"""An answer that passes hooks, on its way from reader to sink.

Owns: when hooks are called, what of theirs waits for time, and how an answer ends that
one of them ended. What they do to it is in hooks/pipeline.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.stream import faults
from actors.stream.hooks.api import Finished
from actors.stream.hooks.pipeline import Pipeline, at_once
from actors.stream.messages import CHUNKS_BUFFERED_MAX
from wire.dialect import Reading
from wire.events import Event, Fault, Finish, Usage, is_content
from wire.exchange import Translated
from wire.relay import Translation

if TYPE_CHECKING:
    from actors.stream.relay import Call


@attrs.define
class Hooked:
    """The hooks of one attempt, and the reader whose events they edit.

    `flush_at` is when what they keep for the sake of time is to go out, None: nothing.
    """

    pipeline: Pipeline
    reader: Translation | None = None
    flush_at: float | None = None
    _busy: bool = False
    _held: list[Event] = attrs.field(factory=list[Event], repr=False)

    async def feed(self, call: Call, reader: Translation, data: bytes) -> Reading:
        """As `Reader.feed`."""
        return await self._edited(call, reader, *reader.take(data))

    def feed_now(self, call: Call, reader: Translation, data: bytes) -> Reading:
        """The same, where no hook is in a thread (`pipeline.inline`)."""
        return at_once(self.feed(call, reader, data))

    async def finish(self, call: Call, reader: Translation) -> Reading:
        """As `Reader.finish`."""
        return await self._edited(call, reader, *reader.take_end())

    async def cut(self, reader: Translation) -> bytes:
        """As `Reader.cut`, with what was kept back in front."""
        rest = await self.pipeline.rest()
        out = reader.put(Reading(), rest).out
        return out + reader.cut_choices("length", self.pipeline.unfinished)

    async def _edited(
        self, call: Call, reader: Translation, reading: Reading, events: list[Event]
    ) -> Reading:
        pipeline = self.pipeline
        self.reader = reader
        self._busy = True
        try:
            if events:
                events = await pipeline.edit(events)
            if (reading.done or reading.fault is not None) and not pipeline.halted:
                events += await pipeline.rest()
        finally:
            self._busy = False
        halted = pipeline.halted
        if halted is None and self._withheld(call, reading, events):
            self._wait(call)
            return reading
        if halted is not None:
            events[:0] = self._held
            reading.done = False
            reading.fault = None
            if halted.reason is None:
                # Where nothing went out yet, the client gets an error and no answer.
                if call.sink.committed:
                    reader.put(reading, events)
                reading.fault = faults.halted(halted.why)
            else:
                reader.put(reading, events)
                reading.finish = halted.reason
                reading.out += reader.cut_choices(halted.reason, pipeline.unfinished)
                call.relayed.cut = True
            return reading
        self._wait(call)
        return reader.put(reading, events)

    def _withheld(self, call: Call, reading: Reading, events: list[Event]) -> bool:
        """Whether nothing is shown yet.

        What goes out first commits the stream; before, a hook can refuse the answer.
        """
        events[:0] = self._held
        self._held = []
        if call.sink.committed or reading.done or any(map(is_content, events)):
            return False
        self._held = events
        return True

    async def whole(
        self,
        call: Call,
        exchange: Translated,
        reading: Reading,
        events: list[Event],
    ) -> Reading:
        """The client's answer of what `exchange.take` gave."""
        pipeline = self.pipeline
        if reading.fault is not None:
            return reading
        edited = await pipeline.edit(events)
        if pipeline.halted is None:
            edited += await pipeline.rest()
        halted = pipeline.halted
        if halted is not None:
            if halted.reason is None:
                reading.fault = faults.halted(halted.why)
                return reading
            edited += [Finish(halted.reason, "", c) for c in pipeline.unfinished]
            # Whole answers are paid whole, and say so.
            edited += [event for event in events if isinstance(event, Usage)]
            reading.finish = halted.reason
            call.relayed.cut = True
        return exchange.put(reading, edited)

    def ring(self, call: Call, now: float) -> None:
        """The alarm: give out what waited for its time, if the client has room."""
        reader = self.reader
        if self.flush_at is None or now < self.flush_at or reader is None:
            return
        self.flush_at = None
        sink = call.sink
        if not sink.committed or sink.owner is not call or sink.gone:
            return
        # A client without room gets it with what comes next: nothing overtakes.
        if self._busy or sink.channel.depth >= CHUNKS_BUFFERED_MAX:
            self._wait(call)
            return
        out = reader.put(Reading(), self.pipeline.due()).out
        if out:
            sink.channel.send_nowait(out)
            self._wait(call)

    def end(self, call: Call, fault: Fault | None, why: str) -> None:
        """The attempt is over; hooks hear how. Never raises."""
        relayed = call.relayed
        if fault is not None or why:
            self.pipeline.aborted(why or (fault.code or fault.kind if fault else ""))
            return
        usage = relayed.usage
        tokens = usage.completion if usage is not None else None
        self.pipeline.finished(Finished(relayed.finish, relayed.chars, tokens))

    def _wait(self, call: Call) -> None:
        after_s = self.pipeline.flush_after_s
        if after_s is not None and self.flush_at is None:
            self.flush_at = call.now() + after_s
            call.arm_flush(self.flush_at)
