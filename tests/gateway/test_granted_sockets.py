"""A stream grant redeemed by a WebSocket: one answer, no key, no token in a URL."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import BreaksAfter, FakeProvider, PausesAfter, Says
from tests.gateway.gateways import config
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
