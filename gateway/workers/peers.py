"""How one worker asks the others: HTTP over each one's own socket in the state folder.

Owns: the connections, and how long is waited. Whoever may open these sockets is the
gateway's own user. A worker that does not answer in time is taken for one that is down:
what is asked here is asked by operators and probes, and must not hang with one worker.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import trio

from gateway.workers.doors import own_socket
from gateway.workers.parent import Worker

ANSWER_S: Final = 2.0  # From memory; a loop that is busy for longer is in trouble.
ANSWER_BYTES_MAX: Final = 64 * 2**20  # Ten thousand streams are a tree of 3 MB.
OWN: Final = "/own"  # Below it a worker answers for itself alone (own.py).
FIRST: Final = 1  # It keeps the vault's desk: delivery key, rotations.

Answer = tuple[int, bytes]


class Peers:
    """The workers of a gateway, as one of them sees them."""

    def __init__(self, worker: Worker, state_dir: Path) -> None:
        self.worker = worker
        self.others = tuple(n for n in range(1, worker.count + 1) if n != worker.number)
        self._transports = {
            number: httpx.AsyncHTTPTransport(uds=str(own_socket(state_dir, number)))
            for number in self.others
        }

    def __repr__(self) -> str:
        return f"<Peers of worker {self.worker.number}/{self.worker.count}>"

    async def ask(
        self,
        number: int,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        wait_s: float = ANSWER_S,
    ) -> Answer | None:
        """What one answers; None when it is down, or does not answer in time."""
        with trio.move_on_after(wait_s):
            try:
                async with self.open(number, method, path, body, headers) as answer:
                    pieces: list[bytes] = []
                    size = 0
                    async for piece in answer.aiter_raw():
                        size += len(piece)
                        if size > ANSWER_BYTES_MAX:
                            return None
                        pieces.append(piece)
                    return answer.status_code, b"".join(pieces)
            except httpx.TransportError:
                return None
        return None

    async def ask_all(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> dict[int, Answer | None]:
        """What each of the others answers, asked side by side."""
        found: dict[int, Answer | None] = {}
        fields = tuple(headers)

        async def one(number: int) -> None:
            found[number] = await self.ask(
                number, method, path, body=body, headers=fields
            )

        async with trio.open_nursery() as nursery:
            for number in self.others:
                nursery.start_soon(one, number)
        return found

    async def values(self, path: str, own: Any) -> dict[int, Any]:
        """The JSON that each worker answers to GET, ours too; None: it is down."""
        found: dict[int, Any] = {self.worker.number: own}
        for number, answer in (await self.ask_all("GET", path)).items():
            found[number] = None
            # A worker that has just begun to serve may not know all of its answers.
            if answer is not None and answer[0] in (200, 503):
                found[number] = msgspec.json.decode(answer[1])
        return dict(sorted(found.items()))

    @asynccontextmanager
    async def open(
        self,
        number: int,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> AsyncGenerator[httpx.Response]:
        """One's answer, to be read as it comes. Raises httpx.TransportError."""
        request = httpx.Request(
            method,
            f"http://w{number}{path}",
            content=body,
            headers=list(headers),
            extensions={"timeout": {"connect": ANSWER_S, "pool": ANSWER_S}},
        )
        response = await self._transports[number].handle_async_request(request)
        try:
            yield response
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            await transport.aclose()


def peers_of(worker: Worker | None, state_dir: Path) -> Peers | None:
    """The others, if there are any."""
    return Peers(worker, state_dir) if worker is not None else None
