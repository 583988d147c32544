"""Realtime sessions through the whole gateway: recorded ones, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trio_websocket
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts
from actors.vault.messages import KeyScope, Revoke
from gateway.embed import Embedded, embedded
from gateway.settings.config import Config
from gateway.settings.prices import PriceConfig
from tests.gateway.gateways import KEY, config, provider
from tests.gateway.support_realtime import FakeRealtime, frames, playing
from tests.gateway.support_socket import SocketClient, socket
from tests.gateway.test_requests import ENV, assert_nothing_held

PATH = "/v1/realtime?model=fast"
SECRET = "sk-upstream-canary-42"
PRICE = PriceConfig(
    input_nanousd_per_mtok=4_000_000_000,
    output_nanousd_per_mtok=16_000_000_000,
    audio_input_nanousd_per_mtok=32_000_000_000,
    audio_output_nanousd_per_mtok=64_000_000_000,
)


def realtime_config(kind: str = "openai", **site: Any) -> Config:
    """A provider of sessions at audio's prices."""
    base = "https://main.example" if kind == "azure" else "https://main.example/v1"
    one = provider("main", kind=kind, base_url=base, prices={"m": PRICE})
    return config([one], **site)


@asynccontextmanager
async def talking(
    fake: FakeRealtime, made: Config | None = None, **more: Any
) -> AsyncGenerator[tuple[Embedded, SocketClient]]:
    """A gateway, a provider and a socket."""
    async with trio.open_nursery() as nursery:
        fake.nursery = nursery
        async with embedded(
            made or realtime_config(), {"main": fake.transport}, environ=ENV
        ) as gateway:
            async with socket(gateway, PATH, key=KEY, **more) as client:
                yield gateway, client
            if not gateway.gateway.gate.draining:
                await assert_nothing_held(gateway)
        nursery.cancel_scope.cancel()


def response(kind: str, **more: Any) -> str:
    """An event of the provider's about response r1."""
    return json.dumps({"type": f"response.{kind}", "response": {"id": "r1", **more}})


USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "input_token_details": {"text_tokens": 40, "audio_tokens": 60, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
}
COST = 40 * 4_000 + 60 * 32_000 + 10 * 16_000 + 40 * 64_000


@pytest.mark.parametrize(
    ("case", "kind", "tokens", "path"),
    [
        ("realtime-openai/text-turn", "openai", (16, 24), "/v1/realtime?model=m"),
        ("realtime-azure/text-turn", "azure", (16, 98), "/openai/v1/realtime?model=m"),
        ("realtime-xai/thinking-disabled", "xai", (5, 42), "/v1/realtime?model=m"),
    ],
)
async def test_a_recorded_session_passes_as_it_was_and_is_billed(
    autojump_clock: MockClock, case: str, kind: str, tokens: tuple[int, int], path: str
) -> None:
    fake = playing(case)
    recorded = [f for f in frames(case) if f["kind"] == "message"]
    async with talking(fake, realtime_config(kind)) as (gateway, client):
        for frame in recorded:
            if frame["direction"] == "received":
                assert await client.receive() == frame["data"]
            else:
                await client.send(frame["data"])
        await trio.testing.wait_all_tasks_blocked()
        assert fake.paths == [path]
        sent = [f["data"] for f in recorded if f["direction"] == "sent"]
        assert fake.heard == sent
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert account.held_nanousd > 0  # For the next answer.
    record = gateway.journal.records[-1]
    assert (record.outcome, record.status, record.dialect) == (
        "ok",
        200,
        "openai_realtime",
    )
    assert (record.prompt_tokens, record.output_tokens) == tokens
    assert record.cost_nanousd > 0
    assert not record.usage_estimated
    assert fake.closed >= 1


async def test_the_key_is_in_the_handshake_of_the_provider_alone(
    autojump_clock: MockClock,
) -> None:
    fake = playing("realtime-openai/text-turn")
    async with talking(fake) as (gateway, client):
        await client.receive()
        head = fake.heads[0]
        assert f"authorization: Bearer {SECRET}".encode() in head.lower().replace(
            b"bearer " + SECRET.encode(), b"Bearer " + SECRET.encode()
        )
        assert KEY.encode() not in head
        assert b"sec-websocket-extensions" not in head.lower()
        leases = [
            node.id
            for node in gateway.gateway.tree.system.snapshot().walk()
            if node.id.startswith("vault/")
        ]
        assert leases == []  # Spent with the head.
        logged = gateway.logged()
        assert SECRET.encode() not in logged
        assert KEY.encode() not in logged


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b'{"error":{"message":"bad key sk-1","code":"invalid_api_key"}}', 502),
        (429, b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', 429),
        (404, b'{"error":{"message":"no such","code":"model_not_found"}}', 404),
    ],
)
async def test_a_handshake_that_the_provider_refuses_is_refused(
    autojump_clock: MockClock, status: int, body: bytes, told: int
) -> None:
    async def play(_: trio_websocket.WebSocketConnection) -> None: ...

    fake = FakeRealtime(play, reject=(status, body))
    async with talking(fake) as (_gateway, client):
        assert await client.handshake() == told
        assert "sk-1" not in json.dumps(client.refusal)
        assert client.refusal_headers["x-request-id"].startswith("req_")


