"""How PostgreSQL is reached: where it is, one connection, and the one that listens.

Owns: `PostgresUrl`, `connect`, and `Ear`, which rings the bells of subscribers.
Never: shows a password.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import Any, Final, LiteralString, cast

import attrs
import psycopg
import trio
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict

from storage.sql.bells import Bells
from storage.sql.port import DatabaseUnavailable, Row

Connection = psycopg.Connection[Row]

CONNECT_S: Final = 5  # As for a provider: a handshake and two retransmits.
STATEMENT_S: Final = 30  # An export may take that long; nothing of a request does.
LOCK_S: Final = 5  # A row that is locked for longer has a holder that hangs.
LISTEN_AGAIN_S: Final = 0.5  # Within the second that a change may take.
NOTIFY: Final = "stagedoor"  # Its payload says which channel.

_DEFAULTS: Final = {
    "application_name": "stagedoor",
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": CONNECT_S * 1000,  # A peer that is gone is an error by then.
}
_SETTINGS: Final = (
    f"SET statement_timeout = '{STATEMENT_S}s'; SET lock_timeout = '{LOCK_S}s'; "
    f"SET idle_in_transaction_session_timeout = '{STATEMENT_S}s'; "
    "SET default_transaction_read_only = on"  # What writes says so in its BEGIN.
)


@attrs.frozen
class PostgresUrl:
    """Where the database is; prints without its password."""

    parts: dict[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, url: str) -> PostgresUrl:
        """Read `postgresql://…`. Raises DatabaseUnavailable."""
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            # Its text echoes the URL, and so the password.
            raise DatabaseUnavailable("the database's URL cannot be read") from None
        hosts = str(given.get("host") or "").split(",")
        if "sslmode" not in given and not all(map(_is_here, hosts)):
            given["sslmode"] = "require"
        return cls({**_DEFAULTS, **given})

    @property
    def place(self) -> str:
        """Host, port and database, for people."""
        host = self.parts.get("host", "localhost")
        port = self.parts.get("port", 5432)
        return f"postgresql at {host}:{port}/{self.parts.get('dbname', '')}"

    def __str__(self) -> str:
        return self.place


def _is_here(host: str) -> bool:
    """Whether only this machine is on the way: a socket's folder, or loopback."""
    return host in ("", "localhost", "127.0.0.1", "::1") or host.startswith(("/", "@"))


class _Number(Loader):
    """Sums of BIGINT are NUMERIC: an integer, as in SQLite, where it is one."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


def literal(sql: str) -> LiteralString:
    """Our statements are constants of the code, translated: no argument is in them."""
    return cast("LiteralString", sql)  # type: ignore[redundant-cast] # not to pyright


def connect(url: PostgresUrl) -> Connection:
    """One more connection; in a thread. Raises psycopg.Error."""
    connection = psycopg.connect(**url.parts, autocommit=True)
    connection.adapters.register_loader("numeric", _Number)
    connection.execute(literal(_SETTINGS))
    return connection


class Ear:
    """The connection that listens, in a thread of its own; made again when lost."""

    def __init__(
        self, url: PostgresUrl, token: trio.lowlevel.TrioToken, bells: Bells
    ) -> None:
        self._url = url
        self._token = token
        self._bells = bells
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, name="stagedoor listen", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.send(b"x")
        self._thread.join(CONNECT_S)
        self._stop.close()

    def _run(self) -> None:
        try:
            while not self._pause(0):
                try:
                    with connect(self._url) as connection:
                        self._listen(connection)
                except (psycopg.Error, OSError):
                    # What is wrong is said by those who ask; here it is tried again.
                    self._pause(LISTEN_AGAIN_S)
        finally:
            self._stopped.close()

    def _listen(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {NOTIFY}")
        self._ring(None)  # Whatever was said before we heard.
        while True:
            waiting = select.poll()
            waiting.register(connection.fileno(), select.POLLIN)
            waiting.register(self._stopped.fileno(), select.POLLIN)
            ready = {fd for fd, _ in waiting.poll()}
            if self._stopped.fileno() in ready:
                return
            for heard in connection.notifies(timeout=0):
                self._ring(heard.payload)

    def _ring(self, channel: str | None) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._bells.ring, channel)

    def _pause(self, wait_s: float) -> bool:
        """Whether it is to end."""
        waiting = select.poll()
        waiting.register(self._stopped.fileno(), select.POLLIN)
        return bool(waiting.poll(wait_s * 1000))
