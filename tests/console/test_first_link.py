"""The set-up link: one at a time, once, for a day; told on standard output alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx
import trio
from trio.testing import MockClock

from gateway.console.first import first_link
from gateway.console.links import LINK_MS
from tests.console.support_console import CONFIG, KEY, ROOT, SHOP_KEY, START_S, TOKEN
from tests.console.support_memory import OWN, House, house, seen

LINK: Final = re.compile(r"(http://[^ ]*)/console/welcome#([0-9a-f]{64})")
CHOSEN: Final = {
    "name": "ann@agency.example",
    "password": "correct horse battery",
    "again": "correct horse battery",
}


async def made(at: House) -> str:
    """A start's link; its secret."""
    link = await first_link(at.console.people, at.console.office.now_ms())
    assert link is not None
    return link.partition("#")[2]


async def accepted(at: House, secret: str, **typed: str) -> int:
    answer = await at.ask("POST", "/welcome", {"link": secret, **CHOSEN, **typed}, OWN)
    if answer.status == 410:
        assert "works no more" in seen(answer)
    return answer.status


async def test_a_new_start_ends_the_earlier_link(autojump_clock: MockClock) -> None:
    async with house() as at:
        earlier, later = await made(at), await made(at)

        assert await accepted(at, earlier) == 410
        assert await accepted(at, later) == 303


async def test_a_link_works_once_and_then_no_start_makes_another(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        secret = await made(at)
        assert await accepted(at, secret) == 303

        assert await accepted(at, secret, name="mallory") == 410
        assert await first_link(at.console.people, at.console.office.now_ms()) is None


async def test_a_link_ends_after_a_day(autojump_clock: MockClock) -> None:
    async with house() as at:
        secret = await made(at)
        await trio.sleep(LINK_MS / 1000 + 1)

        assert await accepted(at, secret) == 410


async def test_a_mistake_in_the_form_does_not_use_the_link_up(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        secret = await made(at)
        assert await accepted(at, secret, again="another one") == 422

        assert await accepted(at, secret) == 303


def test_each_start_prints_a_link_until_one_is_used_and_keeps_none_of_them(
    tmp_path: Path,
) -> None:
    """Of a real process: not in its log, its records, its audit log, its database."""
    state, config = tmp_path / "state", tmp_path / "stagedoor.toml"
    config.write_text(
        CONFIG.format(state=state, token=TOKEN, key=KEY, shop_key=SHOP_KEY)
    )
    secrets: list[str] = []
    for start in range(3):
        out, log = tmp_path / f"out{start}", tmp_path / f"log{start}"
        with out.open("wb") as told, log.open("wb") as logged:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)],
                cwd=ROOT, stdout=told, stderr=logged,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        try:
            found = _printed(process, out, last=start == 2)
            if start == 2:
                assert found is None
                continue
            assert found is not None
            secrets.append(found[2])
            if start == 1:
                tries = [_accept(found[1], secret) for secret in secrets]
                assert tries == [410, 303]
        finally:
            process.terminate()
            process.wait(START_S)
    assert len(set(secrets)) == 2
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in kept:
        held = path.read_bytes()
        for number, secret in enumerate(secrets):
            if path != tmp_path / f"out{number}":
                assert secret.encode() not in held, path
                assert bytes.fromhex(secret) not in held, path


def _printed(
    process: subprocess.Popen[bytes], out: Path, *, last: bool
) -> re.Match[str] | None:
    """The link, if it prints one; of the last start it is enough that it serves."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        told = out.read_text()
        found = LINK.search(told)
        if found is not None or (last and "serves on" in told):
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not start: {out.read_text()}")


def _accept(url: str, secret: str) -> int:
    return httpx.post(
        f"{url}/console/welcome",
        data={"link": secret, **CHOSEN},
        headers={"origin": url},
    ).status_code
