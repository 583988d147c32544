"""A provider's key is rotated under load by a real gateway: no request is lost.

The provider is one TLS server with OpenAI's chat and OpenAI's key API, and one list of
keys that are good: a deleted key gets its 401 at once.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from bench.lib import gateways, procs
from tests.gateway.support_tls import authority, tls_pair

KEY = "sk-acme-made-up-0001"
FIRST, ADMIN = "sk-first-by-hand-0001", "sk-admin-that-mints-0001"
WAIT_MAX_S = 40.0
CLIENTS = 4


@attrs.define
class Keys:
    """What the provider knows. Guarded by `lock`."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    good: dict[str, str] = attrs.field(factory=lambda: {FIRST: "", ADMIN: ""})
    used: list[str] = attrs.field(factory=list)
    refused: int = 0
    deleted: list[str] = attrs.field(factory=list)
    minted: int = 0


class Provider(BaseHTTPRequestHandler):
    """Chat and keys."""

    protocol_version = "HTTP/1.1"
    keys: Keys

    def log_message(self, *_: object) -> None:
        """Nothing to standard error."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        with self.keys.lock:
            status, value = self._decide(key, body)
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _decide(self, key: str, body: bytes) -> tuple[int, Any]:
        keys = self.keys
        if key not in keys.good:
            keys.refused += 1
            return 401, {"error": {"message": "bad key", "code": "invalid_api_key"}}
        place = self.path.partition("?")[0]
        if place == "/v1/models":
            return 200, {"data": []}
        if place.endswith("/service_accounts"):
            if self.command == "GET":
                return 200, {"data": []}
            keys.minted += 1
            made = f"sk-minted-{keys.minted:04}"
            keys.good[made] = f"account-{keys.minted}"
            return 200, {"id": keys.good[made], "api_key": {"value": made}}
        if self.command == "DELETE":
            gone = place.rpartition("/")[2]
            keys.good = {k: i for k, i in keys.good.items() if i != gone}
            keys.deleted.append(gone)
            return 200, {"deleted": True}
        assert json.loads(body)["messages"]
        keys.used.append(key)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "pong"},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        return 200, {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
            "model": "m", "choices": [choice], "usage": usage,
        }  # fmt: skip


@contextmanager
def provider(folder: Path) -> Generator[tuple[int, Keys]]:
    server_tls, _ = tls_pair(folder)
    server_tls.set_alpn_protocols(["http/1.1"])
    keys = Keys()
    handler = type("Bound", (Provider,), {"keys": keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.socket = server_tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def config(folder: Path, port: int, upstream: int, workers: int) -> Path:
    path = folder / "stagedoor.toml"
    path.write_text(
        f"""
[server]
bind = "127.0.0.1:{port}"
state_dir = "{folder / "state"}"
workers = {workers}
[vault]
rotate_overlap_s = 1.0
rotate_watch_s = 1.0
[[sites]]
name = "acme"
keys = ["{KEY}"]
[[providers]]
name = "main"
kind = "openai"
base_url = "https://127.0.0.1:{upstream}/v1"
key = "vault:default"
rotation_key = "vault:admin"
rotation_account = "proj_1"
rotation_url = "https://127.0.0.1:{upstream}"
models = ["m"]
[[models]]
name = "fast"
route = ["main/m"]
"""
    )
    return path


class Load(threading.Thread):
    """One client that asks again and again, on one connection."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.over = over
        self.statuses: list[int] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = {"model": "fast", "messages": [{"role": "user", "content": "ping"}]}
        headers = {"authorization": f"Bearer {KEY}"}
        while not self.over.is_set():
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), headers
            )
            response = connection.getresponse()
            response.read()
            self.statuses.append(response.status)
        connection.close()


def until(what: str, check: Any) -> None:
    end = time.monotonic() + WAIT_MAX_S
    while not check():
        assert time.monotonic() < end, f"not within {WAIT_MAX_S} s: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rotation_under_load_loses_no_request(tmp_path: Path, workers: int) -> None:
    port = procs.free_port()
    with provider(tmp_path) as (upstream, keys):
        path = config(tmp_path, port, upstream, workers)
        env = {**os.environ, "SSL_CERT_FILE": str(authority(tmp_path))}
        log = tmp_path / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [gateways.stagedoor(), "serve", "--config", str(path)],
                stdout=sink, stderr=sink, env=env,
            )  # fmt: skip
        try:
            until("it serves", lambda: b"serves on" in log.read_bytes())
            vault(path, "add", "main", given=FIRST)
            vault(path, "add", "main", "admin", given=ADMIN)
            over = threading.Event()
            load = [Load(port, over) for _ in range(CLIENTS)]
            for one in load:
                one.start()
            until("requests flow", lambda: len(keys.used) > 20)
            for _ in range(2):  # The second one ends a key that was minted.
                before = keys.minted
                vault(path, "rotate", "main", "--mint")
                until("a new key is minted", lambda b=before: keys.minted > b)
                newest = f"sk-minted-{before + 1:04}"
                until("it is used", lambda n=newest: keys.used.count(n) > 20)
                until("it is over", lambda: idle(path))
            over.set()
            for one in load:
                one.join()
        finally:
            process.terminate()
            assert process.wait(WAIT_MAX_S) == 0

    statuses = [status for one in load for status in one.statuses]
    assert len(statuses) > 100
    assert set(statuses) == {200}
    assert keys.refused == 0
    assert keys.deleted == ["account-1"]
    assert set(keys.used) == {FIRST, "sk-minted-0001", "sk-minted-0002"}


def idle(path: Path) -> bool:
    """Whether no rotation is under way."""
    listed = json.loads(vault(path, "list", "--json"))["secrets"]
    return not any(one["rotation"] for one in listed)


def vault(path: Path, *words: str, given: str = "") -> str:
    done = subprocess.run(
        [gateways.stagedoor(), "vault", *words, "--config", str(path)],
        input=f"{given}\n", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
