"""Official clients, over a real gateway: event ids, named requests, coming back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.stage import KEY, Stage, staged
from tests.recorded.test_node_clients import CLIENTS, installed
from tests.support_cut import cut_once

ORIGIN = "https://www.acme.example"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed"
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    site = f'allowed_origins = ["{ORIGIN}"]\nresume = "detach"'
    with staged(tmp_path_factory.mktemp("resume"), site=site) as made:
        yield made


def asked(tag: str, deltas: int = 6, gap_us: int = 0) -> list[Any]:
    words = f"bench tag={tag} deltas={deltas} gap_us={gap_us}"
    return [{"role": "user", "content": words}]


def test_openai_reads_events_with_ids_and_a_named_request_once(stage: Stage) -> None:
    with openai.OpenAI(api_key=KEY, base_url=stage.base_url) as client:
        named = {"Idempotency-Key": "question-1"}

        def ask() -> tuple[str, str]:
            text, found = "", ""
            for chunk in client.chat.completions.create(
                model="bench", stream=True, messages=asked("o1"), extra_headers=named
            ):
                found = chunk.id
                if chunk.choices:
                    text += chunk.choices[0].delta.content or ""
            return found, text

        before = stage.seen().requests
        first, second = ask(), ask()
        assert first == second
        assert first[1]
        assert stage.seen().requests == before + 1

        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.chat.completions.create(
                model="bench", messages=asked("o2"), extra_headers=named
            )
        assert refused.value.code == "idempotency_key_reused"

        whole = [
            client.chat.completions.create(
                model="bench",
                messages=asked("o3"),
                extra_headers={"Idempotency-Key": "question-2"},
            )
            for _ in range(2)
        ]
        assert whole[0] == whole[1]
        assert stage.seen().requests == before + 2


def test_anthropic_reads_events_with_ids(stage: Stage) -> None:
    base_url = stage.base_url.removesuffix("/v1")
    with (
        anthropic.Anthropic(api_key=KEY, base_url=base_url) as client,
        client.messages.stream(
            model="bench", max_tokens=100, messages=asked("a1", deltas=9)
        ) as stream,
    ):
        assert stream.get_final_message().stop_reason == "end_turn"


def test_what_an_official_client_left_is_gone_on_with(stage: Stage) -> None:
    """Left in the middle, and had from where it was left: one call upstream."""
    before = stage.seen().requests
    with openai.OpenAI(api_key=KEY, base_url=stage.base_url) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="bench",
            stream=True,
            messages=asked("o4", deltas=60, gap_us=20_000),
        )
        request_id = raw.headers["x-request-id"]
        stream = raw.parse()
        seen = [next(iter(stream)) for _ in range(4)]
        stream.close()
    assert seen

    status, headers, body = stage.ask(
        "GET", f"/v1/streams/{request_id}?starting_after=3"
    )

    assert status == 200
    assert headers["x-stagedoor-replayed"] == "true"
    numbers = [int(n) for n in re.findall(rb"^id: req_\w+\.(\d+)$", body, re.MULTILINE)]
    assert numbers == list(range(4, 4 + len(numbers)))
    assert body.rstrip().endswith(b"data: [DONE]")
    assert stage.seen().requests == before + 1
    stage.until("all is back", stage.is_idle)


def test_curl_redeems_a_grant_and_is_told_when_it_is_used(stage: Stage) -> None:
    body = {
        "origin": ORIGIN,
        "request": {"model": "bench", "stream": True, "messages": asked("c1")},
    }
    _, _, issued = stage.ask("POST", "/v1/stream_grants", body)
    url = json.loads(issued)["url"]

    def curl() -> str:
        command = ["curl", "-sS", "-N", "-w", "%{http_code}", "-H", f"Origin: {ORIGIN}"]
        done = subprocess.run(
            [*command, url], capture_output=True, check=True, timeout=30, text=True
        )
        return done.stdout

    first, second = curl(), curl()
    assert first.endswith("200")
    assert "[DONE]" in first
    assert second.endswith("403")
    assert "grant_used" in second
    assert json.loads(issued)["token"] not in stage.log.read_text()


def test_openai_takes_up_a_response_behind_its_last_event(stage: Stage) -> None:
    """By OpenAI's own way: its id, and the number of the last event it had."""
    before = stage.seen().requests
    words = asked("o5", deltas=40, gap_us=10_000)[0]["content"]
    with openai.OpenAI(api_key=KEY, base_url=stage.base_url) as client:
        stream = client.responses.create(model="bench", input=words, stream=True)
        seen = [next(stream) for _ in range(8)]
        stream.close()
        first = seen[0]
        assert first.type == "response.created"
        rest = list(
            client.responses.retrieve(
                first.response.id,
                stream=True,
                starting_after=seen[-1].sequence_number,
            )
        )

    events = [*seen, *rest]
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(len(numbers)))
    last = events[-1]
    assert last.type == "response.completed"
    text = "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )
    assert text == last.response.output_text
    assert text.count("o5w") == 40
    assert stage.seen().requests == before + 1


