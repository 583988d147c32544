"""Deltas that flow past the tasks, against the same deltas through every task.

Random upstreams, cut anywhere, are relayed twice over real sockets: by the way in which
bytes pass in the poller's own turn, and by the way in which each is asked for and waits
in the channel. Whatever came, the client, the record and the bill must be the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import httpx
import msgspec
import pytest
import trio
import trio.testing
from attrs import evolve

from actors.provider.body import BodyStream
from actors.provider.transport import Transport
from gateway.embed import Embedded, embedded
from gateway.http11_exchange import Exchange
from gateway.settings.config import Config
from gateway.settings.hooks import HookConfig
from gateway.settings.providers import BreakerConfig
from tests.gateway.gateways import CHAT, KEY, config, provider
from tests.gateway.support_http11 import Client, post, running
from tests.gateway.test_requests import ENV, assert_nothing_held

SCRIPTS: Final = 40  # Each a seed. Without hooks 500 of them found nothing more.
HOOKS: Final = (HookConfig(name="quiet", kind="redact"),)
TEXTS: Final = (
    "Hello",
    " there",
    "a",
    "x" * 300,
    "\u2028\u2029 \x85",
    "Grüße 漢字 🎭",
    'say "it" \\ /',
    '"},"finish_reason":null}]}',
    "line\nbreak\r\n\ttab",
    "data: [DONE]\n\n",
    "",
)

Connect = Callable[[], Awaitable[Client]]

# What differs from one request to the next, whatever way it takes.
OWN: Final = (
    (re.compile(rb"[0-9a-f]{24,}"), b"ID"),
    (re.compile(rb'"(created|created_at|completed_at)":\d+'), b"TIME"),
)


class Script:
    """One upstream's answer, in the pieces in which it is sent."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.path: str = self.rng.choice((CHAT, CHAT, "/v1/messages", "/v1/responses"))
        self.choices = self.rng.choice((1, 1, 1, 2)) if self.path == CHAT else 1
        self.usage_asked = self.rng.random() < 0.5
        self.ascii = self.rng.random() < 0.5
        self.line_end = self.rng.choice(("\n", "\n", "\n", "\r\n", "\r"))
        self.pieces = self._cut(self._framed(self._events()))
        self.cut_off = self.rng.random() < 0.1
        if self.cut_off:
            self.pieces = self.pieces[: max(3, len(self.pieces) * 2 // 3)]

    def request(self, seed: int) -> bytes:
        """What the client asks, which names the script."""
        text = f"script {seed}."
        asked: dict[str, Any] = {"model": "fast", "stream": True}
        if self.path == "/v1/responses":
            asked["input"] = text
        else:
            asked["messages"] = [{"role": "user", "content": text}]
            asked["max_tokens"] = 4_000
        if self.path == CHAT:
            asked["n"] = self.choices
            asked["stream_options"] = {"include_usage": self.usage_asked}
        return post(
            json.dumps(asked).encode(),
            b"Authorization: Bearer " + KEY.encode(),
            b"Content-Type: application/json",
            path=self.path.encode(),
        )

    def _events(self) -> bytes:
        rng = self.rng
        events = [self._chunk({"role": "assistant", "content": ""})]
        # The first content commits: what fails later is told, and not tried again.
        events.append(self._chunk({"content": "First"}))
        events += [self._middle() for _ in range(rng.randrange(12))]
        ending = rng.random()
        if ending < 0.1:
            events.append(self._event({"error": {"message": "no", "type": "x"}}))
        elif ending < 0.15:
            events.append("data: {nonsense")
        if ending < 0.8:
            events += [
                self._chunk({}, index=index, finish="stop")
                for index in range(self.choices)
            ]
        if rng.random() < 0.6:
            usage = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
            events.append(self._event({**self._head(), "choices": [], "usage": usage}))
        if rng.random() < 0.8:
            events.append("data: [DONE]")
        end = self.line_end
        return (end + end).join([*events, ""]).encode()

    def _middle(self) -> str:
        rng = self.rng
        kind = rng.random()
        index = rng.randrange(self.choices)
        if kind < 0.7:
            text = TEXTS[0] if kind < 0.3 else rng.choice(TEXTS)
            return self._chunk({"content": text}, index=index)
        if kind < 0.75:
            call = {"index": 0, "function": {"arguments": '{"a":'}}
            if rng.random() < 0.7:
                call = {
                    **call,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                }
            return self._chunk({"tool_calls": [call]}, index=index)
        if kind < 0.8:
            return self._chunk({"reasoning_content": rng.choice(TEXTS)}, index=index)
        if kind < 0.85:
            return ": comment"
        if kind < 0.9:
            chunk = self._chunk({"content": "named"}, index=index)
            return f"event: message{self.line_end}{chunk}"
        if kind < 0.95:
            padded = {"content": "pad"}
            return self._chunk(padded, index=index, obfuscation="z" * rng.randrange(9))
        return self._chunk({"content": "tier"}, index=index, service_tier="flex")

    def _head(self) -> dict[str, Any]:
        return {"id": "c-1", "object": "chat.completion.chunk", "created": 1,
                "model": "m"}  # fmt: skip

    def _chunk(
        self, delta: dict[str, Any], *, index: int = 0, finish: str = "", **more: Any
    ) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish or None}
        return self._event({**self._head(), **more, "choices": [choice]})

    def _event(self, value: dict[str, Any]) -> str:
        return "data: " + json.dumps(
            value, ensure_ascii=self.ascii, separators=(",", ":")
        )

    def _framed(self, body: bytes) -> bytes:
        kind = self.rng.randrange(5)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        self.closes = kind >= 2
        if kind == 4:
            return head + b"connection: close\r\n\r\n" + body
        if kind == 3:
            head += b"connection: close\r\n"
        if kind == 2:
            self.closes = False
            return head + b"content-length: %d\r\n\r\n" % len(body) + body
        framed = [head + b"transfer-encoding: chunked\r\n\r\n"]
        at = 0
        while at < len(body):
            size = self.rng.choice((1, 7, 150, 151, 1_000, 9_000))
            piece = body[at : at + size]
            framed.append(b"%x\r\n%b\r\n" % (len(piece), piece))
            at += size
        return b"".join([*framed, b"0\r\n\r\n"])

    def _cut(self, data: bytes) -> list[bytes]:
        how = self.rng.randrange(4)
        # The head, and the first content, come by themselves.
        begin = data.find(b"First") + 40
        if how == 0:
            return [data]
        size = {1: 1, 2: 50, 3: 2_000}[how]
        if how == 1 and len(data) > 4_000:
            size = 13
        pieces = [data[:begin]]
        while begin < len(data):
            step = self.rng.randrange(1, 2 * size)
            pieces.append(data[begin : begin + step])
            begin += step
        return pieces


async def _upstream(stream: trio.SocketStream) -> None:
    """Answer requests by the script that they name."""
    data = b""
    async with stream:
        while True:
            while not (found := re.search(rb"script (\d+)\.", data)):
                more = await stream.receive_some()
                if not more:
                    return
                data += more
            data = b""
            script = Script(int(found[1]))
            try:
                for piece in script.pieces:
                    await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
            except trio.BrokenResourceError:
                return
            if script.closes or script.cut_off:
                return


class _Asked(httpx.AsyncBaseTransport):
    """A transport whose bodies do not flow: each piece is asked for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        body = response.stream
        assert isinstance(body, BodyStream)
        response.stream = _AskedBody(body)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _AskedBody(httpx.AsyncByteStream):
    def __init__(self, body: BodyStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


class _Way:
    """One gateway, and one client's connection to it."""

    def __init__(
        self,
        gateway: Embedded,
        client: Client,
        connect: Callable[[], Awaitable[Client]],
    ) -> None:
        self.gateway = gateway
        self._client = client
        self._connect = connect

    async def ask(self, script: Script, seed: int) -> tuple[int, bytes, dict[str, Any]]:
        """The status, the body and the record, without what is each request's own."""
        await self._client.send(script.request(seed))
        response, body, _ = await self._client.answer("POST")
        if (b"connection", b"close") in response.headers.raw_items():
            self._client = await self._connect()
        for pattern, name in OWN:
            body = pattern.sub(name, body)
        await assert_nothing_held(self.gateway)
        (record,) = await self.gateway.records()
        self.gateway.journal.lines.clear()
        facts = _without_times(msgspec.to_builtins(record))
        if response.status_code != 200:
            # Nothing was shown: how often it is tried again is up to the clock.
            facts = {name: facts[name] for name in ("outcome", "status", "code")}
        return response.status_code, body, facts


def _without_times(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {
            name: _without_times(value)
            for name, value in facts.items()
            if not name.endswith("_ms") and name not in {"request_id", "plan"}
        }
    if isinstance(facts, list | tuple):
        return [_without_times(one) for one in facts]
    return facts


@asynccontextmanager
async def _served(made: Config, *, flows: bool) -> AsyncGenerator[_Way]:
    transport = Transport()
    main = transport if flows else _Asked(transport)
    async with (
        embedded(made, {"main": main}, environ=ENV) as gateway,
        running(gateway.app) as server,
    ):
        yield _Way(gateway, await server.connect(), server.connect)


def _never(self: Exchange, body: bytes) -> bool:
    del self, body
    return False


@pytest.mark.parametrize("hooks", [(), HOOKS], ids=["bare", "hooked"])
async def test_what_flows_is_what_would_have_been_asked_for(
    hooks: tuple[HookConfig, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, _upstream, listeners)
        main = provider(
            "main",
            base_url=f"http://127.0.0.1:{port}/v1",
            key_env="",
            breaker=BreakerConfig(failures_max=1_000_000),
        )
        made = evolve(config([main]), hooks=hooks)  # type: ignore[misc]
        told: list[list[Any]] = []
        for flows in (True, False):
            if not flows:
                monkeypatch.setattr(Exchange, "write_now", _never)
            async with _served(made, flows=flows) as way:
                told.append(
                    [await way.ask(Script(seed), seed) for seed in range(SCRIPTS)]
                )
        nursery.cancel_scope.cancel()

    for seed, (flowed, asked) in enumerate(zip(*told, strict=True)):
        assert flowed == asked, f"of seed {seed}"
    # Of all ends there are some.
    assert {record["outcome"] for _, _, record in told[0]} >= {"ok", "error"}
