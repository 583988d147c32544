"""Leads the events of one answer through its hooks, and lives with hooks that fail.

Owns: one hook object of each kind for this answer, what they keep back, their clocks.
A part of the answer (a run of text, the arguments of a call) is given to each hook in
turn; it ends when something else begins, and then what was kept back comes out, in
front of whatever ended it. Citations end no part: they may stand within a word.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec
import trio

from actors.stream.hooks.api import Finished, Halt, Hook, Part, PartKind, Started
from actors.stream.hooks.placed import Placed
from wire.events import (
    Citation,
    Event,
    Finish,
    Logprobs,
    Media,
    Opaque,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ServerTool,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
)

T = TypeVar("T")

# One late call may be a collection of garbage; so many in one answer are the hook.
LATE_CALLS_MAX: Final = 3
QUOTED_BLOCK: Final = -1  # The part of a quotation: no block of the answer has it.
HOOK_FAILED: Final = "a hook of this site failed"


class _Running:
    """One hook of this answer."""

    __slots__ = ("hook", "late", "off", "parts", "placed")

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        self.hook: Hook = placed.fresh()
        self.parts = self.hook.parts
        self.late = 0
        self.off = False


class Pipeline:
    """The hooks of one answer. `tick` is a steady clock in seconds."""

    def __init__(
        self,
        placed: tuple[Placed, ...],
        started: Started,
        tick: Callable[[], float],
    ) -> None:
        self._tick = tick
        self._running = [_Running(one) for one in placed]
        self._conceals = any(one.hook.conceals for one in self._running)
        self.inline = not any(one.placed.isolated for one in self._running)
        self._timed = [one for one in self._running if one.hook.flush_after_s]
        self._waits = False  # A timed hook was given something since it was flushed.
        self._started = started
        self._begun = False
        self._open: dict[int, Part] = {}  # The run of text of each choice.
        self._calls: dict[tuple[int, int], Part] = {}
        self._thoughts: dict[Part, tuple[int, int]] = {}  # Sums of what came, went.
        self._summaries: set[Part] = set()
        self._unfinished: set[int] = set()
        self.halted: Halt | None = None
        self._over = False

    def __repr__(self) -> str:
        """Names and whether they still run."""
        names = [f"{r.placed.name}{' off' if r.off else ''}" for r in self._running]
        return f"<Pipeline {', '.join(names)}>"

    @property
    def flush_after_s(self) -> float | None:
        """How long after an edit `due` is to be called; None: not at all."""
        if not self._waits:
            return None
        waits = [one.hook.flush_after_s for one in self._timed if not one.off]
        return min((wait for wait in waits if wait), default=None)

    async def edit(self, events: list[Event]) -> list[Event]:
        """These events as the client is to see them.

        Where it sets `halted`, no more come: the stream is to be ended for its reason.
        """
        out: list[Event] = []
        if not self._begun:
            await self._start()
        for event in events:
            if self.halted is not None:
                break
            try:
                if not (self.inline and self._goes_on(event, out)):
                    await self._edit(event, out)
            except Halt as halt:
                self.halted = halt
        return out

    async def rest(self) -> list[Event]:
        """The answer ends here: what was kept back."""
        out: list[Event] = []
        try:
            for choice in sorted(self._open.keys() | {c for c, _ in self._calls}):
                await self._end_choice(choice, out)
        except Halt as halt:
            self.halted = halt
        return out

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The choices that began and have not ended."""
        return tuple(sorted(self._unfinished)) or (0,)

    def due(self) -> list[Event]:
        """The time of what was kept for the sake of time is over. Never waits."""
        out: list[Event] = []
        if self.halted is not None:
            return out
        self._waits = False
        for place, one in enumerate(self._running):
            if one.hook.flush_after_s is None or one.off:
                continue
            for part in [*self._open.values(), *self._calls.values()]:
                if part.kind not in one.parts:
                    continue
                try:  # Settings keep isolated hooks in front of timed ones.
                    shown = at_once(self._flush_one(place, part))
                except Halt as halt:
                    self.halted = halt
                    return out
                if shown:
                    self._waits = True
                    out.append(self._event(part, shown))
        return out

    def finished(self, finished: Finished) -> None:
        """The answer is complete."""
        self._tell("on_finish", finished)

    def aborted(self, why: str) -> None:
        """It ended early. Does nothing after `finished`, or before anything began."""
        self._tell("on_abort", why)

    # -- one event ---------------------------------------------------------------

    async def _edit(self, event: Event, out: list[Event]) -> None:
        kind = type(event)
        if kind is TextDelta or kind is ReasoningDelta or kind is RefusalDelta:
            await self._text(event, out)
        elif kind is ToolArgsDelta:
            await self._arguments(event, out)
        elif isinstance(event, Finish):
            await self._end_choice(event.choice, out)
            self._unfinished.discard(event.choice)
            out.append(event)
        elif isinstance(event, ToolCallEnd):
            part = self._calls.pop((event.choice, event.index), None)
            if part is not None:
                await self._flush(part, out)
            out.append(event)
        elif isinstance(event, (ToolCallStart, ServerTool, Media, ReasoningState)):
            await self._end_text(event.choice, out)
            await self._beside(event, out)
        elif isinstance(event, Citation):
            out.append(await self._quoted(event) if self._conceals else event)
        elif not self._conceals or not isinstance(event, (Logprobs, Opaque)):
            # Logprobs spell the text once more; what is opaque may hold it too.
            out.append(event)

    async def _text(self, event: Any, out: list[Event]) -> None:
        kind: PartKind = (
            "text"
            if type(event) is TextDelta
            else "reasoning"
            if type(event) is ReasoningDelta
            else "refusal"
        )
        choice = event.choice
        part = self._open.get(choice)
        if part is None or part.kind != kind or part.block != event.block:
            if part is not None:
                await self._end_text(choice, out)
            part = self._open[choice] = Part(choice, kind, event.block)
            self._unfinished.add(choice)
            if isinstance(event, ReasoningDelta) and event.summary:
                self._summaries.add(part)
        text = event.text
        shown = await self._through(text, part, out)
        if kind == "reasoning":
            self._note(part, text, shown)
        if shown:
            out.append(event if shown is text else self._event(part, shown))

    async def _arguments(self, event: Any, out: list[Event]) -> None:
        key = (event.choice, event.index)
        part = self._calls.get(key)
        if part is None:
            part = self._calls[key] = Part(event.choice, "tool_arguments", event.index)
        shown = await self._through(event.text, part, out)
        if shown:
            out.append(event if shown is event.text else self._event(part, shown))

    async def _beside(self, event: Event, out: list[Event]) -> None:
        """What is no text of the model, or not only."""
        if isinstance(event, ReasoningState):
            sums = {
                part: pair
                for part, pair in self._thoughts.items()
                if (part.choice, part.block) == (event.choice, event.block)
            }
            for part in sums:
                del self._thoughts[part]
            # A signature is of the words that it signs: of others it is refused.
            if any(came != went for came, went in sums.values()):
                return
        elif self._conceals and isinstance(event, ServerTool):
            told = await self._whole(event.data.decode("utf-8", "replace"))
            data = told.encode()
            if data != event.data and not _is_json(data):
                return
            event = msgspec.structs.replace(event, data=data)
        elif self._conceals and isinstance(event, Media) and event.transcript:
            transcript = await self._whole(event.transcript)
            event = msgspec.structs.replace(event, transcript=transcript)
        out.append(event)

    async def _quoted(self, event: Citation) -> Citation:
        return msgspec.structs.replace(
            event,
            text=await self._whole(event.text),
            title=await self._whole(event.title),
            data=b"",  # The same once more, in the provider's own words.
        )

    async def _whole(self, text: str) -> str:
        """A text that came whole, through the hooks that conceal."""
        if not text:
            return text
        part = Part(0, "text", QUOTED_BLOCK)
        for one in self._running:
            if one.off or not one.hook.conceals:
                continue
            shown: str = await self._call(one, text, one.hook.on_delta, text, part)
            rest: str = await self._call(one, "", one.hook.on_flush, part)
            text = shown + rest
        return text

    # -- text --------------------------------------------------------------------

    def _goes_on(self, event: Event, out: list[Event]) -> bool:
        """Most events: more text of an open part, of which no hook is in a thread."""
        if type(event) is not TextDelta:
            return False
        part = self._open.get(event.choice)
        if part is None or part.kind != "text" or part.block != event.block:
            return False
        text = event.text
        for place, one in enumerate(self._running):
            hook = one.hook
            if one.off or "text" not in one.parts:
                continue
            if hook.flush_after_s is not None:
                self._waits = True
            try:
                text = self._now(one, text, hook.on_delta, text, part)
            except Halt as halt:
                at_once(self._last_words(place, halt, part, out))
                raise
            if not text:
                return True
        same = text is event.text
        out.append(event if same else TextDelta(text, event.choice, event.block))
        return True

    async def _through(self, text: str, part: Part, out: list[Event]) -> str:
        """The text behind the last hook; where one halts, its last words go out."""
        for place, one in enumerate(self._running):
            if one.off or part.kind not in one.parts:
                continue
            if one.hook.flush_after_s is not None:
                self._waits = True
            try:
                text = await self._call(one, text, one.hook.on_delta, text, part)
            except Halt as halt:
                await self._last_words(place, halt, part, out)
                raise
            if not text:
                return ""
        return text

    async def _last_words(
        self, place: int, halt: Halt, part: Part, out: list[Event]
    ) -> None:
        """What a halting hook still shows passes those behind it."""
        shown = halt.shown
        for one in self._running[place + 1 :]:
            if one.off or part.kind not in one.parts:
                continue
            if shown:
                shown = await self._call(one, shown, one.hook.on_delta, shown, part)
            shown += await self._call(one, "", one.hook.on_flush, part)
        if shown:
            out.append(self._event(part, shown))

    async def _flush_one(self, place: int, part: Part) -> str:
        """What one hook kept, behind the others."""
        one = self._running[place]
        text: str = await self._call(one, "", one.hook.on_flush, part)
        for other in self._running[place + 1 :]:
            if not text:
                return ""
            if not other.off and part.kind in other.parts:
                text = await self._call(other, text, other.hook.on_delta, text, part)
        return text

    async def _flush(self, part: Part, out: list[Event]) -> None:
        text = ""
        for place, one in enumerate(self._running):
            if one.off or part.kind not in one.parts:
                continue
            try:
                if text:
                    text = await self._call(one, text, one.hook.on_delta, text, part)
                text += await self._call(one, "", one.hook.on_flush, part)
            except Halt as halt:
                await self._last_words(place, halt, part, out)
                raise
        if part.kind == "reasoning":
            self._note(part, "", text)
        if text:
            out.append(self._event(part, text))

    async def _end_text(self, choice: int, out: list[Event]) -> None:
        part = self._open.pop(choice, None)
        if part is not None:
            await self._flush(part, out)
            self._summaries.discard(part)

    async def _end_choice(self, choice: int, out: list[Event]) -> None:
        await self._end_text(choice, out)
        for key in sorted(key for key in self._calls if key[0] == choice):
            await self._flush(self._calls.pop(key), out)

    def _event(self, part: Part, text: str) -> Event:
        match part.kind:
            case "text":
                return TextDelta(text, part.choice, part.block)
            case "refusal":
                return RefusalDelta(text, part.choice, part.block)
            case "tool_arguments":
                return ToolArgsDelta(part.block, text, part.choice)
            case "reasoning":
                summary = part in self._summaries
                return ReasoningDelta(text, part.choice, part.block, summary)

    def _note(self, part: Part, came: str, went: str) -> None:
        came_sum, went_sum = self._thoughts.get(part, (0, 0))
        self._thoughts[part] = (
            crc32(came.encode("utf-8", "surrogatepass"), came_sum),
            crc32(went.encode("utf-8", "surrogatepass"), went_sum),
        )

    # -- calls -------------------------------------------------------------------

    async def _start(self) -> None:
        self._begun = True
        for one in self._running:
            await self._call(one, None, one.hook.on_start, self._started)

    async def _call(
        self, one: _Running, otherwise: Any, method: Callable[..., Any], *args: Any
    ) -> Any:
        """Within its time. `otherwise` is the answer of a hook that is let go."""
        placed = one.placed
        if not placed.isolated:
            return self._now(one, otherwise, method, *args)
        counts = placed.counts
        counts.calls += 1
        began = self._tick()
        try:
            with trio.fail_after(placed.box_s):
                result = await trio.to_thread.run_sync(
                    method, *args, abandon_on_cancel=True
                )
        except Halt:
            counts.halts += 1
            raise
        except trio.TooSlowError:
            return self._failed(one, "late", otherwise)
        except Exception:  # noqa: BLE001 - a plugin's; its words may quote the answer
            return self._failed(one, "raised", otherwise)
        counts.spent_s += self._tick() - began
        return result

    def _now(
        self, one: _Running, otherwise: Any, method: Callable[..., Any], *args: Any
    ) -> Any:
        """The same, here: nothing can stop it, but it is not asked again."""
        placed = one.placed
        counts = placed.counts
        counts.calls += 1
        began = self._tick()
        try:
            result = method(*args)
        except Halt:
            counts.halts += 1
            raise
        except Exception:  # noqa: BLE001 - a plugin's; its words may quote the answer
            return self._failed(one, "raised", otherwise)
        spent_s = self._tick() - began
        counts.spent_s += spent_s
        if spent_s > placed.box_s:
            one.late += 1
            if one.late >= LATE_CALLS_MAX:
                self._failed(one, "late", otherwise)
        return result

    def _failed(self, one: _Running, how: str, otherwise: Any) -> Any:
        """Go on without it, or end the answer. Its words are never repeated."""
        one.off = True
        failures = one.placed.counts.failures
        failures[how] = failures.get(how, 0) + 1
        if one.placed.on_failure == "fail":
            raise Halt(None, why=f"{HOOK_FAILED}: {one.placed.name}") from None
        return otherwise

    def _tell(self, name: str, about: object) -> None:
        """The end, to those that still run. Nobody waits for an isolated one."""
        if self._over or not self._begun:
            return
        self._over = True
        for one in self._running:
            if one.off:
                continue
            method = partial(getattr(one.hook, name), about)
            if one.placed.isolated:
                trio.lowlevel.start_thread_soon(method, _unheard)
                continue
            try:
                method()
            except Exception:  # noqa: BLE001 - the answer has ended
                failures = one.placed.counts.failures
                failures["raised"] = failures.get("raised", 0) + 1


def at_once(walk: Coroutine[Any, Any, T]) -> T:
    """What a coroutine answers that has nothing to wait for."""
    try:
        walk.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    walk.close()
    raise AssertionError("a hook is in a thread, or behind one")


def _unheard(_result: object) -> None:
    """Of a thread that nobody waits for."""


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return True
