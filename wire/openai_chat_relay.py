"""OpenAI chat to OpenAI chat: bytes pass as they came, each chunk is looked at once.

A look is one typed decode (`openai_chat_schema`): text in strings cannot fool it.
What it changes, and nothing else:

- a usage chunk (`choices: []`) that the gateway asked for and the client did not is
  swallowed;
- the model's name, only when asked;
- `[DONE]` is added where the server sends none.

Works for legacy completions too: their chunks differ only in `text`.
"""

from msgspec import Raw

from wire.dialect import Reading, malformed
from wire.errors import classify_event
from wire.events import FinishReason
from wire.flavours import Flavour
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    decode_any,
    decode_fields,
    decode_object,
    encode,
)
from wire.mould import Mould, mould_of
from wire.openai_chat_decoder import FINISH, gave_up
from wire.openai_chat_encoder import DONE
from wire.openai_chat_schema import Chunk, ChunkChoice, Delta, read_chunk
from wire.relay import SseRelay
from wire.sse import LF, encode_data, parse_event
from wire.usage import read_openai

MOULDS_MAX = 4
"""Made in vain in a row: then no two deltas of this server are alike."""


class ChatRelay(SseRelay):
    """`Reader` of one chat (or completion) stream.

    Args:
        source: who is named in faults.
        flavour: the server's row.
        swallow_usage: the client did not ask for usage; we did.
        model: the name the client is to see, or None to leave the server's.
    """

    def __init__(
        self,
        source: str,
        flavour: Flavour,
        *,
        swallow_usage: bool = False,
        model: str | None = None,
    ) -> None:
        super().__init__(source)
        self._flavour = flavour
        self._swallow_usage = swallow_usage
        self._model = model
        self._told: str | None = None
        self._swaps: tuple[tuple[bytes, bytes], ...] = ()
        self._open: set[int] = set()
        self._begun = False
        self._has_calls = False
        self._last = b""
        self._mould: Mould | None = None
        self.moulds_left = MOULDS_MAX

    def look(self, event: bytes, reading: Reading) -> bytes:
        """See `SseRelay.look`."""
        mould = self._mould
        if mould is not None:
            chars = mould.chars(event)
            if chars:
                reading.content = True
                reading.output_chars += chars
                self._last = event
                self.moulds_left = MOULDS_MAX
                return mould.told(event)
            self._mould = None
        if event.startswith(b"data: {") and LF not in event:
            data = event[6:]
        else:
            frame = parse_event(event)
            if frame is None:
                return b""  # A comment: ours are the heartbeats.
            data = frame.data
            if data.startswith(b"[DONE]"):
                reading.done = True
                return event
            if not data.strip():
                return b""
        try:
            chunk = read_chunk(data)
        except JSON_ERRORS:
            reading.fault = malformed(self.source, "a chunk is not a JSON object")
            return b""
        if chunk.error != NULL and decode_any(chunk.error):
            reading.fault = classify_event(self._flavour.name, data, source=self.source)
            return b""
        if chunk.service_tier is not None:  # Not every chunk of a read says it.
            reading.service = chunk.service_tier
        choices = chunk.choices
        if choices:
            for choice in choices:
                self.read_choice(choice, reading)
            if reading.fault is not None:
                return b""
            self._last = data
        if chunk.usage != NULL or chunk.x_groq is not None:
            usage = read_openai(chunk.usage_anywhere())
            if usage is not None:
                reading.usage = usage
                if self._swallow_usage and not choices:
                    return b""
        told = event
        if self._model is not None and chunk.model is not None:
            told = self._renamed(event, data, chunk.model)
        if self.moulds_left:
            self._learn(event, chunk, told)
        return told

    def _learn(self, event: bytes, chunk: Chunk, told: bytes) -> None:
        """Those to come may be as this one but for its text.

        Where they are not, as with padding against eavesdroppers, it is given up soon.
        """
        choices = chunk.choices
        if not choices or len(choices) != 1 or chunk.usage != NULL or chunk.x_groq:
            return
        choice = choices[0]
        delta = choice.delta
        if (
            delta is None
            or not delta.content
            or delta.tool_calls
            or delta.function_call is not None
            or delta.reasoning_content
            or delta.reasoning
            or delta.refusal
            or choice.text
            or choice.finish_reason is not None
            or choice.finish_details is not None
            or not event.startswith(b"data: {")
            or LF in event
        ):
            return
        self.moulds_left -= 1
        self._mould = mould_of(event, b"content", delta.content, told)

    def read_choice(self, choice: ChunkChoice, reading: Reading) -> None:
        """Write what one choice of a chunk means into `reading`."""
        self._begun = True
        delta = choice.delta
        if delta is not None:
            content = delta.content
            if content:
                reading.content = True
                reading.output_chars += len(content)
            if (
                delta.reasoning_content
                or delta.reasoning
                or delta.tool_calls
                or delta.refusal
                or not content
            ):
                chars = self._other_chars(delta)
                if chars >= 0:
                    reading.content = True
                    reading.output_chars += chars
        if choice.text:
            reading.content = True
            reading.output_chars += len(choice.text)
        raw = choice.finish_reason
        if raw is None and choice.finish_details is not None:
            raw = choice.finish_details.type
        index = choice.index or 0
        if not raw:
            self._open.add(index)
            return
        self._open.discard(index)
        reason = dict(self._flavour.finish).get(raw) or FINISH.get(raw, "stop")
        if reason == "error":
            reading.fault = gave_up(self.source, raw)
            return
        if reason == "stop" and self._has_calls:
            reason = "tool_calls"
        reading.finish = reason

    def _other_chars(self, delta: Delta) -> int:
        """Characters of output beside `content`; -1 when there is none at all."""
        chars = -1
        for piece in (delta.reasoning_content, delta.reasoning, delta.refusal):
            if piece:
                chars = max(chars, 0) + len(piece)
                if piece is delta.reasoning_content:
                    break  # Servers in transition send both fields with one text.
        if delta.tool_calls:
            self._has_calls = True
            chars = max(chars, 0)
            for call in delta.tool_calls:
                function = call.function or call.custom
                if function is not None:
                    chars += len(function.arguments or "") + len(function.input or "")
                    chars += len(function.name or "")
        if delta.function_call is not None:
            self._has_calls = True
            chars = max(chars, 0) + len(delta.function_call.arguments or "")
        if delta.audio != NULL or delta.images != NULL:
            chars = max(chars, 0)
        return chars

    def _renamed(self, event: bytes, data: bytes, name: str) -> bytes:
        model = self._model
        if model is None or name == model:
            return event
        if name != self._told:
            self._told = name
            self._swaps = swaps_of(name, model)
        swapped = swap(event, self._swaps)
        return b"data: " + renamed(data, model) if swapped is None else swapped

    def at_end(self, tail: bytes, reading: Reading) -> bytes:
        """See `SseRelay.at_end`: some servers end with the connection."""
        if tail.strip() == b"data: [DONE]" or (
            self._begun and not self._open and not tail.strip()
        ):
            reading.done = True
            return DONE
        bare = decode_object(tail.strip())
        if bare and bare.keys() & {"error", "message", "detail"}:
            reading.fault = classify_event(
                self._flavour.name, tail.strip(), source=self.source
            )
            return b""
        return super().at_end(tail, reading)

    def ending(self, reason: FinishReason) -> bytes:
        """See `SseRelay.ending`: the last chunk's head with empty deltas."""
        try:
            fields = decode_fields(self._last.removeprefix(b"data: "))
        except JSON_ERRORS:
            fields = {}
        for name in ("usage", "obfuscation", "x_groq", "error"):
            fields.pop(name, None)
        if self._model is not None:
            fields["model"] = Raw(encode(self._model))
        fields["choices"] = Raw(
            encode(
                [
                    {"index": i, "delta": {}, "logprobs": None, "finish_reason": reason}
                    for i in sorted(self._open or {0})
                ]
            )
        )
        return encode_data(encode(fields)) + DONE


