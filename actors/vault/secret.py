"""A key on loan: its bytes in locked memory, written once, wiped at the end.

Pure but for the buffer: time is an argument of the vault's clock. There is no call that
returns the key; `write_key` appends it to a head that its caller wipes.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from actors.vault.locked import LockedBytes
from actors.vault.messages import KeyScope, LeaseRefused
from wire.sigv4 import Scope, derive_key


class LeasedKey:
    """The `KeyHandle` of one lease. Ends once: spent, expired, revoked or abandoned."""

    __slots__ = (
        "_access_key_id",
        "_expires_at",
        "_hosts",
        "_key",
        "_memory",
        "_now",
        "_on_end",
        "_plain",
        "_scope",
        "_session_token",
        "_uses_left",
        "ended",
    )

    def __init__(
        self,
        scope: KeyScope,
        memory: LockedBytes,
        key: memoryview,
        *,
        hosts: frozenset[str],
        plain_allowed: bool,
        expires_at: float,
        now: Callable[[], float],
        on_end: Callable[[str], None],
        uses: int = 1,
        access_key_id: str = "",
        session_token: str | None = None,
    ) -> None:
        self._scope = scope
        self._memory = memory
        self._key = key
        self._hosts = hosts
        self._plain = plain_allowed
        self._expires_at = expires_at
        self._now = now
        self._on_end = on_end
        self._uses_left = uses
        self.ended = ""
        self._access_key_id = access_key_id
        self._session_token = session_token

    def __repr__(self) -> str:
        """Whose key and whether it lives; never the key."""
        state = self.ended or "live"
        return f"<LeasedKey {self._scope.provider}/{self._scope.name} {state}>"

    def __reduce__(self) -> str:
        """A key is never pickled."""
        raise TypeError("a leased key cannot be pickled or copied")

    def write_key(self, head: bytearray, *, host: str, secure: bool) -> None:
        """Append the key to `head`, or raise LeaseRefused.

        The checks are here and not at the asker, so that a changed base URL or a
        plain-text connection gets no key whatever the code above believes.
        """
        self._check_live()
        if host not in self._hosts:
            raise LeaseRefused(
                self._scope, f"may not be sent to {host}: it is not the key's host"
            )
        if not secure and not self._plain:
            raise LeaseRefused(self._scope, f"may not be sent to {host} without TLS")
        head += self._key

    @property
    def access_key_id(self) -> str:
        """The public half of a key that signs."""
        return self._access_key_id

    @property
    def session_token(self) -> str | None:
        """What temporary keys send along."""
        return self._session_token

    def sign(self, scope: Scope, text: bytes) -> bytes:
        """Sign for AWS, or raise LeaseRefused.

        The host is in the signed text, so a signature for another one is worth nothing
        there: no host list is needed.
        """
        self._check_live()
        signing_key = derive_key(self._key, scope)
        return hmac.digest(signing_key, text, "sha256")

    def _check_live(self) -> None:
        if self.ended:
            raise LeaseRefused(self._scope, f"the lease has ended ({self.ended})")
        # The monotonic clock: setting the wall clock back lengthens no lease.
        if self._now() >= self._expires_at:
            self.wipe("expired")
            raise LeaseRefused(self._scope, "the lease has ended (expired)")

    def spent(self) -> None:
        """The head was written: one use is gone, and with the last one the key."""
        self._uses_left -= 1
        if self._uses_left <= 0:
            self.wipe("spent")

    def wipe(self, why: str) -> None:
        """Zero the buffer and end, before any checkpoint."""
        if self.ended:
            return
        self.ended = why
        self._key.release()
        self._memory.wipe()
        # Told once, and let go: it knows the lease, and the lease knows this key.
        on_end, self._on_end = self._on_end, _told
        on_end(why)


def _told(_why: str) -> None:
    """The end has been told."""
