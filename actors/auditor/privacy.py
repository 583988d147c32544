"""People in the log: a keyed hash that ends when its key does. Pure.

    e7:9c41…   epoch, then HMAC-SHA256(pepper[tenant, epoch], kind, normalised)[:16]

Who holds the pepper can tell whether a known person is meant; who does not, learns
nothing; and once the epoch's pepper is destroyed nobody can. An epoch is 90 days, so
a person's entries of two epochs cannot be joined. Addresses are shortened first (IPv4
to /24, IPv6 to /48): nobody needs a household to see an attack. No prompt comes here.

The peppers are the vault's to keep (one a tenant and epoch, under the tenant's KEK) and
to destroy (`actors/vault/peppers.py`); `shredded` is what remains after.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address, ip_network
from typing import Final, Literal, Protocol, TypeAlias
from unicodedata import normalize

Kind: TypeAlias = Literal["user", "email", "ip"]

EPOCH_DAYS: Final = 90
PEPPER_BYTES: Final = 32
HASH_BYTES: Final = 16  # 128 bits: no two people meet by chance.
VALUE_BYTES_MAX: Final = 4096  # An identifier, not a document.

_DAY_MS: Final = 86_400_000
_UNREADABLE: Final = "unreadable"


class Peppers(Protocol):
    """Where peppers come from."""

    def pepper(self, tenant: str, epoch: int) -> bytes | memoryview | None:
        """The secret of a tenant's epoch; None once it has been destroyed."""
        ...


def epoch_of(time_ms: int) -> int:
    """The number of the 90 days in which a time is."""
    return time_ms // (EPOCH_DAYS * _DAY_MS)


def expired(epoch: int, time_ms: int, keep_epochs: int) -> bool:
    """Whether an epoch's pepper is due to be destroyed."""
    return epoch + keep_epochs < epoch_of(time_ms)


def pseudonym(
    peppers: Peppers, tenant: str, kind: Kind, value: str, time_ms: int
) -> str:
    """A person as the log may name them; "shredded" where no pepper is left."""
    epoch = epoch_of(time_ms)
    found = pseudonym_in(peppers, tenant, kind, value, epoch)
    return f"e{epoch}:shredded" if found is None else found


def pseudonym_in(
    peppers: Peppers, tenant: str, kind: Kind, value: str, epoch: int
) -> str | None:
    """A person as the log names them in an epoch; None where no pepper is left."""
    pepper = peppers.pepper(tenant, epoch)
    if pepper is None:
        return None
    assert len(pepper) == PEPPER_BYTES, "a pepper is 32 random bytes"
    message = b"".join([_prefixed(kind.encode()), _prefixed(normalised(kind, value))])
    digest = hmac.digest(pepper, message, "sha256")
    return f"e{epoch}:{digest[:HASH_BYTES].hex()}"


def normalised(kind: Kind, value: str) -> bytes:
    """One spelling for one person, so that their entries can be joined."""
    text = normalize("NFKC", value).strip()
    match kind:
        case "email":
            text = text.casefold()
        case "ip":
            text = _shortened(text)
        case "user":
            pass  # The site's own identifier: its case may matter.
    return text.encode(errors="replace")[:VALUE_BYTES_MAX]


def _shortened(text: str) -> str:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return _UNREADABLE  # Never hashed as it is: it may be anything.
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def _prefixed(part: bytes) -> bytes:
    """With its length, so that no two splits give the same bytes."""
    return len(part).to_bytes(4, "big") + part
