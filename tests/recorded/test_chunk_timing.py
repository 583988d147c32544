"""Deltas are relayed when they come, never collected: a word a second goes through.

On a virtual clock: the provider says a word each second, and the client has it within
the same second, from every kind of provider and in every dialect.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from gateway.settings.kinds import GOOGLES
from tests.recorded.bridge import MODEL, config_for, posted, staged
from tests.recorded.conversations import request_of
from tests.recorded.matrix import kinds
from tests.recorded.places import CLIENTS, FAMILIES, Place
from tests.recorded.slow import ARGUMENTS, SPOKEN, WORDS, SlowUpstream
from wire.registry import SPEECHES

# Google's dialect has no pieces of arguments: a call is told when it is whole.
TELLS_PIECES = frozenset({"chat", "responses", "messages"})


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_word_a_second_arrives_a_word_a_second(
    autojump_clock: MockClock, client: str, kind: str
) -> None:
    """Each word, and each piece of a call's arguments, in the second it was said."""
    family = FAMILIES[SPEECHES[kind].dialect_for(CLIENTS[client].name).name]
    spoken = SPOKEN[family]()
    # Of the others, InvokeModel is not asked.
    model = "anthropic.claude-haiku-4-5" if kind == "bedrock-invoke" else "m"
    place = Place(kind, model, project="example-project" if kind in GOOGLES else "")
    target, body = request_of(client, "parallel tools", MODEL, stream=True)
    arrived: list[tuple[int, bytes]] = []
    started = trio.current_time()
    async with (
        staged(config_for(place), {"main": SlowUpstream(spoken)}) as stage,
        posted(stage.gateway, target, body) as call,
    ):
        assert await call.head() == 200
        while piece := await call.chunk():
            arrived.append((round(trio.current_time() - started), piece))

    pieces = ARGUMENTS if spoken.has_call and client in TELLS_PIECES else ()
    expected: list[str] = [*WORDS, *pieces]
    for second, word in enumerate(expected, start=1):
        if not word.isalpha():
            continue  # Quotes and braces are escaped, differently by dialect.
        first = next(at for at, piece in arrived if word.encode() in piece)
        assert first == second, f"{word!r} said at {second} s came at {first} s"
