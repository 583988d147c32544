"""A client's request passed on to the worker that can answer it, and its answer back.

For what lives in one worker alone: an answer that is still being given. Owns: nothing;
the client's leaving ends the other worker's connection, and that one sees it as its
own client's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx
import trio

from gateway.http.request import Request
from gateway.http11_transport import ClientGone
from gateway.workers.peers import OWN, Peers

SITE: Final = "x-stagedoor-site"  # Between workers only: the caller is known already.

# Of one connection, not of the answer; the length goes with how it is sent.
_HOP: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date"})


async def forward(peers: Peers, request: Request, site: str) -> bool:
    """Whether another worker knew what this request is about, and has answered it."""
    raw, query = request.target
    path = f"{OWN}{raw}" + (f"?{query}" if query else "")
    for number in peers.others:
        try:
            async with peers.open(
                number, request.method, path, headers=[(SITE, site)]
            ) as answer:
                if answer.status_code != 404:
                    await _relay(request, answer)
                    return True
        except httpx.TransportError:
            continue  # That one is down, and with it what it held.
    return False


async def _relay(request: Request, answer: httpx.Response) -> None:
    """Pass it on as it comes; stop when nobody reads it any more. Raises ClientGone."""
    headers = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() not in _HOP]
    cut = False
    with trio.CancelScope() as scope:

        def gone() -> None:
            scope.cancel(reason="the client left")

        async with trio.open_nursery() as nursery:
            if not request.when_gone(gone):
                nursery.start_soon(_watch, request, gone)
            try:
                await _send(request, answer, headers)
            except ClientGone:
                pass
            except httpx.TransportError:
                cut = True
            nursery.cancel_scope.cancel(reason="answered")
    if cut:
        # Half of it: what the client has must not look like the end of an answer.
        raise ClientGone("the worker that gave this answer is gone")


async def _send(
    request: Request, answer: httpx.Response, headers: list[tuple[bytes, bytes]]
) -> None:
    await request.send(
        {
            "type": "http.response.start",
            "status": answer.status_code,
            "headers": headers,
        }
    )
    async for piece in answer.aiter_raw():
        await request.send(
            {"type": "http.response.body", "body": piece, "more_body": True}
        )
    await request.send({"type": "http.response.body", "body": b""})


async def _watch(request: Request, gone: Callable[[], None]) -> None:
    await request.wait_disconnect()
    gone()
