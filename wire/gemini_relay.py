"""The fast way for Gemini clients of a Gemini or Vertex deployment.

Owns: what one look at a chunk tells (content, usage, finish, an error), and the edit of
a request's output bound. The upstream always streams SSE; a client that wanted an array
gets the same chunks with brackets around them.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from wire.dialect import (
    Head,
    Headers,
    Reading,
    Target,
    UpstreamRequest,
    malformed,
    truncated,
)
from wire.errors import classify_event
from wire.events import FinishReason, Usage
from wire.gemini_build import build_request, is_vertex, upstream
from wire.gemini_decode import bare_error, classify_body, usage_of
from wire.gemini_encode import Framing, framing, usage_json
from wire.gemini_parse import CONFIG, parse_request
from wire.gemini_parts import CARRIED
from wire.gemini_schema import (
    FAILED,
    FINISH,
    FINISH_WORDS,
    SOURCE,
    Counts,
    Feedback,
    Method,
    Route,
    camel,
    finish_word,
    wants_signatures,
)
from wire.gemini_search import searches_of
from wire.jsontext import JSON_ERRORS
from wire.relay import SseRelay
from wire.sse import LF, parse_event, split_events
from wire.toolids import MARK_BYTES


class _Call(Struct, gc=False):
    name: str = ""
    args: Raw = Raw(b"")


class _Part(Struct, gc=False):
    text: str = ""
    thoughtSignature: str = ""  # noqa: N815 - Google's spelling
    functionCall: _Call | None = None  # noqa: N815
    inlineData: Raw = Raw(b"")  # noqa: N815
    executableCode: Raw = Raw(b"")  # noqa: N815
    codeExecutionResult: Raw = Raw(b"")  # noqa: N815


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, gc=False):
    content: _Content | None = None
    finishReason: str | int | None = None  # noqa: N815
    index: int = 0
    groundingMetadata: Raw = Raw(b"")  # noqa: N815


class _Chunk(Struct):
    """As much of a chunk as a relay must know."""

    candidates: list[_Candidate] | None = None
    modelVersion: str | None = None  # noqa: N815
    usageMetadata: Counts | None = None  # noqa: N815
    promptFeedback: Feedback | None = None  # noqa: N815
    error: Raw = Raw(b"")


_chunk = msgspec.json.Decoder(_Chunk)
_fields = msgspec.json.Decoder(dict[str, Raw])


class _Seen:
    """What the chunks so far have said; shared by streams and whole answers."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.usage: Usage | None = None
        self.searches: dict[int, int] = {}
        self.called = False
        self.open: set[int] = set()
        self.closed: set[int] = set()
        self.failed = ""

    @property
    def complete(self) -> bool:
        return bool(self.closed) and not self.open and not self.failed

    def take(self, data: bytes, reading: Reading) -> bool:
        """Look at one chunk; False where it is no answer but a fault."""
        try:
            chunk = _chunk.decode(data)
        except JSON_ERRORS:
            reading.fault = malformed(SOURCE, "a chunk is not the JSON it should be")
            return False
        if chunk.error:
            reading.fault = classify_event(self.flavour, data, source=SOURCE)
            return False
        for candidate in chunk.candidates or ():
            self._candidate(candidate, reading)
            if candidate.groundingMetadata:
                count = searches_of(
                    candidate.groundingMetadata, chunk.modelVersion or ""
                )
                before = self.searches.get(candidate.index, 0)
                self.searches[candidate.index] = max(before, count)
        feedback = chunk.promptFeedback
        if feedback is not None and feedback.blockReason and not chunk.candidates:
            self.closed.add(0)
            reading.finish = "content_filter"
        counts = chunk.usageMetadata
        usage = usage_of(counts) if counts else None
        reading.service = counts.serviceTier if counts else None
        if usage is not None:
            if self.searches:
                usage = msgspec.structs.replace(
                    usage, searches=sum(self.searches.values())
                )
            self.usage = reading.usage = usage
        return True

    def _searched(self, candidate: _Candidate, model: str) -> None:
        """Streams tell it again and again: the most of it counts."""
        count = searches_of(candidate.groundingMetadata, model)
        before = self.searches.get(candidate.index, 0)
        self.searches[candidate.index] = max(before, count)

    def _candidate(self, candidate: _Candidate, reading: Reading) -> None:
        for part in (candidate.content and candidate.content.parts) or ():
            chars = len(part.text)
            call = part.functionCall
            if call is not None:
                self.called = True
                chars += len(call.name) + len(bytes(call.args))
            reading.output_chars += chars
            other = part.inlineData or part.executableCode or part.codeExecutionResult
            if chars or other or part.thoughtSignature:
                reading.content = True
        if candidate.finishReason is None:
            if candidate.index not in self.closed:
                self.open.add(candidate.index)
            return
        word = finish_word(candidate.finishReason, vertex=self.flavour == "vertex")
        self.open.discard(candidate.index)
        self.closed.add(candidate.index)
        if word in FAILED:
            self.failed = word
        reason: FinishReason = FINISH.get(word, "stop")
        reading.finish = "tool_calls" if reason == "stop" and self.called else reason


