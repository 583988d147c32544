"""Ollama's native answers into events: NDJSON streams and whole answers.

Every line is a whole object with a piece of the answer; the last has `done: true`, the
reason and the counts. An error is a line of its own with no `done` after it.

Owns: the grammar. Never raises on bytes from outside.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from wire.dialect import malformed, truncated
from wire.errors import classify_event
from wire.events import (
    Event,
    Fault,
    Finish,
    FinishReason,
    Logprobs,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.jsontext import count, decode_object, mapping, text
from wire.ndjson import NdjsonDecoder, NdjsonError

SOURCE: Final = "ollama"

FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "load": "stop",  # An empty prompt only loads the model.
    "unload": "stop",
}


class OllamaReader:
    """Ollama's lines (/api/chat and /api/generate); `over` once no more may follow."""

    def __init__(self) -> None:
        self.over = False
        self._started = False
        self._salt = ""
        self._calls = 0

    def read(self, line: bytes) -> list[Event]:
        """What one line means."""
        chunk = decode_object(line)
        if chunk is None:
            return [self._fail(malformed(SOURCE, "a line that is no JSON object"))]
        if chunk.get("error"):
            return [self._fail(classify_event(SOURCE, line))]
        message = mapping(chunk.get("message"))
        events = self._start(chunk)
        thought = text(message.get("thinking")) or text(chunk.get("thinking"))
        said = text(message.get("content")) or text(chunk.get("response"))
        if thought:
            events.append(ReasoningDelta(thought))
        if said:
            events.append(TextDelta(said))
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            events += self._call(mapping(call))
        if chunk.get("logprobs"):
            events.append(_logprobs(chunk["logprobs"]))
        if chunk.get("done") is True:
            events += self._end(chunk)
        return events

    def _start(self, chunk: Mapping[str, Any]) -> list[Event]:
        if self._started:
            return []
        self._started = True
        moment = text(chunk.get("created_at"))
        self._salt = hashlib.sha256(moment.encode()).hexdigest()[:16]
        return [Start(model=text(chunk.get("model")), created=_unix_s(moment))]

    def _call(self, call: Mapping[str, Any]) -> list[Event]:
        """A call comes whole, its arguments as an object; older servers give no id.

        Ids must differ across the turns of a conversation: ours hold the answer's time.
        """
        function = mapping(call.get("function"))
        index = self._calls
        self._calls += 1
        id_ = text(call.get("id")) or f"call_{self._salt}_{index}"
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments or {}).decode()
        return [
            ToolCallStart(index, id_, text(function.get("name"))),
            ToolArgsDelta(index, arguments or "{}"),
            ToolCallEnd(index),
        ]

    def _end(self, chunk: Mapping[str, Any]) -> list[Event]:
        self.over = True
        raw = text(chunk.get("done_reason")) or "stop"
        reason = FINISH.get(raw, "stop")
        if reason == "stop" and self._calls:
            reason = "tool_calls"
        # prompt_eval_count is left out when the whole prompt was in the cache: what it
        # was is then unknown, and not guessed.
        usage = Usage(
            prompt=count(chunk.get("prompt_eval_count")),
            completion=count(chunk.get("eval_count")),
        )
        return [usage, Finish(reason, raw)]

    def _fail(self, fault: Fault) -> Fault:
        self.over = True
        return fault


def _logprobs(said: Any) -> Logprobs:
    """Ollama's entries are OpenAI's `content` entries already."""
    return Logprobs(msgspec.json.encode({"content": said, "refusal": None}))


def _unix_s(moment: str) -> int:
    try:
        return max(int(datetime.fromisoformat(moment).timestamp()), 0)
    except ValueError:
        return 0


class OllamaDecoder:
    """The NDJSON stream of /api/chat into events."""

    def __init__(self) -> None:
        self._lines = NdjsonDecoder()
        self._reader = OllamaReader()

    def __repr__(self) -> str:
        state = "over" if self.done else "open"
        return f"<OllamaDecoder {state} {self._lines!r}>"

    @property
    def done(self) -> bool:
        """See `StreamDecoder.done`."""
        return self._reader.over

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self.done:
            return []
        events: list[Event] = []
        try:
            for line in self._lines.feed(data):
                events += self._reader.read(line)
                if self._reader.over:
                    break
        except NdjsonError as error:
            events.append(self._fail(malformed(SOURCE, str(error))))
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`. The last line needs no newline."""
        if self.done:
            return []
        try:
            line = self._lines.close()
        except NdjsonError as error:
            return [self._fail(malformed(SOURCE, str(error)))]
        events: list[Event] = []
        if line is not None and decode_object(line) is not None:
            events = self._reader.read(line)
        if not self._reader.over:
            events.append(self._fail(truncated(SOURCE)))
        return events

    def _fail(self, fault: Fault) -> Fault:
        self._reader.over = True
        return fault
