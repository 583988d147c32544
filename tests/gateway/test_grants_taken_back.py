"""A grant is its key's and its page's: taking either back ends what it began."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.directory.messages import KeyTerms
from gateway.embed import EPOCH_S, Embedded, Shared, embedded
from gateway.embed_providers import FakeProvider, PausesAfter, Says
from gateway.settings.config import Config
from tests.gateway.gateways import KEY, chat, config
from tests.gateway.support_socket import socket
from tests.gateway.test_directory import added, serving, settled
from tests.gateway.test_granted_sockets import offered
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_stream_grants import ENV, ORIGIN, issue

OTHER = "https://shop.example"
PAGE = {"origin": ORIGIN}
TAKEN = {
    "key": (401, "invalid_api_key"),
    "site": (403, "site_suspended"),
    "origin": (403, "origin_not_allowed"),
}


def without(what: str, **site: Any) -> Config:
    """The same gateway after somebody took something back."""
    made = config(allowed_origins=(ORIGIN, OTHER), **site)
    change: dict[str, Any] = {
        "key": {"keys": ()},
        "site": {"suspended": True},
        "origin": {"allowed_origins": (OTHER,)},
    }[what]
    return attrs.evolve(made, sites=(attrs.evolve(made.sites[0], **change),))


@asynccontextmanager
async def workers(
    main: FakeProvider, count: int = 1, **site: Any
) -> AsyncGenerator[list[Embedded]]:
    made, shared = config(allowed_origins=(ORIGIN, OTHER), **site), Shared()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                embedded(made, {"main": main}, environ=ENV, shared=shared)
            )
            for _ in range(count)
        ]


@pytest.mark.parametrize("what", list(TAKEN))
@pytest.mark.parametrize("resume", ["off", "detach"])
async def test_what_a_page_streams_ends_within_a_second(
    autojump_clock: MockClock, what: str, resume: str
) -> None:
    """In its own words; the page of another origin reads on."""
    main = FakeProvider([PausesAfter("x")])
    async with workers(main, resume=resume) as [gateway]:
        mine = await issue(gateway)
        theirs = await issue(gateway, origin=OTHER)
        async with (
            gateway.open("GET", mine["path"], headers=PAGE) as call,
            gateway.open("GET", theirs["path"], headers={"origin": OTHER}) as other,
        ):
            await call.chunk()
            await other.chunk()
            began = trio.current_time()
            await gateway.gateway.reload(without(what, resume=resume))
            answer = await call.read()
            if what != "origin":
                await other.read()

            assert trio.current_time() - began < 1
            assert TAKEN[what][1].encode() in answer.body
            assert b"[DONE]" not in answer.body
            assert other.done == (what != "origin")
            assert main.open == (what == "origin")
        again = await gateway.request(
            "GET", f"{mine['path']}?starting_after=0", headers=PAGE
        )
        assert (again.status, again.json()["error"]["code"]) == (
            (403, "grant_revoked") if resume == "detach" else (404, "stream_not_found")
        )
        with trio.move_on_after(2):
            await gateway.request(
                "POST", f"{theirs['path']}/cancel", headers={"origin": OTHER}
            )
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("what", list(TAKEN))
async def test_what_a_socket_streams_ends_within_a_second(
    autojump_clock: MockClock, what: str
) -> None:
    main = FakeProvider([PausesAfter("x")])
    async with workers(main) as [gateway]:
        granted = await issue(gateway)
        async with socket(
            gateway, subprotocols=offered(granted["path"]), headers=PAGE
        ) as client:
            await client.receive()
            await gateway.gateway.reload(without(what))
            with trio.fail_after(1):
                events = [await client.receive()]
                while events[-1] is not None:
                    events.append(await client.receive())
            assert events[-2]["error"]["code"] == TAKEN[what][1]
            assert client.code == 1011
        assert main.open == 0
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("what", list(TAKEN))
async def test_what_was_not_redeemed_yet_cannot_be_any_more(
    autojump_clock: MockClock, what: str
) -> None:
    main = FakeProvider()
    async with workers(main) as [gateway]:
        granted = await issue(gateway)
        await gateway.gateway.reload(without(what))
        answer = await gateway.request("GET", granted["path"], headers=PAGE)

        assert answer.status == 403
        assert answer.json()["error"]["code"] == "grant_revoked"
        assert main.requests == []


async def test_a_page_that_reads_at_another_worker_is_ended_as_well(
    autojump_clock: MockClock,
) -> None:
    """The call is the first's; what the other shows ends with it, in a second."""
    main = FakeProvider([PausesAfter("x"), Says("one two")])
    async with workers(main, count=2, resume="detach") as [one, two]:
        granted, whole = await issue(one), await issue(one)
        async with one.open("GET", granted["path"], headers=PAGE) as call:
            await call.chunk()
        done = await one.request("GET", whole["path"], headers=PAGE)
        assert b" two" in done.body
        await trio.sleep(1)
        place = "?starting_after=0"
        async with two.open("GET", granted["path"] + place, headers=PAGE) as rest:
            await rest.head()
            began = trio.current_time()
            for worker in (one, two):
                await worker.gateway.reload(without("key", resume="detach"))
            answer = await rest.read()
            assert trio.current_time() - began < 1
        assert b"stream_interrupted" in answer.body or b"invalid_api" in answer.body
        assert main.open == 0
        # Nor can what is complete be had by a page whose key is gone, anywhere.
        for worker in (one, two):
            found = await worker.request("GET", whole["path"] + place, headers=PAGE)
            assert (found.status, found.json()["error"]["code"]) == (
                403,
                "grant_revoked",
            )


