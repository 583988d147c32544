"""Several workers, one store: what one gives, the others can go on with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.tapes.memory import MemoryTapes
from gateway.embed import Embedded, Shared, embedded, text_of
from gateway.embed_providers import (
    Behaviour,
    Fails,
    FakeProvider,
    PausesAfter,
    Says,
    Silent,
)
from gateway.settings.definition import evolve
from tests.gateway.gateways import CHAT, DEADLINES, KEY, chat, provider
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_resume import (
    ENV,
    OTHER_KEY,
    SLOW,
    TEXT,
    ids_of,
    made,
    plain,
    read_some,
    tapes_of,
)

ORIGIN = "https://www.acme.example"


@asynccontextmanager
async def workers(
    script: Sequence[Behaviour] = (SLOW,), count: int = 2, **site: Any
) -> AsyncGenerator[tuple[list[Embedded], FakeProvider, MemoryTapes]]:
    """Workers before one upstream."""
    main, shared = FakeProvider(script), Shared()
    tapes = shared.tapes
    assert isinstance(tapes, MemoryTapes)
    config = made(allowed_origins=(ORIGIN,), **site)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                embedded(config, {"main": main}, environ=ENV, shared=shared)
            )
            for _ in range(count)
        ]
        yield opened, main, tapes


async def test_a_stream_is_picked_up_at_another_worker_while_it_runs(
    autojump_clock: MockClock,
) -> None:
    async with workers() as ([one, two], main, _):
        seen = await read_some(one, 3)

        answer = await two.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": ids_of(seen)[-1]}
        )

        assert answer.status == 200
        assert answer.headers["x-request-id"] == ids_of(seen)[0].partition(".")[0]
        assert text_of(plain(seen + answer.body)) == TEXT
        numbers = [int(i.partition(".")[2]) for i in ids_of(seen) + ids_of(answer.body)]
        assert numbers == list(range(len(numbers)))
        assert len(main.requests) == 1
        assert (len(await one.records()), len(await two.records())) == (1, 0)
        for worker in (one, two):
            await assert_nothing_held(worker)


async def test_and_when_it_is_over_and_its_worker_gone(
    autojump_clock: MockClock,
) -> None:
    main, shared, config = FakeProvider([SLOW]), Shared(), made()
    async with embedded(config, {"main": main}, environ=ENV, shared=shared) as one:
        seen = await read_some(one, 3)
        await one.gateway.drain()
    request_id, _, number = ids_of(seen)[-1].partition(".")
    path = f"/v1/streams/{request_id}?starting_after={number}"

    async with embedded(config, {"main": main}, environ=ENV, shared=shared) as two:
        rest = await two.request("GET", path, key=KEY)
        assert text_of(plain(seen + rest.body)) == TEXT
    # Whoever has the store alone, without its keys, has nothing.
    thief = Shared(tapes=shared.tapes)
    async with embedded(config, {"main": main}, environ=ENV, shared=thief) as three:
        answer = await three.request("GET", path, key=KEY)
        assert answer.status == 409
    assert len(main.requests) == 1


async def test_what_waits_in_the_store_says_nothing_by_itself(
    autojump_clock: MockClock,
) -> None:
    async with workers() as ([one, _], _main, tapes):
        headers = {"idempotency-key": "my-own-name"}
        await one.request("POST", CHAT, chat(), key=KEY, headers=headers)
        await trio.sleep(1)

        held = repr(vars(tapes)).encode() + b"".join(
            row.head for row in tapes.rows.values()
        )
        assert len(tapes.rows) == 1
        for secret in (b"my-own-name", b"three", b"event-stream"):
            assert secret not in held


@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_key_at_another_worker_joins_or_gets_the_same(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with workers(count=3, resume="off") as (all_, main, _):
        bodies: list[bytes] = []

        async def ask(worker: Embedded, after_s: float) -> None:
            await trio.sleep(after_s)
            answer = await worker.request(
                "POST",
                CHAT,
                chat(stream=stream),
                key=KEY,
                headers={"idempotency-key": "k"},
            )
            assert answer.status == 200
            bodies.append(answer.body)

        async with trio.open_nursery() as nursery:
            for place, after_s in enumerate((0, 0, 0, 0.1, 2.2, 3, 60, 61, 62)):
                nursery.start_soon(ask, all_[place % 3], after_s)

        assert len(set(bodies)) == 1
        assert len(bodies) == 9
        assert len(main.requests) == 1
        other = await all_[1].request(
            "POST", CHAT, chat("b"), key=KEY, headers={"idempotency-key": "k"}
        )
        assert other.status == 422


async def test_another_workers_failure_gives_the_name_up(
    autojump_clock: MockClock,
) -> None:
    async with workers([Fails(400), Says(TEXT)]) as ([one, two], main, tapes):
        headers = {"idempotency-key": "k"}
        first = await one.request("POST", CHAT, chat(), key=KEY, headers=headers)
        await trio.sleep(1)
        assert tapes.rows == {}
        second = await two.request("POST", CHAT, chat(), key=KEY, headers=headers)

        assert (first.status, second.status) == (400, 200)
        assert len(main.requests) == 2


async def test_a_stream_can_be_ended_from_another_worker(
    autojump_clock: MockClock,
) -> None:
    async with workers([PausesAfter()]) as ([one, two], main, _):
        seen = await read_some(one, 1)
        await trio.sleep(1)
        path = f"/v1/streams/{ids_of(seen)[0].partition('.')[0]}/cancel"

        foreign = await two.request("POST", path, key=OTHER_KEY)
        answer = await two.request("POST", path, key=KEY)
        assert main.open == 1
        await trio.sleep(6)

        assert foreign.status == 404
        assert answer.json()["status"] == "stopping"
        assert main.open == 0
        await assert_nothing_held(one)


def die(worker: Embedded) -> None:
    """Nobody hears of it any more, as after kill -9."""
    broken = MemoryTapes()
    broken.broken = True
    tapes_of(worker).cell.sharing.store = broken


async def test_a_stream_whose_worker_died_ends_in_an_error_event(
    autojump_clock: MockClock,
) -> None:
    async with workers([PausesAfter("Hello")]) as ([one, two], main, _):
        async with one.open("POST", CHAT, chat(), key=KEY) as call:
            seen = await call.chunk()
            await trio.sleep(1)
            die(one)

            answer = await two.request(
                "POST",
                CHAT,
                chat(),
                key=KEY,
                headers={"last-event-id": ids_of(seen)[0]},
            )
        assert b"Hello" in answer.body
        assert b"stream_interrupted" in answer.body
        assert b"[DONE]" not in answer.body
        assert len(main.requests) == 1
        path = f"/v1/streams/{ids_of(seen)[0].partition('.')[0]}/cancel"
        stopped = await two.request("POST", path, key=KEY)
        assert stopped.json()["status"] == "over"


@asynccontextmanager
async def patient_workers(
    script: Sequence[Behaviour],
) -> AsyncGenerator[tuple[Embedded, Embedded, FakeProvider]]:
    """Two workers whose upstream may be silent for long."""
    deadlines = evolve(
        DEADLINES, headers_s=60, first_content_s=90, idle_s=90, total_s=900
    )
    config = evolve(made(), providers=(provider("main", deadlines=deadlines),))
    main, shared = FakeProvider(script), Shared()
    async with (
        embedded(config, {"main": main}, environ=ENV, shared=shared) as one,
        embedded(config, {"main": main}, environ=ENV, shared=shared) as two,
    ):
        yield one, two, main


async def test_a_silent_writer_is_not_taken_for_a_dead_one(
    autojump_clock: MockClock,
) -> None:
    async with patient_workers([Says("one two three", delta_s=40)]) as (one, two, _):
        seen = await read_some(one, 3)  # Two of them are heartbeats.
        answer = await two.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": ids_of(seen)[-1]}
        )
        assert text_of(plain(seen + answer.body).replace(b": hb\n", b"")) == (
            "one two three"
        )


async def test_a_name_whose_worker_died_before_a_word_is_free_again(
    autojump_clock: MockClock,
) -> None:
    async with patient_workers([Silent(), Says(TEXT)]) as (one, two, main):
        headers = {"idempotency-key": "k"}
        async with one.open("POST", CHAT, chat(), key=KEY, headers=headers):
            await trio.sleep(0.5)
            die(one)
            await trio.sleep(25)

            answer = await two.request("POST", CHAT, chat(), key=KEY, headers=headers)

        assert text_of(plain(answer.body)) == TEXT
        assert len(main.requests) == 2


async def test_while_the_store_cannot_be_asked_no_named_request_is_served(
    autojump_clock: MockClock,
) -> None:
    """Whether it was served before cannot be told; the others are."""
    async with workers([Says(TEXT)]) as ([one, _], main, tapes):
        tapes.broken = True
        named = await one.request(
            "POST", CHAT, chat(), key=KEY, headers={"idempotency-key": "k"}
        )
        plain_ = await one.post(CHAT, chat(), key=KEY)
        request_id = plain_.headers["x-request-id"]
        await trio.sleep(3)
        tapes.broken = False
        await trio.sleep(1)

        assert (named.status, plain_.status) == (503, 200)
        assert len(main.requests) == 1
        # What was written here meanwhile is there once the store is.
        assert tapes.rows[request_id].state == "complete"


async def test_a_grants_page_comes_back_at_another_worker(
    autojump_clock: MockClock,
) -> None:
    async with workers() as ([one, two], main, _):
        body = {"request": chat(), "origin": ORIGIN}
        issued = await one.post("/v1/stream_grants", body, key=KEY)
        path, page = issued.json()["path"], {"origin": ORIGIN}
        seen = b""
        async with two.open("GET", path, headers=page) as call:
            for _ in range(3):
                seen += await call.chunk()

        replay = await one.request("GET", path, headers=page)
        rest = await one.request(
            "GET", path, headers={**page, "last-event-id": ids_of(seen)[-1]}
        )

        assert replay.json()["error"]["code"] == "grant_used"
        assert text_of(plain(seen + rest.body)) == TEXT
        assert len(main.requests) == 1
