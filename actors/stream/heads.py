"""What a provider's head says besides its status: looked at once, field by field.

Most heads have twenty fields and say nothing of pace; then one pass is all it takes.
"""

from __future__ import annotations

from typing import Final

import httpx
from msgspec import Struct

from actors.provider.http import raw_fields
from wire.errors import plain_request_id
from wire.rate_headers import passed_on
from wire.ratelimits import RateWindow, rate_windows

REQUEST_ID_HEADERS: Final = frozenset(
    {
        b"x-request-id",
        b"request-id",
        b"apim-request-id",
        b"x-amzn-requestid",
        b"mistral-correlation-id",
        b"x-generation-id",
    }
)
PACE: Final = b"ratelimit"  # In the name of every field about an allowance.


class HeadFacts(Struct, frozen=True):
    """The provider's id of the exchange, and what it says of its pace."""

    request_id: str = ""
    rates: tuple[RateWindow, ...] = ()
    passed: tuple[tuple[str, str], ...] = ()  # In the words of the client's dialect.


NOTHING_TOLD: Final = HeadFacts()


def facts_of(response: httpx.Response, client: str, wall_s: float) -> HeadFacts:
    """Read a head for clients of this dialect."""
    raw = raw_fields(response)
    request_id = ""
    of_pace = False
    for name, value in raw:
        lower = name.lower()
        if lower in REQUEST_ID_HEADERS and not request_id:
            request_id = plain_request_id(value.decode("ascii", "replace"))
        elif PACE in lower:
            of_pace = True
    if not of_pace:
        return HeadFacts(request_id)
    return HeadFacts(
        request_id,
        rate_windows(response.headers, wall_s),
        passed_on(client, raw),
    )
