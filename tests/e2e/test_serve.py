"""`stagedoor serve`, from outside: real processes, sockets, signals and clients."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
from collections.abc import Generator
from pathlib import Path

import openai
import pytest

from bench.lib import gateways
from tests.e2e.stage import KEY, Stage, staged

CHAT = "/v1/chat/completions"
ASK = {
    "model": "bench",
    "messages": [{"role": "user", "content": "bench tag=t1"}],
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    """One gateway for all tests that leave it as they found it."""
    with staged(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture
def client(stage: Stage) -> Generator[openai.OpenAI, None, None]:
    with openai.OpenAI(base_url=stage.base_url, api_key=KEY, max_retries=0) as made:
        yield made


def test_the_official_client_gets_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASK)  # type: ignore[call-overload]

    assert answer.choices[0].message.content == "pong t1"
    assert answer.usage.total_tokens == 17
    assert answer._request_id.startswith("req_")


def test_the_official_client_streams(client: openai.OpenAI) -> None:
    asked = {**ASK, "messages": [
        {"role": "user", "content": "bench tag=t2 deltas=20 gap_us=1000"}
    ]}  # fmt: skip
    chunks = list(client.chat.completions.create(stream=True, **asked))  # type: ignore[call-overload]

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.count("t2") >= 1 or len(text) > 20
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_official_client_understands_our_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**{**ASK, "model": "nobody"})  # type: ignore[call-overload]
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong-key-0001").models.list()
    assert [model.id for model in client.models.list()] == ["bench"]


def test_leaving_closes_the_upstream_call(stage: Stage) -> None:
    """Permits, leases, sockets, tasks: all back, by the tree and by the kernel."""
    before = stage.seen().aborted
    sock = stage.open_stream("leaver", deltas=100_000, gap_us=10_000)
    assert stage.sockets_to_upstream() >= 1
    idle = stage.sockets_to_upstream() - 1
    sock.close()

    stage.until("the upstream saw the cancel", lambda: stage.seen().aborted > before)
    stage.until("all is back", stage.is_idle)
    assert stage.sockets_to_upstream() <= idle + 1
    assert stage.seen().in_flight == 0


def test_a_stalled_client_holds_the_upstream_back_and_is_dropped(stage: Stage) -> None:
    before = stage.seen()
    sock = stage.open_stream("stall", deltas=200_000, gap_us=0)
    stage.until("it is dropped", lambda: stage.seen().aborted > before.aborted)

    written = stage.seen().bytes_written - before.bytes_written
    # 60 MB were asked for; what was taken is what kernels and buffers hold.
    assert written < 12_000_000
    sock.close()
    stage.until("all is back", stage.is_idle)


POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
BOTH = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
LONG = b"A: " + b"a" * 70_000 + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"NONSENSE\r\n\r\n", 400),
        (POST + b"Content-Length: +5\r\n\r\nhello", 400),
        (POST + BOTH, 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + LONG, 431),
    ],
    ids=["ok", "1.0", "head", "nonsense", "length", "both", "obs-fold", "lf", "70KB"],
)
def test_raw_bytes_get_a_clear_answer(stage: Stage, raw: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    if status >= 400:
        assert json.loads(body)["error"]["message"]


def test_a_body_over_the_limit_is_refused_unread(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + KEY.encode() + b"\r\n"
            b"Content-Length: 999999999\r\n\r\n"
        )
        answer = sock.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"error"' in answer


def test_a_client_that_sends_a_byte_a_time_is_timed_out(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as sock:
        sock.sendall(b"GET /he")
        answer = sock.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408")


def test_operations_answer(stage: Stage) -> None:
    assert stage.get("/healthz") == (200, {"status": "ok"})
    assert stage.get("/readyz") == (200, {"status": "ready", "reasons": []})
    status, headers, body = stage.ask("GET", "/metrics", key=None)
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert b"stagedoor_streams_open" in body
    assert "providers/mock" in stage.actors()


def test_records_and_state_are_private_and_hold_no_secrets(stage: Stage) -> None:
    stage.ask("POST", CHAT, {**ASK, "messages": [
        {"role": "user", "content": "canary-prompt bench tag=t3"}
    ]})  # fmt: skip
    records = stage.state_dir / "records"
    stage.until("a record is on disk", lambda: any(records.glob("*.jsonl")))
    [file] = records.glob("*.jsonl")
    stage.until("it is there", lambda: b"acme" in file.read_bytes())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(stage.state_dir.stat().st_mode) == 0o700
    everything = file.read_bytes() + stage.log.read_bytes()
    for secret in (b"canary-prompt", KEY.encode(), b"sk-upstream"):
        assert secret not in everything


def test_a_changed_file_is_applied_and_a_bad_one_changes_nothing(
    tmp_path: Path,
) -> None:
    with staged(tmp_path) as stage:
        text = stage.config.read_text()
        more = '[[models]]\nname = "second"\nroute = ["mock/gpt-mock"]\n'
        _replace(stage.config, text + more)
        stage.until(
            "it is served", lambda: len(stage.get("/v1/models")[1]["data"]) == 2
        )
        _replace(stage.config, "[server]\nbind = 5\n")
        stage.until(
            "it is refused", lambda: b"reload.refused" in stage.log.read_bytes()
        )
        assert len(stage.get("/v1/models")[1]["data"]) == 2
        _replace(stage.config, text.replace(KEY, "sk-acme-made-up-0002"))
        stage.process.send_signal(signal.SIGHUP)
        stage.until("the old key is out", lambda: stage.get("/v1/models")[0] == 401)
        assert stage.get("/v1/models", key="sk-acme-made-up-0002")[0] == 200
        assert stage.stop() == 0


def _replace(path: Path, text: str) -> None:
    """As editors do: write beside it, then rename."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_sigterm_lets_streams_finish(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        sock = stage.open_stream("finisher", deltas=100, gap_us=10_000)
        stage.process.send_signal(signal.SIGTERM)
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
        sock.close()
        assert b"[DONE]" in answer
        assert stage.process.wait(20) == 0
        [file] = (stage.state_dir / "records").glob("*.jsonl")
        assert json.loads(file.read_bytes().splitlines()[-1])["outcome"] == "ok"


def test_sigterm_with_a_stalled_client_ends_in_time(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        sock = stage.open_stream("staller", deltas=200_000, gap_us=0)
        assert stage.stop() == 0
        sock.close()
        [file] = (stage.state_dir / "records").glob("*.jsonl")
        assert json.loads(file.read_bytes().splitlines()[-1])["outcome"] != "ok"


def test_a_taken_port_and_a_bad_file_are_plain_errors(
    tmp_path: Path, stage: Stage
) -> None:
    taken = tmp_path / "taken.toml"
    taken.write_text(
        stage.config.read_text().replace(str(stage.state_dir), str(tmp_path / "s"))
    )
    done = subprocess.run(
        [gateways.stagedoor(), "serve", "--config", str(taken)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert b"cannot listen" in done.stderr
    assert b"Traceback" not in done.stderr
