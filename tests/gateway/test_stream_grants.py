"""Grants: a server leaves a request, a page picks up its answer, once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import FakeProvider, Says
from tests.gateway.gateways import KEY, chat, config
from tests.gateway.support_http11 import running

PATH = "/v1/stream_grants"
ORIGIN = "https://www.acme.example"
ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}


@asynccontextmanager
async def gateway_with(
    **site: Any,
) -> AsyncGenerator[tuple[Embedded, FakeProvider]]:
    main = FakeProvider([Says("Hello there you")])
    site.setdefault("allowed_origins", (ORIGIN, "https://*.shop.example"))
    async with embedded(config(**site), {"main": main}, environ=ENV) as gateway:
        yield gateway, main


async def issue(gateway: Embedded, **changes: Any) -> dict[str, Any]:
    body = {"request": chat("a secret system prompt"), "origin": ORIGIN, **changes}
    answer = await gateway.post(PATH, body, key=KEY)
    assert answer.status == 201, answer.body
    granted = answer.json()
    assert isinstance(granted, dict)
    return granted


async def test_a_page_streams_what_its_server_asked_for(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        assert main.requests == []

        answer = await gateway.request(
            "GET", granted["path"], headers={"origin": ORIGIN}
        )

        assert answer.status == 200
        assert text_of(answer.body) == "Hello there you"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-credentials" not in answer.headers
        assert b"a secret system prompt" in main.requests[0]
        [record] = await gateway.records()
        assert record.request_id == granted["id"]
        assert record.site == "acme"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_grant_is_good_for_one_answer(
    autojump_clock: MockClock, method: str
) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        page = {"origin": ORIGIN, "content-type": "text/plain"}
        await gateway.request(method, granted["path"], headers=page)

        again = await gateway.request(method, granted["path"], headers=page)

        assert again.status == 403
        assert again.json()["error"]["code"] == "grant_used"
        # The page may read why.
        assert again.headers["access-control-allow-origin"] == ORIGIN
        assert len(main.requests) == 1


async def test_of_many_at_once_one_gets_the_answer(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        statuses: list[int] = []

        async def ask() -> None:
            answer = await gateway.request(
                "GET", granted["path"], headers={"origin": ORIGIN}
            )
            statuses.append(answer.status)

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(ask)

        assert sorted(statuses) == [200] + [403] * 15
        assert len(main.requests) == 1


async def test_a_visitor_of_a_page_learns_no_sum_of_its_site(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with(spend_max_nanousd=1_000) as (gateway, main):
        told = await gateway.post("/v1/chat/completions", chat("hi"), key=KEY)
        granted = await issue(gateway)

        refused = await gateway.request(
            "GET", granted["path"], headers={"origin": ORIGIN}
        )

    assert "$" in told.json()["error"]["message"]
    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (429, "insufficient_quota")
    assert "$" not in error["message"]
    assert "acme" not in error["message"]
    assert main.requests == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://www.acme.example"]
)
async def test_a_foreign_page_gets_nothing_and_uses_nothing_up(
    autojump_clock: MockClock, origin: str
) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        headers = {"origin": origin} if origin else {}

        answer = await gateway.request("GET", granted["path"], headers=headers)

        assert answer.status == 403
        assert answer.json()["error"]["code"] == "grant_origin_mismatch"
        assert "access-control-allow-origin" not in answer.headers
        assert main.requests == []
        mine = await gateway.request("GET", granted["path"], headers={"origin": ORIGIN})
        assert mine.status == 200


async def test_a_grant_expires(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        await trio.sleep(60.1)

        answer = await gateway.request(
            "GET", granted["path"], headers={"origin": ORIGIN}
        )

        assert answer.status == 403
        assert answer.json()["error"]["code"] == "grant_expired"
        assert main.requests == []


async def test_a_prefetch_uses_nothing_up(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway)
        headers = {"origin": ORIGIN, "sec-purpose": "prefetch;prerender"}

        answer = await gateway.request("GET", granted["path"], headers=headers)

        assert answer.status == 403
        assert answer.json()["error"]["code"] == "grant_prefetch"
        assert main.requests == []


async def test_an_audience_is_needed_where_one_was_named(
    autojump_clock: MockClock,
) -> None:
    """The URL alone is then not enough: a leaked one opens nothing."""
    async with gateway_with() as (gateway, main):
        granted = await issue(gateway, audience="visitor-81")
        page = {"origin": ORIGIN, "content-type": "text/plain"}
        path = granted["path"]

        without = await gateway.request("GET", path, headers=page)
        wrong = await gateway.request("GET", f"{path}?audience=b", headers=page)
        right = await gateway.request(
            "POST", path, {"audience": "visitor-81"}, headers=page
        )

        assert [a.json()["error"]["code"] for a in (without, wrong)] == [
            "grant_audience_mismatch"
        ] * 2
        assert right.status == 200
        assert len(main.requests) == 1


async def test_every_changed_character_of_a_token_makes_it_worthless(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        token = (await issue(gateway))["token"]
        for place in range(len(token)):
            other = "A" if token[place] != "A" else "B"
            forged = token[:place] + other + token[place + 1 :]
            answer = await gateway.request(
                "GET", f"{PATH}/{forged}", headers={"origin": ORIGIN}
            )
            assert (answer.status, answer.json()["error"]["code"]) == (
                403,
                "grant_invalid",
            )
        assert main.requests == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/messages",
            {
                "model": "fast",
                "stream": True,
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
            },
        ),
        ("/v1/responses", {"model": "fast", "stream": True, "input": "hi"}),
        (
            "/v1beta/models/fast:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        ),
        ("/v1/chat/completions", chat(stream=False)),
    ],
)
async def test_every_dialect_can_be_granted(
    autojump_clock: MockClock, path: str, body: dict[str, Any]
) -> None:
    async with gateway_with() as (gateway, _):
        granted = await issue(gateway, endpoint=path, request=body)

        answer = await gateway.request(
            "POST", granted["path"], b"", headers={"origin": ORIGIN}
        )

        assert answer.status == 200
        assert b"there" in answer.body
        assert granted["streamed"] == (path != "/v1/chat/completions")


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"origin": "https://evil.example"}, 403, "origin_not_allowed", "origin"),
        ({"origin": "www.acme.example"}, 400, "invalid_value", "origin"),
        ({"origin": "https://www.acme.example/x"}, 400, "invalid_value", "origin"),
        ({"origin": "https://*.shop.example"}, 403, "origin_not_allowed", "origin"),
        ({"ttl_s": 61}, 400, "invalid_value", "ttl_s"),
        ({"ttl_s": 0}, 400, "invalid_value", "ttl_s"),
        ({"audience": "x" * 129}, 400, "invalid_value", "audience"),
        ({"endpoint": "/v1/embeddings"}, 400, "invalid_value", "endpoint"),
        ({"endpoint": "https://x/v1/messages"}, 400, "invalid_value", "endpoint"),
        ({"endpoint": "/v1/messages/count_tokens"}, 400, "invalid_value", "endpoint"),
        ({"request": chat(model="dear")}, 404, "model_not_found", "model"),
        ({"request": chat(model=7)}, 400, "invalid_type", "model"),
        ({"request": 7}, 400, "invalid_type", None),
        ({"more": 1}, 400, None, None),
    ],
)
async def test_what_cannot_be_served_is_refused_when_the_grant_is_asked_for(
    autojump_clock: MockClock,
    change: dict[str, Any],
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    async with gateway_with() as (gateway, main):
        body = {"request": chat(), "origin": ORIGIN, **change}

        answer = await gateway.post(PATH, body, key=KEY)

        error = answer.json()["error"]
        assert answer.status == status, error
        assert code is None or (error["code"], error["param"]) == (code, param), error
        assert main.requests == []


async def test_a_server_needs_its_key_and_its_site_an_origin(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with(allowed_origins=()) as (gateway, _):
        body = {"request": chat(), "origin": ORIGIN}
        assert (await gateway.post(PATH, body)).status == 401
        assert (await gateway.post(PATH, body, key="sk-nobody-0001")).status == 401
        refused = await gateway.post(PATH, body, key=KEY)

        assert refused.status == 403
        assert "allowed_origins" in refused.json()["error"]["message"]


async def test_any_name_below_a_star_may(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, _):
        origin = "https://de.shop.example"
        granted = await issue(gateway, origin="HTTPS://de.Shop.example:443")

        answer = await gateway.request(
            "GET", granted["path"], headers={"origin": origin}
        )

        assert granted["origin"] == origin
        assert answer.status == 200


async def test_nothing_of_a_grant_is_logged_but_its_id(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, _):
        granted = await issue(gateway)
        for _ in range(2):
            await gateway.request("GET", granted["path"], headers={"origin": ORIGIN})
        await gateway.records()
        logged = gateway.logged()

        assert granted["id"].encode() in logged
        assert granted["token"].encode() not in logged
        assert b"secret system prompt" not in logged


async def test_too_many_that_wait_are_refused_and_others_are_not(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, _):
        granter = gateway.gateway.tree.spec.grants
        granter.waiting_max = 8  # type: ignore[attr-defined]
        for _ in range(2):
            await issue(gateway)

        refused = await gateway.post(
            PATH, {"request": chat(), "origin": ORIGIN}, key=KEY
        )

        assert refused.status == 429
        assert refused.json()["error"]["code"] == "too_many_grants"
        assert refused.headers["retry-after"]
        await trio.sleep(61)
        await issue(gateway)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_strangers_long_body_is_refused_before_it_is_there(
    autojump_clock: MockClock, chunked: bool
) -> None:
    """Nobody has shown anything yet: nothing of it is held, or waited for."""
    async with gateway_with() as (gateway, _), running(gateway.app) as server:
        client = await server.connect()
        head = f"POST {PATH}/sg1.x HTTP/1.1\r\nHost: t\r\nOrigin: {ORIGIN}\r\n"
        if chunked:
            head += "Transfer-Encoding: chunked\r\n\r\n2000\r\n" + "x" * 0x2000
        else:
            head += "Content-Length: 30000000\r\n\r\n"
        await client.send(head.encode())
        response, body, _ = await client.answer()
        await client.stream.aclose()

    assert response.status_code == 413
    assert b"request_too_large" in body
