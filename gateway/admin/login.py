"""Who sent this: a token in, a principal out.

Owns: the order of the checks and the count of failures. A failure costs its address a
try; an address without tries is not even looked up. Talks to: the token book.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from actors.adminbooks import TokenBook
from actors.auditor.messages import AuditEvent
from gateway.admin.principal import Principal
from gateway.admin.problems import Problem
from gateway.admin.throttle import Throttle
from gateway.admin.tokens import (
    TOKEN_CHARS_MAX,
    digest_of,
    principal_of,
)
from gateway.settings.config import Config

BEARER: Final = "bearer "
USED_EVERY_MS: Final = 60_000  # "Last used" to the minute is enough.


class Login:
    """Knows the tokens of the file and of the database."""

    def __init__(
        self,
        config: Callable[[], Config],
        book: Callable[[], TokenBook | None],
        note: Callable[[AuditEvent], None],
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._book = book
        self._note = note
        self._now = now
        self._wall = wall
        self._throttle = Throttle()

    def __repr__(self) -> str:
        return f"<Login {self._throttle!r}>"

    async def principal(
        self, headers: Mapping[str, str], address: str
    ) -> Principal | None:
        """Who it is; None where no credential was sent. Raises Problem."""
        given = headers.get("authorization", "")
        if not given:
            return None
        wait_s = self._throttle.wait_s(address, self._now())
        if wait_s:
            retry = (("retry-after", str(math.ceil(wait_s))),)
            raise Problem("throttled", headers=retry)
        try:
            return await self._find(_bearer(given))
        except Problem:
            self._throttle.failed(address, self._now())
            # By address, for whoever looks who tried; the log keeps no more than a hash
            # of it (actors/auditor/veiling.py), and of the try itself nothing.
            tried = AuditEvent(
                "admin.login",
                actor="address",
                out="denied",
                detail=(("ip", address),) if address else (),
            )
            self._note(tried)
            raise

    async def _find(self, text: str) -> Principal:
        digest = digest_of(text)
        for token in self._config().admin.tokens:
            if any(key.digest == digest for key in token.keys):
                tenants = frozenset(token.tenants) if token.tenants else None
                return Principal(
                    f"token:{token.name}", token.role, tenants, seal=text.encode()
                )
        book = self._book()
        row = None if book is None else await book.find_token(digest)
        if row is None:
            raise Problem("unauthenticated", "the token is not known here")
        now_ms = int(self._wall() * 1000)
        found = principal_of(row, text, now_ms)
        if book is not None and (row.used_ms or 0) + USED_EVERY_MS < now_ms:
            await book.token_used(row.id, now_ms)
        return found


def _bearer(given: str) -> str:
    if given[: len(BEARER)].lower() != BEARER or len(given) > TOKEN_CHARS_MAX:
        raise Problem("unauthenticated", "send it as `Bearer TOKEN`")
    return given[len(BEARER) :].strip()
