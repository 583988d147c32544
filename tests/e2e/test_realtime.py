"""A recorded realtime session over real sockets, to OpenAI's own client."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.e2e.stage import KEY, UPSTREAM_KEY, staged
from tests.gateway.support_realtime import frames

pytestmark = pytest.mark.filterwarnings(
    r"ignore:connect\(\) must be used as a context manager:DeprecationWarning"
)

CASE = "realtime-openai/text-turn"


class Provider:
    """Plays the recording to whoever connects."""

    def __init__(self) -> None:
        self.logins: list[str | None] = []
        self.paths: list[str] = []
        self.heard: list[Any] = []
        self.left = threading.Event()

    def play(self, socket: ServerConnection) -> None:
        """One session."""
        assert socket.request is not None
        self.logins.append(socket.request.headers.get("authorization"))
        self.paths.append(socket.request.path)
        try:
            for frame in frames(CASE):
                if frame["kind"] != "message":
                    continue
                if frame["direction"] == "received":
                    socket.send(json.dumps(frame["data"]))
                else:
                    self.heard.append(json.loads(socket.recv()))
            socket.recv()
        except ConnectionClosed:
            self.left.set()


@contextmanager
def playing() -> Generator[tuple[Provider, int], None, None]:
    """The provider, on a port of the system's choice."""
    provider = Provider()
    with serve(provider.play, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield provider, server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def more(port: int) -> str:
    """A provider and a route for it."""
    return f"""
[[providers]]
name = "voice"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
key_env = "E2E_UPSTREAM_KEY"
models = ["gpt-realtime"]
[[models]]
name = "talk"
route = ["voice/gpt-realtime"]
"""


def test_openais_client_has_a_realtime_session(tmp_path: Path) -> None:
    recorded = [frame for frame in frames(CASE) if frame["kind"] == "message"]
    with (
        playing() as (provider, port),
        staged(tmp_path, more(port)) as stage,
        openai.OpenAI(base_url=stage.base_url, api_key=KEY) as client,
    ):
        with client.realtime.connect(model="talk") as connection:
            for frame in recorded:
                if frame["direction"] == "received":
                    assert json.loads(connection.recv_bytes()) == frame["data"]
                else:
                    connection.send(frame["data"])
        assert provider.left.wait(10)
        stage.until("everything is back", stage.is_idle)
        log = stage.log.read_bytes()

    assert provider.logins == [f"Bearer {UPSTREAM_KEY}"]
    assert provider.paths == ["/v1/realtime?model=gpt-realtime"]
    sent = [frame["data"] for frame in recorded if frame["direction"] == "sent"]
    assert provider.heard == sent
    assert b'"dialect":"openai_realtime"' in log
    assert b'"outcome":"ok"' in log
    assert b'"tokens_in":16,"tokens_out":24' in log
    assert UPSTREAM_KEY.encode() not in log
