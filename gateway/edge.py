"""Edge. Owns the listeners; a graceful stop begins here.

One child a listening address. A listener ends by itself when the system drains and its
connections are done, so draining waits for it as it waits for streams: the last bytes
of the last answer are out before anything below it stops. Talks to: nobody.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import attrs
import trio

from gateway.http11 import ErrorBody
from gateway.http11_binding import bind
from gateway.http11_exchange import App
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines
from gateway.listener import Turns, serve
from runtime import Actor, Backoff, ChildSpec, MailboxSpec, Ref, Supervisor

LISTENER_BACKOFF = Backoff(first_s=0.2, cap_s=5)  # The address may be free again soon.


@attrs.define
class ListenerCell:
    """One address and what is served there; outlives a crash of its listener."""

    name: str
    address: str
    app: App
    tls: ssl.SSLContext | None
    limits: Http11Limits
    deadlines: EdgeDeadlines
    error_body: ErrorBody
    bound: Callable[[list[str]], None]
    sock: socket.socket | None = None
    spare: socket.socket | None = None  # Of a socket that other processes share.
    turns: Turns | None = None

    def close(self) -> None:
        """Close what was bound and is not served."""
        for sock in (self.sock, self.spare):
            if sock is not None:
                sock.close()

    def take_socket(self) -> socket.socket:
        """The socket bound at the start; after a crash, a new one. Raises OSError."""
        sock, self.sock = self.sock, None
        if sock is not None:
            return sock
        return self.spare.dup() if self.spare is not None else bind(self.address)


class Listener(Actor):
    """Serves one address until the drain."""

    mailbox = MailboxSpec(1, full="shed", down="reject")

    def __init__(self, cell: ListenerCell) -> None:
        self.cell = cell
        self.stop = trio.Event()

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<Listener {self.cell.name} {self.cell.address}>"

    def on_start(self) -> None:
        """Serve beside the mailbox."""
        self.ctx.start_soon(self._serve)

    def on_drain(self, deadline: float) -> None:
        """Refuse what is new, let what runs finish."""
        del deadline
        if self.cell.spare is not None:
            # Whoever waits in the queue is for the other workers, or for nobody.
            self.cell.spare.close()
        self.stop.set()

    async def _serve(self) -> None:
        cell = self.cell
        async with trio.open_nursery() as nursery:
            cell.bound(
                await nursery.start(
                    lambda task_status: serve(
                        cell.app,
                        binds=[cell.take_socket()],
                        tls=cell.tls,
                        limits=cell.limits,
                        deadlines=cell.deadlines,
                        error_body=cell.error_body,
                        shutdown=self.stop.wait,
                        turns=cell.turns,
                        task_status=task_status,
                    )
                )
            )
        self.ctx.stop_self()


class Edge(Supervisor):
    """Parent of the listeners."""

    def __init__(
        self,
        cells: tuple[ListenerCell, ...],
        attach: Callable[[Callable[[str], Ref[Any] | None]], None],
    ) -> None:
        super().__init__()
        self.cells = cells
        self.attach = attach

    def on_start(self) -> None:
        """Start them as dynamic children: a drain lets those finish."""
        self.attach(self.ctx.lookup)
        for cell in self.cells:
            self.ctx.spawn(
                ChildSpec(
                    cell.name,
                    lambda cell=cell: Listener(cell),  # type: ignore[misc]
                    restart="transient",
                    backoff=LISTENER_BACKOFF,
                )
            )
