"""What one delta costs on its way from each provider's dialect to each client's.

    python -m bench.dialects              # a table, µs a delta
    python -m bench.dialects --markdown
    python -m bench.dialects --json

Codecs alone, no sockets: a feed holds one delta, as providers send them. Where both
sides speak one dialect bytes pass; all other cells are translations. The figure is the
median of the rounds. Exits 1 when a cell is over its bound: 15 µs passed through, 40 µs
translated.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from bench import wire as samples
from bench.wire import HEAD, REPLY, REQUEST, cost_us
from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.dialect import (
    ClientDialect,
    ProviderDialect,
    Reader,
    RelayDialect,
    Target,
)
from wire.eventstream import event
from wire.gemini import PROVIDER, GeminiClient, Route
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_completions import COMPLETIONS
from wire.openai_responses import RESPONSES
from wire.relay import Translation

ROUNDS: Final = 5
RELAYED_US_MAX: Final = 15.0
TRANSLATED_US_MAX: Final = 40.0

COHERE_OPENING: Final = (
    b"event: message-start\n"
    b'data: {"id":"x","type":"message-start","delta":{"message":{"role":"assistant",'
    b'"content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}\n\n'
    b"event: content-start\n"
    b'data: {"type":"content-start","index":0,"delta":{"message":{"content":'
    b'{"type":"text","text":""}}}}\n\n'
)
COHERE_DELTA: Final = (
    b"event: content-delta\n"
    b'data: {"type":"content-delta","index":0,"delta":{"message":{"content":'
    b'{"text":" who"}}}}\n\n'
)
MISTRAL_DELTA: Final = (
    b'data: {"id":"b7a5","object":"chat.completion.chunk","created":1755097696,'
    b'"model":"mistral-large-latest","choices":[{"index":0,"delta":{"content":" who"},'
    b'"finish_reason":null}],"p":"abcdefg"}\n\n'
)
OLLAMA_DELTA: Final = (
    b'{"model":"llama3.2","created_at":"2026-11-24T09:00:00.123456Z","message":'
    b'{"role":"assistant","content":" who"},"done":false}\n'
)
COMPLETIONS_DELTA: Final = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1755097696,"model":'
    b'"gpt-3.5-turbo-instruct","choices":[{"text":" who","index":0,"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)
CONVERSE_OPENING: Final = event("messageStart", b'{"role":"assistant","p":"abcdef"}')
CONVERSE_DELTA: Final = event(
    "contentBlockDelta",
    b'{"contentBlockIndex":0,"delta":{"text":" who"},"p":"abcdefghijklmnop"}',
)


def _invoked(frames: bytes) -> bytes:
    """Anthropic's events as InvokeModel carries them, one frame each."""
    return b"".join(
        event(
            "chunk",
            msgspec.json.encode({"bytes": frame.split(b"data: ", 1)[1].strip()}),
        )
        for frame in frames.split(b"\n\n")
        if frame
    )


class Source(Struct, frozen=True):
    """A provider's dialect, with what it sends."""

    dialect: ProviderDialect
    opening: bytes
    delta: bytes
    target: Target = samples.TARGET


SOURCES: Final[dict[str, Source]] = {
    "chat": Source(CHAT, b"", samples.CHAT_DELTA),
    "completions": Source(COMPLETIONS, b"", COMPLETIONS_DELTA),
    "responses": Source(RESPONSES, b"", samples.RESPONSES_DELTA),
    "anthropic": Source(MESSAGES, samples.ANTHROPIC_OPENING, samples.ANTHROPIC_DELTA),
    "gemini": Source(PROVIDER, b"", samples.GEMINI_DELTA),
    "converse": Source(Bedrock(), CONVERSE_OPENING, CONVERSE_DELTA),
    "invoke": Source(
        BedrockInvoke(),
        _invoked(samples.ANTHROPIC_OPENING),
        _invoked(samples.ANTHROPIC_DELTA),
        Target("anthropic.claude-sonnet-4-5"),
    ),
    "cohere": Source(Cohere(), COHERE_OPENING, COHERE_DELTA),
    "mistral": Source(Mistral(), b"", MISTRAL_DELTA),
    "ollama": Source(Ollama(), b"", OLLAMA_DELTA),
}
CLIENTS: Final[dict[str, ClientDialect]] = {
    "chat": CHAT,
    "completions": COMPLETIONS,
    "responses": RESPONSES,
    "anthropic": MESSAGES,
    "gemini": GeminiClient(Route("m", "streamGenerateContent")),
}
RELAYS: Final[dict[str, RelayDialect]] = {
    "chat": CHAT,
    "completions": COMPLETIONS,
    "responses": RESPONSES,
    "anthropic": MESSAGES,
    "gemini": GeminiClient(Route("m", "streamGenerateContent")),
}


class Cell(Struct, frozen=True):
    """One pair: the rounds in microseconds a delta."""

    provider: str
    client: str
    relayed: bool
    rounds: list[float]

    @property
    def us(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    @property
    def over(self) -> bool:
        """Whether it costs more than it may."""
        return self.us > (RELAYED_US_MAX if self.relayed else TRANSLATED_US_MAX)


def reader(source: Source, client: ClientDialect) -> Reader:
    """A fresh translation."""
    return Translation(
        source.dialect.stream_decoder(REQUEST, source.target),
        client.stream_encoder(REQUEST, REPLY),
    )


def measure(rounds: int) -> list[Cell]:
    """Every pair, pairs taking turns within a provider."""
    cells: list[Cell] = []
    for name, source in SOURCES.items():
        for asked, client in CLIENTS.items():
            make: Callable[[], Reader]
            if name == asked:
                make = partial(RELAYS[name].relay, HEAD, source.target, model="mine")
            else:
                make = partial(reader, source, client)
            costs = [
                cost_us(make, source.opening, source.delta, 1) for _ in range(rounds)
            ]
            cells.append(Cell(name, asked, name == asked, costs))
    return cells


def table(cells: list[Cell], *, markdown: bool) -> str:
    """Rows are providers, columns clients; relays are marked."""
    by_pair = {(cell.provider, cell.client): cell for cell in cells}
    head = ["provider → client", *CLIENTS]
    rows = [
        [
            name,
            *(
                f"{by_pair[name, client].us:.1f}"
                f"{' passed' if by_pair[name, client].relayed else ''}"
                for client in CLIENTS
            ),
        ]
        for name in SOURCES
    ]
    if markdown:
        lines = ["|".join(("", *row, "")) for row in (head, ["---"] * len(head), *rows)]
    else:
        lines = ["".join(f"{word:<18}" for word in row) for row in (head, *rows)]
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    spread = max((max(c.rounds) - min(c.rounds)) / c.us for c in cells)
    note = f"µs a delta, median of {len(cells[0].rounds)}; {machine}; "
    return "\n".join((*lines, "", f"{note}widest spread {spread:.0%} of a median"))


def main() -> int:
    """Measure, tell, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cells = measure(asked.rounds)
    if asked.json:
        print(msgspec.json.encode(cells).decode())
    else:
        print(table(cells, markdown=asked.markdown))
    over = [cell for cell in cells if cell.over]
    for cell in over:
        print(
            f"over its bound: {cell.provider} to {cell.client}, {cell.us:.1f} µs",
            file=sys.stderr,
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
