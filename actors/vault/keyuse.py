"""How a key reaches a socket without becoming a value. Types only, no code.

The transport builds a request's head in a buffer of its own and lets the lease append
the key to it; nobody else ever holds the bytes. The vault implements `KeyHandle`, the
stream actor passes a `KeyUse` along with its request, the transport obeys.

Talks to: nobody.
"""

from typing import Protocol

from msgspec import Struct

from wire.sigv4 import Scope


class KeyHandle(Protocol):
    """One permitted use of one key, as the lease sees it."""

    def write_key(self, head: bytearray, *, host: str, secure: bool) -> None:
        """Append the key's bytes to `head`, in one extend, or raise.

        One extend, because growing twice may leave the first part behind in freed
        memory. `host` is the name the connection was made (and, if `secure`, verified)
        for; `secure` tells whether the stream is TLS with a verified server name.

        Raises when the lease ended, the host is not on its list, or the stream is not
        secure and the lease wants it to be. What it raises reaches the caller as it
        is, so it must not quote the key.
        """
        ...

    def spent(self) -> None:
        """The use is over: its head was written, or never will be.

        Any copy is wiped by now. Said once more of an ended lease, it changes nothing.
        """
        ...


class SigningHandle(KeyHandle, Protocol):
    """A key that signs requests and is never sent: AWS's. See `wire.sigv4.Signer`."""

    @property
    def access_key_id(self) -> str:
        """The public half, which names the key."""
        ...

    @property
    def session_token(self) -> str | None:
        """What temporary keys send along; worth nothing without the secret."""
        ...

    def sign(self, scope: Scope, text: bytes) -> bytes:
        """The HMAC of `text` under the key of this scope, or raise as `write_key`."""
        ...


class KeyUse(Struct, frozen=True):
    """Which header carries the key, and the handle that writes it.

    `KeyUse(b"authorization", b"Bearer ", handle)`
    """

    name: bytes
    prefix: bytes
    handle: KeyHandle

    def __repr__(self) -> str:
        return f"KeyUse({self.name.decode('ascii', 'replace')}: …)"
