"""A gateway in memory with its admin API, two tenants, and something of each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import msgspec

from gateway.admin.api import AdminReply, AdminRequest
from gateway.admin.principal import OPERATOR, Principal
from gateway.embed import Embedded, embedded
from gateway.embed_providers import FakeProvider
from gateway.settings.config import Config
from storage.sql.memory import open_memory
from tests.gateway.gateways import CHAT, KEY, chat, config

REQUEST_ID: Final = "req_test"
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@attrs.define
class Desk:
    """The gateway, and its admin API as somebody."""

    gateway: Embedded

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: Principal | None = OPERATOR,
        headers: dict[str, str] | None = None,
    ) -> AdminReply:
        """One call, below `/admin/v1`."""
        assert self.gateway.admin is not None
        path, _, query = path.partition("?")
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else _encode(body)
        )
        request = AdminRequest(method, path, query, headers or {}, raw)
        reply = await self.gateway.admin.api.handle(request, who, REQUEST_ID)
        if reply.stream is None:
            return reply
        pieces = [piece async for piece in reply.stream]
        return AdminReply(reply.status, reply.headers, b"".join(pieces))

    async def made(self, path: str, body: Any, **headers: str) -> Any:
        """What a POST made."""
        reply = await self.ask("POST", path, body, headers=dict(headers))
        assert reply.status == 201, reply.body
        return reply.json()

    async def called(self, key: str = KEY, **body: Any) -> str:
        """One request by a client, and its record's id."""
        answer = await self.gateway.post(CHAT, {**chat(), **body}, key=key)
        assert answer.status == 200, answer.body
        await self.gateway.archived()
        return answer.headers["x-request-id"]


@asynccontextmanager
async def desk(made: Config | None = None, **more: Any) -> AsyncGenerator[Desk]:
    """A gateway whose one provider always answers."""
    database = await open_memory()
    given = made or config()
    # Also those that a test adds later.
    providers = defaultdict[str, FakeProvider](FakeProvider)
    environ = {"PROVIDER_KEY": "sk-upstream-canary-42"}
    try:
        async with embedded(
            given, providers, environ=environ, database=database, **more
        ) as gateway:
            yield Desk(gateway)
    finally:
        await database.aclose()


async def a_site(at: Desk, name: str = "blog", tenant: str = "t1") -> Any:
    """A tenant and a site of it."""
    reply = await at.ask("GET", f"/tenants/{tenant}")
    if reply.status == 404:
        await at.made("/tenants", {"name": tenant, "settings": {}})
    return await at.made("/sites", {"name": name, "settings": {"tenant": tenant}})


def header(reply: AdminReply, name: str) -> str:
    """One of its headers."""
    return dict(reply.headers).get(name, "")
