"""What the auditor can be asked and told.

A request is admitted only with a slot for its record (`OpenRecord`); the slot is filled
by `Record`, or by the auditor itself when the stream dies without one. So every
admitted request has exactly one record.
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
    attempts: tuple[AttemptRecord, ...] = ()


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


class Record(ControlTell["Auditor"], frozen=True):
    """Fill the slot."""

    slot: int
    record: RequestRecord


class Flush(Request["Auditor", int], frozen=True):
    """Reply when all that was recorded so far is on disk, with how many that is."""


class AuditUnavailable(DomainError):
    """Records cannot be kept now, so nothing may be admitted."""
