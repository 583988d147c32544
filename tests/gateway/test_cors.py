"""Pages that call with a key: only those of the origins that the key allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway.embed import Answer, Embedded, embedded, text_of
from gateway.embed_providers import FakeProvider, Says
from gateway.settings.definition import evolve
from gateway.settings.keys import SiteKey
from gateway.settings.origins import Origins, normal
from gateway.settings.sites import SiteConfig
from tests.gateway.gateways import CHAT, KEY, chat, config

ORIGIN = "https://www.acme.example"
ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
SERVER_KEY = "sk-back-end-0001"


@asynccontextmanager
async def gateway_with(*origins: str) -> AsyncGenerator[Embedded]:
    made = config(allowed_origins=origins or (ORIGIN,))
    backend = SiteConfig(name="backend", keys=(SiteKey.of(SERVER_KEY),))
    made = evolve(made, sites=(*made.sites, backend))
    main = FakeProvider([Says("Hello there you")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        yield gateway


async def preflight(gateway: Embedded, origin: str, **more: str) -> Answer:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return await gateway.request("OPTIONS", CHAT, headers=headers)


async def test_a_preflight_of_an_allowed_origin_passes(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as gateway:
        answer = await preflight(gateway, ORIGIN)

        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert (
            answer.headers["access-control-allow-headers"]
            == "authorization,content-type"
        )
        assert "access-control-allow-credentials" not in answer.headers
        assert "access-control-allow-private-network" not in answer.headers
        assert "Origin" in answer.headers["vary"]
        assert "content-length" not in answer.headers


async def test_a_private_gateway_may_be_reached_from_a_public_page_that_is_allowed(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as gateway:
        asked = {"access_control_request_private_network": "true"}
        answer = await preflight(gateway, ORIGIN, **asked)
        other = await preflight(gateway, "https://evil.example", **asked)

        assert answer.headers["access-control-allow-private-network"] == "true"
        assert "access-control-allow-private-network" not in other.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://www.acme.example.evil.example"]
)
async def test_a_foreign_page_may_not_even_ask(
    autojump_clock: MockClock, origin: str
) -> None:
    async with gateway_with() as gateway:
        answer = await preflight(gateway, origin)
        with_key = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"origin": origin}
        )

        for one in (answer, with_key):
            assert one.status == 403
            assert one.json()["error"]["code"] == "origin_not_allowed"
            assert "access-control-allow-origin" not in one.headers
        assert await gateway.records() == []


async def test_an_allowed_page_can_read_its_answer(autojump_clock: MockClock) -> None:
    async with gateway_with() as gateway:
        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"origin": ORIGIN}
        )

        assert text_of(answer.body) == "Hello there you"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-stagedoor-degraded" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"


async def test_an_allowed_page_can_read_why_its_key_is_wrong(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as gateway:
        answer = await gateway.request(
            "POST", CHAT, chat(), key="sk-wrong-0001", headers={"origin": ORIGIN}
        )

        assert answer.status == 401
        assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_servers_key_serves_whatever_its_origin_says_and_no_page_can_read_it(
    autojump_clock: MockClock,
) -> None:
    """Origins are one site's: another's key is not opened to its pages."""
    async with gateway_with() as gateway:
        for origin in (ORIGIN, "app://desktop"):
            answer = await gateway.request(
                "POST", CHAT, chat(), key=SERVER_KEY, headers={"origin": origin}
            )
            assert answer.status == 200
            assert "access-control-allow-origin" not in answer.headers


async def test_a_star_allows_every_origin_by_its_name(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with("*") as gateway:
        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"origin": "https://x.example"}
        )
        nobody = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"origin": "null"}
        )

        assert answer.headers["access-control-allow-origin"] == "https://x.example"
        assert nobody.status == 403


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("https://Example.org", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("example.org", None),
        ("https://example.org/", None),
        ("https://user@example.org", None),
        ("https://", None),
        ("null", None),
        ("https://exa mple.org", None),
    ],
)
def test_an_origin_is_written_one_way(written: str, means: str | None) -> None:
    assert normal(written) == means


def test_a_star_stands_for_names_below_and_nothing_else() -> None:
    origins = Origins.of(("https://*.shop.example",))

    assert origins.allow("https://de.shop.example")
    assert origins.allow("https://a.b.shop.example")
    assert not origins.allow("https://shop.example")
    assert not origins.allow("https://evilshop.example")
    assert not origins.allow("http://de.shop.example")
    assert not origins.allow("https://de.shop.example:8443")
    assert not origins.allow("https://*.shop.example")


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    Origins.of(("https://*.a.example", "*")).allow(text)
    assert normal(text) is None or normal(normal(text) or "") == normal(text)
