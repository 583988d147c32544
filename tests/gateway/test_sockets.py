"""WebSockets through the whole gateway, in memory, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gateway.embed import Embedded, embedded
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    CutAfter,
    Fails,
    FakeProvider,
    Floods,
    PausesAfter,
    Says,
)
from gateway.settings.config import Config
from gateway.settings.server import Sockets
from tests.gateway.gateways import KEY, config, provider
from tests.gateway.support_socket import SocketClient, socket
from tests.gateway.test_requests import ENV, assert_nothing_held

CHAT_WS = "/v1/chat/completions/ws"
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@asynccontextmanager
async def one(
    behaviours: Sequence[Behaviour] = (Says("Hello there you"),),
    made: Config | None = None,
) -> AsyncGenerator[tuple[Embedded, FakeProvider]]:
    """A gateway with one provider."""
    main = FakeProvider(behaviours)
    async with embedded(made or config(), {"main": main}, environ=ENV) as gateway:
        yield gateway, main


@asynccontextmanager
async def talking(
    *behaviours: Behaviour,
    path: str = "/v1/responses",
    made: Config | None = None,
    **more: Any,
) -> AsyncGenerator[tuple[Embedded, FakeProvider, SocketClient]]:
    """A gateway and a socket to it."""
    says = behaviours or (Says("Hello there you"),)
    async with (
        one(says, made) as (gateway, main),
        socket(gateway, path, key=KEY, **more) as client,
    ):
        yield gateway, main, client


def create(text: str = "hi", **more: Any) -> dict[str, Any]:
    """A response.create."""
    return {"type": "response.create", "model": "fast", "input": text, **more}


def said(events: Sequence[Any]) -> str:
    """The text of an answer."""
    return "".join(
        event["delta"]
        for event in events
        if event["type"] == "response.output_text.delta"
    )


def sockets_of(**changes: Any) -> Config:
    """A configuration with other settings of sockets."""
    made = config()
    server = attrs.evolve(made.server, sockets=attrs.evolve(Sockets(), **changes))  # type: ignore[misc]
    return attrs.evolve(made, server=server)  # type: ignore[misc]


def asked(main: FakeProvider, place: int) -> list[str]:
    """What a call told the model, message by message."""
    body = msgspec.json.decode(main.requests[place])
    return [message["content"] for message in body["messages"]]


async def answer(client: SocketClient, **more: Any) -> list[Any]:
    """One turn on the default lane."""
    await client.send(create(**more))
    return await client.until(*ENDS)


async def test_a_create_is_a_request_with_its_own_id_hold_and_record(
    autojump_clock: MockClock,
) -> None:
    async with one() as (gateway, main), socket(gateway, key=KEY) as client:
        for _ in range(2):
            events = await answer(client)
            assert said(events) == "Hello there you"
            assert events[0]["type"] == "response.created"
            assert events[-1]["type"] == "response.completed"
            numbers = [event["sequence_number"] for event in events]
            assert numbers == list(range(len(events)))
            assert not any("stream_id" in event for event in events)
        records = await gateway.records()
        assert [r.outcome for r in records] == ["ok", "ok"]
        assert len({r.request_id for r in records}) == 2
        assert [r.cost_nanousd for r in records] == [7 * 1000 + 3 * 2000] * 2
        assert main.authorizations == ["Bearer sk-upstream-canary-42"] * 2
        await assert_nothing_held(gateway)


async def test_chat_has_the_same_events_around_its_own_chunks(
    autojump_clock: MockClock,
) -> None:
    async with one() as (gateway, _), socket(gateway, CHAT_WS, key=KEY) as client:
        message = {"role": "user", "content": "hi"}
        await client.send(
            {
                "type": "response.create",
                "model": "fast",
                "messages": [message],
                "stream_id": "a",
                "stream_options": {"include_usage": True},
            }
        )
        events = await client.until("chat.completion.done", "error")

        assert {event["stream_id"] for event in events} == {"a"}
        chunks, done = events[:-1], events[-1]
        assert done == {"type": "chat.completion.done", "stream_id": "a"}
        assert {event["type"] for event in chunks} == {"chat.completion.chunk"}
        text = "".join(
            choice["delta"].get("content") or ""
            for event in chunks
            for choice in event["choices"]
        )
        assert text == "Hello there you"
        assert chunks[-1]["usage"]["completion_tokens"] == 3
        await assert_nothing_held(gateway)


async def test_a_lane_is_first_come_first_served_and_lanes_run_side_by_side(
    autojump_clock: MockClock,
) -> None:
    behaviours = [Says("one two three", delta_s=1)] * 3
    async with one(behaviours) as (gateway, main), socket(gateway, key=KEY) as client:
        for lane, text in (("a", "first"), ("a", "second"), ("b", "third")):
            await client.send(create(text, stream_id=lane))
        seen: list[tuple[str, str]] = []
        while len([kind for _, kind in seen if kind == "response.completed"]) < 3:
            event = await client.receive()
            seen.append((event["stream_id"], event["type"]))

        created = [lane for lane, kind in seen if kind == "response.created"]
        ended = [lane for lane, kind in seen if kind == "response.completed"]
        assert (sorted(created[:2]), created[2]) == (["a", "b"], "a")
        assert (sorted(ended[:2]), ended[2]) == (["a", "b"], "a")
        told = [asked(main, place)[-1] for place in range(3)]
        assert (sorted(told[:2]), told[2]) == (["first", "third"], "second")


async def test_what_is_cancelled_ends_once_and_upstream_is_left(
    autojump_clock: MockClock,
) -> None:
    behaviours = [PausesAfter("Hel"), Says("again")]
    async with one(behaviours) as (gateway, main), socket(gateway, key=KEY) as client:
        await client.send(create(stream_id="a"))
        begun = await client.until("response.output_text.delta")
        await client.send({"type": "response.cancel", "stream_id": "a"})
        [*_, last] = await client.until(*ENDS)

        assert last["type"] == "response.incomplete"
        assert last["stream_id"] == "a"
        assert last["sequence_number"] == begun[-1]["sequence_number"] + 1
        assert last["response"]["incomplete_details"] == {"reason": "cancelled"}
        assert last["response"]["id"] == begun[0]["response"]["id"]
        assert main.cancelled == 1
        # The lane goes on.
        assert said(await answer(client, stream_id="a")) == "again"
        assert [r.outcome for r in await gateway.records()] == ["aborted", "ok"]
        await assert_nothing_held(gateway)


async def test_a_cancel_finds_its_response_by_id_and_says_when_there_is_none(
    autojump_clock: MockClock,
) -> None:
    async with talking(PausesAfter("x")) as (_gateway, _, client):
        await client.send(create())
        [first, *_] = await client.until("response.output_text.delta")
        for wrong in ({"response_id": "resp_other"}, {"stream_id": "other"}):
            await client.send({"type": "response.cancel", **wrong})
            [error] = await client.until("error")
            assert error["error"]["code"] == "response_cancel_not_active"
        told = first["response"]["id"]
        await client.send({"type": "response.cancel", "response_id": told})
        [*_, last] = await client.until(*ENDS)
        assert last["type"] == "response.incomplete"


async def test_a_turn_goes_on_from_an_answer_that_nobody_stores(
    autojump_clock: MockClock,
) -> None:
    """`store: false` keeps it with the socket, and with nobody else."""
    behaviours = [Says("four"), Says("five"), Says("x")]
    async with one(behaviours) as (gateway, main), socket(gateway, key=KEY) as client:
        first = await answer(client, text="two and two?", store=False)
        told = first[-1]["response"]["id"]
        second = await answer(
            client, text="and one?", store=False, previous_response_id=told
        )
        assert said(second) == "five"
        assert asked(main, 1) == [
            "two and two?",
            "four",
            "and one?",
        ]
        # A fork on another lane still finds the first lane's latest answer.
        latest = second[-1]["response"]["id"]
        await client.send(
            create("?", store=False, previous_response_id=latest, stream_id="b")
        )
        await client.until("response.completed")
        assert len(asked(main, 2)) == 5
        # The lane's former answer is forgotten; so is everything with another socket.
        async with socket(gateway, key=KEY) as other:
            for client_, id_ in ((client, told), (other, latest)):
                [error] = await answer(client_, store=False, previous_response_id=id_)
                assert error["type"] == "error"
                assert error["status"] == 400
                assert error["error"]["code"] == "previous_response_not_found"
                assert error["error"]["param"] == "previous_response_id"


async def test_a_turn_that_fails_takes_along_what_it_went_on_from(
    autojump_clock: MockClock,
) -> None:
    bad = Fails(400, "no", code="invalid_value")
    async with talking(Says("a"), bad) as (_gateway, _, client):
        first = await answer(client, store=False)
        told = first[-1]["response"]["id"]
        for code in ("invalid_value", "previous_response_not_found"):
            [error] = await answer(client, store=False, previous_response_id=told)
            assert error["error"]["code"] == code


@pytest.mark.parametrize("store", [True, False])
async def test_a_warm_up_calls_nobody_and_can_be_gone_on_from(
    autojump_clock: MockClock, store: bool
) -> None:
    async with one() as (gateway, main), socket(gateway, key=KEY) as client:
        events = await answer(client, text="long", generate=False, store=store)

        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        response = events[-1]["response"]
        assert (response["output"], response["usage"]["total_tokens"]) == ([], 0)
        assert main.requests == []
        await answer(
            client, text="now", previous_response_id=response["id"], store=store
        )
        assert asked(main, 0) == ["long", "now"]
        assert [r.outcome for r in await gateway.records()] == ["ok"]


async def test_a_warm_up_is_checked_as_a_turn_is(autojump_clock: MockClock) -> None:
    async with one() as (gateway, _), socket(gateway, key=KEY) as client:
        await client.send({**create(generate=False, stream_id="w"), "model": "unknown"})
        [error] = await client.until("error")
        assert (error["status"], error["stream_id"]) == (404, "w")
        assert error["error"]["code"] == "model_not_found"
        [error] = await answer(client, generate=False, previous_response_id="resp_x")
        assert error["error"]["code"] == "previous_response_not_found"


async def test_errors_have_a_status_headers_and_their_lane(
    autojump_clock: MockClock,
) -> None:
    limited = Fails(429, "slow down", headers={"retry-after": "30"})
    async with one([limited]) as (gateway, _), socket(gateway, key=KEY) as client:
        [error] = await answer(client, background=True)
        assert error["error"]["param"] == "background"
        [error] = await answer(client, model=7)
        assert (error["status"], error["error"]["param"]) == (400, "model")
        await client.send(create(stream_id="a"))
        [error] = await client.until("error")
        assert (error["status"], error["stream_id"]) == (429, "a")
        assert error["error"]["headers"]["retry-after"] == "30"
        assert error["error"]["headers"]["x-request-id"].startswith("req_")
        assert "content-type" not in error["error"]["headers"]


@pytest.mark.parametrize("path", ["/v1/responses", CHAT_WS])
@pytest.mark.parametrize("behaviour", [BreaksAfter("x"), CutAfter("x")])
async def test_a_stream_that_breaks_ends_its_lane_with_an_error_and_no_more(
    autojump_clock: MockClock, behaviour: Behaviour, path: str
) -> None:
    async with talking(behaviour, Says("ok"), path=path) as (gateway, _, client):
        body = {"messages": [{"role": "user", "content": "x"}]}
        await client.send(create(**(body if path == CHAT_WS else {})))
        events = await client.until("error")
        assert isinstance(events[-1]["error"]["message"], str)
        assert "chat.completion.done" not in {e["type"] for e in events}
        await client.send(create(**(body if path == CHAT_WS else {})))
        await client.until("response.completed", "chat.completion.done")
        await assert_nothing_held(gateway)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no json", None),
        ("[]", None),
        ('{"type": 1}', "type"),
        ({"type": "response.steer"}, "type"),
        ({"type": "session.update"}, "type"),
        (create(stream_id=7), "stream_id"),
        (create(stream_id=""), "stream_id"),
        (create(generate="no"), "generate"),
    ],
)
async def test_a_message_that_makes_no_sense_is_an_error_and_the_socket_stays(
    autojump_clock: MockClock, message: Any, param: str | None
) -> None:
    async with one() as (gateway, _), socket(gateway, key=KEY) as client:
        await client.send(message)
        [error] = await client.until("error")
        assert (error["status"], error["error"]["param"]) == (400, param)
        assert said(await answer(client)) == "Hello there you"


async def test_bytes_are_not_what_is_spoken_here(autojump_clock: MockClock) -> None:
    async with one() as (gateway, _), socket(gateway, key=KEY) as client:
        await client.send(b"\x00")
        assert await client.closed() == 1003


async def test_lanes_and_what_waits_on_them_are_bounded(
    autojump_clock: MockClock,
) -> None:
    made = config([provider("main", in_flight_max=64)])
    async with talking(PausesAfter("x"), made=made) as (_gateway, main, client):
        for number in range(33):
            await client.send(create(stream_id=f"lane {number}"))
        [*_, error] = await client.until("error")
        assert error["error"]["code"] == "websocket_stream_limit_reached"
        await trio.testing.wait_all_tasks_blocked()
        assert len(main.requests) <= 16
    async with talking(PausesAfter("x")) as (_gateway, main, client):
        for _ in range(70):
            await client.send(create())
        [*_, error] = await client.until("error")
        assert (error["status"], error["error"]["code"]) == (
            429,
            "websocket_queue_full",
        )
        assert len(main.requests) == 1


async def test_a_client_that_leaves_ends_all_its_lanes(
    autojump_clock: MockClock,
) -> None:
    async with one([PausesAfter("x")]) as (gateway, main):
        async with socket(gateway, key=KEY) as client:
            for lane in "abc":
                await client.send(create(stream_id=lane))
            for _ in range(3):
                await client.until("response.output_text.delta")
        await assert_nothing_held(gateway)
        assert main.cancelled == 3
        assert [r.outcome for r in await gateway.records()] == ["aborted"] * 3


async def test_a_socket_that_reads_nothing_stops_the_read_from_upstream(
    autojump_clock: MockClock,
) -> None:
    async with one([Floods(1000)]) as (gateway, main):
        async with socket(gateway, key=KEY) as client:
            await client.send(create())
            await trio.testing.wait_all_tasks_blocked()
            first = main.chunks_pulled
            await trio.testing.wait_all_tasks_blocked()
            assert main.chunks_pulled == first
            # The channel's 16, a run of them in hand, and the client's few.
            assert first <= 64
            assert client.sent_by_app <= 64
        await assert_nothing_held(gateway)


async def test_a_socket_ends_at_its_age_after_what_runs(
    autojump_clock: MockClock,
) -> None:
    """Whoever waits is turned away, what runs is finished, then it is 1001."""
    made = sockets_of(age_s=5)
    async with talking(Says("a b c", delta_s=2), made=made) as (_gateway, _, client):
        await client.send(create())
        await client.send(create())
        events = await client.until("response.completed")
        codes = [e["error"]["code"] for e in events if e["type"] == "error"]
        assert codes == ["websocket_connection_limit_reached"] * 2
        assert said(events) == "a b c"
        assert await client.closed() == 1001


async def test_a_stop_lets_what_runs_finish_and_closes_with_1001(
    autojump_clock: MockClock,
) -> None:
    async with (
        talking(Says("a b c", delta_s=1)) as (gateway, _, client),
        trio.open_nursery() as nursery,
    ):
        await client.send(create())
        await client.until("response.created")
        nursery.start_soon(gateway.gateway.drain)
        await trio.testing.wait_all_tasks_blocked()
        await client.send(create())
        events = await client.until("response.completed")
        [error] = [e for e in events if e["type"] == "error"]
        assert (error["status"], error["error"]["code"]) == (
            503,
            "gateway_unavailable",
        )
        assert await client.closed() == 1001


async def test_a_key_that_is_taken_away_opens_no_more_requests(
    autojump_clock: MockClock,
) -> None:
    async with talking(Says("a b", delta_s=1)) as (gateway, _, client):
        await client.send(create())
        await client.until("response.created")
        await gateway.gateway.reload(
            attrs.evolve(config(), sites=(attrs.evolve(config().sites[0], keys=()),))  # type: ignore[misc]
        )
        await client.send(create())
        assert await client.closed() == 4401


# -- the handshake -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "path", "status", "code"),
    [
        (None, "/v1/responses", 401, "invalid_api_key"),
        ("sk-wrong", "/v1/responses", 401, "invalid_api_key"),
        (KEY, "/v1/nothing", 404, "unknown_url"),
    ],
)
async def test_a_refused_handshake_is_an_answer_with_an_error(
    autojump_clock: MockClock, key: str | None, path: str, status: int, code: str
) -> None:
    async with one() as (gateway, _), socket(gateway, path, key=key) as client:
        assert await client.handshake() == status
        assert client.refusal["error"]["code"] == code
        assert client.refusal_headers["x-request-id"].startswith("req_")


async def test_a_browser_logs_in_by_subprotocol_and_gets_no_key_back(
    autojump_clock: MockClock,
) -> None:
    async with one() as (gateway, _):
        offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with socket(gateway, subprotocols=offered) as client:
            assert said(await answer(client)) == "Hello there you"
            assert client.subprotocol == "realtime"
        async with socket(gateway, subprotocols=offered[1:]) as client:
            assert await client.handshake() == 400
            assert client.refusal["error"]["code"] == "no_subprotocol"
        assert KEY.encode() not in gateway.logged()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://gateway.example", 101),
        ("https://shop.example", 101),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_a_page_of_another_origin_may_not_open_one(
    autojump_clock: MockClock, origin: str, status: int
) -> None:
    headers = {"origin": origin}
    made = config(allowed_origins=("https://shop.example",))
    async with (
        one(made=made) as (gateway, _),
        socket(gateway, key=KEY, headers=headers) as client,
    ):
        assert await client.handshake() == status


async def test_a_stopping_gateway_opens_none(autojump_clock: MockClock) -> None:
    async with one() as (gateway, _):
        await gateway.gateway.drain()
        async with socket(gateway, key=KEY) as client:
            assert await client.handshake() == 503
