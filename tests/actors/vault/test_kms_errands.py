"""A KMS that is asked by processes: the same answers, and none of them in memory."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actors.vault.kms import errands
from actors.vault.kms.errands import ErrandKms
from actors.vault.locked import LockedMemory
from actors.vault.ports import ContextMismatch, KmsDenied, KmsUnavailable

ROOT = Path(__file__).parents[3]
CONTEXT = {"tenant": "acme", "env": "prod", "kek": "acme/prod@1"}
OTHER = {**CONTEXT, "tenant": "other"}
TOKEN = "s.made-up-token"


class Transit(BaseHTTPRequestHandler):
    """A stand-in of the transit engine: keys by blob, each bound to its context."""

    protocol_version = "HTTP/1.1"
    keys: dict[str, tuple[bytes, str]]

    def log_message(self, *_: object) -> None:
        """Nothing to standard error."""

    def do_GET(self) -> None:
        self._send(200, {"sealed": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["x-vault-token"] != TOKEN:
            self._send(403, {"errors": ["permission denied"]})
            return
        action = self.path.rsplit("/", 2)[-2]
        if self.path.endswith("datakey/plaintext/k"):
            self._made(body["context"])
            return
        key, context = self.keys[body["ciphertext"]]
        if context != body["context"]:
            self._send(400, {"errors": ["cipher: message authentication failed"]})
        elif action == "decrypt":
            self._send(200, {"data": {"plaintext": base64.b64encode(key).decode()}})
        else:
            self._made(context, key)

    def _made(self, context: str, key: bytes | None = None) -> None:
        key = key or os.urandom(32)
        blob = f"vault:v1:{len(self.keys)}"
        self.keys[blob] = (key, context)
        plain = base64.b64encode(key).decode()
        self._send(200, {"data": {"ciphertext": blob, "plaintext": plain}})

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(name="transit")
def _transit() -> Generator[tuple[str, dict[str, tuple[bytes, str]]]]:
    keys: dict[str, tuple[bytes, str]] = {}
    handler = type("Bound", (Transit,), {"keys": keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def made(endpoint: str, *, token: str = TOKEN, command: Any = None) -> ErrandKms:
    settings = {
        "kms": "transit", "key_id": "k", "region": "", "endpoint": endpoint,
        "token_env": "TEST_TOKEN",
    }  # fmt: skip
    return ErrandKms(
        "transit",
        settings,
        command=command or (sys.executable, "-m", "gateway.kms_errand"),
        environ={**os.environ, "TEST_TOKEN": token, "PYTHONPATH": str(ROOT)},
        memory=LockedMemory(),
    )


async def test_an_errand_brings_the_key_and_its_wrapping(transit: Any) -> None:
    endpoint, keys = transit
    kms = made(endpoint)
    wrapped = await kms.generate(CONTEXT)
    plain = bytes(wrapped.key.view)
    assert keys[wrapped.blob.decode()][0] == plain
    assert bytes((await kms.unwrap(wrapped.blob, CONTEXT)).view) == plain
    again = await kms.rewrap(wrapped.blob, CONTEXT, CONTEXT)
    assert bytes((await kms.unwrap(again, CONTEXT)).view) == plain
    await kms.health()


async def test_a_fault_is_the_same_as_without_an_errand(transit: Any) -> None:
    endpoint, _ = transit
    kms = made(endpoint)
    wrapped = await kms.generate(CONTEXT)
    with pytest.raises(ContextMismatch):
        await kms.unwrap(wrapped.blob, OTHER)
    with pytest.raises(KmsDenied, match="403"):
        await made(endpoint, token="s.wrong").generate(CONTEXT)
    with pytest.raises(KmsUnavailable, match="cannot be reached"):
        await made("http://127.0.0.1:9").generate(CONTEXT)
    with pytest.raises(KmsDenied, match="TEST_TOKEN is not set"):
        await made(endpoint, token="").generate(CONTEXT)


@pytest.mark.parametrize(
    "command",
    [("/bin/true",), ("/bin/echo", "-n", "K"), ("/no/such/program",)],
    ids=["silent", "half", "missing"],
)
async def test_an_errand_that_goes_wrong_is_a_kms_that_is_not_there(
    command: tuple[str, ...],
) -> None:
    with pytest.raises(KmsUnavailable):
        await made("http://127.0.0.1:9", command=command).generate(CONTEXT)


async def test_an_errand_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its deadline, and when its asker goes; no process stays behind."""
    monkeypatch.setattr(errands, "ERRAND_S", 0.2)
    kms = made("http://127.0.0.1:9", command=("/bin/sleep", "600"))
    with pytest.raises(KmsUnavailable, match="not answered"):
        await kms.generate(CONTEXT)
    monkeypatch.setattr(errands, "ERRAND_S", 60.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kms.generate, CONTEXT)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert "sleep" not in children()


def children() -> set[str]:
    """What runs below this process."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}


@pytest.mark.parametrize(("how", "copies"), [("errand", False), ("direct", True)])
def test_what_the_kms_answered_never_was_in_the_process(
    transit: Any, how: str, copies: bool
) -> None:
    """A process that asked by errand is searched from outside, and one that did not."""
    endpoint, keys = transit
    wrapped = trio.run(made(endpoint).generate, CONTEXT)
    key = keys[wrapped.blob.decode()][0]
    child = [sys.executable, "-m", "tests.actors.vault.errand_child"]
    with subprocess.Popen(
        [*child, endpoint, wrapped.blob.decode(), how],
        cwd=ROOT,
        env={**os.environ, "TEST_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["ready", str(sum(key))]
        # Not all of it: its ends may stand beside others in a buffer that is reused.
        found = occurrences(process.pid, base64.b64encode(key)[4:28])
        process.communicate("", timeout=60)
    assert (found > 0) == copies


def occurrences(pid: int, wanted: bytes) -> int:
    """How often it is in a process's memory, freed blocks included."""
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                found += memory.read(end - start).count(wanted)
            except (OSError, ValueError):
                continue  # Pages that nobody can read: those of memfd_secret.
    return found
