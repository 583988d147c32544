"""The client of a whole answer: it has it in the step that has the answer.

Owns: the answer's one write, made in the stream's task before anything is booked, while
the connection's task waits. Never waits: an answer that the socket does not take is
left in the stream's channel, for the connection to send at the client's pace while the
stream holds nothing any more.
"""

from __future__ import annotations

from actors.stream.messages import Piece, Whole
from gateway.http11_conn import Conn


class Client:
    """One client that may get one whole answer."""

    __slots__ = ("_conn", "_ids", "answered")

    def __init__(self, conn: Conn, ids: tuple[tuple[str, str], ...]) -> None:
        self.answered = False
        self._conn = conn
        self._ids = ids

    def __repr__(self) -> str:
        """Whether it has its answer."""
        return f"<Client answered={self.answered}>"

    def take(self, piece: Piece) -> bool:
        """Send the answer now; False where it has to wait, and for all else."""
        if isinstance(piece, Whole):
            fields = (*piece.headers, *self._ids)
            self.answered = self._conn.answer_now(piece.status, fields, piece.body)
        return self.answered
