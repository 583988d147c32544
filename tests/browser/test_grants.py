"""Grants in a real Chromium: a page streams without a key, once, at its origin."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from tests.e2e.stage import KEY, Stage, staged
from tests.support_browser import evaluate, pages
from tests.support_cut import cut_once

READ = """
async ({url, leaveAfter, options}) => {
  const leave = new AbortController();
  let text = '', reads = 0, status = 0, headers = {};
  try {
    const answer = await fetch(url, {...options, signal: leave.signal});
    status = answer.status;
    for (const name of ['x-request-id', 'x-stagedoor-replayed', 'cache-control'])
      headers[name] = answer.headers.get(name);
    const reader = answer.body.getReader(), decoder = new TextDecoder();
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      reads += 1;
      text += decoder.decode(value, {stream: true});
      if (leaveAfter && reads >= leaveAfter) { leave.abort(); break; }
    }
  } catch (error) {
    return {error: error.name, status, text, reads, headers};
  }
  return {status, text, reads, headers};
}
"""

SOURCE = """
async ({url}) => new Promise((resolve) => {
  const seen = [], source = new EventSource(url);
  let opened = 0;
  source.onopen = () => { opened += 1; };
  source.onmessage = (event) => seen.push([event.lastEventId, event.data]);
  source.onerror = () => {
    // After a good end it comes back, is told 204, and stays away.
    if (source.readyState === EventSource.CLOSED) resolve({opened, seen});
  };
})
"""


@pytest.fixture(scope="module")
def page() -> Generator[str, None, None]:
    with pages({"/": "<title>shop</title>"}) as origin:
        yield f"{origin}/"


@pytest.fixture(scope="module")
def foreign() -> Generator[str, None, None]:
    with pages({"/": "<title>thief</title>"}) as origin:
        yield f"{origin}/"


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, page: str
) -> Generator[Stage, None, None]:
    folder = tmp_path_factory.mktemp("grants")
    site = f'allowed_origins = ["{page[:-1]}"]\nresume = "detach"'
    with staged(folder, site=site) as made:
        yield made


def body(tag: str, deltas: int, gap_us: int) -> dict[str, Any]:
    words = f"bench tag={tag} deltas={deltas} gap_us={gap_us}"
    asked = [
        {"role": "system", "content": "secret"},
        {"role": "user", "content": words},
    ]
    return {"model": "bench", "stream": True, "messages": asked}


def granted(stage: Stage, page: str, tag: str, *, deltas: int, gap_us: int) -> str:
    asked = {"origin": page[:-1], "request": body(tag, deltas, gap_us)}
    status, _, raw = stage.ask("POST", "/v1/stream_grants", asked)
    assert status == 201, raw
    url = json.loads(raw)["url"]
    assert isinstance(url, str)
    return url


def ids(text: str) -> list[int]:
    return [
        int(line.rpartition(".")[2])
        for line in text.splitlines()
        if line.startswith("id: ")
    ]


def test_a_page_streams_by_its_grant_and_only_once(stage: Stage, page: str) -> None:
    url = granted(stage, page, "g1", deltas=20, gap_us=20_000)

    answer = evaluate(page, READ, {"url": url})
    again = evaluate(page, READ, {"url": url})

    assert answer["status"] == 200
    assert answer["reads"] > 5  # As they came, not all at the end.
    assert "[DONE]" in answer["text"]
    assert "secret" not in answer["text"]
    assert answer["headers"]["x-request-id"].startswith("req_")
    assert answer["headers"]["cache-control"] == "no-store, no-transform"
    assert again["status"] == 403
    assert json.loads(again["text"])["error"]["code"] == "grant_used"


def test_another_origins_page_gets_nothing_to_read(
    stage: Stage, page: str, foreign: str
) -> None:
    url = granted(stage, page, "g2", deltas=5, gap_us=0)

    stolen = evaluate(foreign, READ, {"url": url})
    mine = evaluate(page, READ, {"url": url})

    assert stolen["error"] == "TypeError"
    assert mine["status"] == 200


def test_a_page_comes_back_for_the_rest_and_may_end_it(stage: Stage, page: str) -> None:
    url = granted(stage, page, "g3", deltas=40, gap_us=25_000)
    left = evaluate(page, READ, {"url": url, "leaveAfter": 5})
    seen = left["text"][: left["text"].rindex("\n\n") + 2]

    rest = evaluate(page, READ, {"url": f"{url}?starting_after={ids(seen)[-1]}"})

    assert rest["headers"]["x-stagedoor-replayed"] == "true"
    numbers = ids(seen) + ids(rest["text"])
    assert numbers == list(range(len(numbers)))
    assert "[DONE]" in rest["text"]

    endless = granted(stage, page, "g4", deltas=5000, gap_us=20_000)
    evaluate(page, READ, {"url": endless, "leaveAfter": 2})
    over = evaluate(
        page, READ, {"url": f"{endless}/cancel", "options": {"method": "POST"}}
    )
    assert json.loads(over["text"])["status"] == "stopping"
    stage.until("all is back", stage.is_idle)


def test_an_event_source_gets_every_event_once_and_stays_away_at_the_end(
    stage: Stage, page: str
) -> None:
    url = granted(stage, page, "g5", deltas=8, gap_us=5000)

    told = evaluate(page, SOURCE, {"url": url})

    numbers = [int(place.rpartition(".")[2]) for place, _ in told["seen"]]
    assert numbers == list(range(len(numbers)))
    assert told["seen"][-1][1] == "[DONE]"
    assert told["opened"] == 1


def test_an_event_source_whose_line_breaks_comes_back_by_itself(
    stage: Stage, page: str
) -> None:
    """With the id of its last event: every event once, for one call upstream."""
    url = granted(stage, page, "g7", deltas=60, gap_us=20_000)
    before = stage.seen().requests
    with cut_once(stage.port, after=4_000) as port:
        told = evaluate(
            page, SOURCE, {"url": url.replace(f":{stage.port}", f":{port}")}
        )

    numbers = [int(place.rpartition(".")[2]) for place, _ in told["seen"]]
    assert numbers == list(range(len(numbers)))
    assert told["seen"][-1][1] == "[DONE]"
    text = "".join(data for _, data in told["seen"])
    assert all(f"g7w{number}@" in text for number in range(60))
    assert told["opened"] == 2
    assert stage.seen().requests == before + 1
    stage.until("all is back", stage.is_idle)


def test_a_page_with_a_key_of_its_own_passes_its_preflight(
    stage: Stage, page: str, foreign: str
) -> None:
    options = {
        "method": "POST",
        "headers": {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
        },
        "body": json.dumps(body("g6", 5, 0)),
    }
    asked = {"url": f"{stage.base_url}/chat/completions", "options": options}

    answer = evaluate(page, READ, asked)
    stolen = evaluate(foreign, READ, asked)

    assert answer["status"] == 200
    assert answer["headers"]["x-request-id"].startswith("req_")
    assert "[DONE]" in answer["text"]
    assert stolen["error"] == "TypeError"
