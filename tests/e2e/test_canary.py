"""Marked secrets and marked people through a real gateway: no trace of any is left.

Success, a provider's error that quotes key and prompt, an answer that breaks off, a
client that is refused; then every output, every file and a core of the process are
searched in every encoding of `support_canary`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

from bench.lib import gateways, procs
from bench.lib.load import Target
from tests.e2e.stage import KEY, WAIT_MAX_S, Stage
from tests.support_canary import forms, traces

SECRETS = {
    "the key of a variable": b"sk-canary-of-the-env-7Qz1",
    "the sealed key": b"sk-canary-that-is-sealed-8Xw2",
    "the site's key": KEY.encode(),
}
PEOPLE = {
    "the prompt": b"my canary sings at 5 in Wembley?",
    "the answer": b"the canary answered +44 20 7946",
    "the user": b"user-canary-of-acme-31337",
    "the e-mail": b"canary+bird@example.com",
    "the client's address": b"198.51.100.77",
}
CHAT = "/v1/chat/completions"
ALL = {**SECRETS, **PEOPLE}


class Echoing(BaseHTTPRequestHandler):
    """A provider that quotes what it is given, in every way that it can fail."""

    def do_POST(self) -> None:
        """Fail as the prompt's last word says, or answer."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        quoted = f"{self.headers['authorization']} said {body}"
        for word, status in (
            ("E400", 400),
            ("E401", 401),
            ("E429", 429),
            ("E500", 500),
        ):
            if word in body:
                error = {"message": quoted, "type": quoted, "code": quoted[:60]}
                return self._send(status, json.dumps({"error": error}).encode())
        if "NOJSON" in body:
            return self._send(200, quoted.encode())
        said = PEOPLE["the answer"].decode()
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "c-1", "choices": [{**choice, "finish_reason": "stop"}]}
        return self._send(200, json.dumps({**answer, "usage": usage}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status != 200:
            self.send_header("x-request-id", self.headers["authorization"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


CONFIG = """
[server]
bind = "127.0.0.1:{port}"
state_dir = "{state}"
trusted_proxies = ["127.0.0.0/8"]
[vault]
core_dumps = true
[[sites]]
name = "acme"
keys = ["{key}"]
pseudonyms = ["user", "ip"]
{providers}
"""
PROVIDER = """
[[providers]]
name = "{name}"
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
{key}
models = ["m"]
[[models]]
name = "{name}"
route = ["{name}/m"]
"""


@contextmanager
def staged(folder: Path) -> Generator[Stage]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, upstream = procs.free_port(), server.server_address[1]
    config, log = folder / "stagedoor.toml", folder / "log"
    keys = {"env": 'key_env = "CANARY_KEY"', "vault": 'key = "vault:default"'}
    providers = "".join(
        PROVIDER.format(name=name, upstream=upstream, key=key)
        for name, key in keys.items()
    )
    config.write_text(
        CONFIG.format(port=port, state=folder / "state", key=KEY, providers=providers)
    )
    key = SECRETS["the key of a variable"].decode()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [gateways.stagedoor(), "serve", "--config", str(config)],
            stdout=sink,
            stderr=sink,
            env={**os.environ, "CANARY_KEY": key},
        )
    stage = Stage(
        port, config, folder / "state", process, Target("127.0.0.1", upstream), log
    )
    try:
        stage.until("the gateway listens", lambda: b"serves on" in log.read_bytes())
        yield stage
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_MAX_S)
        server.shutdown()
        server.server_close()


def cli(*words: str, given: str = "") -> bytes:
    """What a command prints; its exit code is not the point."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *words],
        input=given.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


def asked(model: str, how: str) -> dict[str, object]:
    """A request of a marked person, whose last word is what the provider does."""
    text = f"{PEOPLE['the prompt'].decode()} {how}"
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "user": PEOPLE["the user"].decode(),
        "metadata": {"email": PEOPLE["the e-mail"].decode()},
    }


def talk(stage: Stage) -> bytes:
    """Every way a request can go; what clients were told about failures."""
    told = b""
    for model in ("env", "vault"):
        for how in ("fine", "E400", "E401", "E429", "E500", "NOJSON"):
            status, headers, answer = stage.ask("POST", CHAT, asked(model, how))
            if how == "fine":
                assert status == 200, answer
            told += repr(headers).encode() + (answer if status != 200 else b"")
    for path in (CHAT, f"/v1/{PEOPLE['the user'].decode()}"):
        told += stage.ask("POST", path, b"{" + PEOPLE["the prompt"])[2]
    for path, kind, body in ADMINISTERED:
        told += forwarded(stage, path, kind, body)
    wrong = KEY + "x"
    told += stage.ask("POST", CHAT, {}, key=wrong)[2]
    return told


def forwarded(stage: Stage, path: str, kind: str, body: str) -> bytes:
    """A proxy in front says who the client is; a trace of that would be one of him.

    He calls, logs in at the Console by his address, and tries the admin API with
    somebody else's key.
    """
    address = PEOPLE["the client's address"].decode()
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": kind,
        "x-forwarded-for": address,
        "forwarded": f"for={address}",
        "sec-fetch-site": "same-origin",
        "origin": f"http://127.0.0.1:{stage.port}",
    }
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return repr(response.getheaders()).encode() + response.read()
    finally:
        connection.close()


JSON = "application/json"
MAIL = PEOPLE["the e-mail"].decode()
# What somebody behind a proxy sends, each once: by its path, as what, and what.
ADMINISTERED = (
    (CHAT, JSON, json.dumps(asked("env", "E500"))),
    (CHAT, JSON, json.dumps(asked("env", "fine"))),
    (
        "/console/login",
        "application/x-www-form-urlencoded",
        urlencode({"name": MAIL, "password": "made-up"}),
    ),
    ("/admin/v1/people", JSON, json.dumps({"name": MAIL, "role": "viewer"})),
)


def files_of(folder: Path) -> bytes:
    return b"\n".join(
        path.read_bytes() + str(path).encode()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_socket()
    )


def test_the_search_finds_each_form() -> None:
    """Else finding nothing would mean nothing."""
    secret = b"sk-canary/with+all?7"
    found = forms(secret)
    assert len(found) >= 13
    import gzip  # noqa: PLC0415 - for this test alone

    for name, needle in found.items():
        for data in (b"..." + needle + b"...", b".." + gzip.compress(needle)):
            assert any(name in one for one in traces(data, {"it": secret})), name
    for offset in range(3):
        whole = base64.b64encode(b"x" * offset + secret + b"tail")
        assert traces(whole, {"it": secret})


def test_no_secret_and_no_person_leaves_a_trace(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        sealed = SECRETS["the sealed key"].decode()
        state = ("--state-dir", str(stage.state_dir))
        told = cli("vault", "add", "vault", *state, given=f"{sealed}\n")
        assert b"version 1 is in use" in told, told
        for _ in range(20):
            assert stage.ask("POST", CHAT, asked("vault", "fine"))[0] == 200
        # Now: what a provider quotes of a key lies in what was received from it.
        core = core_of(stage.process.pid, tmp_path)
        # Whoever asks is told about his own prompt by the provider; keys never.
        answered = talk(stage)
        stage.process.send_signal(signal.SIGUSR1)
        stage.process.send_signal(signal.SIGHUP)
        for words in (
            ("tree",), ("tree", "--json"), ("models",), ("vault", "list"),
            ("vault", "status"), ("vault", "describe", "vault"),
        ):  # fmt: skip
            told += cli(*words, *state)
        for words in (("doctor",), ("models",)):
            told += cli(*words, "--config", str(stage.config))
        told += cli("check", str(stage.config))
        for path in ("/metrics", "/readyz", "/healthz"):
            told += stage.ask("GET", path)[2]
        [log] = [one for one in (stage.state_dir / "audit").iterdir() if one.is_dir()]
        exported = cli("audit", "export", str(log))
        assert b"key.add" in exported, exported
        told += exported
        root = json.loads((stage.state_dir / "root.key").read_bytes())["key"]
        secrets = {**SECRETS, "the root key": base64.b64decode(root)}
        assert stage.stop() == 0
        kept = files_of(stage.state_dir).replace(root.encode(), b"")
    everywhere = {**ALL, **secrets}
    assert traces(answered, secrets) == set()
    assert traces(told, everywhere) == set()
    assert traces(stage.log.read_bytes(), everywhere) == set()
    assert traces(kept, everywhere) == set()
    if core is not None:
        held = {name: secrets[name] for name in ("the sealed key", "the root key")}
        assert traces(core, held, unpack=False) == set()


def core_of(pid: int, folder: Path) -> bytes | None:
    """A core of the live process, if there is a debugger that may take one."""
    if shutil.which("gcore") is None:
        return None
    subprocess.run(
        ["gcore", "-o", str(folder / "core"), str(pid)],
        capture_output=True,
        check=False,
        timeout=120,
    )
    cores = list(folder.glob("core.*"))
    return cores[0].read_bytes() if cores else None
