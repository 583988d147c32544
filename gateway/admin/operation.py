"""One definition an operation: who may, what it takes, what it gives, and what does it.

From it come the dispatch (api.py), the document (openapi.py), the docs' table and the
tests that walk over all operations. Nothing about an operation is written twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

import attrs
import msgspec

from actors.adminbooks import Role
from gateway.admin.principal import Principal
from gateway.admin.problems import FieldError, Problem

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Reach = Literal["tenant", "operator"]
"""Whose business it is: a tenant's own things, or the whole gateway."""

JSON: Final = "application/json"
PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
# What a name in a path may look like; everything else is not found.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
# A model's name may hold a slash, percent-encoded in the path.
MODEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$"

T = TypeVar("T")


@attrs.frozen
class Parameter:
    """A part of a path."""

    doc: str
    pattern: str = NAME_PATTERN


PARAMETERS: Final[dict[str, Parameter]] = {
    "tenant": Parameter("A tenant's name."),
    "site": Parameter("A site's name."),
    "environment": Parameter("An environment's name."),
    "key": Parameter("An API key's id, as lists show it; never the key itself."),
    "model": Parameter("A model's name; encode slashes as %2F.", MODEL_PATTERN),
    "provider": Parameter("A provider's name."),
    "cap": Parameter("A cap's name."),
    "token": Parameter("An admin token's id."),
    "person": Parameter("A person's id."),
    "webhook": Parameter("A webhook's id."),
    "delivery": Parameter("A delivery's id."),
    "request": Parameter("A request's id, as in `x-request-id`."),
    "log": Parameter("A worker's audit log, by its number.", r"^[1-9][0-9]{0,3}$"),
    "seq": Parameter("An entry's place in the audit log, from 0.", r"^[0-9]{1,15}$"),
    "code": Parameter("A problem's code.", r"^[a-z-]{1,64}$"),
}


@attrs.frozen
class Answer:
    """What a handler gives where a plain value is not enough."""

    value: Any = None
    status: int | None = None
    etag: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = attrs.field(default=None, repr=False)
    media: str = JSON


@attrs.define
class Call:
    """One call as its handler sees it.

    `record` has an act in the audit log before it happens, which every change needs;
    `note` adds what was only known after.
    """

    operation: Operation
    principal: Principal
    params: dict[str, str]
    query: Any
    body: Any
    if_match: str
    request_id: str
    record: Callable[..., Awaitable[None]] = attrs.field(repr=False)
    note: Callable[..., None] = attrs.field(repr=False)

    def param(self, name: str) -> str:
        """A part of the path."""
        return self.params[name]

    def expected(self) -> int | None:
        """The version in If-Match; None for `*`. Raises Problem."""
        return version_of(self.if_match)


Handler = Callable[[Call], Awaitable[Any]]


@attrs.frozen
class Operation:
    """What one method does at one path.

    Args:
        id: its name in the document and in clients made from it.
        role: the least role that may.
        reach: whose business it is.
        query, body: what it takes; None is nothing.
        gives: the type of its answer; None is an empty one.
        act: what the audit log calls it; empty for what changes nothing.
        versioned: answers carry an ETag, and a change needs If-Match.
        media: what a streamed answer is; `gives` is None then.
        conflicts: whether 409 is among its answers for a reason of its own.
        anyone: needs no credential.
        looks: it changes nothing, though it takes a body.
    """

    id: str
    method: Method
    path: str
    tag: str
    summary: str
    handler: Handler = attrs.field(repr=False)
    doc: str = ""
    role: Role = "viewer"
    reach: Reach = "tenant"
    query: type[Any] | None = None
    body: type[Any] | None = None
    gives: Any = None
    status: int = 200
    act: str = ""
    versioned: bool = False
    media: tuple[str, ...] = (JSON,)
    conflicts: bool = False
    anyone: bool = False
    looks: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in its path."""
        return tuple(PARAMETER.findall(self.path))

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET" and not self.looks

    @property
    def needs_version(self) -> bool:
        """Whether If-Match has to be there."""
        return self.versioned and self.method in {"PUT", "PATCH", "DELETE"}

    @property
    def _names_things(self) -> bool:
        """Whether its query may name what is not there, or not the caller's."""
        fields: tuple[str, ...] = getattr(self.query, "__struct_fields__", ())
        return bool({"tenant", "site"} & set(fields))

    @property
    def statuses(self) -> frozenset[int]:
        """Every status that it may answer with, beside its own."""
        found = {503, 500}
        if not self.anyone:
            found |= {401, 403, 429}
        if self.query is not None or self.parameters:
            found.add(400)
        if self.parameters or self._names_things:
            found.add(404)
        if self.writes:
            # The Idempotency-Key: malformed; running; another request's.
            found |= {400, 409, 422}
        if self.body is not None:
            found |= {400, 413, 415, 422, 404}
        if self.conflicts:
            found |= {409, 404}
        if self.needs_version:
            found |= {412, 428}
        return frozenset(found)


def etag(version: int) -> str:
    """A version as an ETag."""
    return f'"v{version}"'


_ETAG: Final = re.compile(r'(?:W/)?"v([0-9]{1,15})"')
ETAG_PATTERN: Final = r'^(\*|(W/)?"[\x21\x23-\x7e]{0,64}")$'
_ANY_ETAG: Final = re.compile(ETAG_PATTERN)


def version_of(if_match: str) -> int | None:
    """The version in an If-Match; None for any. Raises Problem."""
    if not if_match:
        raise Problem("no-precondition")
    if if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        if not _ANY_ETAG.fullmatch(if_match.strip()):
            raise Problem("bad-request", 'If-Match: an ETag like "v7", or *')
        raise Problem("stale", "If-Match is no ETag of this object")
    return int(found[1])


def parsed(body: bytes, kind: type[T]) -> T:
    """A body as its type. Raises Problem with what is wrong, and where."""
    try:
        # Free-form numbers are exact: a price is no float.
        return msgspec.json.Decoder(kind, float_hook=Decimal).decode(body)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("bad-json", str(error)[:200]) from None
    except RecursionError:
        raise Problem("bad-json", "it is nested too deeply") from None


def fits(name: str, value: str) -> bool:
    """Whether a path's part can be such a name."""
    return _PATTERNS[name].fullmatch(value) is not None


_PATTERNS: Final = {name: re.compile(one.pattern) for name, one in PARAMETERS.items()}
# msgspec quotes what is no choice. It may be a key in the wrong field.
_QUOTED: Final = re.compile(r"^Invalid (?:enum )?value '.*'", re.DOTALL)


def invalid(message: str) -> Problem:
    """A value that does not fit, from msgspec's words for it."""
    what, _, where = message.rpartition(" - at `")
    if not what:
        what, where = where, ""
    what = _QUOTED.sub("Is none of the values that there are", what)
    path = where.rstrip("`") or "$"
    return Problem("invalid", f"{path}: {what}", errors=(FieldError(path, what),))
