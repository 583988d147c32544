"""Sockets that listen, and what becomes of each accepted connection.

Owns: binding, accepting within `connections_max`, TLS handshakes, the lifespan of
the app, and the graceful stop. HTTP/1.1 is served by `gateway.http11`; HTTP/2 and
WebSocket by hypercorn, through `gateway.http11_upgrade`.
Never: a request or a byte of one.

The stop, in order: the listening sockets close; idle keep-alive connections close;
each answer begun says `connection: close`; what still runs at `stop_s` is cancelled
and its connection reset, a stalled client's included; then the app's lifespan ends.
"""

import contextlib
import errno
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import LifespanFailureError

from gateway.http11 import Edge, ErrorBody, Http11, Report
from gateway.http11_binding import address_of, bind, tune
from gateway.http11_exchange import Address, App
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines, Transport, errno_name
from gateway.http11_upgrade import hypercorn_config, serve_upgraded

ACCEPTS_IN_A_ROW_MAX = 64  # Then the connections accepted so far get a turn.
EVICT_RETRY_S = 0.5  # All slots in use: by then some connection may be idle.
ACCEPT_RETRY_S = 0.1  # Out of file descriptors: some client will leave.

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("stagedoor.edge")


class Turns(Protocol):
    """How several processes that accept from one queue share what comes."""

    def note(self, connections: int) -> None:
        """So many are open here."""
        ...

    def gone(self) -> None:
        """No more are taken here."""
        ...

    def wait_s(self) -> float:
        """How long to let the others go first, before the next one is taken."""
        ...


def report_by_log(what: str, error: BaseException) -> None:
    """Log where something failed; the message is left out, it may quote a request."""
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    log.error("%s: %s at %s", what, type(error).__name__, " > ".join(frames) or "?")


