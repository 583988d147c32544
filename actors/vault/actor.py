"""Vault. Owns keys and their leases; never hands out a key, never logs one.

A lease is an actor with a deadline: whatever ends it (spent, expired, revoked, its
stream gone, the vault restarted) wipes the key. A lease is made under a grant, whose
event the auditor made durable first; then it costs no wait. What has to wait (a grant,
a KEK that is not unwrapped) is deferred, and the mailbox goes on meanwhile.
Talks to: auditor; streams that used a key, when it is revoked with `revoke_open`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from actors.auditor.messages import Attest, AuditEvent, AuditUnavailable, Noted
from actors.stream.messages import EndStream
from actors.vault.cell import VaultCell
from actors.vault.desk import Desk
from actors.vault.lending import Lender
from actors.vault.marks import Marks
from actors.vault.messages import (
    Acquire,
    CountVault,
    Deliver,
    DeliveryKey,
    Follow,
    KeepPeppers,
    KeyRefused,
    KeyScope,
    Lease,
    ListSecrets,
    ReportVault,
    Revoke,
    RevokeSecret,
    RotateKek,
    RotateSecret,
    SecretFacts,
    SetKeys,
    Shred,
    Signer,
    VaultCounts,
    VaultRefused,
    VaultReport,
    VerifySigned,
)
from actors.vault.peppers import PEPPER, kept_and_told
from actors.vault.ports import Mark, WentBack
from actors.vault.reports import counts, report
from actors.vault.rotations import Rotations
from actors.vault.signatures import MemoryNonces, Ratchet
from actors.vault.verifier import Verifier
from runtime import (
    Actor,
    ActorGone,
    AskError,
    ControlTell,
    Deferred,
    Down,
    Exit,
    MailboxSpec,
    Ref,
    Tripped,
    answers,
    handles,
)

if TYPE_CHECKING:
    from actors.auditor.actor import Auditor

R = TypeVar("R")

ASKS_QUEUED_MAX = 64  # A lease is worth waiting for, within the asker's deadline.
LEASES_WAITING_MAX = 4096  # For a grant or a KEK: beyond it, the KMS or the disk hangs.
CHANGES_WAITING_MAX = 64  # Operators' commands under way.
FOLLOW_S = 0.5  # What another worker changed is known here then; one look is a stat.


class TallyDue(ControlTell["Vault"], frozen=True):
    """Record what was done under the grants."""


class SweepDue(ControlTell["Vault"], frozen=True):
    """A KEK is over."""


class RotationDue(ControlTell["Vault"], frozen=True):
    """A step of a rotation may be due."""


class FollowDue(ControlTell["Vault"], frozen=True):
    """See whether another worker changed the rows."""


class Vault(Actor):
    """Grants leases."""

    mailbox = MailboxSpec(ASKS_QUEUED_MAX, full="block", down="hold")
    accepts = (
        Acquire,
        Revoke,
        SetKeys,
        Deliver,
        DeliveryKey,
        ListSecrets,
        RevokeSecret,
        RotateKek,
        RotateSecret,
        KeyRefused,
        RotationDue,
        Shred,
        VerifySigned,
        KeepPeppers,
        Follow,
        ReportVault,
        CountVault,
        TallyDue,
        SweepDue,
        FollowDue,
    )

    def __init__(self, cell: VaultCell) -> None:
        self.cell = cell
        self.safe = cell.safe
        self.changing = 0
        self.lender = Lender(
            cell,
            self,
            attest=self._attest,
            note=self._note,
            tally=TallyDue(),
            sweep=SweepDue(),
        )
        self.desk = Desk(
            cell.safe,
            rules=lambda: cell.rules,
            attest=self._attest,
            now=lambda: self.ctx.now(),  # noqa: PLW0108 - ctx comes after __init__
            timing=cell.timing,
        )
        wall = Ratchet(cell.safe.wall)
        self.verifier = Verifier(
            cell.safe,
            cell.nonces or MemoryNonces(wall),
            now=lambda: self.ctx.now(),  # noqa: PLW0108 - ctx comes after __init__
            attest=self._attest,
        )
        self.rotations: Rotations | None = None
        self.turning = False
        self.marks = Marks()
        self.safe.on_mark = self._mark

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Vault keys={len(self.cell.sources)} streams={len(self.lender.loans)} "
            f"grants={len(self.lender.book)} waiting={self.lender.waiting}>"
        )

    async def on_start(self) -> None:
        """Read the rows; without them no sealed key can be lent."""
        try:
            await self.safe.load()
        except OSError as error:
            raise Tripped(
                "the vault's rows cannot be read", errno=error.errno or 0
            ) from None
        cell = self.cell
        if cell.make_minter is not None and cell.mints:
            self.rotations = Rotations(
                self.safe,
                cell.mints,
                cell.make_minter,
                timing=cell.timing,
                rules=lambda: cell.rules,
                now=self.ctx.now,
                attest=self._attest,
            )
            self.ctx.tell_at(self.ctx.now(), RotationDue())
        if self.safe.follows:
            self.ctx.tell_at(self.ctx.now() + FOLLOW_S, FollowDue())

    def on_stop(self, why: Exit) -> None:
        """No KEK stays behind; what was done is recorded, whatever the end was."""
        del why
        self.safe.keks.clear()
        self.lender.credentials.clear()
        self._note(*self.lender.book.take_batch())

    def on_down(self, down: Down) -> None:
        """A stream ended: what it did not spend is wiped."""
        self.lender.ended(down.id)

    # -- leases ------------------------------------------------------------------

    @answers(Acquire)
    def acquire(self, msg: Acquire) -> Lease | Deferred[Lease]:
        """Lend a key for one request, bound to its hosts and a deadline."""
        return self.lender.acquire(msg)

    @handles(Revoke)
    def revoke(self, msg: Revoke) -> None:
        """Wipe every lease of this key now, in this very step."""
        for stream_id in self.lender.revoke(msg.scope):
            stream = self.ctx.lookup(stream_id) if msg.revoke_open else None
            if stream is not None:
                stream.offer(EndStream("its provider key was revoked"))

    @answers(SetKeys)
    def set_keys(self, msg: SetKeys) -> None:
        """Take the reloaded keys; leases that are out keep what they have."""
        self.cell.take_sources(dict(msg.sources))
        if msg.rules is not None:
            self.cell.rules = msg.rules
        if msg.strict_sites is not None:
            self.cell.strict_sites = msg.strict_sites
        if msg.homes is not None:
            self.cell.homes = msg.homes
        self.lender.book.revoke()
        self.lender.credentials.clear()  # They may be for other exchanges now.

    # -- operators ---------------------------------------------------------------

    @answers(DeliveryKey)
    def delivery_key(self, _msg: DeliveryKey) -> bytes:
        """What to seal a new key for."""
        return self.desk.box.public_key

    @answers(ListSecrets)
    def list_secrets(self, msg: ListSecrets) -> tuple[SecretFacts, ...]:
        """Names, versions and states."""
        return self.desk.listing(msg.principal)

    @answers(Deliver)
    def deliver(self, msg: Deliver) -> Deferred[SecretFacts]:
        """Take in a key."""
        return self._later(msg.scope, lambda: self.desk.deliver(msg))

    @answers(RevokeSecret)
    def revoke_secret(self, msg: RevokeSecret) -> Deferred[int]:
        """Never lend it again."""

        def wipe(scope: KeyScope) -> None:
            self.revoke(Revoke(scope, msg.revoke_open))

        return self._later(msg.scope, lambda: self.desk.revoke(msg, wipe))

    @answers(RotateSecret)
    def rotate_secret(self, msg: RotateSecret) -> Deferred[None]:
        """Begin a rotation now."""

        async def begin() -> None:
            await self.desk.allow_rotation(msg)
            if self.rotations is None:
                raise VaultRefused(msg.scope, "no key can be minted here")
            self.rotations.ask(msg.scope)
            self.ctx.tell_at(self.ctx.now(), RotationDue())

        return self._later(msg.scope, begin)

    @handles(KeyRefused)
    def key_refused(self, msg: KeyRefused) -> None:
        """A rotation in its overlap or watch goes back after a few of these."""
        if self.rotations is not None and self.rotations.refused(msg.scope):
            self.ctx.tell_at(self.ctx.now(), RotationDue())

    @handles(RotationDue)
    def rotate(self, _msg: RotationDue) -> None:
        """Take a turn, beside the leases."""
        if self.rotations is not None and not self.turning:
            self.turning = True
            self.ctx.start_soon(self._turn, self.rotations, name="rotation")

    async def _turn(self, rotations: Rotations) -> None:
        wait_s = await rotations.turn()
        self.turning = False
        self.ctx.tell_at(self.ctx.now() + wait_s, RotationDue())

    @answers(RotateKek)
    def rotate_kek(self, msg: RotateKek) -> Deferred[int]:
        """Re-wrap a tenant's records."""
        scope = KeyScope("*", "*", msg.tenant, msg.environment)
        return self._later(scope, lambda: self.desk.rotate_kek(msg))

    @answers(Shred)
    def shred(self, msg: Shred) -> Deferred[int]:
        """Destroy a tenant's KEKs."""
        scope = KeyScope("*", "*", msg.tenant, msg.environment)
        return self._later(scope, lambda: self.desk.shred(msg))

    @answers(KeepPeppers)
    def keep_peppers(self, msg: KeepPeppers) -> Deferred[bool]:
        """What people are named under, for as long as it is."""
        box = self.cell.peppers
        assert box is not None, "who asks for peppers has a box for them"
        work = partial(kept_and_told, box, msg, self._attest, self.ctx.now)
        return self._later(KeyScope(PEPPER), work)

    @answers(VerifySigned)
    def verify_signed(self, msg: VerifySigned) -> Deferred[Signer]:
        """Say who signed a request."""
        return self._later(KeyScope("signing", "?"), lambda: self.verifier.verify(msg))

    @answers(ReportVault)
    def report_vault(self, _msg: ReportVault) -> Deferred[VaultReport]:
        """How it stands; asks the KMS how it is."""
        return self._later(KeyScope("*"), partial(report, self.cell, self.lender))

    @answers(CountVault)
    def count(self, _msg: CountVault) -> VaultCounts:
        """Its numbers."""
        return counts(self.cell, self.lender, self.desk)

    def _later(self, scope: KeyScope, work: Callable[[], Awaitable[R]]) -> Deferred[R]:
        """Do it beside the leases, and answer when it is done."""
        if self.changing >= CHANGES_WAITING_MAX:
            raise VaultRefused(scope, "waits behind too many other changes; try again")
        deferred: Deferred[R] = Deferred()
        self.ctx.start_soon(self._change, work, deferred, name="change")
        return deferred

    async def _change(
        self, work: Callable[[], Awaitable[R]], deferred: Deferred[R]
    ) -> None:
        self.changing += 1
        try:
            deferred.reply(await work())
        except (VaultRefused, AuditUnavailable, AskError) as error:
            deferred.fail(error)
        finally:
            self.changing -= 1

    # -- the log, and what comes round --------------------------------------------

    @handles(TallyDue)
    def tally(self, _msg: TallyDue) -> None:
        """One event a grant for all that was done under it."""
        self._note(*self.lender.book.take_batch())

    @handles(SweepDue)
    def sweep(self, _msg: SweepDue) -> None:
        """Wipe the KEKs that are over."""
        self.safe.keks.sweep(self.ctx.now())

    @handles(FollowDue)
    def follow(self, _msg: FollowDue) -> None:
        """See what other workers did to the rows."""
        if self.safe.outdated:
            self.ctx.start_soon(self._reload, name="reload")
        elif self.marks.due(self.ctx.now()):
            self._mark(self.safe.mark)
        self.ctx.tell_at(self.ctx.now() + FOLLOW_S, FollowDue())

    @answers(Follow)
    def follow_now(self, msg: Follow) -> Deferred[bool]:
        """The same, because somebody says that there is something to see."""
        work = partial(self._reload, revoke_open=msg.revoke_open)
        return self._later(KeyScope("*"), work)

    async def _reload(self, *, revoke_open: bool = False) -> bool:
        before = dict(self.safe.holdings.live)
        try:
            await self.safe.load()
        except WentBack:
            # The rows in memory are newer: they serve on, and nothing is written.
            self._mark(self.safe.mark, out="went_back")
            return False
        except OSError:
            return False  # The next turn tries again; until then the old rows serve.
        for scope in before:
            if self.safe.holdings.active(scope) is None:
                self.revoke(Revoke(scope, revoke_open))
        return True

    def _mark(self, mark: Mark, out: str = "ok") -> None:
        event = self.marks.event(mark, out, self.ctx.now())
        if event is not None:
            self._note(event)

    async def _attest(self, fact: AuditEvent) -> None:
        await self._auditor().ask(Attest(fact))

    def _note(self, *events: AuditEvent) -> None:
        auditor: Ref[Auditor] | None = self.ctx.lookup("auditor")
        if events and auditor is not None:
            auditor.offer(Noted(events))

    def _auditor(self) -> Ref[Auditor]:
        ref = self.ctx.lookup("auditor")
        if ref is None:
            raise ActorGone("auditor")
        return ref
