"""Clients that lie, guess and overdo it, on everything that streams."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.tapes.sharing import BATCH_MAX, TapeSharing
from actors.tapes.tape import Tape
from gateway.embed import Shared, embedded, text_of
from gateway.embed_providers import FakeProvider, Says
from gateway.http11_transport import ClientGone
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.gateway.support_http11 import running
from tests.gateway.support_socket import socket
from tests.gateway.test_http11_upgrade import prior_knowledge
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_resume import (
    ENV,
    TEXT,
    gateway_with,
    ids_of,
    made,
    plain,
    tapes_of,
)
from tests.gateway.test_sockets import ENDS, create, said, talking

FAR = 999_999_999


async def test_who_claims_to_have_seen_the_future_is_told_and_cuts_nobody(
    autojump_clock: MockClock,
) -> None:
    async with (
        gateway_with([Says(TEXT, delta_s=1)]) as (gateway, main),
        gateway.open("POST", CHAT, chat(), key=KEY) as call,
    ):
        seen = await call.chunk()
        request_id = ids_of(seen)[0].partition(".")[0]

        liar = await gateway.request(
            "GET", f"/v1/streams/{request_id}?starting_after={FAR}", key=KEY
        )

        assert liar.status == 400
        assert b"no such event" in liar.body
        rest = (await call.read()).body
        assert text_of(plain(seen + rest)) == TEXT
        assert len(main.requests) == 1


async def test_a_reader_from_the_future_neither_frees_the_writer_nor_sheds_for_others(
    autojump_clock: MockClock,
) -> None:
    tape = Tape(site="acme", key_id="k", request_id="req_" + "0" * 24)
    tape.begin(200, (), streamed=True)
    with tape.read_from(0) as honest, tape.read_from(FAR):
        await tape.write(b"data: 1\n\n")
        tape.budget.bytes_max = 0  # Too long to be kept: what was read is dropped.
        await tape.write(b"data: 2\n\n")

        assert tape.number == 2
        assert honest.place == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stream_grants/nonsense?" + "&".join(f"a{n}=1" for n in range(40)),
        "/v1/streams/req_000000000000000000000000?"
        + "&".join(f"a{n}=1" for n in range(40)),
        "/v1/responses/resp_x?stream=true&starting_after=" + "9" * 5000,
        "/v1/responses/resp_x?" + "&".join(f"a{n}=1" for n in range(40)),
    ],
)
async def test_a_query_that_is_too_much_is_the_clients_own_fault(
    autojump_clock: MockClock, path: str
) -> None:
    async with gateway_with() as (gateway, _):
        made_first = await gateway.post(
            "/v1/responses",
            {"model": "fast", "input": "hi", "stream": True},
            key=KEY,
        )
        answer_id = made_first.body.partition(b'"id":"resp_')[2][:28].decode()
        path = path.replace("resp_x", f"resp_{answer_id}")

        answer = await gateway.request(
            "GET",
            path,
            key=KEY,
            headers={"origin": "https://www.acme.example"},
        )

        assert answer.status == 400, answer.body


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"response.cancel","stream_id":1e999}',
        '{"type":"response.cancel","response_id":[[]]}',
        '{"type":"response.cancel","stream_id":' + "[" * 20_000 + "]" * 20_000 + "}",
    ],
)
async def test_a_cancel_that_makes_no_sense_ends_no_other_lane(
    autojump_clock: MockClock, message: str
) -> None:
    async with talking(Says("Hello there", delta_s=1)) as (gateway, _, client):
        await client.send(create(stream_id="good"))
        assert (await client.receive())["type"] == "response.created"

        await client.send(message)

        events = await client.until("error")
        assert events[-1]["error"]["code"] == "invalid_request"
        events += await client.until("response.completed")
        assert said(events) == "Hello there"
        await assert_nothing_held(gateway)


async def test_a_cancel_by_an_id_that_another_answer_only_mentions_hits_that_one_not(
    autojump_clock: MockClock,
) -> None:
    async with talking(Says("Hello there", delta_s=1)) as (_, _, client):
        first = (await client_says(client, create()))[-1]["response"]["id"]
        await client.send(create(previous_response_id=first, stream_id="next"))
        assert (await client.receive())["type"] == "response.created"

        await client.send({"type": "response.cancel", "response_id": first})

        events = await client.until("error")
        assert events[-1]["error"]["code"] == "response_cancel_not_active"
        assert (await client.until(*ENDS))[-1]["type"] == "response.completed"


async def client_says(client: Any, event: Any) -> list[Any]:
    await client.send(event)
    found: list[Any] = await client.until(*ENDS)
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-stagedoor-buffered": "1"},
        {"x-stagedoor-client": "wordpress-plugin/1.2"},
        {"user-agent": "Stagedoor-WordPress/1.2"},
    ],
)
async def test_a_socket_gets_events_also_where_the_site_is_given_whole_answers(
    autojump_clock: MockClock, headers: dict[str, str]
) -> None:
    main = FakeProvider([Says("Hello there")])
    async with (
        embedded(config(buffered=True), {"main": main}, environ=ENV) as gateway,
        socket(gateway, "/v1/responses", key=KEY, headers=headers) as client,
    ):
        events = await client_says(client, create())

        assert said(events) == "Hello there"
        assert events[-1]["type"] == "response.completed"


async def test_an_answer_that_ends_before_its_key_came_is_over_in_the_store_too(
    autojump_clock: MockClock,
) -> None:
    shared = Shared()
    make = shared.epoch_keys.make

    async def far_away(epoch: int) -> bytes:
        await trio.sleep(3)
        return await make(epoch)

    shared.epoch_keys.make = far_away  # type: ignore[method-assign]
    main = FakeProvider([Says("short")])
    async with embedded(made(), {"main": main}, environ=ENV, shared=shared) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)

        await trio.sleep(30)

        (row,) = shared.tapes.rows.values()  # type: ignore[attr-defined]
        assert row.state == "complete"
        sharing: TapeSharing = tapes_of(gateway).cell.sharing
        assert repr(sharing).startswith("<TapeSharing 0+0 well")


async def test_a_far_kms_is_asked_once_a_day_and_not_once_a_stream(
    autojump_clock: MockClock,
) -> None:
    shared = Shared()
    make, asked = shared.epoch_keys.make, 0

    async def counted(epoch: int) -> bytes:
        nonlocal asked
        asked += 1
        return await make(epoch)

    shared.epoch_keys.make = counted  # type: ignore[method-assign]
    main = FakeProvider([Says("short")])
    async with embedded(made(), {"main": main}, environ=ENV, shared=shared) as gateway:
        for _ in range(5):
            await gateway.post(CHAT, chat(), key=KEY)

        assert asked == 1


async def test_what_ended_in_an_outage_is_written_in_bounded_batches(
    autojump_clock: MockClock,
) -> None:
    shared = Shared()
    tapes: Any = shared.tapes
    sizes: list[int] = []
    save = tapes.save

    async def counted(saves: Any) -> Any:
        sizes.append(len(saves))
        return await save(saves)

    tapes.save = counted
    providers = {"main": FakeProvider([Says("hi")])}
    async with embedded(made(), providers, environ=ENV, shared=shared) as gateway:
        sharing: TapeSharing = tapes_of(gateway).cell.sharing
        for number in range(BATCH_MAX * 2 + 1):
            tape = Tape(site="acme", key_id="k", request_id=f"req_{number:024x}")
            tape.begin(200, (), streamed=True)
            await tape.write(b"data: 1\n\n")
            tape.finish(complete=True)
            await sharing.follow(tape)

        await trio.sleep(5)

        assert max(sizes) == BATCH_MAX
        assert len(tapes.rows) == BATCH_MAX * 2 + 1
        assert repr(sharing).startswith("<TapeSharing 0+0 well")


async def test_who_leaves_over_http_2_is_no_fault_of_the_apps() -> None:
    left = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        try:
            async with trio.open_nursery():
                while (await receive())["type"] != "http.disconnect":
                    pass
                raise ClientGone("left")
        finally:
            left.set()

    async with running(handler) as server:
        http2 = await prior_knowledge(server)
        stream_id = await http2.ask()
        http2.connection.reset_stream(stream_id)
        await http2.flush()
        await left.wait()
        await trio.testing.wait_all_tasks_blocked()

    assert server.reports == []
