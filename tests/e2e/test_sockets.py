"""WebSockets over real sockets: OpenAI's own client, and less polite ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.stage import KEY, Stage, staged

# openai 3.54 calls websockets 17 in a way that the latter is about to drop.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:connect\(\) must be used as a context manager:DeprecationWarning"
)

WORDS = "bench tag=w1 deltas=12 gap_us=1000"
SLOW = "bench tag=w2 deltas=1000 gap_us=20000"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    with staged(tmp_path_factory.mktemp("sockets")) as made:
        yield made


@pytest.fixture
def client(stage: Stage) -> Generator[openai.OpenAI, None, None]:
    with openai.OpenAI(base_url=stage.base_url, api_key=KEY, max_retries=0) as made:
        yield made


def raw(stage: Stage, path: str = "/v1/responses", **more: Any) -> ClientConnection:
    """A socket without OpenAI's client around it."""
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"ws://127.0.0.1:{stage.port}{path}"
    return connect(url, additional_headers=headers, **more)


def until_closed(socket: ClientConnection) -> Generator[str | bytes, None, None]:
    """What still comes."""
    with suppress(ConnectionClosed):
        while True:
            yield socket.recv()


def test_the_official_client_connects_creates_and_goes_on(
    client: openai.OpenAI,
) -> None:
    with client.responses.connect() as connection:
        texts, previous = [], ""
        for _ in range(2):
            more: dict[str, Any] = (
                {"previous_response_id": previous} if previous else {}
            )
            connection.response.create(model="bench", input=WORDS, store=False, **more)
            text = ""
            for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                elif event.type == "response.completed":
                    previous = event.response.id
                    assert event.response.output_text == text
                    break
            texts.append(text)
        # Each delta says when the upstream wrote it.
        assert [text.count("w1w") for text in texts] == [12, 12]


def test_the_official_client_has_lanes_warm_ups_and_errors(
    client: openai.OpenAI,
) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="bench", input="long", generate=False)
        warm = [connection.recv() for _ in range(3)][-1]
        assert warm.type == "response.completed"
        assert warm.response.output == []
        for lane in ("a", "b"):
            connection.response.create(
                model="bench",
                input=WORDS,
                stream_id=lane,
                previous_response_id=warm.response.id,
            )
        ended: set[str | None] = set()
        while len(ended) < 2:
            event = connection.recv()
            if event.type == "response.completed":
                ended.add(event.stream_id)
        assert ended == {"a", "b"}
        connection.response.create(model="unknown", input=WORDS, stream_id="c")
        error = connection.recv()
        assert error.type == "error"
        assert (error.status, error.stream_id) == (404, "c")
        assert error.error.code == "model_not_found"
        assert error.error.headers is not None
        assert error.error.headers["x-request-id"].startswith("req_")


async def _asynchronously(stage: Stage) -> str:
    async with (
        openai.AsyncOpenAI(base_url=stage.base_url, api_key=KEY) as client,
        client.responses.connect() as connection,
    ):
        await connection.response.create(model="bench", input=WORDS)
        async for event in connection:
            if event.type == "response.completed":
                return event.response.output_text
    raise AssertionError("the socket ended first")


def test_the_official_asynchronous_client_connects_too(stage: Stage) -> None:
    assert asyncio.run(_asynchronously(stage)) != ""


def test_a_wrong_key_is_a_401_in_the_handshake(stage: Stage) -> None:
    with (
        openai.OpenAI(base_url=stage.base_url, api_key="sk-wrong") as wrong,
        pytest.raises(InvalidStatus) as caught,
        wrong.responses.connect(),
    ):
        pass
    assert caught.value.response.status_code == 401
    body = json.loads(caught.value.response.body or b"{}")
    assert body["error"]["code"] == "invalid_api_key"


def test_cancelling_a_lane_frees_upstream(stage: Stage) -> None:
    with raw(stage) as socket:
        before = stage.seen().aborted
        create = {"type": "response.create", "model": "bench", "input": SLOW}
        socket.send(json.dumps(create))
        while json.loads(socket.recv())["type"] != "response.output_text.delta":
            pass
        socket.send(json.dumps({"type": "response.cancel"}))
        last = {"type": ""}
        while last["type"] != "response.incomplete":
            last = json.loads(socket.recv())
        stage.until("upstream sees it", lambda: stage.seen().aborted == before + 1)
    stage.until("everything is back", stage.is_idle)


def test_leaving_in_the_middle_gives_everything_back(stage: Stage) -> None:
    socket = raw(stage)
    create = {"type": "response.create", "model": "bench", "input": SLOW}
    for lane in "abc":
        socket.send(json.dumps({**create, "stream_id": lane}))
    while json.loads(socket.recv())["type"] != "response.output_text.delta":
        pass
    socket.socket.close()
    stage.until("everything is back", stage.is_idle)


def test_nothing_is_compressed_and_what_is_too_long_is_closed_with_1009(
    stage: Stage,
) -> None:
    with raw(stage, compression="deflate") as socket:
        assert socket.response is not None
        assert "sec-websocket-extensions" not in socket.response.headers
        with suppress(ConnectionClosed):
            socket.send("x" * (33 * 2**20))
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1009


def test_broken_frames_are_closed_with_their_code(stage: Stage) -> None:
    for frame, code in (
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),  # Not UTF-8.
        (b"\x83\x80\0\0\0\0", 1002),  # An opcode that is none.
    ):
        with raw(stage) as socket:
            socket.socket.sendall(frame)
            with pytest.raises(ConnectionClosed):
                socket.recv()
            assert socket.close_code == code


def test_a_stop_closes_with_1001(tmp_path_factory: pytest.TempPathFactory) -> None:
    with staged(tmp_path_factory.mktemp("stop")) as stage, raw(stage) as socket:
        create = {"type": "response.create", "model": "bench", "input": WORDS}
        socket.send(json.dumps(create))
        assert json.loads(socket.recv())["type"] == "response.created"
        assert stage.stop() == 0
        types = [json.loads(message)["type"] for message in until_closed(socket)]
        assert types[-1] == "response.completed"
        assert socket.close_code == 1001
