"""What OpenAI's and Anthropic's clients get of the answers of four providers.

The bytes for the client are read back by that dialect's own decoder and held to the
independent reading of the provider's bytes: nothing may be lost on the way.
"""

from __future__ import annotations

import pytest

from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read
from tests.support_recordings import cases, cuts, names
from tests.support_replay import ASKED, assert_calls, drain
from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.completion import fold
from wire.dialect import ClientDialect, ProviderDialect, Reply, Target, finish_reason
from wire.events import Event, Fault
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.relay import Translation
from wire.request import Text

PROVIDERS: dict[str, ProviderDialect] = {
    "bedrock": Bedrock(),
    "bedrock-invoke": BedrockInvoke(),
    "cohere": Cohere(),
    "mistral": Mistral(),
    "ollama-native": Ollama(),
}
STREAMS = cases(*PROVIDERS, streamed=True, ok=True)
CLIENTS: dict[str, ClientDialect] = {"openai": CHAT, "anthropic": MESSAGES}
REPLY = Reply("01TEST", 1_700_000_000, "mine")


def target_of(one: Case) -> Target:
    return Target("us.anthropic.claude" if "anthropic" in (one.url or "") else "model")


def told(one: Case, client: ClientDialect, pieces: list[bytes]) -> bytes:
    """What the client reads, and that the readings on the way add up."""
    decoder = PROVIDERS[one.provider].stream_decoder(ASKED, target_of(one))
    translation = Translation(decoder, client.stream_encoder(ASKED, REPLY))
    readings = [translation.feed(piece) for piece in pieces]
    readings.append(translation.finish())

    assert not any(reading.fault for reading in readings)
    assert readings[-1].done or any(reading.done for reading in readings)
    # The first byte that goes out commits the stream: it must not be a mere greeting.
    first = next(reading for reading in readings if reading.out)
    assert first.content or first.done
    return b"".join(reading.out for reading in readings)


def read_back(client: str, body: bytes) -> list[Event]:
    """The client's bytes, through the decoder of that dialect's provider side."""
    reader = CHAT if client == "openai" else MESSAGES
    events = drain(reader.stream_decoder(ASKED, Target("mine")), [body])
    assert not any(isinstance(event, Fault) for event in events)
    return events


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("one", STREAMS, ids=names(STREAMS))
def test_nothing_is_lost_on_the_way_to_a_client(one: Case, client: str) -> None:
    reading: Reading = read(one)
    bodies = {
        told(one, CLIENTS[client], pieces) for pieces in cuts(one.body, 3).values()
    }

    for body in bodies:
        completion = fold(read_back(client, body))
        (choice,) = completion.choices
        texts = [part.text for part in choice.parts if isinstance(part, Text)]
        assert "".join(texts) == reading.text
        assert_calls(choice, reading)
        assert choice.finish is not None
        if reading.finish is not None:
            calls = len(reading.tool_calls)
            assert finish_reason(choice.finish, calls) == reading.finish
        if client == "anthropic" and reading.usage is not None:
            assert completion.usage is not None
            assert completion.usage.completion == reading.usage.completion
            assert completion.usage.prompt == reading.usage.prompt


def test_the_streams_are_there() -> None:
    assert len(STREAMS) >= 38
