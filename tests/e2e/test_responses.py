"""The official client and the Responses dialect's memory, over real sockets."""

from __future__ import annotations

from collections.abc import Generator

import openai
import pytest

from tests.e2e.stage import KEY, staged

WORDS = "bench tag=t7 deltas=12 gap_us=1000"


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[openai.OpenAI, None, None]:
    with (
        staged(tmp_path_factory.mktemp("gateway")) as stage,
        openai.OpenAI(base_url=stage.base_url, api_key=KEY, max_retries=0) as made,
    ):
        yield made


def test_an_answer_is_retrieved_listed_gone_on_from_and_deleted(
    client: openai.OpenAI,
) -> None:
    first = client.responses.create(model="bench", input=WORDS)
    again = client.responses.retrieve(first.id)
    items = client.responses.input_items.list(first.id)
    more = client.responses.create(
        model="bench", input=WORDS, previous_response_id=first.id
    )
    client.responses.delete(first.id)

    assert again == first
    assert [item.content[0].text for item in items] == [WORDS]  # type: ignore[union-attr]
    assert more.status == "completed"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_stream_is_gone_on_with_behind_a_number(client: openai.OpenAI) -> None:
    with client.responses.stream(model="bench", input=WORDS) as stream:
        events = list(stream)
        final = stream.get_final_response()
    with client.responses.stream(response_id=final.id, starting_after=3) as replay:
        replayed = list(replay)
        again = replay.get_final_response()
    raw = list(client.responses.retrieve(final.id, stream=True, starting_after=5))

    assert again.output_text == final.output_text != ""
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(len(numbers)))
    # The client reads all events to build its snapshot and shows those behind 3.
    assert [e.sequence_number for e in replayed] == numbers[4:]
    assert [e.sequence_number for e in raw] == numbers[6:]


def test_a_background_answer_is_polled_to_its_end(client: openai.OpenAI) -> None:
    queued = client.responses.create(model="bench", input=WORDS, background=True)
    assert queued.status == "queued"
    found = client.responses.retrieve(queued.id)
    while found.status in {"queued", "in_progress"}:
        found = client.responses.retrieve(queued.id)

    assert (found.id, found.status) == (queued.id, "completed")


def test_a_background_answer_is_cancelled(client: openai.OpenAI) -> None:
    slow = "bench tag=t8 deltas=1000 gap_us=50000"
    events = client.responses.create(
        model="bench", input=slow, background=True, stream=True
    )
    name = next(iter(events)).response.id  # type: ignore[union-attr]
    events.close()

    assert client.responses.cancel(name).status == "cancelled"
