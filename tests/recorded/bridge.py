"""Official clients in a thread, the whole gateway in memory beside them.

`Bridge` is a transport for httpx2 clients: it hands each request to the gateway's ASGI
app in the trio thread and reads the answer back as it comes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import unquote

import attrs
import httpx
import httpx2
import trio

from gateway.embed import Call, Embedded, embedded
from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.keys import SiteKey
from gateway.settings.providers import ProviderConfig
from gateway.settings.server import ServerConfig
from gateway.settings.sites import SiteConfig
from tests.recorded.places import Pair, Place, place_of
from tests.recorded.upstream import RecordedUpstream

KEY = "sk-acme-dev-0001"
MODEL = "recorded"  # What clients ask for; the provider has its own name for it.
ENV = {
    "PROVIDER_KEY": "made-up-key",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
}
T = TypeVar("T")


def config_for(place: Place, base_url: str = "") -> Config:
    """One site, one provider, one model."""
    given: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if place.kind in NO_ADDRESS and not base_url:
        given["base_url"] = "https://provider.example/v1"
    provider = ProviderConfig(
        name="main",
        kind=place.kind,
        key_env="PROVIDER_KEY",
        models=(place.model,),
        api_version=place.api_version,
        project=place.project,
        location=place.location,
        **given,
    )
    return Config(
        server=ServerConfig(),
        sites=(SiteConfig(name="acme", keys=(SiteKey.of(KEY),)),),
        providers=(provider,),
        models=(ModelConfig(name=MODEL, route=(Candidate("main", place.model),)),),
    )


NO_ADDRESS = frozenset({"azure", "openai-compatible", "vllm", "sglang", "llamacpp"})


class Bridge(httpx2.BaseTransport):
    """The network of a client in a thread."""

    def __init__(self, gateway: Embedded, nursery: trio.Nursery) -> None:
        self._gateway = gateway
        self._nursery = nursery

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request; its answer is read as it comes."""
        call = Call(request.read())
        headers = [(k.lower(), v) for k, v in request.headers.raw]
        scope = scope_of(call, request.method, request.url.raw_path, headers)
        status = trio.from_thread.run(self._start, call, scope)
        return httpx2.Response(status, headers=call.headers, stream=_Stream(call))

    async def _start(self, call: Call, scope: dict[str, Any]) -> int:
        self._nursery.start_soon(call.run, self._gateway.app, scope)
        return await call.head()


def scope_of(
    call: Call, method: str, target: bytes, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    """An ASGI scope, as the edge makes one of a request's head."""
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "method": method,
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "extensions": {"stagedoor": call},
    }


@asynccontextmanager
async def posted(gateway: Embedded, target: str, body: Any) -> AsyncGenerator[Call]:
    """One POST without a client's help, to be read as it comes."""
    call = Call(json.dumps(body).encode())
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {KEY}".encode()),
    ]
    scope = scope_of(call, "POST", target.encode(), headers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, gateway.app, scope)
        try:
            yield call
        finally:
            call.leave()


class _Stream(httpx2.SyncByteStream):
    def __init__(self, call: Call) -> None:
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        while piece := trio.from_thread.run(self._call.chunk):
            yield piece

    def close(self) -> None:
        trio.from_thread.run_sync(self._call.leave)


@attrs.define
class Stage:
    """A gateway in memory, and a way to run clients against it."""

    gateway: Embedded
    nursery: trio.Nursery

    async def run(self, use: Callable[[httpx2.Client], T]) -> T:
        """Run `use` in a thread, with a client whose network is the gateway."""

        def inside() -> T:
            with httpx2.Client(transport=Bridge(self.gateway, self.nursery)) as http:
                return use(http)

        return await trio.to_thread.run_sync(inside)


@asynccontextmanager
async def staged(
    config: Config, upstreams: Mapping[str, httpx.AsyncBaseTransport]
) -> AsyncGenerator[Stage]:
    """A gateway around the body; no client outlives it."""
    async with (
        embedded(config, upstreams, environ=ENV) as gateway,
        trio.open_nursery() as nursery,
    ):
        yield Stage(gateway, nursery)


@asynccontextmanager
async def replayed(pair: Pair) -> AsyncGenerator[tuple[Stage, RecordedUpstream]]:
    """A gateway before one recording's provider, for one client's dialect."""
    upstream = RecordedUpstream(pair.case)
    config = config_for(place_of(pair.case, pair.client))
    async with staged(config, {"main": upstream}) as stage:
        yield stage, upstream
