"""Providers that lie: about usage, about waits, about what is left of a limit.

What they say is used where it can be true, and costs nobody but themselves.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts
from gateway import embed
from gateway.embed import EPOCH_S, embedded, text_of
from gateway.embed_providers import Behaviour, Fails, FakeProvider, Says
from gateway.settings.providers import BreakerConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

MOST_NANOUSD = 50_000  # Of a prompt of a few tokens and two words, with room to spare.


class Liar(FakeProvider):
    """Answers well, and says of it what it likes."""

    def __init__(self, usage: bytes, headers: dict[str, str] | None = None) -> None:
        super().__init__([Says()])
        self.usage = usage
        self.headers = headers or {}

    def _answer(self, behaviour: Behaviour, asked: Any) -> httpx.Response:
        choice = (
            b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":'
            b'[{"index":0,"message":{"role":"assistant","content":"Hello there"},'
            b'"finish_reason":"stop"}],"usage":%s}'
        )
        return httpx.Response(
            200,
            headers={"content-type": "application/json", **self.headers},
            content=choice % self.usage,
        )


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens":9007199254740991,"completion_tokens":9007199254740991}',
        b'{"prompt_tokens":7,"completion_tokens":1000000000}',
        b'{"prompt_tokens":1%s,"completion_tokens":2}' % (b"0" * 400),
        b'{"prompt_tokens":-5,"completion_tokens":-7,"total_tokens":-12}',
        b'{"prompt_tokens":1e308,"completion_tokens":2}',
        b'{"prompt_tokens":1.5,"completion_tokens":"many"}',
        b"[]",
        b"null",
    ],
)
async def test_no_usage_that_cannot_be_is_booked(
    usage: bytes, autojump_clock: MockClock
) -> None:
    """One answer must not empty a cap, nor overflow the books and end the gateway."""
    made = config(spend_max_nanousd=1_000_000_000)
    async with embedded(made, {"main": Liar(usage)}, environ=ENV) as gateway:
        for _ in range(2):
            answer = await gateway.post(CHAT, chat(stream=False), key=KEY)
            assert answer.status == 200
            await trio.sleep(2)  # The books are written.
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert 0 < account.spent_nanousd < 2 * MOST_NANOUSD
        await assert_nothing_held(gateway)


async def test_negative_tokens_pay_nothing_back(autojump_clock: MockClock) -> None:
    """Nor do Anthropic's, whose counts are typed and not looked through."""

    class Generous(FakeProvider):
        def _answer(self, behaviour: Behaviour, asked: Any) -> httpx.Response:
            return httpx.Response(
                200,
                headers={"content-type": "application/json"},
                content=b'{"id":"1","type":"message","role":"assistant","model":"m",'
                b'"content":[{"type":"text","text":"Hello there"}],"stop_reason":'
                b'"end_turn","usage":{"input_tokens":-100000,"output_tokens":-100000}}',
            )

    one = provider("main", kind="anthropic", base_url="https://main.example")
    async with embedded(config([one]), {"main": Generous()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)
        assert answer.status == 200
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert account.spent_nanousd > 0
        [record] = await gateway.records()
        assert record.usage_estimated


@pytest.mark.parametrize(
    ("wait", "told_s"),
    [
        ("315360000", 60.0),  # Ten years: a probe a minute costs nothing.
        ("-5", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", 60.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 1.0),
        ("soon", 1.0),
    ],
)
async def test_no_wait_that_is_asked_for_keeps_a_provider_out_for_long(
    wait: str, told_s: float, autojump_clock: MockClock
) -> None:
    date = "Tue, 03 Mar 2026 10:00:00 GMT"
    no = Fails(429, headers={"retry-after": wait, "date": date})
    first = FakeProvider([no, Says("from a")])
    made = config([provider("a"), provider("b")])
    async with embedded(
        made, {"a": first, "b": FakeProvider([Says("from b")])}, environ=ENV
    ) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert text_of(answer.body) == "from b"
        if told_s:
            await trio.sleep(told_s - 0.5)
            answer = await gateway.post(CHAT, chat(), key=KEY)
            assert text_of(answer.body) == "from b"
        await trio.sleep(1.0)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert text_of(answer.body) == "from a"


GARBAGE = ["-5", "NaN", "1e999", "9" * 5000, "²", "\x7f", "1s1s1s", "0001-01-01", ""]


@pytest.mark.parametrize("aspect", ["limit", "remaining", "reset"])
async def test_rate_headers_of_garbage_are_headers_that_were_not_sent(
    aspect: str, autojump_clock: MockClock
) -> None:
    for value in GARBAGE:
        headers = {f"x-ratelimit-{aspect}-requests": value}
        liar = Liar(b'{"prompt_tokens":7,"completion_tokens":2}')
        liar.headers = {k: v.encode("utf-8") for k, v in headers.items()}  # type: ignore[assignment,misc]
        async with embedded(config(), {"main": liar}, environ=ENV) as gateway:
            for _ in range(3):
                answer = await gateway.post(CHAT, chat(stream=False), key=KEY)
                assert answer.status == 200, value


async def test_a_limit_of_nothing_is_tried_again(autojump_clock: MockClock) -> None:
    """Else nobody would ever hear that it was lifted, or never meant."""
    none = {
        "x-ratelimit-limit-requests": "0",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
    }
    liar = Liar(b'{"prompt_tokens":7,"completion_tokens":2}', none)
    async with embedded(config(), {"main": liar}, environ=ENV) as gateway:
        statuses: list[int] = []
        for _ in range(3):
            answer = await gateway.post(CHAT, chat(stream=False), key=KEY)
            statuses.append(answer.status)
            await trio.sleep(70)
        assert statuses == [200, 200, 200]


async def test_a_clock_that_jumps_changes_no_verdict(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour or a day, forth and back: what was spent stays spent, who is open opens.

    Breakers, waits and sketches go by the clock that only runs; windows of caps by the
    wall's, and none begins twice.
    """
    slow = BreakerConfig(failures_max=3, backoff_first_s=30, backoff_cap_s=60)
    made = config(
        [provider("a", breaker=slow), provider("b")],
        spend_max_nanousd=200_000,
        spend_window="day",
    )
    first = FakeProvider([*[Fails(500)] * 3, Says("from a")])
    second = FakeProvider([Says("from b")])
    refused = 0
    async with embedded(made, {"a": first, "b": second}, environ=ENV) as gateway:
        for _ in range(3):
            await gateway.post(CHAT, chat(max_tokens=4), key=KEY)
        assert len(first.requests) == 3  # Open now, for half a minute.
        for hours in (0, 1, -1, 25, -25):
            monkeypatch.setattr(embed, "EPOCH_S", EPOCH_S + 3600.0 * hours)
            await gateway.post(CHAT, chat(max_tokens=4), key=KEY)
        assert len(first.requests) == 3  # No jump has opened it.
        await trio.sleep(61)
        answer = await gateway.post(CHAT, chat(max_tokens=4), key=KEY)
        assert text_of(answer.body) == "from a"
        # Whatever the clock says by now, the cap of a day is given out once a window.
        for hours in (0, 1, -1) * 30:
            monkeypatch.setattr(embed, "EPOCH_S", EPOCH_S + 3600.0 * hours)
            answer = await gateway.post(CHAT, chat(max_tokens=4), key=KEY)
            refused += answer.status == 429
        assert refused > 60
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert account.spent_nanousd <= 200_000
        await assert_nothing_held(gateway)
