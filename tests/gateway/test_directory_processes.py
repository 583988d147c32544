"""Two real gateways over one real database: a key that is revoked ends in both."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Final

import httpx
import pytest
import trio

from actors.directory.messages import KeyTerms
from storage.directory import SqlDirectory
from storage.sql.opening import open_database
from tests.support_postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 60.0  # On a busy machine; it takes two.
HEARD_S: Final = 10.0  # The product's promise is 1 s; a busy machine is no failure.

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
DELTA: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},'
    b'"finish_reason":null}]}\n\n'
)


class HangingUpstream:
    """Says one word, and then nothing until it is hung up on."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.hung_up = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += await stream.receive_some()
            self.open += 1
            await stream.send_all(HEAD + b"%x\r\n%b\r\n" % (len(DELTA), DELTA))
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
            self.open -= 1
            if not self.open:
                self.hung_up.set()


def _configure(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "stagedoor.toml").write_text(text)


@asynccontextmanager
async def gateway(
    folder: Path, upstream: HangingUpstream, database: str
) -> AsyncIterator[str]:
    """`stagedoor serve` in a process of its own; its address."""
    _configure(
        folder,
        f"""
[server]
bind = "127.0.0.1:0"
state_dir = "{folder / "state"}"
[database]
{database}
[[providers]]
name = "hanging"
kind = "vllm"
base_url = "http://127.0.0.1:{upstream.port}/v1"
models = ["m"]
[[models]]
name = "fast"
route = ["hanging/m"]
""",
    )
    command = [sys.executable, "-m", "gateway.cli", "serve"]
    config = ["--config", str(folder / "stagedoor.toml")]
    with (folder / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [*command, *config],
            stdout=PIPE,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        assert process.stdout is not None
        said = b""
        with trio.fail_after(START_S):
            while b"serves on http" not in said:
                more = await process.stdout.receive_some()
                assert more, (folder / "log").read_text()[-2000:]
                said += more
        yield said.split(b"serves on ")[1].split()[0].decode()
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def until_known(client: httpx.AsyncClient, url: str, key: str) -> None:
    """Ask until the key is good here."""
    headers = {"authorization": f"Bearer {key}"}
    with trio.fail_after(HEARD_S):
        while (
            await client.get(f"{url}/v1/models", headers=headers)
        ).status_code != 200:
            await trio.lowlevel.checkpoint()


class Streaming:
    """A client that reads a stream to its end."""

    def __init__(self) -> None:
        self.began = trio.Event()
        self.body = b""
        self.ended = False

    async def read(self, client: httpx.AsyncClient, url: str, key: str) -> None:
        body = {
            "model": "fast",
            "stream": True,
            "messages": [{"role": "user", "content": "hi"}],
        }
        headers = {"authorization": f"Bearer {key}"}
        async with client.stream(
            "POST", f"{url}/v1/chat/completions", json=body, headers=headers
        ) as response:
            assert response.status_code == 200
            async for piece in response.aiter_bytes():
                self.body += piece
                self.began.set()
        self.ended = True


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The line of the configuration, and the URL."""
    if request.param == "sqlite":
        yield f'file = "{tmp_path / "shared.sqlite3"}"', ""
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.database()
    yield f'url = "{url}"', url


async def test_a_revoked_key_ends_in_every_process(
    shared: tuple[str, str], tmp_path: Path
) -> None:
    line, url = shared
    upstream = HangingUpstream()
    database = await open_database(url, tmp_path, file=tmp_path / "shared.sqlite3")
    directory = SqlDirectory(database, time.time)
    await directory.declare("site", "shop", {}, by="ops")
    key = (await directory.create_key("shop", KeyTerms(), by="ops")).secret
    try:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_tcp, upstream.serve, 0, host="127.0.0.1")
            )
            upstream.port = listeners[0].socket.getsockname()[1]
            async with (
                gateway(tmp_path / "one", upstream, line) as one,
                gateway(tmp_path / "two", upstream, line) as two,
                httpx.AsyncClient(timeout=60) as client,
            ):
                later = await directory.create_key("shop", KeyTerms(), by="ops")
                for address in (one, two):
                    await until_known(client, address, later.secret)
                streams = [Streaming(), Streaming()]
                async with trio.open_nursery() as readers:
                    for stream, address in zip(streams, (one, two), strict=True):
                        readers.start_soon(stream.read, client, address, key)
                        await stream.began.wait()
                    await directory.revoke_key(key, by="ops")
                    readers.cancel_scope.deadline = trio.current_time() + HEARD_S
                for stream in streams:
                    assert stream.ended
                    assert b"its API key was revoked" in stream.body
                with trio.fail_after(HEARD_S):
                    await upstream.hung_up.wait()
                headers = {"authorization": f"Bearer {key}"}
                for address in (one, two):
                    told = await client.get(f"{address}/v1/models", headers=headers)
                    assert told.status_code == 401
                    await until_known(client, address, later.secret)
            nursery.cancel_scope.cancel()
    finally:
        await database.aclose()
