"""What the auditor can be asked and told.

Two books. The records: a request is admitted only with a slot for its record
(`OpenRecord`); the slot is filled by `Record`, or by the auditor itself when the stream
dies without one, so every admitted request has exactly one record. The log: acts that
matter (grants, uses, rotations, logins, changes), each an `AuditEvent`, in a tree that
nobody can rewrite unseen. `Attest` waits until its event is covered by a durable signed
checkpoint; `Noted` waits for nothing and is written within `FACTS_WAIT_S`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from runtime import ControlTell, DomainError, Ref, Request

if TYPE_CHECKING:
    from actors.auditor.actor import Auditor
    from actors.stream.actor import Stream


class AttemptRecord(Struct, frozen=True, omit_defaults=True):
    """One call to one deployment."""

    provider: str
    model: str
    outcome: str
    status: int = 0
    code: str = ""
    phase: str = ""
    connect_ms: int = 0
    first_content_ms: int = 0
    total_ms: int = 0
    upstream_request_id: str = ""
    route: str = ""  # The model that was asked for, by its name and not an alias.
    cost_nanousd: int = 0
    held_at_ms: int = 0  # Unix time: the cost belongs to the windows of this moment.
    began_ms: int = 0  # Since the request was opened; the others since this.
    queued_ms: int = 0  # Until it was sent: waited for a permit and a hold.
    leased_ms: int = 0  # When its key was lent, the last time.
    head_ms: int = 0  # When the answer's head had come.


class PlannedRecord(Struct, frozen=True, omit_defaults=True):
    """What the router thought of one deployment: a score, or what kept it out."""

    provider: str
    model: str
    score: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    after: str = ""  # Empty: after any failure. "context", "content", "mirror": only.
    latency_ms: int = 0  # Expected at the 95th percentile.
    first_content_ms: int = 0
    cost_nanousd: int | None = None  # Expected; None is unpriced.
    probe: bool = False
    gate: str = ""
    why: str = ""


RequestOutcome = Literal["ok", "error", "aborted", "cut", "crashed"]


class RequestRecord(Struct, frozen=True, omit_defaults=True):
    """The facts of one request. No prompt, no answer, no key."""

    request_id: str
    site: str
    key_id: str
    dialect: str
    model: str
    opened_at_ms: int  # Unix time.
    outcome: RequestOutcome
    status: int
    streamed: bool
    duration_ms: int = 0
    first_content_ms: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    usage_estimated: bool = False
    cost_nanousd: int = 0
    priced: bool = True
    overrun_nanousd: int = 0
    finish: str = ""
    code: str = ""
    user: str = ""  # The end user and the network, as keyed hashes, where the site
    ip: str = ""  # wants them (privacy.py).
    degraded: str = ""  # The rung of the site's ladder that was in force.
    attempts: tuple[AttemptRecord, ...] = ()
    tenant: str = ""
    env: str = ""
    feature: str = ""  # What the client called its use, in x-stagedoor-feature.
    planned_ms: int = 0  # When the first plan was there, since the request was opened.
    plan: tuple[PlannedRecord, ...] = ()  # The last one; candidates in its order.
    refusal: str = ""  # Why there was no plan.
    trace: str = ""  # Its place in a trace (wire/trace_context.py), if it had one.
    aside: str = ""  # "mirror" or "probe": no client waited for it.
    mirror_of: str = ""  # The request that it copied.


class OpenRecord(Request["Auditor", int], frozen=True):
    """Keep a place for this request's record; the reply is its slot.

    Raises AuditUnavailable: without a record there is no request.
    """

    stream: Ref[Stream]
    request_id: str
    site: str
    key_id: str
    dialect: str
    model: str
    streamed: bool
    opened_at_ms: int
    home: tuple[str, str] = ("", "")  # Its site's tenant and environment.


class Record(ControlTell["Auditor"], frozen=True):
    """Fill the slot."""

    slot: int
    record: RequestRecord


class Flush(Request["Auditor", int], frozen=True):
    """Reply when all that was recorded so far is on disk, with how many that is."""


class AuditEvent(Struct, frozen=True):
    """One act, for the log. Never a prompt, an answer, a key or a person's name.

    `actor` is who did it and `name` what it was done to; people only as keyed hashes
    (`privacy.py`). Free words have no place here: `detail` holds small numbers and
    identifiers, and what must stay erasable goes elsewhere, sealed, with its hash here.
    """

    act: str  # A short dotted verb: "key.grant", "key.rotate", "admin.login".
    actor: str = ""
    out: str = "ok"  # "ok", "denied", or a short word for what went wrong.
    tenant: str = ""
    env: str = ""
    provider: str = ""
    name: str = ""
    ver: int = 0
    lease: str = ""
    req: str = ""  # The request's id, or the hash of a signed request's base.
    nonce: str = ""  # Of a signed request: a restart reloads these from the tail.
    detail: tuple[tuple[str, str | int], ...] = ()


class Receipt(Struct, frozen=True):
    """Where an event is in the log, and the checkpoint that covers it."""

    origin: str
    seq: int  # The index of its leaf, from 0.
    size: int  # The covering tree's size.
    root: bytes


class Attest(Request["Auditor", Receipt], frozen=True):
    """Reply once the event is covered by a durable signed checkpoint.

    Raises AuditUnavailable when the log cannot be written: what needed the event must
    then not happen. An event may be in the log though its asker was refused; the log
    says so itself (`audit.unacknowledged`). The other way round cannot be.
    """

    event: AuditEvent


class Noted(ControlTell["Auditor"], frozen=True):
    """Events that need no waiting for: uses under a grant, refusals, ends."""

    events: tuple[AuditEvent, ...]


class ReportLog(Request["Auditor", "LogReport"], frozen=True):
    """How the log stands."""


class LogReport(Struct, frozen=True):
    """The log, for operators."""

    origin: str
    vkey: str
    size: int
    published: int  # The size of the checkpoint that readers of the folder see.
    witnessed: int  # The size of the last checkpoint that a witness has signed.
    waiting: int
    denials_folded: int
    trouble: str  # Empty when all is well.
    anchored: int = 0  # The size of the last checkpoint that is kept elsewhere.


class AuditUnavailable(DomainError):
    """Records cannot be kept now, so nothing may be admitted."""
