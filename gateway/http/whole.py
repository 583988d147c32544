"""The client of a whole answer, as the stream meets it that answers.

Owns: the answer's one write, made in the step that has the answer, before anything is
booked; and the news that the client has left. Never waits: an answer that the socket
does not take is left in the stream's channel, for the connection to send at the
client's pace while the stream holds nothing any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.stream.messages import ClientGone, Opened, Piece, Whole
from gateway.http11_conn import Conn
from runtime import Ref

if TYPE_CHECKING:
    from actors.stream.actor import Stream


class Client:
    """One client that waits for one whole answer."""

    __slots__ = ("_conn", "_ids", "_ref", "answered", "cancel_scope")

    def __init__(self, conn: Conn, ids: tuple[tuple[str, str], ...]) -> None:
        self.answered = False
        self.cancel_scope = conn.cancel_scope
        self._conn = conn
        self._ids = ids
        self._ref: Ref[Stream] | None = None  # Its channel knows this client.

    def __repr__(self) -> str:
        """Whether it has its answer."""
        return f"<Client answered={self.answered}>"

    def begin(self, opened: Opened) -> None:
        """This stream answers it."""
        self._ref = opened.ref
        opened.channel.take_directly(self.take)
        self._conn.on_disconnect(self.gone)

    def take(self, piece: Piece) -> bool:
        """Send the answer now; False where it has to wait."""
        if isinstance(piece, Whole):
            fields = (*piece.headers, *self._ids)
            self.answered = self._conn.answer_now(piece.status, fields, piece.body)
        return self.answered

    def gone(self) -> None:
        """It has left. The stream may read on for its bill, but for no socket."""
        if self._ref is not None and not self.answered:
            self._ref.offer(ClientGone())
            self._conn.hang_up()
