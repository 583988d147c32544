"""The stock pair: what the same libraries do as they come, our yardstick.

Hypercorn's trio worker with its own HTTP/1.1 protocol in front, one shared
``httpx.AsyncClient`` with keep-alive behind, and nothing in between but a
pass-through: no routing, no limits, no logs. It is configured to its advantage
(unbounded pool, no timeouts on reads), so that what is compared is the libraries.

    python -m bench.lib.stock --port N --upstream http://127.0.0.1:M/v1
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import hypercorn.config
import hypercorn.trio
import trio

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

KEPT = {b"content-type", b"content-length", b"cache-control", b"x-request-id"}


class Stock:
    """The ASGI application: every POST goes to the upstream and back."""

    def __init__(self, upstream: str) -> None:
        self._url = upstream + "/chat/completions"
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=10.0),
            headers={"authorization": "Bearer upstream", "accept-encoding": "identity"},
        )

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, receive, nursery.cancel_scope)
            await self._relay(body, send)
            nursery.cancel_scope.cancel()

    async def _relay(self, body: bytes, send: Send) -> None:
        headers = {"content-type": "application/json"}
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers
        ) as response:
            kept = [
                (name.lower(), value)
                for name, value in response.headers.raw
                if name.lower() in KEPT
            ]
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": kept,
                }
            )
            async for piece in response.aiter_raw():
                await send(
                    {"type": "http.response.body", "body": piece, "more_body": True}
                )
        await send({"type": "http.response.body", "body": b""})

    async def _watch(self, receive: Receive, scope: trio.CancelScope) -> None:
        """Hypercorn cancels nothing when the client leaves; somebody must ask."""
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                await self._client.aclose()
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--upstream", required=True, help="http://HOST:PORT/v1")
    chosen = options.parse_args()
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{chosen.port}"]
    config.accesslog = None
    config.errorlog = None
    config.backlog = 4_096  # the kernel's queue, so that ours and this start alike
    config.keep_alive_max_requests = 1 << 62  # as it comes, 1,000 close a connection
    app: Any = Stock(chosen.upstream)
    trio.run(hypercorn.trio.serve, app, config)


if __name__ == "__main__":
    main()
