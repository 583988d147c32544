"""Workers that lose the store that all share: no name is served twice at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.granter.ports import StoreUnavailable
from actors.tapes import sharing as sharing_module
from actors.tapes.memory import MemoryTapes
from actors.tapes.ports import Part, TapeRow
from gateway.embed import Embedded, Shared, embedded, text_of
from gateway.embed_providers import Behaviour, FakeProvider, PausesAfter, Says, Silent
from gateway.settings.definition import evolve
from tests.gateway.gateways import CHAT, DEADLINES, KEY, chat, provider
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_resume import ENV, TEXT, made, plain, tapes_of

NAMED = {"idempotency-key": "k"}


class Line:
    """One worker's way to the store: up, refusing, or without an answer."""

    def __init__(self, store: MemoryTapes) -> None:
        self.store = store
        self.state = "up"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)

        async def call(*given: Any) -> Any:
            if self.state == "hangs":
                await trio.sleep_forever()
            if self.state == "down":
                raise StoreUnavailable("cut off")
            return await found(*given)

        return call


@attrs.define
class Pair:
    """Two workers before one upstream; `line` is the first one's."""

    one: Embedded
    two: Embedded
    main: FakeProvider
    line: Line
    tapes: MemoryTapes


@asynccontextmanager
async def pair(
    script: Sequence[Behaviour], replay_s: float = 600.0, **site: Any
) -> AsyncGenerator[Pair]:
    deadlines = evolve(
        DEADLINES, headers_s=300, first_content_s=300, idle_s=300, total_s=900
    )
    config = evolve(made(**site), providers=(provider("main", deadlines=deadlines),))
    limits = evolve(config.server.limits, replay_s=replay_s)
    config = evolve(config, server=evolve(config.server, limits=limits))
    main, tapes = FakeProvider(script), MemoryTapes()
    both = Shared(tapes=tapes)
    line = Line(tapes)
    first = attrs.evolve(both, tapes=line)
    async with (
        embedded(config, {"main": main}, environ=ENV, shared=first) as one,
        embedded(config, {"main": main}, environ=ENV, shared=both) as two,
    ):
        yield Pair(one, two, main, line, tapes)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("state", ["down", "hangs"])
async def test_a_worker_that_is_cut_off_ends_what_another_may_begin(
    autojump_clock: MockClock, state: str, stream: bool
) -> None:
    """At every moment one generation, and each has its record."""
    async with pair([Silent(), Says(TEXT)]) as both:
        async with both.one.open(
            "POST", CHAT, chat(stream=stream), key=KEY, headers=NAMED
        ):
            await trio.sleep(2)
            assert both.main.open == 1
            both.line.state = state
            await trio.sleep(12)  # Short of an outage that matters.
            assert both.main.open == 1
            again = await both.two.request(
                "POST", CHAT, chat(stream=stream, n=1), key=KEY, headers=NAMED
            )
            assert again.status == 422  # The name is still the first one's.
            await trio.sleep(5)
            assert both.main.open == 0
            assert both.main.cancelled == 1

            await trio.sleep(6)
            answer = await both.two.request(
                "POST", CHAT, chat(stream=stream), key=KEY, headers=NAMED
            )

        assert answer.status == 200
        assert TEXT in (text_of(plain(answer.body)) if stream else answer.body.decode())
        assert len(both.main.requests) == 2
        both.line.state = "up"
        [record] = await both.one.records()
        assert record.outcome == "aborted"
        await assert_nothing_held(both.one)


async def test_what_was_ended_is_free_at_its_own_worker_as_well(
    autojump_clock: MockClock,
) -> None:
    async with pair([Silent(), Says(TEXT)]) as both:
        async with both.one.open("POST", CHAT, chat(), key=KEY, headers=NAMED) as call:
            await trio.sleep(2)
            both.line.state = "down"
            told = await call.read()
        refused = await both.one.request("POST", CHAT, chat(), key=KEY, headers=NAMED)
        both.line.state = "up"
        await trio.sleep(1)
        answer = await both.one.request("POST", CHAT, chat(), key=KEY, headers=NAMED)

    # Begun for its heartbeat, so its end is an event.
    assert b"stream_interrupted" in told.body
    assert refused.status == 503
    assert text_of(plain(answer.body)) == TEXT


