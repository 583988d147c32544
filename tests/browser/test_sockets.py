"""WebSockets from a page, in a real Chromium: login, origin, lanes, cancelling."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.e2e.stage import KEY, Stage, staged
from tests.support_browser import evaluate, pages

WORDS = "bench tag=b1 deltas=12 gap_us=1000"
SLOW = "bench tag=b2 deltas=2000 gap_us=10000"

TALK = """
async ({url, protocols, sends, until}) => {
  const seen = [];
  const socket = new WebSocket(url, protocols);
  return await new Promise((resolve) => {
    const over = (how) => resolve({how, seen, protocol: socket.protocol});
    socket.onopen = () => socket.send(JSON.stringify(sends.shift()));
    socket.onerror = () => over("error");
    socket.onclose = (event) => over(`closed ${event.code}`);
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      seen.push([event.type, event.stream_id ?? null, event.delta ?? null]);
      if (event.type === "response.output_text.delta" && sends.length)
        socket.send(JSON.stringify(sends.shift()));
      if (until.includes(event.type)) over(event.type);
    };
  });
}
"""


@pytest.fixture(scope="module")
def page() -> Generator[str, None, None]:
    with pages({"/": "<title>shop</title>"}) as origin:
        yield f"{origin}/"


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, page: str
) -> Generator[Stage, None, None]:
    folder = tmp_path_factory.mktemp("browser")
    with staged(folder, site=f'allowed_origins = ["{page[:-1]}"]') as made:
        yield made


def talk(page: str, stage: Stage, *sends: dict[str, Any], until: list[str]) -> Any:
    """What a page sees of a socket."""
    return evaluate(
        page,
        TALK,
        {
            "url": f"ws://127.0.0.1:{stage.port}/v1/responses",
            "protocols": ["realtime", f"openai-insecure-api-key.{KEY}"],
            "sends": sends,
            "until": until,
        },
    )


def test_a_page_of_an_allowed_origin_streams_over_a_socket(
    page: str, stage: Stage
) -> None:
    create = {"type": "response.create", "model": "bench", "input": WORDS}
    seen = talk(page, stage, create | {"stream_id": "a"}, until=["response.completed"])

    assert seen["how"] == "response.completed"
    assert seen["protocol"] == "realtime"
    assert {lane for _, lane, _ in seen["seen"]} == {"a"}
    text = "".join(delta for _, _, delta in seen["seen"] if delta)
    assert text.count("b1w") == 12


def test_a_page_stops_an_answer_and_upstream_is_left(page: str, stage: Stage) -> None:
    before = stage.seen().aborted
    create = {"type": "response.create", "model": "bench", "input": SLOW}
    cancel = {"type": "response.cancel"}
    seen = talk(page, stage, create, cancel, until=["response.incomplete"])

    assert seen["how"] == "response.incomplete"
    stage.until("upstream sees it", lambda: stage.seen().aborted == before + 1)


def test_a_page_that_is_closed_ends_its_answers(page: str, stage: Stage) -> None:
    before = stage.seen().aborted
    create = {"type": "response.create", "model": "bench", "input": SLOW}
    talk(page, stage, create, until=["response.output_text.delta"])

    stage.until("upstream sees it", lambda: stage.seen().aborted == before + 1)
    stage.until("everything is back", stage.is_idle)


def test_a_page_of_another_origin_gets_no_socket(stage: Stage) -> None:
    with pages({"/": "<title>evil</title>"}) as origin:
        create = {"type": "response.create", "model": "bench", "input": WORDS}
        seen = talk(f"{origin}/", stage, create, until=["response.completed"])
    assert seen["how"] == "error"
    assert seen["seen"] == []
