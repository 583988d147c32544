"""Vault. Owns keys and their leases; never hands out a key, never logs one.

A lease is an actor with a deadline: whatever ends it (spent, expired, revoked, its
stream gone, the vault restarted) wipes the key. Talks to: streams that used a key, when
it is revoked with `revoke_open`.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actors.stream.messages import EndStream
from actors.vault.messages import (
    Acquire,
    KeyScope,
    KeySource,
    Lease,
    LeaseRefused,
    Revoke,
    SetKeys,
)
from actors.vault.secret import LeasedKey
from runtime import (
    Actor,
    ChildSpec,
    ControlTell,
    Down,
    Exit,
    MailboxSpec,
    Ref,
    answers,
    handles,
)

ASKS_QUEUED_MAX = 64  # A lease is worth waiting for, within the asker's deadline.


@attrs.define
class VaultCell:
    """What outlives a crash: which keys there are. Their values stay where they are."""

    sources: dict[KeyScope, KeySource]
    environ: Mapping[str, str] = attrs.field(repr=False)
    leases_granted: int = 0


class LeaseEnded(ControlTell["LeaseActor"], frozen=True):
    """The key is wiped; the actor may go."""

    why: str


class LeaseActor(Actor):
    """One key on loan. No children, one slot: it only waits for its end."""

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
        self.key.wipe(str(why))

    @handles(LeaseEnded)
    def ended(self, msg: LeaseEnded) -> None:
        """Wiped already, or time is up: either way nothing is left to guard."""
        self.key.wipe(msg.why)
        self.ctx.stop_self()


@attrs.frozen
class Loan:
    """A lease that is out, or was spent on a stream that still runs."""

    scope: KeyScope
    key: LeasedKey
    lease: Ref[LeaseActor]


class Vault(Actor):
    """Grants leases."""

    mailbox = MailboxSpec(ASKS_QUEUED_MAX, full="block", down="hold")
    accepts = (Acquire, Revoke, SetKeys)

    def __init__(self, cell: VaultCell) -> None:
        self.cell = cell
        self.loans: dict[str, list[Loan]] = {}  # By stream: what its end must wipe.

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Vault keys={len(self.cell.sources)} streams={len(self.loans)}>"

    def on_down(self, down: Down) -> None:
        """A stream ended: what it did not spend is wiped."""
        for loan in self.loans.pop(down.id, ()):
            loan.key.wipe("its stream ended")

    @answers(Acquire)
    def acquire(self, msg: Acquire) -> Lease:
        """Lend a key for one request, bound to its hosts and a deadline."""
        cell = self.cell
        source = cell.sources.get(msg.scope)
        if source is None:
            raise LeaseRefused(msg.scope, "is not in the vault; name its key_env")
        value = cell.environ.get(source.env)
        if not value:
            raise LeaseRefused(msg.scope, f"is empty: {source.env} is not set")
        cell.leases_granted += 1
        name = f"lease-{cell.leases_granted}"
        expires_at = self.ctx.now() + msg.ttl_s
        lease: Ref[LeaseActor]

        def on_end(why: str) -> None:
            lease.offer(LeaseEnded(why))

        key = LeasedKey(
            msg.scope,
            value.encode(),
            hosts=source.hosts,
            plain_allowed=source.plain_allowed,
            expires_at=expires_at,
            now=self.ctx.now,
            on_end=on_end,
            access_key_id=cell.environ.get(source.access_key_id_env, ""),
            session_token=cell.environ.get(source.session_token_env),
        )
        lease = self.ctx.spawn(
            ChildSpec(name, lambda: LeaseActor(key, expires_at), restart="temporary")
        )
        loan = Loan(msg.scope, key, lease)
        loans = self.loans.get(msg.stream.id)
        if loans is None:
            self.loans[msg.stream.id] = [loan]
            self.ctx.monitor(msg.stream)
        else:
            loans.append(loan)
        return Lease(name, expires_at, key)

    @handles(Revoke)
    def revoke(self, msg: Revoke) -> None:
        """Wipe every lease of this key now, in this very step."""
        for stream_id, loans in self.loans.items():
            hit = [loan for loan in loans if loan.scope == msg.scope]
            for loan in hit:
                loan.key.wipe("revoked")
            if hit and msg.revoke_open:
                stream = self.ctx.lookup(stream_id)
                if stream is not None:
                    stream.offer(EndStream("its provider key was revoked"))

    @answers(SetKeys)
    def set_keys(self, msg: SetKeys) -> None:
        """Take the reloaded keys; leases that are out keep what they have."""
        self.cell.sources = dict(msg.sources)
