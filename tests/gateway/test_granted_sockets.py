"""A stream grant redeemed by a WebSocket: one answer, no key, no token in a URL."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import (
    BreaksAfter,
    FakeProvider,
    PausesAfter,
    Says,
    Silent,
)
from gateway.settings.server import UpstreamDeadlines
from tests.gateway.gateways import chat, config, provider
from tests.gateway.support_socket import SocketClient, socket
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_stream_grants import ENV, ORIGIN, gateway_with, issue


def offered(path: str) -> Sequence[str]:
    """What a page offers: the token, and something to be chosen."""
    return ["stagedoor", f"stagedoor-grant.{path.rpartition('/')[2]}"]


async def text(client: SocketClient) -> str:
    """All that the chunks say, to the end."""
    found = ""
    while (event := await client.receive()) is not None:
        for choice in event.get("choices", ()):
            found += choice["delta"].get("content") or ""
    return found


async def test_a_page_gets_its_answer_as_messages_and_a_good_end(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        async with socket(
            gateway,
            subprotocols=offered(granted["path"]),
            headers={"origin": ORIGIN},
        ) as client:
            assert await text(client) == "Hello there you"
            assert client.subprotocol == "stagedoor"
            assert client.code == 1000
        assert b"a secret system prompt" in main.requests[0]
        [record] = await gateway.records()
        assert (record.request_id, record.outcome) == (granted["id"], "ok")
        await assert_nothing_held(gateway)
        token = granted["path"].rpartition("/")[2].encode()
        assert token not in gateway.logged()


@pytest.mark.parametrize(
    ("origin", "code"),
    [(ORIGIN, "grant_used"), ("https://evil.example", "grant_origin_mismatch")],
)
async def test_what_is_refused_over_http_is_refused_here(
    autojump_clock: MockClock, origin: str, code: str
) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        if code == "grant_used":
            await gateway.request("GET", granted["path"], headers={"origin": ORIGIN})
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers={"origin": origin}
        ) as client:
            assert await client.handshake() == 403
            assert client.refusal["error"]["code"] == code
        assert len(main.requests) == (code == "grant_used")


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_a_page_that_stops_or_leaves_ends_the_call(
    autojump_clock: MockClock, how: str
) -> None:
    main = FakeProvider([PausesAfter("x")])
    made = config(allowed_origins=(ORIGIN,))
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        granted = await issue(gateway)
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers={"origin": ORIGIN}
        ) as client:
            await client.receive()
            if how == "cancel":
                await client.send({"type": "response.cancel"})
                assert await client.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert main.cancelled == 1
        await assert_nothing_held(gateway)


async def test_an_answer_that_breaks_ends_the_socket_with_1011(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([BreaksAfter("x"), Says("y")])
    made = config(allowed_origins=(ORIGIN,))
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        granted = await issue(gateway)
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers={"origin": ORIGIN}
        ) as client:
            events = []
            while (event := await client.receive()) is not None:
                events.append(event)
            assert "error" in events[-1]
            assert client.code == 1011
        await trio.testing.wait_all_tasks_blocked()


async def test_a_sites_resume_changes_nothing_here(autojump_clock: MockClock) -> None:
    """Events have no ids, and who stops or leaves ends the call: nobody comes back."""
    says = [Says("Hello there you"), PausesAfter(), PausesAfter()]
    main = FakeProvider(says)
    made = config(allowed_origins=(ORIGIN,), resume="detach")
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        for how in ("reads", "stops", "leaves"):
            granted = await issue(gateway)
            async with socket(
                gateway,
                subprotocols=offered(granted["path"]),
                headers={"origin": ORIGIN},
            ) as client:
                if how == "reads":
                    assert await text(client) == "Hello there you"
                    assert client.code == 1000
                    continue
                await client.receive()
                if how == "stops":
                    await client.send({"type": "response.cancel"})
                    assert await client.closed() == 1000
                else:
                    client.leave()
            await trio.sleep(1)
            assert main.open == 0
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("kind", ["whole", "array"])
async def test_an_answer_without_events_is_refused_before_it_is_spent(
    autojump_clock: MockClock, kind: str
) -> None:
    """No socket can carry one body: the page may still fetch it."""
    async with gateway_with() as (gateway, main):
        if kind == "whole":
            granted = await issue(gateway, request=chat(stream=False))
        else:
            granted = await issue(
                gateway,
                endpoint="/v1beta/models/fast:streamGenerateContent",
                request={"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            )
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers={"origin": ORIGIN}
        ) as client:
            assert await client.handshake() == 403
            assert client.refusal["error"]["code"] == "grant_not_streamed"
        assert main.requests == []

        answer = await gateway.request(
            "GET", granted["path"], headers={"origin": ORIGIN}
        )
        assert answer.status == 200
        assert len(main.requests) == 1


@pytest.mark.parametrize("good", [True, False])
async def test_a_handshake_is_answered_before_proxies_give_it_up(
    autojump_clock: MockClock, good: bool
) -> None:
    """What comes of it is then an event, be it an error."""
    patient = UpstreamDeadlines(
        connect_s=1, headers_s=70, first_content_s=80, idle_s=200, total_s=600
    )
    behaviour = Says("one two", delta_s=40) if good else Silent()
    main = FakeProvider([behaviour])
    made = config([provider("main", deadlines=patient)], allowed_origins=(ORIGIN,))
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        granted = await issue(gateway)
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers={"origin": ORIGIN}
        ) as client:
            assert await client.handshake() == 101
            assert 10 <= trio.current_time() <= 15
            if good:
                assert await text(client) == "one two"
                assert client.code == 1000
            else:
                event = await client.receive()
                assert (event["type"], event["status"]) == ("error", 504)
                assert await client.closed() == 1011
        await assert_nothing_held(gateway)
