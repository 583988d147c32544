"""What is fuzzed: each codec as a function of bytes, and the inputs to begin with.

A target returns for whatever a codec may answer, its own error included, and raises
for what it promises never to do. The first byte of an input seeds the cuts, so that a
failing input is the whole of a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import msgspec

from tests.support_recordings import cases
from tests.support_replay import ASKED, drain
from wire import openai_responses_stored as stored
from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.completion import fold
from wire.dialect import (
    ClientDialect,
    ClientError,
    Head,
    ProviderDialect,
    RelayDialect,
    Reply,
    Target,
)
from wire.events import Fault
from wire.eventstream import EventStreamDecoder, EventStreamError
from wire.gemini import PROVIDER, GeminiClient, Route
from wire.mistral import Mistral
from wire.ndjson import NdjsonDecoder, NdjsonError
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_completions import COMPLETIONS
from wire.openai_responses import RESPONSES
from wire.sse import SseDecoder, SseError

Fuzzed = Callable[[bytes], None]

SEEDS_MAX: Final = 24  # A target begins with so many recorded inputs,
SEED_BYTES_MAX: Final = 64 * 1024  # none longer than this: mutating them is slow.
PIECES_MAX: Final = 64
BOUND_BYTES: Final = 4096  # Small bounds, so that fuzzing meets them.

GEMINI: Final = GeminiClient(Route("m", "streamGenerateContent"))
CLIENTS: Final[Mapping[str, ClientDialect]] = {
    "anthropic": MESSAGES,
    "chat": CHAT,
    "completions": COMPLETIONS,
    "gemini": GEMINI,
    "responses": RESPONSES,
}
PROVIDERS: Final[Mapping[str, ProviderDialect]] = {
    "anthropic": MESSAGES,
    "chat": CHAT,
    "cohere": Cohere(),
    "completions": COMPLETIONS,
    "converse": Bedrock(),
    "gemini": PROVIDER,
    "invoke": BedrockInvoke(),
    "mistral": Mistral(),
    "ollama": Ollama(),
    "responses": RESPONSES,
}
RELAYS: Final[Mapping[str, RelayDialect]] = {
    "anthropic": MESSAGES,
    "chat": CHAT,
    "completions": COMPLETIONS,
    "gemini": GEMINI,
    "responses": RESPONSES,
}
# Whose recordings a grammar is seeded with, where the family is not its name.
FAMILIES: Final = {"mistral": "chat"}
# A model that Claude's, Amazon's and anybody's rules apply to somewhere.
TARGET: Final = Target("anthropic.claude-sonnet-4-5", flavour="openai-compatible")
REPLY: Final = Reply("01FUZZ", 1_700_000_000, "m")


def pieces(data: bytes) -> Iterator[bytes]:
    """The data in pieces of chance, the same ones for the same data."""
    if not data:
        return
    chance = random.Random(data[0])
    place = 0
    for _ in range(PIECES_MAX):
        size = chance.choice((1, 2, 3, 5, 7, 64, 1024))
        yield data[place : place + size]
        place += size
        if place >= len(data):
            return
    yield data[place:]


# -- framings --------------------------------------------------------------------------


def sse(data: bytes) -> None:
    """Any cut gives the same frames; nothing but SseError comes out."""

    def frames(parts: Iterator[bytes]) -> tuple[list[object], bool]:
        decoder = SseDecoder(line_bytes_max=BOUND_BYTES, event_bytes_max=BOUND_BYTES)
        found: list[object] = []
        try:
            for part in parts:
                found += decoder.feed(part)
        except SseError:
            pass
        return found, decoder.error is not None

    whole, whole_failed = frames(iter((data,)))
    cut, cut_failed = frames(pieces(data))
    if not (whole_failed or cut_failed):
        assert cut == whole, "a cut changed the frames"


def eventstream(data: bytes) -> None:
    """A frame is whole and right, or an error: never a partial success."""

    def frames(parts: Iterator[bytes]) -> list[object]:
        decoder = EventStreamDecoder(frame_bytes_max=BOUND_BYTES)
        found: list[object] = []
        try:
            for part in parts:
                found += decoder.feed(part)
            decoder.close()
        except EventStreamError:
            found.append("error")
        return found

    assert frames(pieces(data)) == frames(iter((data,))), "a cut changed the frames"


def ndjson(data: bytes) -> None:
    """Any cut gives the same lines; nothing but NdjsonError comes out."""

    def lines(parts: Iterator[bytes]) -> list[object] | None:
        decoder = NdjsonDecoder(line_bytes_max=BOUND_BYTES)
        found: list[object] = []
        try:
            for part in parts:
                found += decoder.feed(part)
            found.append(decoder.close())
        except NdjsonError:
            return None
        return found

    whole, cut = lines(iter((data,))), lines(pieces(data))
    if whole is not None and cut is not None:
        assert cut == whole, "a cut changed the lines"


# -- dialects --------------------------------------------------------------------------


def decode_stream(provider: ProviderDialect, data: bytes) -> None:
    """Garbage is a fault at the end, and the grammar of events always holds."""
    drain(provider.stream_decoder(ASKED, TARGET), pieces(data))


def decode_answer(provider: ProviderDialect, data: bytes) -> None:
    """A whole answer and an error: events or a fault, which every client can tell."""
    events = provider.parse_response(200, {}, data, TARGET)
    faults = [event for event in events if isinstance(event, Fault)]
    status = (400, 401, 429, 500)[data[0] % 4] if data else 500
    faults.append(provider.classify_error(status, {}, data, TARGET))
    for client in CLIENTS.values():
        for fault in faults:
            client.render_error(fault)
            client.error_event(fault)
        if len(faults) == 1:
            client.render_response(fold(events), ASKED, REPLY)


def relay(dialect: RelayDialect, data: bytes) -> None:
    """What is relayed ends once, whatever came."""
    reader = dialect.relay(Head("m", stream=True), TARGET, model="mine")
    ended = False
    for piece in pieces(data):
        reading = reader.feed(piece)
        assert not (ended and reading.out), "bytes after the end"
        ended = ended or reading.done or reading.fault is not None
    reader.finish()
    assert reader.finish().out == b""


def parse_request(client: ClientDialect, data: bytes) -> None:
    """A body is a request or a ClientError; what is one, any provider builds or so."""
    try:
        client.read_head(data, {})
        request = client.parse_request(data, {})
    except ClientError:
        return
    assert request.model or client is GEMINI
    for provider in PROVIDERS.values():
        try:
            provider.build_request(request, TARGET)
        except ClientError:
            continue


def responses_state(data: bytes) -> None:
    """What is kept of a request and its stream, from bodies of any shape."""
    try:
        stored.read_control(data)
        items = stored.input_items(data, "r1")
        stored.render_items(stored.portable(items), stored.Page())
        answer = stored.placeholder(
            data, id="resp_r1", created=1, model="m", background=True
        )
        stored.ended(answer, "failed", data)
    except ClientError:
        pass
    stored.snapshot_in(data)
    stored.after(data, 3)
    stored.output_items(data)


TARGETS: Final[Mapping[str, Fuzzed]] = {
    "sse": sse,
    "eventstream": eventstream,
    "ndjson": ndjson,
    "responses-state": responses_state,
    **{f"stream-{n}": partial(decode_stream, p) for n, p in PROVIDERS.items()},
    **{f"answer-{n}": partial(decode_answer, p) for n, p in PROVIDERS.items()},
    **{f"relay-{n}": partial(relay, d) for n, d in RELAYS.items()},
    **{f"request-{n}": partial(parse_request, c) for n, c in CLIENTS.items()},
}


def seeds(name: str) -> list[bytes]:
    """Recorded inputs of a target, short ones first."""
    kind, _, grammar = name.partition("-")
    family = FAMILIES.get(grammar, grammar)
    match kind:
        case "sse":
            found = [c.body for c in cases("openai-chat", "anthropic", streamed=True)]
        case "eventstream":
            found = [c.body for c in cases("bedrock", streamed=True)]
        case "ndjson":
            found = [c.body for c in cases("ollama-native", streamed=True)]
        case "stream" | "relay":
            found = [c.body for c in cases(family=family, streamed=True)]
        case "answer":
            found = [c.body for c in cases(family=family, streamed=False)]
        case "responses":
            found = _asked("responses") + [
                c.body for c in cases(family="responses", streamed=True)
            ]
        case _:
            found = _asked(family)
    short = sorted((s for s in found if len(s) <= SEED_BYTES_MAX), key=len)
    step = max(1, len(short) // SEEDS_MAX)
    return short[::step][:SEEDS_MAX]


def _asked(family: str) -> list[bytes]:
    return [
        msgspec.json.encode(case.request)
        for case in cases(family=family)
        if isinstance(case.request, dict)
    ]
