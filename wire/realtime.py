"""OpenAI's Realtime API: what its events say of money, and what may be changed in them.

Client and provider speak the same (OpenAI, Azure, xAI): events pass as they came. Each
is looked at once, for what it costs; two kinds of the client's are edited, where a site
bounds its answers. Sans-io, stateless.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from wire.dialect import ErrorResponse, Headers, Target, UpstreamRequest, public
from wire.errors import classify
from wire.events import Fault, Usage
from wire.flavours import flavour
from wire.jsontext import JSON_ERRORS, decode_object, encode, mapping
from wire.jsontext import count as number
from wire.openai_chat import OpenAIChat
from wire.openai_errors import error_object, render_error

KINDS: Final = frozenset({"openai", "azure", "xai"})
"""Whose providers have such sessions."""

PATH: Final = "/realtime"
OUTPUT_TOKENS_MAX: Final = 4096  # OpenAI's own bound of one answer: "inf" is that.
PROMPT_TOKENS_MAX: Final = 32_768  # gpt-realtime's window; older turns are dropped.

# Of sound, for estimates: 10 tokens a second, and the least of its formats is G.711's
# 8,000 bytes a second, as base64. PCM has six times as many bytes a token.
AUDIO_CHARS_PER_TOKEN: Final = 1_066
TEXT_CHARS_PER_TOKEN: Final = 3  # Pessimistic: a hold may be too large, not too small.
SESSION_TOKENS: Final = 1_024  # Instructions of the provider's own, before any word.

_FORWARDED: Final = ("openai-beta", "openai-safety-identifier")
_AUDIO_IN: Final = frozenset({"input_audio_buffer.append"})
_EDITED: Final = frozenset({"session.update", "response.create"})
_BILLED: Final = "conversation.item.input_audio_transcription.completed"


class RealtimeClient(OpenAIChat):
    """Errors, as OpenAI's clients read them; a session has no request body to read."""

    name = "openai_realtime"
    heartbeat = b""
    reads_sse = False

    def render_error(self, fault: Fault) -> ErrorResponse:
        """Before the socket is open: the handshake's answer."""
        return render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """After that: an event of the server."""
        shown = public(fault)
        return encode(
            {
                "type": "error",
                "event_id": "event_gateway",
                "error": {**error_object(shown), "event_id": None},
            }
        )


REALTIME: Final = RealtimeClient()


def upgrade(target: Target, headers: Headers) -> UpstreamRequest:
    """The handshake of a session with this deployment. No body, no key."""
    row = flavour(target.flavour)
    model = quote(target.model, safe="")
    sent = tuple((name, headers[name]) for name in _FORWARDED if name in headers)
    path = f"{PATH}?model={model}"
    if row.name == "azure":
        version = target.options.get("api_version", "")
        path = (
            f"/openai/realtime?api-version={quote(version, safe='')}&deployment={model}"
            if version
            else f"/openai/v1{PATH}?model={model}"
        )
    return UpstreamRequest("GET", path, sent, b"", row.auth)


def refused(source: str, status: int, headers: Headers, body: bytes) -> Fault:
    """What a provider that turns the handshake down means."""
    return classify(source, status, headers, body)


# -- what events say -----------------------------------------------------------------


class _Response(Struct):
    id: str = ""
    usage: Raw = Raw(b"null")


class _Event(Struct):
    type: str = ""
    response: _Response | None = None
    response_id: str | None = None
    usage: Raw = Raw(b"null")
    delta: str | None = None
    audio: str | None = None


_event: Final = msgspec.json.Decoder(_Event)


class Heard(Struct, frozen=True):
    """What one event of the provider's amounts to.

    Args:
        usage: what is billed with it: of an answer that is done, or of a transcript.
        audio_chars: base64 of sound in it.
    """

    kind: str = ""
    response_id: str = ""
    usage: Usage | None = None
    audio_chars: int = 0
    text_chars: int = 0


def hear(event: bytes) -> Heard:
    """Look at an event of the provider's; what cannot be read says nothing."""
    try:
        told = _event.decode(event)
    except JSON_ERRORS:
        return Heard()
    response = told.response
    response_id = response.id if response is not None else told.response_id or ""
    usage: Usage | None = None
    if told.type == "response.done":
        inner = read_usage(response.usage) if response is not None else None
        usage = inner or read_usage(told.usage)  # xAI says it beside the response.
    elif told.type == _BILLED:
        usage = read_usage(told.usage)
    delta = told.delta or ""
    audio = "audio.delta" in told.type
    return Heard(
        told.type,
        response_id,
        usage,
        len(delta) if audio else 0,
        0 if audio else len(delta),
    )


def read_usage(raw: Raw) -> Usage | None:
    """Tokens as the ledger counts them; None where none are told."""
    told = decode_object(raw) or {}
    if not number(told.get("input_tokens")) and not number(told.get("output_tokens")):
        return None
    inputs = mapping(told.get("input_token_details"))
    outputs = mapping(told.get("output_token_details"))
    cached = number(inputs.get("cached_tokens"))
    kinds = mapping(inputs.get("cached_tokens_details"))
    # Cached sound is charged as cached; the ledger takes audio out of what is not.
    audio = number(inputs.get("audio_tokens")) - number(kinds.get("audio_tokens"))
    return Usage(
        prompt=number(told.get("input_tokens")),
        completion=number(told.get("output_tokens")),
        cached=cached,
        audio_in=max(0, audio),
        audio_out=number(outputs.get("audio_tokens")),
    )


# -- what clients say ----------------------------------------------------------------


def tokens_said(event: bytes) -> int:
    """How many tokens an event of the client's can add to the prompt, at most."""
    kind = kind_of(event)
    if kind in _AUDIO_IN:
        return -(-len(event) // AUDIO_CHARS_PER_TOKEN)
    return -(-len(event) // TEXT_CHARS_PER_TOKEN)


def kind_of(event: bytes) -> str:
    """The type of an event; empty where it has none."""
    try:
        return _event.decode(event).type
    except JSON_ERRORS:
        return ""


def bounded(event: bytes, output_tokens_max: int) -> bytes:
    """A client's event that asks for no longer an answer than that."""
    if kind_of(event) not in _EDITED:
        return event
    fields = decode_object(event) or {}
    place = "session" if fields.get("type") == "session.update" else "response"
    inner = dict(mapping(fields.get(place)))
    names = [name for name in _BOUNDS if name in inner]
    if place == "response" and not names:
        return event  # The session's own bound holds.
    for name in names:
        own = inner[name]
        small = isinstance(own, int) and not isinstance(own, bool)
        inner[name] = min(own, output_tokens_max) if small else output_tokens_max
    return encode({**fields, place: inner})


_BOUNDS: Final = ("max_output_tokens", "max_response_output_tokens")


def bound_session(source: str, output_tokens_max: int) -> bytes:
    """The first event of a session whose site bounds its answers."""
    session: dict[str, Any] = {"type": "realtime", _BOUNDS[0]: output_tokens_max}
    if source == "xai":
        session = {_BOUNDS[1]: output_tokens_max}
    return encode({"type": "session.update", "session": session})


def cancel(response_id: str) -> bytes:
    """End an answer that there is no money for."""
    return encode({"type": "response.cancel", "response_id": response_id})