async def test_a_provider_without_sessions_is_passed_over(
    autojump_clock: MockClock,
) -> None:
    fake = playing("realtime-openai/text-turn")
    a = provider("a", kind="anthropic", base_url="https://a.example", prices={})
    b = provider("main", prices={"m": PRICE})
    made = config([a, b])
    async with trio.open_nursery() as nursery:
        fake.nursery = nursery
        transports = {"a": fake.transport, "main": fake.transport}
        async with embedded(made, transports, environ=ENV) as gateway:
            async with socket(gateway, PATH, key=KEY) as client:
                assert (await client.receive())["type"] == "session.created"
            await assert_nothing_held(gateway)
            [record] = await gateway.records()
            assert [one.provider for one in record.attempts] == ["a", "main"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/realtime", 400, "missing_required_parameter"),
        ("/v1/realtime?model=unknown", 404, "model_not_found"),
    ],
)
async def test_a_session_needs_a_model_that_its_site_has(
    autojump_clock: MockClock, path: str, status: int, code: str
) -> None:
    fake = playing("realtime-openai/text-turn")
    async with (
        embedded(realtime_config(), {"main": fake.transport}, environ=ENV) as gateway,
        socket(gateway, path, key=KEY) as client,
    ):
        assert await client.handshake() == status
        assert client.refusal["error"]["code"] == code