def swaps_of(name: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    """The field that names the model, as servers write it, and as the client is told.

    Inside a string the quotes would be escaped, so these cannot be text.
    """
    told, mine = b'"model":' + encode(name), b'"model":' + encode(model)
    return (told, mine), (spaced(told), spaced(mine))


def swap(data: bytes, swaps: tuple[tuple[bytes, bytes], ...]) -> bytes | None:
    """With the other name, where the field is there once; else None."""
    for told, mine in swaps:
        if data.count(told) == 1:
            return data.replace(told, mine)
    return None


def renamed(data: bytes, model: str) -> bytes:
    """An object with this for its model, however it was written."""
    fields = decode_fields(data)
    fields["model"] = Raw(encode(model))
    return encode(fields)


def spaced(field: bytes) -> bytes:
    """The same field as servers write it that put a space after the colon."""
    return field.replace(b":", b": ", 1)


def relay_chat_response(
    body: bytes, source: str, flavour: Flavour, *, model: str | None = None
) -> Reading:
    """A unary chat or completion answer on its way through."""
    reading = Reading(events=1, done=True)
    try:
        chunk = read_chunk(body)
    except JSON_ERRORS:
        reading.fault = malformed(source, "the answer is not a JSON object")
        reading.done = False
        return reading
    if chunk.error != NULL and decode_any(chunk.error):
        reading.fault = classify_event(flavour.name, body, source=source)
        reading.done = False
        return reading
    look = ChatRelay(source, flavour)
    for choice in chunk.choices or ():
        choice.delta = choice.delta or choice.message
        look.read_choice(choice, reading)
    if reading.fault is not None:
        reading.done = False
        return reading
    reading.service = chunk.service_tier
    reading.usage = read_openai(chunk.usage_anywhere())
    if model is not None and chunk.model not in {None, model}:
        swapped = swap(body, swaps_of(chunk.model or "", model))
        body = renamed(body, model) if swapped is None else swapped
    reading.out = body
    reading.content = True
    return reading
