"""Hooks on answers: whole gateways in memory, every dialect, hooks that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from actors.stream.hooks import Finished, Halt, Hook, Part, Started
from gateway.embed import Embedded, embedded, events, text_of
from gateway.embed_providers import BreaksAfter, FakeProvider, PausesAfter, Says
from gateway.explaining import answer as explain
from gateway.hooks import GROUP, placed
from gateway.settings.config import Config
from gateway.settings.definition import evolve
from gateway.settings.errors import ConfigError
from gateway.settings.hooks import HookConfig
from tests.gateway.gateways import CHAT, KEY, config

ENV = {"PROVIDER_KEY": "sk-upstream"}
SECRET = "sk-proj-abcdEFGH1234567890abcdEFGH"
MESSAGES = [{"role": "user", "content": "hi"}]
# Every client dialect: its path, a body, and where it says that the answer stopped.
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "fast", "messages": MESSAGES},
    "/v1/messages": {"model": "fast", "messages": MESSAGES, "max_tokens": 100},
    "/v1/responses": {"model": "fast", "input": "hi"},
    "/v1/completions": {"model": "fast", "prompt": "hi"},
}


def hooked(*hooks: HookConfig, **site: Any) -> Config:
    return evolve(config(**site), hooks=hooks)


REDACT = HookConfig(name="quiet", kind="redact")


async def ask(gateway: Embedded, path: str = CHAT, *, stream: bool = True) -> Any:
    return await gateway.post(path, {**BODIES[path], "stream": stream}, key=KEY)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", BODIES)
async def test_a_secret_is_masked_for_every_kind_of_client(
    path: str, stream: bool, autojump_clock: MockClock
) -> None:
    main = FakeProvider([Says(f"The key is {SECRET} for you")])
    async with embedded(hooked(REDACT), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, path, stream=stream)
        record = (await gateway.records())[0]

    assert answer.status == 200
    assert SECRET[:8] not in answer.body.decode()
    assert "[secrets]" in answer.body.decode()
    assert record.outcome == "ok"
    # The bill is the provider's, whatever the client is shown.
    assert record.output_tokens == len(f"The key is {SECRET} for you".split(" "))


async def test_without_a_hook_for_it_an_answer_passes_as_it_came(
    autojump_clock: MockClock,
) -> None:
    other = HookConfig(name="quiet", kind="redact", sites=("other*",))
    main = FakeProvider([Says(SECRET)])
    async with embedded(hooked(other), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)

    assert text_of(answer.body) == SECRET


async def test_a_guard_ends_the_answer_as_filtered(autojump_clock: MockClock) -> None:
    guard = HookConfig(name="guard", kind="guard", options=("words=bomb",))
    main = FakeProvider([Says("first mix the bomb with " + "more " * 200)])
    async with embedded(hooked(guard), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)
        record = (await gateway.records())[0]

    told = list(events(answer.body))
    assert text_of(answer.body) == "first mix the "
    assert told[-1] == "[DONE]"
    finishes = [
        choice["finish_reason"]
        for event in told[:-1]
        for choice in event["choices"]
        if choice["finish_reason"]
    ]
    assert finishes == ["content_filter"]
    assert (record.outcome, record.finish) == ("cut", "content_filter")
    assert main.open == 0
    assert record.usage_estimated  # The provider was left before it told.


async def test_a_guard_ends_a_whole_answer_too(autojump_clock: MockClock) -> None:
    guard = HookConfig(name="guard", kind="guard", options=("words=bomb",))
    main = FakeProvider([Says("first mix the bomb with more")])
    async with embedded(hooked(guard), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, stream=False)

    choice = answer.json()["choices"][0]
    assert choice["message"]["content"] == "first mix the "
    assert choice["finish_reason"] == "content_filter"
    assert answer.json()["usage"]["completion_tokens"] == 6


async def test_a_guard_that_fails_refuses_in_the_clients_words(
    autojump_clock: MockClock,
) -> None:
    options = ("words=bomb", "do=fail")
    guard = HookConfig(name="guard", kind="guard", options=options)
    main = FakeProvider([Says("bomb")])
    async with embedded(hooked(guard), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, "/v1/messages")

    assert answer.status == 502
    assert answer.json()["type"] == "error"
    assert len(main.requests) == 1  # No other try: its answer would be no better.


class Shaky(Hook):
    """Does what its options say; tells what it heard."""

    heard: list[str]

    def __init__(self, how: str, heard: list[str], stuck: threading.Event) -> None:
        self.how = how
        self.heard = heard
        self.stuck = stuck

    def on_start(self, started: Started) -> None:
        self.heard.append(f"start {started.site} {started.model} {started.provider}")

    def on_delta(self, text: str, part: Part) -> str:
        if self.how == "raise":
            raise RuntimeError(text)
        if self.how == "hang":
            self.stuck.wait(20)
        return text.upper()

    def on_finish(self, finished: Finished) -> None:
        self.heard.append(f"finish {finished.reason} {finished.chars}")

    def on_abort(self, why: str) -> None:
        self.heard.append(f"abort {why}")


class Stage:
    """What the hooks of one test share; threads that are left behind keep their own."""

    heard: list[str] = []  # noqa: RUF012 - made anew for each test
    stuck = threading.Event()


def make_shaky(options: Mapping[str, str]) -> Hook:
    return Shaky(options.get("how", ""), Stage.heard, Stage.stuck)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    Stage.heard, Stage.stuck = [], threading.Event()
    point = EntryPoint("shaky", f"{__name__}:make_shaky", GROUP)
    monkeypatch.setattr("gateway.hooks.entry_points", lambda **_: [point])
    yield
    Stage.stuck.set()


def shaky(how: str = "", **more: Any) -> HookConfig:
    given = {"name": "mine", "kind": "shaky", "isolated": False, "time_box_ms": 60_000}
    return HookConfig(
        **cast("dict[str, Any]", {**given, "options": (f"how={how}",), **more})
    )


async def test_an_installed_hook_sees_the_whole_life_of_an_answer(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("Hello you there")])
    async with embedded(hooked(shaky()), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)

    assert text_of(answer.body) == "HELLO YOU THERE"
    assert Stage.heard == ["start acme fast main", "finish stop 15"]


async def test_a_hook_that_raises_is_left_out_of_the_answer(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says(f"Hello {SECRET}")])
    async with embedded(hooked(shaky("raise")), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)
        scraped = (await gateway.request("GET", "/metrics")).body
        logged = gateway.logged()

    assert text_of(answer.body) == f"Hello {SECRET}"
    line = b'stagedoor_hook_failures_total{hook="mine",reason="raised"} 1.0'
    assert line in scraped
    assert SECRET.encode() not in logged


async def test_a_hook_that_must_not_fail_takes_the_answer_with_it(
    autojump_clock: MockClock,
) -> None:
    must = shaky("raise", on_failure="fail")
    main = FakeProvider([Says(f"Hello {SECRET}")])
    async with embedded(hooked(must), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)

    assert answer.status == 502
    assert "mine" in answer.json()["error"]["message"]
    assert SECRET not in answer.body.decode()


async def test_a_hook_that_hangs_is_left_behind(autojump_clock: MockClock) -> None:
    isolated = shaky("hang", isolated=True, time_box_ms=100)
    main = FakeProvider([Says("Hello you there")])
    async with embedded(hooked(isolated), {"main": main}, environ=ENV) as gateway:
        with trio.fail_after(30):
            answer = await ask(gateway)

    assert text_of(answer.body) == "Hello you there"


async def test_hooks_hear_that_the_client_left(autojump_clock: MockClock) -> None:
    main = FakeProvider([PausesAfter("Hello")])
    async with embedded(hooked(shaky()), {"main": main}, environ=ENV) as gateway:
        asked = {**BODIES[CHAT], "stream": True}
        async with gateway.open("POST", CHAT, asked, key=KEY) as call:
            assert await call.head() == 200
            await call.chunk()
        await gateway.records()

    assert Stage.heard == ["start acme fast main", "abort client gone (disconnected)"]


async def test_hooks_hear_that_the_provider_broke(autojump_clock: MockClock) -> None:
    main = FakeProvider([BreaksAfter("Hello")])
    async with embedded(hooked(shaky()), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)

    assert answer.status == 200
    assert Stage.heard[1].startswith("abort ")


async def test_deltas_are_gathered_by_the_clock(autojump_clock: MockClock) -> None:
    gather = HookConfig(name="slow", kind="coalesce", options=("interval_ms=1000",))
    main = FakeProvider([Says("a b c d e f g h", delta_s=0.3)])
    async with embedded(hooked(gather), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)

    pieces = [
        choice["delta"]["content"]
        for event in events(answer.body)
        if isinstance(event, dict)
        for choice in event["choices"]
        if choice["delta"].get("content")
    ]
    assert "".join(pieces) == "a b c d e f g h"
    assert pieces == ["a", " b c d", " e f g", " h"]


async def test_hooks_run_in_order_each_on_what_the_other_lets_through(
    autojump_clock: MockClock,
) -> None:
    guard = HookConfig(
        name="second", kind="guard", options=("pattern=HELLO", "do=mask", "mask=-")
    )
    main = FakeProvider([Says("hello there")])
    async with embedded(hooked(shaky(), guard), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway)
        told = (await explain(gateway.gateway.gate, b"site=acme&model=fast"))[1]

    assert text_of(answer.body) == "- THERE"
    assert [one["name"] for one in told["hooks"]] == ["mine", "second"]
    assert told["hooks"][0]["calls"] > 0


async def test_a_reload_changes_hooks_and_their_order(
    autojump_clock: MockClock,
) -> None:
    guard = HookConfig(
        name="second", kind="guard", options=("pattern=HELLO", "do=mask", "mask=-")
    )
    main = FakeProvider([Says("hello there")])
    first = hooked(shaky(), guard)
    async with embedded(first, {"main": main}, environ=ENV) as gateway:
        await gateway.gateway.reload(evolve(first, hooks=(guard, shaky())))
        swapped = await ask(gateway)
        bad = evolve(first, hooks=(HookConfig(name="x", kind="nothing"),))
        with pytest.raises(ConfigError, match="no hook"):
            await gateway.gateway.reload(bad)
        same = await ask(gateway)

    assert text_of(swapped.body) == text_of(same.body) == "HELLO THERE"


@pytest.mark.parametrize(
    ("hooks", "why"),
    [
        ([HookConfig(name="x", kind="nothing")], "is no hook; there are redact"),
        ([HookConfig(name="x", kind="guard")], "needs a pattern"),
        (
            [HookConfig(name="x", kind="coalesce"), shaky(name="y", isolated=True)],
            "stands behind x",
        ),
    ],
)
def test_hooks_that_cannot_be_are_said_at_the_start(
    hooks: list[HookConfig], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        placed(hooked(*hooks))


def test_a_halt_does_not_show_what_it_shows() -> None:
    assert SECRET not in repr(Halt("stop", shown=SECRET))
