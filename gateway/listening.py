"""From bound sockets to what the edge serves on each: clients, operators, the CLI.

Owns: which app answers behind which door, and what the settings bound there.
"""

from __future__ import annotations

import socket
import ssl
import time

from gateway.control import Control
from gateway.edge import ListenerCell
from gateway.gate import Gate
from gateway.http.app import Handler
from gateway.http.replies import error_body
from gateway.http.routes import admin_app, client_app
from gateway.http11_binding import bind, tls_context
from gateway.http11_exchange import App
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.server import ServerConfig
from gateway.workers import policy
from gateway.workers.balance import Share
from gateway.workers.doors import Doors, own_socket
from gateway.workers.parent import Worker


class Counted:
    """The turns of the clients' listener, and how many it has, for the gate."""

    def __init__(self, gate: Gate, share: Share | None) -> None:
        self._gate = gate
        self._share = share

    def __repr__(self) -> str:
        """How many."""
        return f"<Counted {self._gate.connections}>"

    def note(self, connections: int) -> None:
        """See Turns."""
        self._gate.connections = connections
        if self._share is not None:
            self._share.note(connections)

    def gone(self) -> None:
        """See Turns."""
        if self._share is not None:
            self._share.gone()

    def wait_s(self) -> float:
        """See Turns."""
        return 0.0 if self._share is None else self._share.wait_s()


def listeners(
    config: Config,
    gate: Gate,
    control: Control,
    handlers: tuple[Handler, Handler],
    *,
    doors: Doors,
    urls: list[str],
    worker: Worker | None = None,
) -> tuple[ListenerCell, ...]:
    """What is served behind each door; `handlers` are the admin API and the Console.

    Raises OSError, ConfigError.
    """
    server = config.server
    api = handlers[0] if config.admin.api else None
    console = handlers[1] if config.console.enabled else None
    tls = tls_of(server)
    workers = worker.count if worker is not None else 1
    limits = Http11Limits(
        target_bytes_max=server.limits.request_line_bytes_max,
        head_bytes_max=server.limits.header_bytes_max,
        headers_max=server.limits.headers_max,
        body_bytes_max=server.limits.body_bytes_max,
        connections_max=policy.share(server.limits.connections_max, workers),
    )
    deadlines = EdgeDeadlines(
        head_s=server.deadlines.request_head_s,
        idle_s=server.deadlines.keep_alive_s,
        write_s=server.deadlines.write_s,
        stop_s=server.deadlines.drain_s,
        ping_s=server.sockets.ping_s,
    )
    cells: list[ListenerCell] = []
    shares = Share(worker.balance, worker.number) if worker is not None else None
    turns = Counted(gate, shares)

    def listen(
        name: str,
        address: str,
        app: App,
        sock: socket.socket,
        secure: ssl.SSLContext | None = None,
        *,
        shared: bool = worker is not None,
    ) -> None:
        def bound(addresses: list[str]) -> None:
            if name == "clients":
                urls[:] = addresses
            gate.bound()

        cells.append(
            ListenerCell(
                name=name,
                address=address,
                app=app,
                tls=secure,
                limits=limits,
                deadlines=deadlines,
                error_body=error_body,
                bound=bound,
                sock=sock,
                spare=sock.dup() if shared else None,
                turns=turns if name == "clients" else None,
            )
        )

    created = int(time.time())
    alone = server.admin_bind is None
    clients = client_app(
        gate,
        created=created,
        with_operations=alone,
        admin=api,
        console=console,
    )
    listen("clients", str(server.bind), clients, doors.clients, tls)
    if doors.admin is not None:
        operators = admin_app(gate, created=created, admin=api, console=console)
        listen("admin", str(server.admin_bind), operators, doors.admin, tls)
    path = f"unix:{server.control_socket}"
    listen("control", path, control, doors.control)
    if worker is not None:
        path = f"unix:{own_socket(server.state_dir, worker.number)}"
        listen("own", path, control, bind(path), shared=False)
    return tuple(cells)


def tls_of(server: ServerConfig) -> ssl.SSLContext | None:
    """The certificate that clients see. Raises ConfigError."""
    if server.tls_cert is None or server.tls_key is None:
        return None
    try:
        return tls_context(str(server.tls_cert), str(server.tls_key))
    except OSError as error:  # ssl.SSLError is one.
        what = f"cannot be used with tls_key: {type(error).__name__}"
        raise ConfigError((Problem("", "server.tls_cert", what),)) from None
