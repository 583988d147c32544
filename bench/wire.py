"""What one delta costs in the codecs: relays and translations, no sockets.

    python -m bench.wire            # a table
    python -m bench.wire --json

Deltas are recorded ones; a feed holds one delta, as providers send them, or twenty, as
they arrive after a stall. The figure is the median of the rounds with their spread.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import msgspec
from msgspec import Struct

from wire.anthropic import Messages
from wire.dialect import (
    ClientDialect,
    Head,
    ProviderDialect,
    Reader,
    Reading,
    Reply,
    Target,
)
from wire.gemini import GeminiProvider
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.relay import Translation
from wire.request import ChatRequest, Message, Text

ROUNDS = 7
DELTAS = 20_000  # A round of 40 to 200 ms: long enough for the clock, short to wait.

CHAT_DELTA = (
    b'data: {"id":"chatcmpl-C47NIUDLXH93f4b8D5Qb9yz4ypfpq","object":'
    b'"chat.completion.chunk","created":1755097696,"model":"gpt-3.5-turbo-0125",'
    b'"service_tier":"default","system_fingerprint":null,"choices":[{"index":0,'
    b'"delta":{"content":" who"},"logprobs":null,"finish_reason":null}],'
    b'"obfuscation":"MIY6"}\n\n'
)
RESPONSES_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":4,"item_id":'
    b'"msg_05500b38c2cd9bfc00691c7c9d222481","output_index":0,"content_index":0,'
    b'"delta":" who","logprobs":[],"obfuscation":"pGZ5xw6vHtG"}\n\n'
)
ANTHROPIC_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":" who"} }\n\n'
)
ANTHROPIC_OPENING = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":'
    b'"assistant","model":"claude","content":[],"stop_reason":null,"usage":'
    b'{"input_tokens":9,"output_tokens":1}}}\n\n'
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\n'
)
GEMINI_DELTA = (
    b'data: {"candidates": [{"content": {"parts": [{"text": " who"}],"role": "model"}'
    b',"index": 0}],"usageMetadata": {"promptTokenCount": 9,"totalTokenCount": 9},'
    b'"modelVersion": "gemini-2.5-flash","responseId": "x"}\r\n\r\n'
)

MESSAGES = Messages()
HEAD = Head("m", stream=True)
TARGET = Target(model="m", flavour="openai")
REQUEST = ChatRequest("m", (Message("user", (Text("hi"),)),), "bench", stream=True)
REPLY = Reply(id="x", created=1, model="m")


def translation(provider: ProviderDialect, client: ClientDialect) -> Reader:
    """A fresh translation between two dialects."""
    return Translation(
        provider.stream_decoder(REQUEST, TARGET), client.stream_encoder(REQUEST, REPLY)
    )


def pairs() -> list[tuple[str, Callable[[], Reader], bytes, bytes]]:
    """Name, reader, opening and delta of every pair that is measured."""
    found: list[tuple[str, Callable[[], Reader], bytes, bytes]] = [
        ("openai chat, relay", lambda: CHAT.relay(HEAD, TARGET), b"", CHAT_DELTA),
        (
            "openai chat, relay, model renamed",
            lambda: CHAT.relay(HEAD, TARGET, model="mine"),
            b"",
            CHAT_DELTA,
        ),
        (
            "openai responses, relay",
            lambda: RESPONSES.relay(HEAD, TARGET),
            b"",
            RESPONSES_DELTA,
        ),
    ]
    providers: list[tuple[str, ProviderDialect, bytes, bytes]] = [
        ("openai chat", CHAT, b"", CHAT_DELTA),
        ("openai responses", RESPONSES, b"", RESPONSES_DELTA),
    ]
    clients: list[tuple[str, ClientDialect]] = [
        ("openai chat", CHAT),
        ("openai responses", RESPONSES),
    ]
    found.append(
        (
            "anthropic, relay",
            lambda: MESSAGES.relay(HEAD, TARGET),
            ANTHROPIC_OPENING,
            ANTHROPIC_DELTA,
        )
    )
    providers += [
        ("anthropic", MESSAGES, ANTHROPIC_OPENING, ANTHROPIC_DELTA),
        ("gemini", GeminiProvider(), b"", GEMINI_DELTA),
    ]
    clients += [("anthropic", MESSAGES)]
    for told, provider, opening, delta in providers:
        for asked, client in clients:
            if told != asked:
                found.append(
                    (
                        f"{told} to {asked}",
                        partial(translation, provider, client),
                        opening,
                        delta,
                    )
                )
    return found


def cost_us(make: Callable[[], Reader], opening: bytes, delta: bytes, n: int) -> float:
    """Microseconds a delta, when a feed holds `n` of them."""
    reader = make()
    if opening:
        reader.feed(opening)
    feed, data, times = reader.feed, delta * n, DELTAS // n
    reading = Reading()
    began = time.perf_counter()
    for _ in range(times):
        reading = feed(data)
    took = time.perf_counter() - began
    assert reading.fault is None, reading.fault
    assert reading.output_chars == 4 * n
    return took / times / n * 1e6


class Row(Struct):
    """One pair, all rounds in microseconds."""

    pair: str
    one: list[float]
    twenty: list[float]

    @classmethod
    def measure(
        cls, name: str, make: Callable[[], Reader], opening: bytes, delta: bytes
    ) -> "Row":
        """All rounds of one pair."""
        costs = {
            n: [cost_us(make, opening, delta, n) for _ in range(ROUNDS)]
            for n in (1, 20)
        }
        return cls(name, costs[1], costs[20])


def shown(costs: list[float]) -> str:
    return f"{statistics.median(costs):.2f} ({min(costs):.2f}..{max(costs):.2f})"


def main() -> None:
    """Measure every pair and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [Row.measure(*pair) for pair in pairs()]
    if asked.json:
        told = {"python": platform.python_version(), "us_a_delta": rows}
        print(msgspec.json.encode(told).decode())
        return
    print(f"{'µs a delta: median (spread)':<36}{'one a feed':>22}{'twenty a feed':>22}")
    for row in rows:
        print(f"{row.pair:<36}{shown(row.one):>22}{shown(row.twenty):>22}")


if __name__ == "__main__":
    main()
