"""One key on loan, as an actor: whatever ends it wipes the key.

Owns: the lease's deadline. Talks to nobody.
"""

from __future__ import annotations

from msgspec import Struct

from actors.vault.messages import KeyScope
from actors.vault.secret import LeasedKey
from runtime import Actor, ControlTell, Exit, MailboxSpec, Ref, handles


class LeaseEnded(ControlTell["LeaseActor"], frozen=True):
    """The key is wiped; the actor may go."""

    why: str


class LeaseActor(Actor):
    """No children, one slot: it only waits for its end."""

    mailbox = MailboxSpec(1, full="block", down="reject")
    accepts = (LeaseEnded,)

    def __init__(self, key: LeasedKey, expires_at: float) -> None:
        self.key = key
        self.expires_at = expires_at

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Lease {self.key!r} expires_at={self.expires_at:.3f}>"

    def on_start(self) -> None:
        """Arm the deadline. It costs no task, and neither does the actor."""
        self.ctx.tell_at(self.expires_at, LeaseEnded("expired"))

    def on_stop(self, why: Exit) -> None:
        """Whatever the end, the key goes with it."""
        if not self.key.ended:
            self.key.wipe(str(why))

    @handles(LeaseEnded)
    def ended(self, msg: LeaseEnded) -> None:
        """Wiped already, or time is up: either way nothing is left to guard."""
        self.key.wipe(msg.why)
        self.ctx.stop_self()


class Loan(Struct, frozen=True):
    """A lease that is out, or was spent on a stream that still runs."""

    scope: KeyScope
    key: LeasedKey
    lease: Ref[LeaseActor]
