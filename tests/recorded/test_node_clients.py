"""The official JavaScript clients over real sockets: streams, wholes, aborts, errors.

The scripts in tests/clients read a list of cases and print what their client holds;
here it is compared, by the same reader and in the same normal form as the Python ones.
Needs node and npm; without node these tests are skipped, and say so.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from tests.recorded.bridge import KEY
from tests.recorded.normal import comparable, expected
from tests.recorded.official import FAMILY_OF, reading_of
from tests.recorded.places import Pair, pairs
from tests.recorded.process import ROOT, Served, sample, serving
from tests.recordings_reader import read
from tests.support_recordings import case

SEED: Final = 23
CLIENTS: Final = ROOT / "tests" / "clients"
SCRIPTS: Final = {
    "openai.mjs": ("chat", "responses"),
    "anthropic.mjs": ("messages",),
    "ai.mjs": ("chat",),
}
RUN_MAX_S: Final = 90  # A script with all its cases takes about three seconds.

WANTED: Final = {"chat", "responses", "messages"}
SAMPLE: Final = sample(
    [pair for pair in pairs() if pair.client in WANTED], SEED, each=3
)
HELD: Final = Pair(case("openai-chat/chat-stream--630cfaa"), "chat")

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None,
    reason="node is not installed: the JavaScript clients were left out",
)


@attrs.frozen
class Stage:
    """A gateway, and what each script said of each case."""

    served: Served
    told: dict[tuple[str, str], dict[str, Any]]


def installed() -> None:
    """Bring node_modules up to the lock file, once for each state of it."""
    modules = CLIENTS / "node_modules"
    lock_file = CLIENTS / "package-lock.json"
    stamp, lock = modules / ".lock", lock_file.read_bytes()
    with lock_file.open() as held:  # Workers of one run take turns.
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == lock:
            return
        assert shutil.which("npm"), "npm is missing: it installs tests/clients"
        subprocess.run(
            ["npm", "ci", "--no-progress"], cwd=CLIENTS, check=True, timeout=100
        )
        stamp.write_bytes(lock)


def played(served: Served, script: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Run one script over its cases."""
    done = subprocess.run(
        ["node", str(CLIENTS / script)],
        input="".join(json.dumps(one) + "\n" for one in cases),
        cwd=CLIENTS,
        env={**os.environ, "GATEWAY_URL": served.base_url, "GATEWAY_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_MAX_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines] == [one["id"] for one in cases]
    return {line["id"]: line for line in lines}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway; each script runs once, over all of its cases."""
    installed()
    folder: Path = tmp_path_factory.mktemp("node")
    with serving(folder, SAMPLE, HELD) as served:
        told = {}
        for script, clients in SCRIPTS.items():
            cases = [
                {
                    "id": name,
                    "client": pair.client,
                    "model": name,
                    "stream": pair.case.streamed,
                }
                for name, pair in served.pairs.items()
                if pair.client in clients and name != "held"
            ]
            for name, line in played(served, script, cases).items():
                told[script, name] = line
        yield Stage(served, told)


PLAYED: Final = [
    (script, f"m{at}", pair)
    for script, clients in SCRIPTS.items()
    for at, pair in enumerate(SAMPLE)
    if pair.client in clients
]


@pytest.mark.parametrize(
    ("script", "name", "pair"), PLAYED, ids=[f"{s}-{p}" for s, _, p in PLAYED]
)
def test_a_javascript_client_reads_what_the_provider_said(
    stage: Stage, script: str, name: str, pair: Pair
) -> None:
    """Answers hold the same; errors are its own class, with status and code."""
    line = stage.told[script, name]
    reading = read(pair.case)
    if reading.error is None:
        assert "held" in line, line
        told = reading_of(FAMILY_OF[pair.client], line["held"])
        ours, wanted = comparable(told, pair.client), expected(pair)
        if script == "ai.mjs":
            ours, wanted = as_ai_tells(ours), as_ai_tells(wanted)
        used = ours["usage"]
        if used["completion"] + used["reasoning"] == wanted["usage"]["completion"]:
            # xAI counts reasoning beside the answer; the SDK hands that on as it is.
            used["completion"] += used["reasoning"]
        if script == "ai.mjs" and reading.refusal:
            # Its end of a refusal is its own affair; the words are the provider's.
            assert told.text == reading.refusal
        else:
            assert ours == wanted
        return
    assert "error" in line, line
    error = line["error"]
    assert error["status"] not in {401, 403}
    if pair.case.status >= 400:
        assert error["ours"], error
        assert error["status"] >= 400
        if reading.error.kind == "key":
            assert reading.error.message not in error["message"]
        if reading.error.kind == "context" and pair.client != "messages":
            assert error["code"] == "context_length_exceeded"


def as_ai_tells(told: dict[str, Any]) -> dict[str, Any]:
    """What the AI SDK hands on: one choice, and no word of cache writes."""
    usage = {**told["usage"], "cache_write": 0}
    return {"choices": {0: told["choices"][0]}, "usage": usage}


@pytest.mark.parametrize("script", ["openai.mjs", "ai.mjs"])
def test_an_abort_reaches_the_provider(stage: Stage, script: str) -> None:
    """The user presses Stop: the gateway hangs up on a provider that still writes."""
    stage.served.upstream.hung_up.clear()
    one = {"id": "held", "client": "chat", "model": "held", "stream": True}
    line = played(stage.served, script, [{**one, "abort": True}])["held"]

    assert line["aborted"] >= 1, line  # What had come with the first event.
    assert stage.served.upstream.hung_up.wait(20)


def test_the_sample_has_every_shape() -> None:
    """Streams, wholes and errors for each client: an empty set would pass."""
    for client in WANTED:
        shapes = {
            (pair.case.streamed, pair.case.status >= 400)
            for pair in SAMPLE
            if pair.client == client
        }
        assert {(True, False), (False, False), (False, True)} <= shapes
