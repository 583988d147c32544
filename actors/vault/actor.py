"""Vault. Owns keys and their leases; never hands out a key, never logs one.

A lease is an actor with a deadline: whatever ends it (spent, expired, revoked, its
stream gone, the vault restarted) wipes the key. A lease is made under a grant, whose
event the auditor made durable first; then it costs no wait. What has to wait (a grant,
a KEK that is not unwrapped) is deferred, and the mailbox goes on meanwhile.
Talks to: auditor; streams that used a key, when it is revoked with `revoke_open`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from actors.auditor.messages import Attest, AuditEvent, AuditUnavailable, Noted
from actors.stream.messages import EndStream
from actors.vault.desk import Desk
from actors.vault.flights import Flights
from actors.vault.grants import GRANT_S, TALLY_S, Book, Grant, GrantKey, event
from actors.vault.lease import LeaseActor, LeaseEnded, Loan
from actors.vault.locked import LockedMemory, LockedMemoryFull
from actors.vault.messages import (
    Acquire,
    Deliver,
    DeliveryKey,
    KeyRefused,
    KeyScope,
    KeySource,
    Lease,
    LeaseRefused,
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
    VaultRefused,
    VaultReport,
    VerifySigned,
)
from actors.vault.policy import Rule, Wish, decide
from actors.vault.ports import KekRow, KmsError
from actors.vault.rotation import Timing
from actors.vault.rotations import MakeMinter, MintSpec, Rotations
from actors.vault.safe import KekMissing, Opened, Safe, SealedFacts
from actors.vault.secret import LeasedKey
from actors.vault.signatures import MemoryNonces, NonceStore, Ratchet
from actors.vault.verifier import Verifier
from runtime import (
    Actor,
    ActorGone,
    AskError,
    ChildSpec,
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
FOLLOW_S = 2.0  # What another worker changed is known here after this long.


@attrs.define
class VaultCell:
    """What outlives a crash: the keys, where they are, and who may borrow them."""

    sources: dict[KeyScope, KeySource]
    environ: Mapping[str, str] = attrs.field(repr=False)
    safe: Safe
    rules: Sequence[Rule]
    strict_sites: frozenset[str] = frozenset()
    mints: Mapping[KeyScope, MintSpec] = attrs.field(factory=dict[KeyScope, MintSpec])
    make_minter: MakeMinter | None = None
    timing: Timing = attrs.field(factory=Timing)
    nonces: NonceStore | None = None  # None: of this process only.
    leases_granted: int = 0

    @property
    def memory(self) -> LockedMemory:
        """Where keys are while they are in use."""
        return self.safe.memory


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
        ReportVault,
        TallyDue,
        SweepDue,
        FollowDue,
    )

    def __init__(self, cell: VaultCell) -> None:
        self.cell = cell
        self.safe = cell.safe
        self.loans: dict[str, list[Loan]] = {}  # By stream: what its end must wipe.
        self.book = Book()
        self.granting: Flights[GrantKey, Grant] = Flights()
        self.fetching: Flights[tuple[str, int], None] = Flights()
        self.waiting = 0
        self.changing = 0
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

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Vault keys={len(self.cell.sources)} streams={len(self.loans)} "
            f"grants={len(self.book)} waiting={self.waiting}>"
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

    def on_stop(self, _why: Exit) -> None:
        """No KEK stays behind; what was done is recorded."""
        self.safe.keks.clear()
        self._note(*self.book.take_batch())

    def on_down(self, down: Down) -> None:
        """A stream ended: what it did not spend is wiped."""
        for loan in self.loans.pop(down.id, ()):
            loan.key.wipe("abandoned")

    # -- leases ------------------------------------------------------------------

    @answers(Acquire)
    def acquire(self, msg: Acquire) -> Lease | Deferred[Lease]:
        """Lend a key for one request, bound to its hosts and a deadline."""
        key = GrantKey(msg.site, msg.scope, msg.route)
        now = self.ctx.now()
        grant = self.book.get(key, now)
        if grant is not None and msg.site not in self.cell.strict_sites:
            found = self._find(msg.scope, key, now)
            if not isinstance(found, KekMissing):
                return self._lend(msg, grant, found)
        if self.waiting >= LEASES_WAITING_MAX:
            raise self._refused(key, "waits", f"{self.waiting} leases wait already")
        deferred: Deferred[Lease] = Deferred()
        self.ctx.start_soon(self._lend_later, msg, key, deferred, name="lease")
        return deferred

    async def _lend_later(
        self, msg: Acquire, key: GrantKey, deferred: Deferred[Lease]
    ) -> None:
        self.waiting += 1
        try:
            grant = await self._grant(key, msg)
            found = await self._fetch(msg.scope, key)
            if deferred.abandoned:
                found.memory.wipe()
                return
            lease = self._lend(msg, grant, found)
            if msg.site in self.cell.strict_sites:
                await self._attest_lease(key, grant, lease, msg)
        except LeaseRefused as refused:
            deferred.fail(refused)
        else:
            if not deferred.reply(lease):
                _wipe(lease)
        finally:
            self.waiting -= 1

    async def _grant(self, key: GrantKey, msg: Acquire) -> Grant:
        """The grant, made durable first where there is none. Raises LeaseRefused."""
        grant = self.book.get(key, self.ctx.now())
        if grant is not None:
            return grant
        return await self.granting.together(key, lambda: self._new(key, msg))

    async def _new(self, key: GrantKey, msg: Acquire) -> Grant:
        scope = key.scope
        verdict = decide(
            self.cell.rules,
            Wish(
                "lease",
                key.principal,
                scope.tenant,
                scope.environment,
                scope.provider,
                scope.name,
                key.route,
            ),
        )
        if not verdict.allowed:
            raise self._refused(key, "denied", f"is denied to it: {verdict.rule}")
        bounds = (("ttl_s", verdict.ttl_s), ("uses", verdict.uses))
        await self._attest_for(
            key, event("key.grant", key, request=msg.request_id, detail=bounds)
        )
        now = self.ctx.now()
        grant = Grant(key, verdict.ttl_s, verdict.uses, now + GRANT_S, verdict.rule)
        self.book.add(grant, now)
        return grant

    async def _attest_lease(
        self, key: GrantKey, grant: Grant, lease: Lease, msg: Acquire
    ) -> None:
        """A strict site's lease is in the log before it can be used."""
        try:
            await self._attest_for(
                key,
                event(
                    "key.lease",
                    key,
                    version=grant.version,
                    lease=lease.id,
                    request=msg.request_id,
                ),
            )
        except BaseException:
            _wipe(lease)
            raise

    async def _attest_for(self, key: GrantKey, fact: AuditEvent) -> None:
        try:
            await self._attest(fact)
        except (AuditUnavailable, AskError) as error:
            raise self._refused(
                key, "unaudited", f"no key without its audit record: {error}"
            ) from None

    def _find(self, scope: KeyScope, key: GrantKey, now: float) -> Opened | KekMissing:
        """The key in locked memory, or the KEK it waits for. Raises LeaseRefused."""
        source = self.cell.sources.get(scope)
        if source is None:
            raise self._refused(key, "unknown", "is not in the vault; name its key_env")
        try:
            if not source.env:
                return self._open(scope, now)
            value = self.cell.environ.get(source.env)
            if not value:
                raise self._refused(key, "unset", f"is empty: {source.env} is not set")
            memory = self.cell.memory.hold(value.encode())
        except LockedMemoryFull as full:
            raise self._refused(key, "full", str(full)) from None
        except VaultRefused as refused:
            raise self._refused(key, "unusable", refused.why) from None
        facts = SealedFacts((), self.cell.environ.get(source.access_key_id_env, ""))
        return Opened(memory, memory.view, facts, 0)

    def _open(self, scope: KeyScope, now: float) -> Opened | KekMissing:
        found = self.safe.open(scope, now)
        row = self.safe.due_for_refresh(scope, now)
        if row is not None:
            self.ctx.start_soon(self._refresh, row, name="refresh")
        return found

    async def _fetch(self, scope: KeyScope, key: GrantKey) -> Opened:
        """The key, its KEK unwrapped first where it is not. Raises LeaseRefused."""
        while True:
            found = self._find(scope, key, self.ctx.now())
            if isinstance(found, Opened):
                return found
            row = found.row
            try:
                if self.safe.keks.limits.strict:
                    # For this lease alone, which opens its key in the next step.
                    await self._kek(row)
                else:
                    await self.fetching.together(
                        (row.id, row.version), partial(self._kek, row)
                    )
            except KmsError as error:
                raise self._refused(key, "kms", str(error)) from None

    async def _kek(self, row: KekRow) -> None:
        await self.safe.fetch_kek(row, self.ctx.now)
        at = self.safe.keks.sweep(self.ctx.now())
        if at is not None:
            self.ctx.tell_at(at, SweepDue())

    async def _refresh(self, row: KekRow) -> None:
        """Ahead of its end. A KMS that is down is for the end itself to report."""
        try:
            await self._kek(row)
        except KmsError as error:
            self._note(
                AuditEvent(
                    act="kms.fault",
                    actor="vault",
                    out=type(error).__name__,
                    tenant=row.tenant,
                    env=row.environment,
                )
            )

    def _lend(self, msg: Acquire, grant: Grant, found: Opened) -> Lease:
        """Make the lease; what was opened is its own from here."""
        cell = self.cell
        source = cell.sources[msg.scope]
        cell.leases_granted += 1
        name = f"lease-{cell.leases_granted}"
        expires_at = self.ctx.now() + min(msg.ttl_s, grant.ttl_s)
        lease: Ref[LeaseActor]

        def on_end(why: str) -> None:
            grant.ended(why)
            self._touch(grant)
            lease.offer(LeaseEnded(why))

        hosts = found.facts.hosts
        key = LeasedKey(
            msg.scope,
            found.memory,
            found.key,
            hosts=source.hosts.intersection(hosts) if hosts else source.hosts,
            plain_allowed=source.plain_allowed,
            expires_at=expires_at,
            now=self.ctx.now,
            on_end=on_end,
            uses=grant.uses,
            access_key_id=found.facts.access_key_id,
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
        grant.lent(name, found.version)
        self._touch(grant)
        return Lease(name, expires_at, key)

    @handles(Revoke)
    def revoke(self, msg: Revoke) -> None:
        """Wipe every lease of this key now, in this very step."""
        self.book.revoke(msg.scope)
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
        if msg.rules is not None:
            self.cell.rules = msg.rules
        if msg.strict_sites is not None:
            self.cell.strict_sites = msg.strict_sites
        self.book.revoke()

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

    @answers(VerifySigned)
    def verify_signed(self, msg: VerifySigned) -> Deferred[Signer]:
        """Say who signed a request."""
        return self._later(KeyScope("signing", "?"), lambda: self.verifier.verify(msg))

    @answers(ReportVault)
    def report(self, _msg: ReportVault) -> Deferred[VaultReport]:
        """How it stands; asks the KMS how it is."""
        return self._later(KeyScope("*"), self._report)

    async def _report(self) -> VaultReport:
        fault = ""
        try:
            await self.safe.health()
        except KmsError as error:
            fault = str(error)
        return VaultReport(
            memory=self.cell.memory.kind,
            seals_with=self.safe.seals_with,
            kms_fault=fault,
            secrets=len(self.safe.holdings.secrets),
            leases=sum(
                not loan.key.ended for loans in self.loans.values() for loan in loans
            ),
            grants=len(self.book),
        )

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
        self._note(*self.book.take_batch())

    @handles(SweepDue)
    def sweep(self, _msg: SweepDue) -> None:
        """Wipe the KEKs that are over."""
        self.safe.keks.sweep(self.ctx.now())

    @handles(FollowDue)
    def follow(self, _msg: FollowDue) -> None:
        """See what other workers did to the rows."""
        if self.safe.outdated:
            self.ctx.start_soon(self._reload, name="reload")
        self.ctx.tell_at(self.ctx.now() + FOLLOW_S, FollowDue())

    async def _reload(self) -> None:
        before = dict(self.safe.holdings.live)
        try:
            await self.safe.load()
        except OSError:
            return  # The next turn tries again; until then the old rows serve.
        for scope in before:
            if self.safe.holdings.active(scope) is None:
                self.revoke(Revoke(scope))

    async def _attest(self, fact: AuditEvent) -> None:
        await self._auditor().ask(Attest(fact))

    def _touch(self, grant: Grant) -> None:
        if self.book.touch(grant):
            self.ctx.tell_at(self.ctx.now() + TALLY_S, TallyDue())

    def _refused(self, key: GrantKey, word: str, why: str) -> LeaseRefused:
        """The refusal to raise; it is counted for the log, many in one event."""
        if self.book.refuse(key, word):
            self.ctx.tell_at(self.ctx.now() + TALLY_S, TallyDue())
        return LeaseRefused(key.scope, why)

    def _note(self, *events: AuditEvent) -> None:
        if events:
            self._auditor().offer(Noted(events))

    def _auditor(self) -> Ref[Auditor]:
        ref = self.ctx.lookup("auditor")
        if ref is None:
            raise ActorGone("auditor")
        return ref


def _wipe(lease: Lease) -> None:
    cast("LeasedKey", lease.handle).wipe("abandoned")