async def test_a_key_whose_own_origins_shrink_ends_the_pages_of_those_that_go(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter("x")])
    async with serving(main) as (gateway, directory):
        key = await added(directory, KeyTerms(origins=(ORIGIN, OTHER)))
        paths = {}
        for origin in (ORIGIN, OTHER):
            body = {"request": chat(), "origin": origin}
            issued = await gateway.post("/v1/stream_grants", body, key=key)
            paths[origin] = issued.json()["path"]
        async with (
            gateway.open("GET", paths[ORIGIN], headers=PAGE) as mine,
            gateway.open("GET", paths[OTHER], headers={"origin": OTHER}) as theirs,
        ):
            await mine.chunk()
            await theirs.chunk()
            terms = KeyTerms(origins=(OTHER, "https://new.example"))
            await directory.change_key(key, terms, by="ops")
            await settled()
            answer = await mine.read()
            assert b"origin_not_allowed" in answer.body
            assert not theirs.done


async def test_a_key_that_expires_redeems_nothing_any_more(
    autojump_clock: MockClock,
) -> None:
    async with serving() as (gateway, directory):
        expires_ms = int((EPOCH_S + 30) * 1000)
        key = await added(directory, KeyTerms(origins=(ORIGIN,), expires_ms=expires_ms))
        body = {"request": chat(), "origin": ORIGIN}
        issued = await gateway.post("/v1/stream_grants", body, key=key)
        await trio.sleep(40)
        answer = await gateway.request("GET", issued.json()["path"], headers=PAGE)

        assert (answer.status, answer.json()["error"]["code"]) == (403, "grant_revoked")


async def test_a_reload_that_takes_nothing_back_ends_nothing(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter("x")])
    async with workers(main) as [gateway]:
        granted = await issue(gateway)
        async with gateway.open("GET", granted["path"], headers=PAGE) as call:
            await call.chunk()
            more = config(allowed_origins=(ORIGIN, OTHER, "https://new.example"))
            await gateway.gateway.reload(more)
            await trio.sleep(1)
            assert not call.done


async def test_a_page_that_holds_a_socket_begins_nothing_more_when_its_origin_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with workers(FakeProvider([Says("x")])) as [gateway]:
        path = "/v1/chat/completions/ws"
        async with (
            socket(gateway, path, key=KEY, headers=PAGE) as mine,
            socket(gateway, path, key=KEY, headers={"origin": OTHER}) as other,
        ):
            for client in (mine, other):
                await client.send({"type": "response.create", **chat()})
                await client.until("chat.completion.done")
            await gateway.gateway.reload(without("origin"))
            for client in (mine, other):
                await client.send({"type": "response.create", **chat()})
            assert await mine.closed() == 4403
            await other.until("chat.completion.done")


async def test_a_socket_whose_key_has_expired_begins_nothing_more(
    autojump_clock: MockClock,
) -> None:
    async with serving(FakeProvider([Says("x")])) as (gateway, directory):
        key = await added(directory, KeyTerms(expires_ms=int((EPOCH_S + 30) * 1000)))
        async with socket(gateway, "/v1/chat/completions/ws", key=key) as client:
            await client.send({"type": "response.create", **chat()})
            await client.until("chat.completion.done")
            await trio.sleep(31)
            await client.send({"type": "response.create", **chat()})
            assert await client.closed() == 4401