async def serve(
    app: App,
    *,
    binds: Sequence[str | socket.socket],
    insecure_binds: Sequence[str | socket.socket] = (),
    tls: ssl.SSLContext | None = None,
    limits: Http11Limits | None = None,
    deadlines: EdgeDeadlines | None = None,
    error_body: ErrorBody,
    shutdown: Callable[[], Awaitable[object]],
    report: Report = report_by_log,
    turns: Turns | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI app until `shutdown()` returns, then stop gracefully.

    Args:
        app: ASGI 3; HTTP/1.1 scopes offer `Conn` as extension `stagedoor`.
        binds: addresses (see http11_binding.bind) or listening sockets; with TLS if
            `tls` is set, except unix sockets.
        insecure_binds: the same, without TLS.
        tls: see http11_binding.tls_context.
        limits: what one connection may cost.
        deadlines: how long a client is waited for.
        error_body: (status, code, message) -> (content type, body) of our refusals.
        shutdown: awaited once; its return starts the stop (`event.wait` fits).
        report: told about failures of the app; must not raise.
        turns: set where other processes accept from the same sockets.
        task_status: gets the bound addresses once connections are accepted.

    Raises:
        OSError: an address could not be bound.
        hypercorn.utils.LifespanFailureError: the app refused to start.
    """
    edge = Edge(
        app,
        limits=limits or Http11Limits(),
        deadlines=deadlines or EdgeDeadlines(),
        error_body=error_body,
        report=report,
    )
    listener = _Listener(edge, tls, turns)
    try:
        listener.open(binds, insecure_binds)
        async with trio.open_nursery() as lifespans:
            lifespan = Lifespan(_lifespan_app(edge), listener.config, edge.state)
            await lifespans.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            await listener.run(shutdown, task_status)
            await lifespan.wait_for_shutdown()
            lifespans.cancel_scope.cancel()
    except ExceptionGroup as group:
        raise _only(group) from group
    finally:
        listener.close()


def _only(error: Exception) -> Exception:
    """The one error inside a nursery's group; the group if there are several."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _lifespan_app(edge: Edge) -> Any:
    """ASGI 3 as hypercorn's lifespan calls it."""

    async def call(
        scope: Any, receive: Any, send: Any, _spawn: object, _soon: object
    ) -> None:
        try:
            await edge.app(scope, receive, send)
        except LifespanFailureError:
            raise
        except Exception as error:
            edge.report("the app has no lifespan, or it failed", error)
            raise  # Hypercorn goes on without one.

    return call


class _Listener:
    def __init__(
        self, edge: Edge, tls: ssl.SSLContext | None, turns: Turns | None
    ) -> None:
        if sys.platform != "linux":
            raise RuntimeError(
                f"the edge needs Linux's epoll, this is {sys.platform};"
                " run it in a container"
            )
        self.edge = edge
        self.config = hypercorn_config(edge)
        self.context = WorkerContext(None)
        self._tls = tls
        self._turns = turns
        # A burst is for all who share the queue, so then one at a time is taken.
        self._in_a_row_max = ACCEPTS_IN_A_ROW_MAX if turns is None else 1
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._unix_paths: list[str] = []
        self._open = 0
        self._transports: set[Transport] = set()
        self._waiting_for_slot = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        limit = self.edge.limits.connections_max
        return f"<Listener sockets={len(self._sockets)} open={self._open}/{limit}>"

    def open(
        self,
        binds: Sequence[str | socket.socket],
        insecure_binds: Sequence[str | socket.socket],
    ) -> None:
        for is_secure, addresses in ((True, binds), (False, insecure_binds)):
            for address in addresses:
                sock = bind(address) if isinstance(address, str) else address
                sock.setblocking(False)
                tls = self._tls if is_secure else None
                if sock.family == socket.AF_UNIX:
                    tls = None
                    if isinstance(address, str) and address.startswith("unix:"):
                        self._unix_paths.append(address[5:])
                self._sockets.append((sock, tls))

    def close_sockets(self) -> None:
        for sock, _ in self._sockets:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()
        for path in self._unix_paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a socket, not a document
        self._unix_paths = []

    def close(self) -> None:
        self.close_sockets()

    async def run(
        self,
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        edge = self.edge
        async with trio.open_nursery() as machinery:
            machinery.start_soon(edge.timers.run)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as acceptors:
                    for sock, tls in self._sockets:
                        acceptors.start_soon(self._accept, sock, tls, connections)
                    task_status.started(
                        [address_of(s, tls=tls is not None) for s, tls in self._sockets]
                    )
                    await shutdown()
                    acceptors.cancel_scope.cancel()
                await self._stop(machinery, connections)
            machinery.cancel_scope.cancel()

    async def _stop(self, machinery: trio.Nursery, connections: trio.Nursery) -> None:
        edge = self.edge
        edge.stopping = True
        if self._turns is not None:
            self._turns.gone()
        self.close_sockets()
        await self.context.terminated.set()
        edge.close_idle()
        machinery.start_soon(self._end, connections)

    async def _end(self, connections: trio.Nursery) -> None:
        """Cancel what has outlived the stop, shielded writes included."""
        await trio.sleep(self.edge.deadlines.stop_s)
        connections.cancel_scope.cancel()
        for transport in tuple(self._transports):
            transport.abort("the server has stopped")

    async def _accept(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        connections: trio.Nursery,
    ) -> None:
        connections_max = self.edge.limits.connections_max
        turns = self._turns
        self._count(0)
        while True:
            await trio.lowlevel.wait_readable(listening)
            if turns is not None and (wait_s := turns.wait_s()):
                await trio.sleep(wait_s)
            while self._open >= connections_max:
                self.edge.evict_idle()
                with trio.move_on_after(EVICT_RETRY_S):
                    await self._waiting_for_slot.park()
            room = connections_max - self._open
            for _ in range(min(room, self._in_a_row_max)):
                try:
                    sock, peer = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUT_OF_RESOURCES:
                        # The traceback would say where we accept, not who is at fault.
                        log.warning("not accepting for now: %s", errno_name(error))
                        await trio.sleep(ACCEPT_RETRY_S)
                        break
                    continue  # The client left while it was in the backlog.
                self._count(1)
                connections.start_soon(self._connection, sock, peer, tls)

    def _count(self, change: int) -> None:
        self._open += change
        self.edge.connections = self._open
        if self._turns is not None and not self.edge.stopping:
            self._turns.note(self._open)

    async def _connection(
        self, sock: socket.socket, peer: Any, tls: ssl.SSLContext | None
    ) -> None:
        """One accepted connection from first to last byte; never raises."""
        transport: Transport | None = None
        try:
            tune(sock, self.edge.limits, self.edge.deadlines)
            if tls is not None:
                sock = tls.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
            edge = self.edge
            transport = Transport(
                sock,
                edge.poller,
                edge.timers,
                unsent_bytes_max=edge.limits.unsent_bytes_max,
                write_s=edge.deadlines.write_s,
            )
            self._transports.add(transport)
            await self._serve(transport, peer, tls is not None)
        except OSError:
            pass  # A failed handshake, or the client left: its business.
        except Exception as error:  # noqa: BLE001 - one connection, not the server
            self.edge.report("a connection failed", error)
        finally:
            if transport is not None:
                self._transports.discard(transport)
                transport.close()
            else:
                sock.close()
            self._count(-1)
            self._waiting_for_slot.unpark()

    async def _serve(self, transport: Transport, peer: Any, tls: bool) -> None:
        alpn = "http/1.1"
        if tls:
            with trio.move_on_after(self.edge.deadlines.handshake_s) as handshake:
                await transport.handshake()
            if handshake.cancelled_caught:
                return
            assert isinstance(transport.sock, ssl.SSLSocket)
            alpn = transport.sock.selected_alpn_protocol() or alpn
        first = b""
        if alpn != "h2":
            connection = Http11(
                self.edge,
                transport,
                scheme="https" if tls else "http",
                client=_address(transport.sock.family, peer),
                server=_address(transport.sock.family, transport.sock.getsockname()),
            )
            upgrade, first = await connection.run()
            if not upgrade:
                return
        await serve_upgraded(
            self.edge, self.config, self.context, transport, first, tls=tls, alpn=alpn
        )


def _address(family: int, name: Any) -> Address:
    """ASGI's client and server; a unix socket has no port."""
    if family == socket.AF_UNIX:
        return None
    return name[0], name[1]