def test_openai_tries_a_named_request_again_without_paying_twice(
    stage: Stage,
) -> None:
    """Its own retry, after a line that broke before the answer was there."""
    before = stage.seen().requests
    named = {"Idempotency-Key": "question-3"}
    with cut_once(stage.port, after=1) as port:
        base_url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(api_key=KEY, base_url=base_url, max_retries=2) as client:
            answer = client.chat.completions.create(
                model="bench", messages=asked("o6"), extra_headers=named
            )
    assert "o6" in (answer.choices[0].message.content or "")
    assert stage.seen().requests == before + 1


# -- JavaScript ------------------------------------------------------------------------


def node(stage: Stage, words: str, *cases: dict[str, str]) -> list[dict[str, Any]]:
    installed()
    lines = [
        json.dumps({"id": str(place), "model": "bench", **one})
        for place, one in enumerate(cases)
    ]
    done = subprocess.run(
        ["node", str(CLIENTS / "resume.mjs")],
        input="".join(f"{line}\n" for line in lines),
        cwd=CLIENTS,
        env={
            **os.environ,
            "GATEWAY_URL": stage.base_url.removesuffix("/v1"),
            "GATEWAY_KEY": KEY,
            "GATEWAY_PROMPT": words,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_node
@pytest.mark.parametrize("client", ["chat", "whole", "messages", "ai"])
def test_a_javascript_client_that_asks_twice_is_served_once(
    stage: Stage, client: str
) -> None:
    before = stage.seen().requests
    one = {"client": client, "name": f"js-{client}"}
    words = f"bench tag=js{client} deltas=6 gap_us=0"

    first, second = node(stage, words, one, one)

    assert first["held"] == second["held"] | {"id": first["held"]["id"]}
    assert first["held"]["id"] == second["held"]["id"]
    assert f"js{client}" in first["held"]["text"]
    assert stage.seen().requests == before + 1
    # Under another body the name is taken, and the client is told so as an error.
    other = f"bench tag=other{client} deltas=6 gap_us=0"
    [told] = node(stage, other, one)
    assert told["error"]["status"] == 422
    assert stage.seen().requests == before + 1


@needs_node
def test_a_javascript_client_takes_up_a_response_behind_its_last_event(
    stage: Stage,
) -> None:
    before = stage.seen().requests
    words = "bench tag=jsr deltas=40 gap_us=10000"

    [told] = node(stage, words, {"client": "responses", "name": ""})

    held = told["held"]
    assert held["numbers"] == list(range(len(held["numbers"])))
    assert held["types"][-1] == "response.completed"
    assert held["text"].count("jsrw") == 40
    assert stage.seen().requests == before + 1
    stage.until("all is back", stage.is_idle)