class GeminiRelay(SseRelay):
    """See `SseRelay`. The end is known only when the body ends."""

    def __init__(self, flavour: str, model: str | None = None) -> None:
        super().__init__(SOURCE)
        self._seen = _Seen(flavour)
        self._model = model
        self._strays: list[bytes] = []

    def look(self, event: bytes, reading: Reading) -> bytes:
        """See `SseRelay.look`."""
        if event.startswith(b"data: ") and LF not in event:
            data = event[6:]
        else:
            frame = parse_event(event, self._strays)
            if frame is None:
                return b""  # A comment, or a bare line: see `at_end`.
            data = frame.data
        if not self._seen.take(data, reading):
            return b""
        if self._model is None:
            return event
        renamed = _renamed(data, self._model, reading)
        return b"data: " + renamed if renamed else b""

    def at_end(self, tail: bytes, reading: Reading) -> bytes:
        """See `SseRelay.at_end`."""
        event = tail.strip(b"\n")
        out = self.look(event, reading) if event else b""
        if reading.fault is None:
            if self._seen.complete:
                reading.done = True
                return out + b"\n\n" if out else b""
            fault = bare_error(self._seen.flavour, self._strays)
            reading.fault = fault or truncated(SOURCE)
        return b""

    def ending(self, reason: FinishReason) -> bytes:
        """See `SseRelay.ending`."""
        out: dict[str, Any] = {
            "candidates": [
                {
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    "finishReason": FINISH_WORDS[reason],
                    "index": index,
                }
                for index in sorted(self._seen.open or {0})
            ]
        }
        if self._seen.usage is not None:
            out["usageMetadata"] = usage_json(self._seen.usage)
        return b"data: " + msgspec.json.encode(out) + b"\n\n"


class ArrayRelay:
    """A relay whose client asked for an array: the same chunks in brackets."""

    def __init__(self, inner: GeminiRelay) -> None:
        self._inner = inner
        self._frames: Framing = framing(sse=False)

    def __repr__(self) -> str:
        return f"<ArrayRelay {self._inner!r}>"

    def feed(self, data: bytes) -> Reading:
        """See `Reader.feed`."""
        return self._framed(self._inner.feed(data))

    def finish(self) -> Reading:
        """See `Reader.finish`."""
        reading = self._framed(self._inner.finish())
        if reading.done:
            reading.out += self._frames.end()
        return reading

    def cut(self, reason: FinishReason = "length") -> bytes:
        """See `Reader.cut`."""
        out = self._elements(self._inner.cut(reason))
        return out + self._frames.end() if out else b""

    def _framed(self, reading: Reading) -> Reading:
        reading.out = self._elements(reading.out)
        return reading

    def _elements(self, run: bytes) -> bytes:
        frames = (parse_event(event) for event in split_events(run)) if run else ()
        return b"".join(self._frames.add(f.data) for f in frames if f is not None)


def _renamed(data: bytes, model: str, reading: Reading) -> bytes:
    """A chunk with the name the client asked for; b"" and a fault if it is damaged."""
    try:
        fields = _fields.decode(data)
    except JSON_ERRORS:
        reading.fault = malformed(SOURCE, "a chunk is not the JSON it should be")
        return b""
    if "modelVersion" in fields:
        fields["modelVersion"] = Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def relay_response(
    status: int, headers: Headers, body: bytes, model: str | None, flavour: str
) -> Reading:
    """A unary answer: looked at once, renamed where asked."""
    if status >= 300:
        fault = classify_body(flavour, status, headers, body)
        return Reading(fault=fault, done=True)
    reading = Reading(done=True, events=1)
    seen = _Seen(flavour)
    if not seen.take(body, reading):
        return reading
    if not seen.complete:
        reading.fault = truncated(SOURCE)
        return reading
    reading.out = body if model is None else _renamed(body, model, reading)
    return reading


def forward_request(body: bytes, head: Head, target: Target) -> UpstreamRequest:
    """The body as it came; only the output bound is lowered where it must be.

    Unless an earlier turn came from another provider: what our encoder put into its ids
    and signatures is nothing Google would take, and calls without a signature are a 400
    where the model insists on them. Then it is rebuilt.
    """
    if _is_foreign(body, target):
        method: Method = "streamGenerateContent" if head.stream else "generateContent"
        return build_request(parse_request(body, Route(head.model, method)), target)
    most = target.max_output_tokens
    if most is not None and (head.max_output_tokens or most + 1) > most:
        fields = _fields.decode(body)
        # Both spellings of both names are taken out: one left behind could undo ours.
        given = [
            fields.pop(name, Raw(b"null")) for name in ("generation_config", CONFIG)
        ]
        config: dict[str, Raw] = {}
        for raw in given:
            inner = _fields.decode(raw) if bytes(raw) != b"null" else {}
            config.update({camel(name): value for name, value in inner.items()})
        config["maxOutputTokens"] = Raw(msgspec.json.encode(most))
        fields[CONFIG] = Raw(msgspec.json.encode(config))
        body = msgspec.json.encode(fields)
    verb: Method = "streamGenerateContent" if head.stream else "generateContent"
    return upstream(target, verb, body)


def _is_foreign(body: bytes, target: Target) -> bool:
    if MARK_BYTES in body or CARRIED in body:
        return True
    calls = b'"functionCall"' in body or b'"function_call"' in body
    signed = b'"thoughtSignature"' in body or b'"thought_signature"' in body
    return calls and not signed and wants_signatures(target.model)


def flavour_of(target: Target) -> str:
    """Whose error rules and enum numbers apply."""
    return "vertex" if is_vertex(target) else SOURCE
