"""Two machines, one database: a grant is good once, a stream goes on anywhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support_postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]  # The fixture.

ORIGIN = "https://www.acme.example"
KEY = "sk-acme-dev-0001"
CONFIG = """
[server]
bind = "127.0.0.1:0"
state_dir = "{state}"
[database]
url = "{url}"
[server.audit]
origin = "{origin}"
[[sites]]
name = "acme"
keys = ["{key}"]
allowed_origins = ["{page}"]
resume = "detach"
[[providers]]
name = "sim"
kind = "simulated"
models = ["m"]
[[models]]
name = "fast"
route = ["sim/m"]
"""
ASKED = {
    "model": "fast",
    "stream": True,
    "messages": [{"role": "user", "content": "Tell me a story."}],
}
START_S = 30


@contextmanager
def worker(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway with a state folder of its own, as on a machine of its own."""
    folder.mkdir(exist_ok=True)
    config = folder / "stagedoor.toml"
    text = CONFIG.format(
        state=folder / "state", url=url, origin=folder.name, key=KEY, page=ORIGIN
    )
    config.write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=START_S)


def ids_of(body: str) -> list[str]:
    return re.findall(r"^id: (\S+)$", body, re.MULTILINE)


def text_of(body: str) -> str:
    return "".join(re.findall(r'"content":"([^"]*)"', body))


@pytest.fixture
def two(
    tmp_path: Path,
    postgres_server: PostgresServer,
) -> Iterator[tuple[tuple[subprocess.Popen[str], str], str]]:
    """Two machines, one PostgreSQL, one root key."""
    url = postgres_server.database()
    with worker(tmp_path / "one", url) as one:
        root = tmp_path / "one" / "state" / "root.key"
        there = tmp_path / "two" / "state"
        there.mkdir(parents=True, mode=0o700)
        copy = there / "root.key"
        copy.write_bytes(root.read_bytes())
        copy.chmod(0o600)
        with worker(tmp_path / "two", url) as (_, other):
            yield one, other


def test_what_one_machine_gives_another_redeems_once_and_goes_on_with(
    two: tuple[tuple[subprocess.Popen[str], str], str],
) -> None:
    (first, one), other = two
    page = {"origin": ORIGIN}
    bearer = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(timeout=START_S) as client:
        asked = {"request": ASKED, "origin": ORIGIN}
        issued = client.post(f"{one}/v1/stream_grants", json=asked, headers=bearer)
        path = issued.json()["path"]
        seen = ""
        with client.stream("GET", other + path, headers=page) as answer:
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            for piece in answer.iter_text():
                seen += piece
                if len(ids_of(seen)) >= 4:
                    break
        seen = seen[: seen.rindex("\n\n") + 2]

        replay = client.get(one + path, headers=page)
        assert (replay.status_code, replay.json()["error"]["code"]) == (
            403,
            "grant_used",
        )

        last = ids_of(seen)[-1]
        rest = client.get(one + path, headers={**page, "last-event-id": last})
        assert rest.status_code == 200
        whole = client.get(
            f"{other}/v1/streams/{last.partition('.')[0]}", headers=bearer
        )
        assert text_of(seen) + text_of(rest.text) == text_of(whole.text)
        assert "[DONE]" in rest.text
        numbers = [int(one.partition(".")[2]) for one in ids_of(seen + rest.text)]
        assert numbers == list(range(len(numbers)))

        # A name is known to both; and a machine that is gone leaves its answers.
        named = {**bearer, "idempotency-key": "one-question"}
        body = {**ASKED, "stream": False}
        mine = client.post(f"{one}/v1/chat/completions", json=body, headers=named)
        first.send_signal(signal.SIGTERM)
        first.wait(START_S)
        theirs = client.post(f"{other}/v1/chat/completions", json=body, headers=named)
        assert theirs.json() == mine.json()
        assert theirs.headers["x-stagedoor-replayed"] == "true"
        assert theirs.headers["x-request-id"] == mine.headers["x-request-id"]