async def test_a_writer_whose_name_was_taken_stops_when_it_hears_of_it(
    autojump_clock: MockClock,
) -> None:
    """As where two machines' clocks differ by more than anybody allowed for."""
    async with pair([PausesAfter("Hello"), Says(TEXT)]) as both:
        async with both.one.open("POST", CHAT, chat(), key=KEY, headers=NAMED) as call:
            await call.chunk()
            await trio.sleep(1)
            [row] = both.tapes.rows.values()
            await both.tapes.release(row.request_id)
            answer = await both.two.request(
                "POST", CHAT, chat(), key=KEY, headers=NAMED
            )
            assert both.main.open == 1
            told = await call.read()
            assert both.main.open == 0
        # From here on the name means the other's answer, at both of them.
        again = await both.one.request("POST", CHAT, chat(), key=KEY, headers=NAMED)

    assert b"stream_interrupted" in told.body
    assert text_of(plain(answer.body)) == TEXT
    assert again.body == answer.body
    assert len(both.main.requests) == 2


async def test_a_stream_without_a_name_outlives_an_outage_and_is_written_anew(
    autojump_clock: MockClock,
) -> None:
    """Nobody else can begin it: there is no reason to end it."""
    words = " ".join(f"w{number}" for number in range(8))
    async with pair([Says(words, delta_s=10)], replay_s=30.0) as both:
        async with both.one.open("POST", CHAT, chat(), key=KEY) as call:
            first = await call.chunk()
            await trio.sleep(1)
            both.line.state = "down"
            await trio.sleep(45)
            assert both.tapes.rows  # Others sweep it, as it seems to have expired.
            await both.tapes.sweep(2**62, 0)
            both.line.state = "up"
            rest = await call.read()
        path = f"/v1/streams/{call.headers['x-request-id']}"
        await trio.sleep(1)
        elsewhere = await both.two.request("GET", path, key=KEY)

    whole = (first + rest.body).replace(b": hb\n", b"")
    assert text_of(plain(whole)) == words
    assert elsewhere.body == whole


async def test_a_silent_stream_is_not_swept_where_answers_are_kept_shortly(
    autojump_clock: MockClock,
) -> None:
    async with (
        pair([Says("one two", delta_s=60)], replay_s=2.0) as both,
        both.one.open("POST", CHAT, chat(), key=KEY, headers=NAMED) as call,
        both.two.open("POST", CHAT, chat("other"), key=KEY),
    ):
        await trio.sleep(1)
        [first] = [one for one in both.tapes.rows.values() if one.name]
        for _ in range(50):  # Both sweep meanwhile.
            await trio.sleep(1)
            assert first.request_id in both.tapes.rows
        assert call.headers["x-request-id"] == first.request_id


async def test_an_outage_piles_up_no_more_than_its_bound(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_module, "ENDED_MAX", 3)
    async with pair([Says("Hello")]) as both:
        sharing = tapes_of(both.one).cell.sharing
        both.line.state = "down"
        ids = []
        for _ in range(8):
            answer = await both.one.post(CHAT, chat(), key=KEY)
            ids.append(answer.headers["x-request-id"])
        await trio.sleep(1)
        assert not sharing._ours
        assert list(sharing._over) == ids[-3:]
        both.line.state = "up"
        await trio.sleep(1)

        assert not sharing._over
        assert list(both.tapes.rows) == ids[-3:]


async def test_all_streams_are_written_however_many_there_are(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that began first must not take every place of a transaction."""
    monkeypatch.setattr(sharing_module, "BATCH_MAX", 2)
    monkeypatch.setattr(sharing_module, "BATCH_BYTES_MAX", 1)
    async with pair([Says("one two three four", delta_s=1)]) as both:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                await both.one.post(CHAT, chat(), key=KEY)

            for _ in range(4):
                nursery.start_soon(read)
            await trio.sleep(3.4)
            found: list[tuple[TapeRow, list[Part]]] = [
                await both.tapes.parts(request_id, 0) for request_id in both.tapes.rows
            ]
            counts = [len(parts) for _, parts in found]
        assert len(counts) == 4
        assert min(counts) >= 3
