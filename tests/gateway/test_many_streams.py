"""Hundreds of streams side by side, some of which leave, stall or break: no leak."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import Behaviour, BreaksAfter, CutAfter, FakeProvider, Says
from gateway.settings.config import Config
from gateway.settings.definition import evolve
from gateway.settings.providers import BreakerConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.support_socket import socket
from tests.gateway.test_requests import ENV, assert_nothing_held
from tests.gateway.test_resume import ids_of, plain
from tests.gateway.test_sockets import create, said

STREAMS = 300
WORDS = 30  # A second each.
TEXT = " ".join(f"w{number}" for number in range(WORDS))
RAMP_S = 5.0  # All are open, and have had something, long before the first ends.
LEAVE, STALL, BREAK = 0.05, 0.05, 0.05


def made() -> Config:
    one = config(
        # What breaks here says nothing of those beside it: no trip.
        [
            provider(
                "main", in_flight_max=STREAMS, breaker=BreakerConfig(failures_max=100)
            )
        ],
        in_flight_max=STREAMS,
        resume="detach",
        spend_max_nanousd=10**12,
    )
    limits = evolve(one.server.limits, connections_max=2 * STREAMS)
    return evolve(one, server=evolve(one.server, limits=limits))


class Crowd:
    """The clients of one run, and how each of them ended."""

    def __init__(self, gateway: Embedded, rng: Random) -> None:
        self.gateway = gateway
        self.rng = rng
        self.ends: Counter[str] = Counter()

    async def one(self, number: int) -> None:
        """One client, from its seed."""
        rng = Random(self.rng.random() + number)
        await trio.sleep(rng.uniform(0, RAMP_S))
        fate = rng.random()
        if number % 3 == 0:
            await self.by_socket(leaves=fate < LEAVE, after_s=rng.uniform(1, WORDS))
        elif fate < LEAVE:
            await self.leaves(rng.randrange(1, WORDS))
        elif fate < LEAVE + STALL:
            await self.stalls()
        elif fate < LEAVE + STALL + 0.1:
            await self.comes_back(rng.randrange(1, WORDS // 2))
        else:
            await self.reads()

    async def reads(self) -> None:
        answer = await self.gateway.post(CHAT, chat(), key=KEY)
        self.told(plain(answer.body))

    def told(self, body: bytes) -> None:
        text = text_of(body)
        if text == TEXT:
            self.ends["whole"] += 1
        else:
            assert b'"error":{' in body, "an end that looks like a good one"
            self.ends["broken"] += 1

    async def leaves(self, chunks: int) -> None:
        async with self.gateway.open("POST", CHAT, chat(), key=KEY) as call:
            for _ in range(chunks):
                if not await call.chunk():
                    break
        self.ends["left"] += 1

    async def stalls(self) -> None:
        async with self.gateway.open("POST", CHAT, chat(), key=KEY) as call:
            await call.chunk()
            await trio.sleep(WORDS / 2)
        self.ends["stalled"] += 1

    async def comes_back(self, chunks: int) -> None:
        """Cut off by a bad network, and there again a moment later."""
        seen = b""
        async with self.gateway.open("POST", CHAT, chat(), key=KEY) as call:
            for _ in range(chunks):
                seen += await call.chunk()
        await trio.sleep(2)
        if not seen.endswith(b"\n\n") or b'"error":{' in seen:
            self.ends["broken"] += 1
            return
        last = ids_of(seen)[-1]
        rest = await self.gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": last}
        )
        self.told(plain(seen + rest.body))
        self.ends["came back"] += 1

    async def by_socket(self, *, leaves: bool, after_s: float) -> None:
        async with socket(self.gateway, key=KEY) as client:
            await client.send(create())
            if leaves:
                await trio.sleep(after_s)
                self.ends["left"] += 1
                return
            events = []
            while (event := await client.receive()) is not None:
                events.append(event)
                if event["type"] in {"response.completed", "response.failed", "error"}:
                    break
            if events[-1]["type"] == "response.completed":
                assert said(events) == TEXT
                self.ends["whole"] += 1
            else:
                self.ends["broken"] += 1


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_of_streams_that_leave_stall_and_break_leave_nothing_behind(
    autojump_clock: MockClock, seed: int
) -> None:
    rng = Random(seed)
    good = Says(TEXT, delta_s=1)
    script: list[Behaviour] = [
        rng.choice([CutAfter("w0"), BreaksAfter("w0")])
        if rng.random() < BREAK
        else good
        for _ in range(STREAMS)
    ]
    script.insert(0, good)
    main = FakeProvider(script)
    async with embedded(made(), {"main": main}, environ=ENV, seed=seed) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)  # What is started once, is now.
        await trio.testing.wait_all_tasks_blocked()
        idle = trio.lowlevel.current_statistics().tasks_living
        crowd = Crowd(gateway, rng)
        most_open = 0
        async with trio.open_nursery() as nursery:
            for number in range(STREAMS):
                nursery.start_soon(crowd.one, number)
            await trio.sleep(RAMP_S + 1)
            most_open = main.open
        await trio.sleep(2 * WORDS)  # Those that go on without a reader end, too.

        await assert_nothing_held(gateway)
        assert most_open > STREAMS * 0.8
        assert main.open == 0
        # Nobody was served twice, nobody not at all, and each has its record.
        assert len(main.requests) == STREAMS + 1
        assert len(await gateway.records()) == STREAMS + 1
        assert crowd.ends["whole"] > STREAMS * 0.7
        assert min(crowd.ends[end] for end in ("left", "stalled", "came back")) > 0
        assert crowd.ends["broken"] > 0
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == idle
