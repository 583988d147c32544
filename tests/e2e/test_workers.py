"""`stagedoor serve --workers 2`, from outside: real processes, kills and signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from bench.lib import gateways
from gateway.cli.control import get
from tests.e2e.stage import KEY, WAIT_MAX_S, Stage, staged

CHAT = "/v1/chat/completions"
TWO = "workers = 2"
END = b"0\r\n\r\n"  # The last chunk of an answer, good or bad.


def ask(tag: str) -> dict[str, Any]:
    return {
        "model": "bench",
        "messages": [{"role": "user", "content": f"bench tag={tag}"}],
    }


def workers(stage: Stage) -> dict[int, dict[str, Any]]:
    """What the tree says of each, by its number."""
    found = get(stage.state_dir / "control.sock", "/tree")["children"]
    return {int(one["id"].partition("/")[2]): one for one in found}


def streams_of(worker: dict[str, Any]) -> int:
    [system] = worker["children"]
    [streams] = [one for one in system["children"] if one["id"] == "streams"]
    return len(streams["children"])


def all_up(stage: Stage) -> bool:
    told = stage.get("/readyz")[1]
    return set(told["workers"].values()) == {"ready"}


def rest_of(sock: socket.socket) -> bytes:
    """All that still comes; a reset is an end, too."""
    pieces: list[bytes] = []
    sock.settimeout(WAIT_MAX_S)
    try:
        while piece := sock.recv(65_536):
            pieces.append(piece)
            if piece.endswith(END):
                break
    except ConnectionError:
        pass
    return b"".join(pieces)


def records(stage: Stage) -> list[dict[str, Any]]:
    files = (stage.state_dir / "records").rglob("*.jsonl")
    return [
        json.loads(line)
        for file in files
        for line in file.read_text().split("\n")
        if line
    ]


def audit(stage: Stage, *more: str) -> subprocess.CompletedProcess[str]:
    """`audit verify` with the first worker's key alone."""
    logs = stage.state_dir / "audit"
    [vkey] = [
        one for one in logs.glob("*/vkey") if not re.search(r"_w\d+$", one.parent.name)
    ]
    command = [
        gateways.stagedoor(),
        "audit",
        "verify",
        str(logs),
        "--vkey",
        vkey.read_text().strip(),
    ]
    return subprocess.run(
        [*command, *more], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    """Two workers for all tests that leave them as they found them."""
    with staged(tmp_path_factory.mktemp("workers"), server=TWO) as made:
        yield made


def test_any_worker_answers_for_all(stage: Stage) -> None:
    """A scrape, a probe or a CLI reaches one of them, and which is nobody's choice."""
    for _ in range(6):
        assert stage.get("/readyz") == (
            200,
            {"status": "ready", "reasons": [], "workers": {"1": "ready", "2": "ready"}},
        )
        _, _, text = stage.ask("GET", "/metrics", key=None)
        for number in (b"1", b"2"):
            assert b'stagedoor_worker_up{worker="%s"} 1.0' % number in text
            assert b'stagedoor_streams_open{worker="%s"}' % number in text
        assert text.count(b"# TYPE stagedoor_requests_total counter") == 1
        assert sorted(workers(stage)) == [1, 2]


def test_the_admin_api_tells_of_all_workers(stage: Stage) -> None:
    path = stage.state_dir / "control.sock"
    for _ in range(4):
        root = get(path, "/admin/v1/tree")["root"]
        assert [one["id"] for one in root["children"]] == ["worker/1", "worker/2"]
    socks = [stage.open_stream(f"a{n}", deltas=100, gap_us=20_000) for n in range(6)]
    state = get(path, "/admin/v1/providers/mock/state")
    for sock in socks:
        rest_of(sock)
        sock.close()

    assert (state["state"], state["in_flight"]) == ("closed", 6)


def test_both_workers_serve(stage: Stage) -> None:
    """Connections that are open at once are spread."""
    socks = [stage.open_stream(f"b{n}", deltas=50, gap_us=20_000) for n in range(16)]
    shares = [streams_of(one) for one in workers(stage).values()]
    for sock in socks:
        assert b"[DONE]" in rest_of(sock)
        sock.close()

    assert sum(shares) == 16
    assert min(shares) >= 6


def test_an_answer_is_found_whichever_worker_is_asked(stage: Stage) -> None:
    body = {"model": "bench", "input": "bench tag=r1", "store": True}
    status, _, told = stage.ask("POST", "/v1/responses", body)
    assert status == 200
    answer = json.loads(told)["id"]

    for _ in range(12):
        assert stage.get(f"/v1/responses/{answer}")[0] == 200
    went_on = {**body, "previous_response_id": answer}
    for _ in range(6):
        assert stage.ask("POST", "/v1/responses", went_on)[0] == 200
    assert stage.ask("DELETE", f"/v1/responses/{answer}")[0] == 200
    for _ in range(6):
        assert stage.get(f"/v1/responses/{answer}")[0] == 404


def test_a_running_answer_is_followed_and_ended_from_any_worker(stage: Stage) -> None:
    """It lives in the worker that reads it; the others pass requests on to that one."""
    body = {
        "model": "bench",
        "input": "bench tag=r2 deltas=100000 gap_us=20000",
        "background": True,
        "stream": True,
    }
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
    headers = {"authorization": f"Bearer {KEY}"}
    connection.request("POST", "/v1/responses", json.dumps(body), headers)
    first = connection.getresponse().read1(65_536)
    connection.close()  # A background answer goes on without its client.
    found = re.search(rb"resp_[A-Za-z0-9_]+", first)
    assert found is not None
    path = f"/v1/responses/{found[0].decode()}"

    for _ in range(10):
        status, told = stage.get(path)
        assert (status, told["status"]) == (200, "in_progress")
    followers = [follow(stage, f"{path}?stream=true") for _ in range(6)]
    for follower in followers:
        assert b"response.created" in follower.recv(65_536)
    status, _, ended = stage.ask("POST", f"{path}/cancel")
    assert (status, json.loads(ended)["status"]) == (200, "cancelled")
    for follower in followers:
        assert rest_of(follower).endswith(END)
        follower.close()


def follow(stage: Stage, path: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", stage.port), timeout=30)
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    return sock


def vault(stage: Stage, *words: str, given: str = "") -> str:
    """One command of the CLI, at whichever worker takes it; its errors on failure."""
    command = [gateways.stagedoor(), "vault", *words, "--state-dir", stage.state_dir]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stderr


def test_a_vault_key_is_added_and_revoked_in_all_workers(tmp_path: Path) -> None:
    """The delivery is opened where it was sealed for; a revoked key is lent nowhere."""
    with staged(tmp_path, server=TWO) as stage:
        text = stage.config.read_text()
        key = 'key = "vault:default"\nallow_plain_http = true'
        stage.config.write_text(text.replace('key_env = "E2E_UPSTREAM_KEY"', key))
        stage.process.send_signal(signal.SIGHUP)
        for name in ("default", "other", "third"):
            assert vault(stage, "add", "mock", name, given="sk-made-up-0002\n") == ""

        def all_say(wanted: int) -> bool:
            told = (stage.ask("POST", CHAT, ask("v"))[0] for _ in range(8))
            return all(status == wanted for status in told)

        stage.until("both workers lend it", lambda: all_say(200))
        socks = [
            stage.open_stream(f"v{n}", deltas=9_000, gap_us=20_000) for n in range(8)
        ]
        assert min(streams_of(one) for one in workers(stage).values()) > 0
        assert vault(stage, "revoke", "mock", "--end-requests") == ""
        assert all_say(503)
        for sock in socks:
            assert b'"error"' in rest_of(sock)
            sock.close()


def test_a_worker_that_is_killed_loses_only_its_own_streams(tmp_path: Path) -> None:
    with staged(tmp_path, server=TWO) as stage:
        socks = [
            stage.open_stream(f"k{n}", deltas=150, gap_us=20_000) for n in range(12)
        ]
        before = workers(stage)
        os.kill(before[2]["pid"], signal.SIGKILL)
        # Nobody who comes now is turned away or left waiting.
        for n in range(30):
            assert stage.ask("POST", CHAT, ask(f"n{n}"))[0] == 200
        ends = [b"[DONE]" in rest_of(sock) for sock in socks]
        for sock in socks:
            sock.close()
        stage.until("it is back", lambda: all_up(stage))
        after = workers(stage)
        assert stage.stop() == 0

    assert ends.count(True) == streams_of(before[1])
    assert ends.count(False) == streams_of(before[2]) > 0
    assert after[1]["pid"] == before[1]["pid"]
    assert after[2]["pid"] != before[2]["pid"]
    assert after[2]["incarnation"] == 2
    assert audit(stage, "--records", str(stage.state_dir / "records")).returncode == 0


def test_a_stop_drains_all_workers(tmp_path: Path) -> None:
    with staged(tmp_path, server=TWO) as stage:
        socks = [
            stage.open_stream(f"d{n}", deltas=120, gap_us=20_000) for n in range(10)
        ]
        shares = [streams_of(one) for one in workers(stage).values()]
        pids = [one["pid"] for one in workers(stage).values()]
        # As systemd does: every process of the group, and the parent tells them too.
        for pid in (stage.process.pid, *pids):
            os.kill(pid, signal.SIGTERM)
        assert all(b"[DONE]" in rest_of(sock) for sock in socks)
        assert stage.process.wait(WAIT_MAX_S) == 0
        for sock in socks:
            sock.close()

    assert min(shares) > 0
    assert [one["outcome"] for one in records(stage)] == ["ok"] * 10


def test_a_second_signal_hurries_all_workers(tmp_path: Path) -> None:
    with staged(tmp_path, server=TWO) as stage:
        socks = [
            stage.open_stream(f"h{n}", deltas=90_000, gap_us=20_000) for n in range(4)
        ]
        stage.process.send_signal(signal.SIGTERM)
        stage.until("it drains", lambda: refuses(stage))
        assert stage.stop() == 0
        for sock in socks:
            sock.close()

    assert len(records(stage)) == 4


def refuses(stage: Stage) -> bool:
    try:
        return stage.ask("GET", "/readyz")[0] != 200
    except OSError:
        return True


def test_a_worker_that_dies_again_and_again_ends_the_gateway(tmp_path: Path) -> None:
    """A service that flickers is worse than one whose supervisor sees it fail."""
    with staged(tmp_path, server=TWO) as stage:
        for deaths in range(5):
            stage.until("it runs", lambda: workers(stage)[2]["state"] == "running")
            os.kill(workers(stage)[2]["pid"], signal.SIGKILL)
            stage.until(
                "its death is seen",
                lambda deaths=deaths: (
                    stage.log.read_bytes().count(b"worker 2 was killed") > deaths
                    or stage.process.poll() is not None
                    or b"died 5 times" in stage.log.read_bytes()
                ),
            )
        assert stage.process.wait(WAIT_MAX_S) == 1
        assert b"worker 2 died 5 times within 60 s" in stage.log.read_bytes()


def test_workers_stop_when_their_parent_is_gone(tmp_path: Path) -> None:
    """Nobody would replace them, and a new gateway could not bind."""
    with staged(tmp_path, server=TWO) as stage:
        pids = [one["pid"] for one in workers(stage).values()]
        stage.process.kill()
        stage.process.wait()
        stage.until(
            "they are gone",
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
        )


def test_what_is_wrong_at_the_start_is_said_once_and_ends_it(tmp_path: Path) -> None:
    config = tmp_path / "stagedoor.toml"
    config.write_text(
        f"""
[server]
bind = "127.0.0.1:0"
state_dir = "{tmp_path / "state"}"
workers = 2
[vault]
kms = "transit"
key_id = "k"
endpoint = "http://127.0.0.1:9"
token_env = "NO_SUCH_TOKEN"
"""
    )
    done = subprocess.run(
        [gateways.stagedoor(), "serve", "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert done.stderr.count("NO_SUCH_TOKEN is not set") == 1
    assert "worker 1 cannot start" in done.stderr
    assert "serves on" not in done.stdout


def test_a_reload_reaches_all_workers(tmp_path: Path) -> None:
    other = "sk-acme-made-up-0002"
    with staged(tmp_path, server=TWO) as stage:
        text = stage.config.read_text()
        stage.config.write_text(text.replace(KEY, other))
        stage.process.send_signal(signal.SIGHUP)

        def all_know(key: str, status: int) -> bool:
            return all(
                stage.ask("GET", "/v1/models", key=key)[0] == status for _ in range(8)
            )

        stage.until("the new key is known", lambda: all_know(other, 200))
        stage.until("the old one is not", lambda: all_know(KEY, 401))
        # A worker that starts now begins with what the file says now.
        os.kill(workers(stage)[1]["pid"], signal.SIGKILL)
        stage.until("it is back", lambda: all_up(stage))
        assert all_know(other, 200)
        assert all_know(KEY, 401)


def test_a_log_that_is_gone_is_missed(tmp_path: Path) -> None:
    """Each log knows the others, so one key finds out about all of them."""
    with staged(tmp_path, server=TWO) as stage:
        for n in range(8):
            assert stage.ask("POST", CHAT, ask(f"a{n}"))[0] == 200
        [kept] = (
            one for one in (stage.state_dir / "audit").iterdir()
            if one.is_dir() and not one.name.endswith("_w2")
        )  # fmt: skip
        remembers = kept / "siblings"
        stage.until(
            "the first log has seen the second",
            lambda: remembers.exists() and b"/w2\n" in remembers.read_bytes(),
        )
        assert stage.stop() == 0
    whole = audit(stage)
    [second] = (stage.state_dir / "audit").glob("*_w2")
    shutil.move(second, tmp_path / "away")
    without = audit(stage)
    again = subprocess.run(
        [gateways.stagedoor(), "serve", "--config", str(stage.config)],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "E2E_UPSTREAM_KEY": "sk-made-up"},
    )  # fmt: skip

    assert (whole.returncode, whole.stderr) == (0, "")
    assert without.returncode == 1
    assert "/w2 is missing" in without.stderr
    assert again.returncode != 0
    assert "/w2 is gone" in again.stderr
