"""The sockets that clients, operators and the CLI come to; shared by all workers.

Owns: binding them, before anything else is started, so that a taken port is a plain
error. With workers the parent binds, and each worker accepts from the same queue: a
connection goes to one that is free, and none waits for one that is down (see
docs/decisions/0012-one-queue-for-all-workers.md).
"""

from __future__ import annotations

import socket
from pathlib import Path

import attrs

from gateway.http11_binding import address_of, bind
from gateway.settings.server import ServerConfig


@attrs.frozen
class Doors:
    """Listening sockets, by what is served there."""

    clients: socket.socket
    admin: socket.socket | None
    control: socket.socket

    def close(self) -> None:
        """Nobody is let in here any more, unless another process still listens."""
        self.clients.close()
        self.control.close()
        if self.admin is not None:
            self.admin.close()

    def urls(self, *, tls: bool) -> list[str]:
        """What clients would write."""
        return [address_of(self.clients, tls=tls)]


def open_doors(server: ServerConfig) -> Doors:
    """Bind every address. Raises OSError."""
    made: list[socket.socket] = []

    def opened(address: str) -> socket.socket:
        made.append(bind(address))
        return made[-1]

    try:
        clients = opened(str(server.bind))
        admin = opened(str(server.admin_bind)) if server.admin_bind else None
        control = opened(f"unix:{server.control_socket}")
    except OSError:
        for sock in made:
            sock.close()
        raise
    return Doors(clients, admin, control)


def own_socket(state_dir: Path, number: int) -> Path:
    """Where one worker answers for itself. No longer than the control socket's path."""
    return state_dir / f"w{number}.sock"
