"""A real `stagedoor serve` before a stub of every kind of provider, over loopback.

One process serves a seeded sample: for each folder of recordings an answer that
streams, one that comes whole and an error, each as a provider and a model of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Final

import attrs

import gateway
from tests.recorded.bridge import ENV, KEY
from tests.recorded.places import Pair, place_of
from tests.recorded.upstream import LoopbackUpstream, loopback

ROOT: Final = Path(gateway.__file__).parent.parent
START_MAX_S: Final = 30.0  # "It started": a busy machine may take long, not for ever.
STOP_MAX_S: Final = 20.0
POLL_S: Final = 0.02
# Addresses of kinds that have the version in their base URL.
VERSIONED: Final = frozenset({"anthropic", "gemini", "vertex", "vertex-anthropic",
                              "bedrock", "cohere", "ollama", "azure", "deepseek",
                              "perplexity"})  # fmt: skip


@attrs.frozen
class Served:
    """A gateway process, and what is behind each of its models."""

    base_url: str
    upstream: LoopbackUpstream
    pairs: dict[str, Pair]  # By the name of the model.


def sample(found: list[Pair], seed: int, each: int = 1) -> list[Pair]:
    """`each` pairs of every folder of recordings and every shape of answer."""
    chance = Random(seed)

    def shape(pair: Pair) -> tuple[str, bool, bool]:
        return (pair.case.provider, pair.case.streamed, pair.case.status >= 400)

    kept: list[Pair] = []
    for _, group in groupby(sorted(found, key=shape), shape):
        of_shape = list(group)
        kept += chance.sample(of_shape, min(each, len(of_shape)))
    return kept


def config_text(pairs: dict[str, Pair], upstream: LoopbackUpstream, state: Path) -> str:
    """One provider and one model for each pair."""
    tables = [
        f'[server]\nbind = "127.0.0.1:0"\nstate_dir = "{state}"',
        f'[[sites]]\nname = "acme"\nkeys = ["{KEY}"]',
    ]
    for name, pair in pairs.items():
        place = place_of(pair.case, pair.client)
        version = "" if place.kind in VERSIONED else "/v1"
        options = {
            "name": name,
            "kind": _kind(place.kind, pair.client),
            "base_url": upstream.base_url(name) + version,
            "key_env": "PROVIDER_KEY",
            "api_version": place.api_version,
            "project": place.project,
        }
        lines = [f'{key} = "{value}"' for key, value in options.items() if value]
        tables.append(
            "[[providers]]\n"
            + "\n".join(lines)
            + f'\nmodels = ["{place.model}"]\n'
            + f'[[models]]\nname = "{name}"\nroute = ["{name}/{place.model}"]\n'
        )
    return "\n".join(tables)


def _kind(kind: str, client: str) -> str:
    """The kind; "openai" anywhere but at OpenAI's is a server that has chat alone."""
    beside_chat = client in {"completions", "responses"}
    return "vllm" if kind == "openai" and beside_chat else kind


@contextmanager
def serving(
    folder: Path, pairs: list[Pair], held: Pair | None = None
) -> Generator[Served]:
    """Run both around the body. The pair `held` stops halfway, as model "held"."""
    named = {f"m{at}": pair for at, pair in enumerate(pairs)}
    if held is not None:
        named["held"] = held
    recordings = {name: pair.case for name, pair in named.items()}
    config, log = folder / "stagedoor.toml", folder / "log"
    with loopback(recordings, held=["held"]) as upstream:
        config.write_text(config_text(named, upstream, folder / "state"))
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)],
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **ENV},
            )
        try:
            yield Served(_address(process, log), upstream, named)
        finally:
            process.terminate()
            try:
                process.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_MAX_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(rb"serves on (http://\S+)", log.read_bytes())
        if found:
            return found[1].decode()
        time.sleep(POLL_S)
    raise AssertionError(f"the gateway did not start: {log.read_text()[-2000:]}")
