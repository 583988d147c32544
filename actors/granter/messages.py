"""What the granter can be asked.

A grant is a request that waits: a server leaves it here with its key, a browser picks
the answer up with a token, once, within a minute. Until then nothing is spent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from runtime import DomainError, Request

if TYPE_CHECKING:
    from actors.granter.actor import Granter

Fields = tuple[tuple[str, str], ...]


class Waiting(Struct, frozen=True):
    """The request that waits. Never shown: `body` is its prompt.

    `path` is where it would have been sent, query included; it names the dialect.
    """

    request_id: str
    site: str
    key_id: str
    path: str
    body: bytes
    streamed: bool
    headers: Fields = ()
    as_events: bool = False  # Its answer is server-sent events: a socket can carry it.

    def __repr__(self) -> str:
        """Without body and headers."""
        return f"<Waiting {self.request_id} site={self.site} {self.path}>"


class Issue(Request["Granter", "Granted | NotGranted"], frozen=True):
    """Keep a request for whoever comes from `origin` with the token."""

    waiting: Waiting
    origin: str
    audience: str
    ttl_s: float


class Granted(Struct, frozen=True):
    """The token, shown once; it opens nothing but this one request."""

    token: str
    expires_at_s: float

    def __repr__(self) -> str:
        """Without the token."""
        return f"<Granted until {self.expires_at_s:.0f}>"


class NotGranted(Struct, frozen=True):
    """Too much waits already."""

    why: str
    retry_after_s: float


class GrantsUnavailable(DomainError):
    """The store or the keys cannot be reached: nothing is given out meanwhile."""

    def __init__(self, why: str) -> None:
        super().__init__(f"grants cannot be looked up now: {why}")


class Redeem(Request["Granter", "Waiting | NotRedeemed"], frozen=True):
    """Give the request out: for its token, to its origin, in time, and once."""

    token: str
    origin: str
    audience: str
    by_socket: bool = False

    def __repr__(self) -> str:
        """Without the token."""
        return f"<Redeem from {self.origin}>"


Refusal = Literal[
    "grant_invalid",
    "grant_expired",
    "grant_origin_mismatch",
    "grant_audience_mismatch",
    "grant_not_streamed",
    "grant_used",
    "grant_unknown",
]


class NotRedeemed(Struct, frozen=True):
    """Why not. `request_id` is known when the token is one of ours."""

    code: Refusal
    request_id: str = ""


class Check(Request["Granter", "Checked | NotRedeemed"], frozen=True):
    """Whose token this is, used or not; claims nothing.

    `late_s` is for who comes back to an answer that was begun in time.
    """

    token: str
    origin: str
    audience: str
    late_s: float

    def __repr__(self) -> str:
        """Without the token."""
        return f"<Check from {self.origin}>"


class Checked(Struct, frozen=True):
    """A token of ours, in the right hands."""

    request_id: str
