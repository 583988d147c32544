"""Every client's dialect with every kind of provider, in the same conversations.

The client's request is written by hand in its dialect, the provider's answer is a
recording where there is one (scenes.py). What was asked arrives at the provider, what
the provider said arrives at the client; docs/dialects.md is this table, written out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from tests.recorded import matrix
from tests.recorded.bridge import MODEL, config_for, posted, staged
from tests.recorded.conversations import CONVERSATIONS, request_of
from tests.recorded.matrix import Cell
from tests.recorded.normal import comparable
from tests.recorded.official import FAMILY_OF, reading_of_body
from tests.recorded.places import Place, model_of
from tests.recorded.scenes import Scene
from tests.recorded.upstream import RecordedUpstream, Served
from tests.recordings_reader import read

CELLS = [cell for cell in matrix.cells() if cell.scene is not None]
ENDS_EARLY = frozenset({"mid-stream error", "truncated"})
STATUS = {"throttled": {429, 503, 529}, "context overflow": {400}}


def texts_of(value: Any) -> list[str]:
    """Every string in a JSON value, keys and JSON in strings included."""
    match value:
        case dict():
            inner = [text for one in value.values() for text in texts_of(one)]
            return [*map(str, value), *inner]
        case list():
            return [text for one in value for text in texts_of(one)]
        case str():
            return [value]
        case _:
            return []


@pytest.mark.parametrize("cell", matrix.sampled(CELLS), ids=str)
async def test_a_conversation_holds_between_any_pair(
    autojump_clock: MockClock, cell: Cell
) -> None:
    """What was asked arrives, what was answered comes back, in the client's dialect."""
    scene = cell.scene
    assert scene is not None
    place = Place(cell.kind, model_of(scene.case), project=cell.project)
    upstream = RecordedUpstream(scene.case)
    stream = scene.case.streamed
    target, body = request_of(cell.client, cell.name, MODEL, stream=stream)
    async with (
        staged(config_for(place), {"main": upstream}) as stage,
        posted(stage.gateway, target, body) as call,
    ):
        answer = await call.read()

    assert_asked(upstream.served, cell)
    assert_answered(cell, scene, answer.status, answer.body)


def assert_asked(served: list[Served], cell: Cell) -> None:
    """Every word of the conversation is in what the provider was asked."""
    assert served
    said = " ".join(texts_of(json.loads(served[0].body)))
    for word in CONVERSATIONS[cell.name].words:
        assert word in said, f"{word!r} never arrived"


def assert_answered(cell: Cell, scene: Scene, status: int, body: bytes) -> None:
    """The answer, or the error, as the client's own reader has it."""
    wanted = read(scene.case) if cell.name not in ENDS_EARLY else None
    if wanted is not None and wanted.error is None:
        assert status == 200, body
        told = reading_of_body(FAMILY_OF[cell.client], body, scene.case.streamed)
        assert told.error is None
        assert comparable(told, cell.client) == comparable(wanted, cell.client)
        return
    if status == 200:
        assert cell.name in ENDS_EARLY
        told = reading_of_body(FAMILY_OF[cell.client], body, streamed=True)
        assert told.error is not None, "half an answer looks whole"
        return
    assert status not in {401, 403}
    assert status in STATUS.get(cell.name, set(range(400, 600)))
    assert "error" in json.loads(body)


def test_the_page_is_the_table() -> None:
    """Written anew by `make docs`."""
    page = Path(__file__).parents[2] / "docs" / "dialects.md"
    assert page.read_text() == matrix.page()