async def test_each_answer_is_settled_and_the_next_one_held_for(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        for _ in range(3):
            await fake.hear(ws)
            await ws.send_message(response("created"))
            await ws.send_message(response("done", usage=USAGE))
        await trio.sleep_forever()

    fake = FakeRealtime(play)
    async with talking(fake, realtime_config(spend_max_nanousd=10**9)) as (
        gateway,
        client,
    ):
        ledger = gateway.gateway.tree.ledger
        for turn in range(1, 4):
            await client.send({"type": "response.create"})
            await client.until("response.done")
            await trio.testing.wait_all_tasks_blocked()
            [account] = await ledger.ask(ReportAccounts())
            assert account.spent_nanousd == turn * COST
            # 4,096 tokens of what may be sound, and an answer of 4,096.
            assert account.held_nanousd == 4096 * (32_000 + 64_000)
    assert gateway.journal.records[-1].cost_nanousd == 3 * COST


async def test_a_session_ends_with_4402_when_no_answer_can_be_paid_any_more(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        while True:
            await fake.hear(ws)
            await ws.send_message(response("created"))
            await ws.send_message(response("done", usage=USAGE))

    fake = FakeRealtime(play)
    hold = 4096 * (32_000 + 64_000)
    made = realtime_config(spend_max_nanousd=hold + COST + 1)
    async with talking(fake, made) as (gateway, client):
        for _ in range(2):
            await client.send({"type": "response.create"})
        [*_, error] = await client.until("error")
        assert error["error"]["code"] == "insufficient_quota"
        assert await client.closed() == 4402
    record = gateway.journal.records[-1]
    assert (record.outcome, record.code) == ("error", "insufficient_quota")
    assert record.cost_nanousd <= hold + COST


async def test_what_the_client_says_makes_the_hold_grow(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        while True:
            await fake.hear(ws)

    fake = FakeRealtime(play)
    made = realtime_config(spend_max_nanousd=10**9)
    async with talking(fake, made) as (gateway, client):
        ledger = gateway.gateway.tree.ledger
        sound = {"type": "input_audio_buffer.append", "audio": "A" * 800_000}
        held = []
        for _ in range(12):
            await client.send(sound)  # 750 tokens each, if it were G.711.
            await trio.sleep(1)
            [account] = await ledger.ask(ReportAccounts())
            held.append(account.held_nanousd)
        assert held[0] == 4096 * (32_000 + 64_000)
        assert held[-1] == 12_288 * 32_000 + 4096 * 64_000
        assert sorted(held) == held


async def test_an_answer_that_is_cut_is_billed_by_what_came(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        await ws.send_message(response("created"))
        delta = {
            "type": "response.output_audio.delta",
            "response_id": "r1",
            "delta": "A" * 32_000,
        }
        await ws.send_message(json.dumps(delta))
        await trio.sleep_forever()

    fake = FakeRealtime(play)
    async with talking(fake) as (gateway, client):
        await client.until("response.output_audio.delta")
    record = gateway.journal.records[-1]
    assert (record.outcome, record.usage_estimated) == ("aborted", True)
    assert record.output_tokens == 10
    assert record.cost_nanousd == 10 * 64_000 + record.prompt_tokens * 4_000


async def test_a_site_that_bounds_answers_bounds_them_here(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        while True:
            await fake.hear(ws)

    fake = FakeRealtime(play)
    made = realtime_config(output_tokens_max=100)
    async with talking(fake, made) as (_gateway, client):
        await client.handshake()
        for bound in ("inf", 5000, 50):
            await client.send(
                {"type": "session.update", "session": {"max_output_tokens": bound}}
            )
        await client.send(
            {"type": "response.create", "response": {"max_output_tokens": 9999}}
        )
        await client.send({"type": "response.create"})
        await trio.testing.wait_all_tasks_blocked()
        first, *updates, create, plain = fake.heard
        assert first["session"] == {"type": "realtime", "max_output_tokens": 100}
        bounds = [update["session"]["max_output_tokens"] for update in updates]
        assert bounds == [100, 100, 50]
        assert create["response"]["max_output_tokens"] == 100
        assert plain == {"type": "response.create"}


@pytest.mark.parametrize(
    ("code", "told"), [(1001, 1001), (1011, 1011), (3000, 1011), (None, 1011)]
)
async def test_how_the_provider_ends_a_session_is_how_it_ends(
    autojump_clock: MockClock, code: int | None, told: int
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        await ws.send_message('{"type":"session.created"}')
        if code is not None:
            await ws.aclose(code, "Your session hit the maximum duration")

    fake = FakeRealtime(play)
    async with talking(fake) as (_gateway, client):
        assert (await client.receive())["type"] == "session.created"
        if code is None:
            error = await client.receive()
            assert error["type"] == "error"
        assert await client.closed() == told


async def test_a_client_that_reads_nothing_holds_the_provider_back(
    autojump_clock: MockClock,
) -> None:
    sent = 0

    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        nonlocal sent
        while True:
            await ws.send_message(json.dumps({"type": "x", "pad": "y" * 60_000}))
            sent += 1

    fake = FakeRealtime(play)
    async with talking(fake) as (_gateway, client):
        await client.handshake()
        await trio.testing.wait_all_tasks_blocked()
        first = sent
        await trio.testing.wait_all_tasks_blocked()
        assert sent == first
        # A mebibyte in the channel, a run of it in hand, the client's few.
        assert fake.bytes_taken < 3 * 2**20


async def test_a_stop_waits_for_the_answer_under_way(
    autojump_clock: MockClock,
) -> None:
    async def play(ws: trio_websocket.WebSocketConnection) -> None:
        await fake.hear(ws)
        await ws.send_message(response("created"))
        await trio.sleep(3)
        await ws.send_message(response("done", usage=USAGE))
        await trio.sleep_forever()

    fake = FakeRealtime(play)
    async with talking(fake) as (gateway, client), trio.open_nursery() as nursery:
        await client.send({"type": "response.create"})
        await client.until("response.created")
        nursery.start_soon(gateway.gateway.drain)
        await client.until("response.done")
        assert await client.closed() == 1001


async def test_a_session_without_an_answer_ends_at_once_when_the_gateway_stops(
    autojump_clock: MockClock,
) -> None:
    fake = playing("realtime-openai/text-turn")
    async with talking(fake) as (gateway, client):
        await client.receive()
        before = trio.current_time()
        await gateway.gateway.drain()
        assert await client.closed() == 1001
        assert trio.current_time() - before < 5


async def test_a_session_has_an_age(autojump_clock: MockClock) -> None:
    made = realtime_config()
    sockets = attrs.evolve(made.server.sockets, age_s=30)  # type: ignore[misc]
    server = attrs.evolve(made.server, sockets=sockets)  # type: ignore[misc]
    made = attrs.evolve(made, server=server)  # type: ignore[misc]
    fake = playing("realtime-openai/text-turn")
    async with talking(fake, made) as (_gateway, client):
        assert await client.closed() == 1001
        assert trio.current_time() >= 30


async def test_a_key_that_is_revoked_with_its_streams_ends_the_session(
    autojump_clock: MockClock,
) -> None:
    fake = playing("realtime-openai/text-turn")
    async with talking(fake) as (gateway, client):
        await client.receive()
        vault = gateway.gateway.tree.vault
        vault.offer(Revoke(KeyScope("main"), revoke_open=True))
        assert await client.closed() == 1011
    assert gateway.journal.records[-1].outcome == "error"
