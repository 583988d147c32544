"""While a request runs, nothing that can be shown shows its prompt, answer or keys."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import trio.testing
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider, PausesAfter
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.support_canary import traces

UPSTREAM_KEY = "sk-upstream-canary-42"
CANARIES = ("canary-prompt", "canary-answer", UPSTREAM_KEY, KEY)
OURS = ("runtime.", "actors.", "gateway.", "storage.", "wire.")
# A test's own client and provider keep what they sent.
FAKES = frozenset({"gateway.embed", "gateway.embed_providers"})

PATHS: dict[str, dict[str, Any]] = {
    CHAT: chat("canary-prompt"),
    "/v1/messages": {**chat("canary-prompt"), "max_tokens": 9},
    "/v1/responses": {"model": "fast", "stream": True, "input": "canary-prompt"},
}


def ours() -> Iterator[object]:
    """Every living object of a class of ours."""
    for one in gc.get_objects():
        module = str(type(one).__module__)
        if module.startswith(OURS) and module not in FAKES:
            yield one


@pytest.mark.parametrize("path", PATHS)
async def test_no_repr_and_no_report_shows_what_is_secret(
    autojump_clock: MockClock, path: str
) -> None:
    main = FakeProvider([PausesAfter("canary-answer")])
    env = {"PROVIDER_KEY": UPSTREAM_KEY}
    async with embedded(config(), {"main": main}, environ=env) as gateway:
        async with gateway.open("POST", path, PATHS[path], key=KEY) as call:
            assert await call.chunk()
            shown = [(type(one), repr(one)) for one in ours()]
            system = gateway.gateway.tree.system
            shown.append((type(system), system.dump()))
            tree = msgspec.json.encode(system.snapshot()).decode()
            shown.append((type(system), tree))
            metrics = await gateway.gateway.gate.render_metrics("")
            shown.append((type(metrics), metrics[1].decode()))
        await trio.testing.wait_all_tasks_blocked()
        assert len(shown) > 50
        telling = {
            f"{kind.__module__}.{kind.__qualname__}: {canary}"
            for kind, text in shown
            for canary in CANARIES
            if canary in text
        }
        assert telling == set()


class CrashesTelling(FakeProvider):
    """A bug that puts key and prompt into an exception, in the middle of a call."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Say all that it knows, and die of it."""
        body = await request.aread()
        self._take_key(request)
        raise RuntimeError(f"{self.authorizations[-1]} said {body.decode()}")


async def test_a_crash_tells_nothing_of_what_it_was_about(
    autojump_clock: MockClock, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exceptions of bugs carry anything; logs, records and answers carry none of it."""
    env = {"PROVIDER_KEY": UPSTREAM_KEY}
    main = CrashesTelling()
    async with embedded(config(), {"main": main}, environ=env) as gateway:
        body = {**chat("canary-prompt"), "user": "canary-answer"}
        answer = await gateway.post(CHAT, body, key=KEY)
        await gateway.records()
        book = gateway.gateway.gate.book
        assert book is not None
        told = [
            answer.body,
            b"".join(gateway.journal.lines),
            gateway.gateway.tree.system.dump().encode(),
            repr(book.store).encode() + bytes(getattr(book.store, "segment", b"")),
            (await gateway.gateway.gate.render_metrics(""))[1],
            gateway.logged(),
            "".join(capfd.readouterr()).encode(),
        ]
    assert answer.status == 500
    secrets = {canary: canary.encode() for canary in CANARIES}
    assert [traces(text, secrets) for text in told] == [set()] * len(told)
