"""Official clients read streams with heartbeats in them."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.e2e.stage import KEY, Stage, staged

# A delta each 300 ms, a heartbeat after 40 to 60 ms of silence.
WORDS = "bench tag=h1 deltas=4 gap_us=300000"
MESSAGES: list[Any] = [{"role": "user", "content": WORDS}]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    folder = tmp_path_factory.mktemp("beats")
    with staged(folder, deadlines="heartbeat_s = 0.06") as made:
        yield made


@pytest.fixture(scope="module")
def resumable(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Stage, None, None]:
    folder = tmp_path_factory.mktemp("ids")
    beats = "heartbeat_s = 0.06"
    told = 'resume = "cancel"\nrouting_headers = true'
    with staged(folder, deadlines=beats, site=told) as made:
        yield made


def test_heartbeats_are_there_and_never_end_an_event(stage: Stage) -> None:
    body = {"model": "bench", "stream": True, "messages": MESSAGES}
    status, headers, answer = stage.ask("POST", "/v1/chat/completions", body)
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert b": hb\n" in answer
    assert b": hb\n\n" not in answer


@pytest.mark.parametrize("site", ["stage", "resumable"])
def test_openais_client_reads_chat_through_heartbeats_and_ids(
    site: str, request: pytest.FixtureRequest
) -> None:
    """A comment with a blank line after an `id:` would be its JSONDecodeError."""
    stage: Stage = request.getfixturevalue(site)
    with openai.OpenAI(base_url=stage.base_url, api_key=KEY) as client:
        stream = client.chat.completions.create(
            model="bench",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    text = "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices
    )
    assert text.count("h1w") == 4
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []


def test_what_a_silent_beginning_left_out_of_the_head_comes_as_comments(
    resumable: Stage,
) -> None:
    body = {"model": "bench", "stream": True, "messages": MESSAGES}
    _, headers, answer = resumable.ask("POST", "/v1/chat/completions", body)
    assert "x-stagedoor-route" not in headers
    assert b": x-stagedoor-route: mock/gpt-mock\n" in answer.partition(b"data: ")[0]


@pytest.mark.parametrize("site", ["stage", "resumable"])
def test_openais_client_reads_responses_through_heartbeats(
    site: str, request: pytest.FixtureRequest
) -> None:
    stage: Stage = request.getfixturevalue(site)
    with (
        openai.OpenAI(base_url=stage.base_url, api_key=KEY) as client,
        client.responses.stream(model="bench", input=WORDS) as stream,
    ):
        types = [event.type for event in stream]
        final = stream.get_final_response()
    assert types[-1] == "response.completed"
    assert final.output_text.count("h1w") == 4


@pytest.mark.parametrize("site", ["stage", "resumable"])
def test_anthropics_client_reads_messages_through_pings(
    site: str, request: pytest.FixtureRequest
) -> None:
    stage: Stage = request.getfixturevalue(site)
    base = stage.base_url.removesuffix("/v1")
    with (
        anthropic.Anthropic(base_url=base, auth_token=KEY) as client,
        client.messages.stream(
            model="bench", max_tokens=64, messages=MESSAGES
        ) as stream,
    ):
        text = "".join(stream.text_stream)
    assert text.count("h1w") == 4


@pytest.mark.parametrize("site", ["stage", "resumable"])
def test_googles_client_reads_through_blank_lines_and_is_shown_no_ids(
    site: str, request: pytest.FixtureRequest
) -> None:
    """Whatever does not begin with "data: " is JSON to it, or a JSONDecodeError."""
    stage: Stage = request.getfixturevalue(site)
    base_url = stage.base_url.removesuffix("/v1")
    options = types.HttpOptions(base_url=base_url)
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    chunks = client.models.generate_content_stream(model="bench", contents=WORDS)
    assert "".join(chunk.text or "" for chunk in chunks).count("h1w") == 4


def test_usage_comes_only_to_who_asks_for_it(stage: Stage) -> None:
    def last(**options: Any) -> list[Any]:
        body = {"model": "bench", "stream": True, "messages": MESSAGES, **options}
        _, _, answer = stage.ask("POST", "/v1/chat/completions", body)
        return [
            json.loads(line[6:])
            for line in answer.split(b"\n")
            if line.startswith(b"data: {")
        ]

    plain = last()
    assert all(chunk.get("usage") is None for chunk in plain)
    assert all(chunk["choices"] for chunk in plain)
    asked = last(stream_options={"include_usage": True})
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] > 0
