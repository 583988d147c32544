"""Errors as RFC 9457 problems: one table of what can go wrong, and its words.

Pure. A problem's type is a path under which this gateway explains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

MEDIA: Final = "application/problem+json"
PATH: Final = "/admin/problems"

# Code: status, title, and what to do about it.
TABLE: Final[Mapping[str, tuple[int, str, str]]] = {
    "bad-request": (
        400,
        "The request cannot be read",
        "Look at `detail`; the OpenAPI document says what each parameter takes.",
    ),
    "bad-json": (400, "The body is not JSON", "Send a JSON document in UTF-8."),
    "unauthenticated": (
        401,
        "No valid credential was given",
        "Send an admin token as a bearer; `stagedoor token create` makes one.",
    ),
    "bad-signature": (
        401,
        "The request's signature does not hold",
        "Sign it as docs/security.md says, with a key this gateway knows.",
    ),
    "forbidden": (
        403,
        "This credential may not do that",
        "Ask an owner for a token with the role that `detail` names.",
    ),
    "not-found": (
        404,
        "There is no such thing, or it is not yours to see",
        "List what there is; names are case-sensitive.",
    ),
    "method-not-allowed": (
        405,
        "This resource takes other methods",
        "The `Allow` header names them.",
    ),
    "conflict": (
        409,
        "What is there already does not allow it",
        "Look at `detail`, get the object again, and decide anew.",
    ),
    "read-only": (
        409,
        "This object is in the configuration file",
        "Change it there and reload; what the file holds, the API only shows.",
    ),
    "in-flight": (
        409,
        "A request with this Idempotency-Key is still running",
        "Wait for `Retry-After` seconds and send it again.",
    ),
    "stale": (
        412,
        "Somebody else has changed it meanwhile",
        "Get it again, look at the difference, and send the new ETag in If-Match.",
    ),
    "too-large": (413, "The body is too large", "Send less at once."),
    "bad-media": (
        415,
        "The body's type is not taken here",
        "Send `Content-Type: application/json`.",
    ),
    "invalid": (
        422,
        "Something in the body is not allowed",
        "`errors` names each field and what it takes.",
    ),
    "key-reused": (
        422,
        "This Idempotency-Key belongs to another request",
        "Use a new key for each new request.",
    ),
    "no-precondition": (
        428,
        "A change needs the version it is based on",
        "Get the object and send its ETag in If-Match; `*` is any version.",
    ),
    "throttled": (
        429,
        "Too many failed attempts",
        "Wait for `Retry-After` seconds, and check the credential.",
    ),
    "internal": (
        500,
        "The gateway failed to answer",
        "Its log has the request's id. Please report it.",
    ),
    "unavailable": (
        503,
        "Something that this needs is down",
        "Try again in a moment; /readyz says what is missing.",
    ),
}


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong in a body."""

    path: str
    """Where, as `$.caps[0].window`."""
    message: str


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    """The last part of `type`: what programs should look at."""
    detail: str = ""
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()


class Problem(Exception):
    """Answer with this problem. Holds no secret: its detail is shown and logged."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        assert code in TABLE, code
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers

    @property
    def status(self) -> int:
        """The HTTP status."""
        return TABLE[self.code][0]

    def body(self, request_id: str) -> ProblemBody:
        """As it is sent."""
        status, title, _ = TABLE[self.code]
        return ProblemBody(
            type=f"{PATH}/{self.code}",
            title=title,
            status=status,
            code=self.code,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
        )


class Explanation(msgspec.Struct, frozen=True):
    """What a problem's type means."""

    code: str
    status: int
    title: str
    what_to_do: str


def explain(code: str) -> Explanation:
    """The page behind a problem's type. Raises Problem."""
    if code not in TABLE:
        raise Problem("not-found", f"there is no problem {code[:64]!r}")
    return Explanation(code, *TABLE[code])


def codes_of(statuses: frozenset[int]) -> tuple[str, ...]:
    """The codes under some statuses, for the document."""
    return tuple(code for code, (status, _, _) in TABLE.items() if status in statuses)
