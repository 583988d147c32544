"""A real model server, and the gateway in front of it, as programs of their own.

Both listen on loopback ports of the OS's choice and end with their block.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.lib import gateways, procs

MODEL = "smollm2-135m"  # what the model server calls it
ALIAS = "tiny"  # what the gateway's clients call it
UPSTREAM_KEY = "sk-upstream-made-up"
SITE_KEY = "sk-site-made-up-0123456789abcdef01234567"
LOAD_MAX_S = 60.0  # a 98 MB model, on a machine that may be busy
LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A running model server."""

    mode: str
    base_url: str
    process: procs.Process

    @property
    def cancel_line(self) -> str:
        """What this server logs when a client leaves a stream."""
        return {
            "llama-server": "cancel task",
            "llama-cpp-python": "Disconnected from client",
        }[self.mode]

    def cancels(self) -> int:
        """How often it has logged that a client left."""
        return self.process.log_tail(LOG_BYTES).count(self.cancel_line)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a client is pointed at: the model server, or the gateway before it."""

    name: str
    base_url: str
    key: str = field(repr=False)
    model: str
    process: procs.Process


@contextmanager
def model_server(mode: str, folder: Path) -> Generator[ModelServer, None, None]:
    """Start the model server of this kind that setup.sh built in ``folder``."""
    port = procs.free_port()
    with procs.started(mode, _command(mode, folder, port), core=None) as process:
        process.wait_listening(port)
        _wait_loaded(process, f"http://127.0.0.1:{port}/v1/models")
        yield ModelServer(mode, f"http://127.0.0.1:{port}/v1", process)


def direct(server: ModelServer) -> Endpoint:
    """The model server itself, for a client."""
    return Endpoint("direct", server.base_url, UPSTREAM_KEY, MODEL, server.process)


@contextmanager
def gateway(upstream: ModelServer, folder: Path) -> Generator[Endpoint, None, None]:
    """Start ``stagedoor serve`` in front of it, with its state in ``folder``."""
    port = procs.free_port()
    config = gateways.write_config(
        folder,
        port=port,
        site_key=SITE_KEY,
        upstream=upstream.base_url,
        model=ALIAS,
        upstream_model=MODEL,
    )
    command = [gateways.stagedoor(), "serve", "--config", str(config)]
    env = {gateways.KEY_ENV: UPSTREAM_KEY}
    with procs.started("stagedoor", command, core=None, env=env) as process:
        process.wait_listening(port)
        base_url = f"http://127.0.0.1:{port}/v1"
        yield Endpoint("gateway", base_url, SITE_KEY, ALIAS, process)


def _command(mode: str, folder: Path, port: int) -> list[str]:
    program = {
        "llama-server": [str(folder / "build/bin/llama-server")],
        "llama-cpp-python": [str(folder / "venv/bin/python"), "-m", "llama_cpp.server"],
    }[mode]
    path = folder / "model.path"
    if not path.exists() or not Path(program[0]).exists():
        raise FileNotFoundError(
            f"no {mode} in {folder}; MODE={mode} tests/real_llm/setup.sh builds it"
        )
    model = path.read_text().strip()
    at = ["--host", "127.0.0.1", "--port", str(port)]
    # One thread: more of them on busy cores wait for each other at every token.
    if mode == "llama-server":
        options = ["-m", model, "--alias", MODEL, "-t", "1", "-c", "8192", "-np", "2"]
        return [*program, *options, *at, "--api-key", UPSTREAM_KEY]
    options = ["--model", model, "--model_alias", MODEL, "--n_ctx", "4096"]
    options += ["--n_threads", "1", "--api_key", UPSTREAM_KEY]
    # As it comes, a new request ends the stream of the one before.
    return [*program, *options, *at, "--interrupt_requests", "false"]


def _wait_loaded(process: procs.Process, url: str) -> None:
    """It listens before the model is in memory, and answers 503 until then."""
    headers = {"authorization": f"Bearer {UPSTREAM_KEY}"}
    until_s = time.monotonic() + LOAD_MAX_S
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(  # noqa: S310  # our own loopback address
                urllib.request.Request(url, headers=headers),  # noqa: S310  # same
                timeout=5.0,
            ):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 503:
                raise
        time.sleep(0.1)
    raise procs.StartError(f"{process.name} still loads: {process.log_tail()}")
