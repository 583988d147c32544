"""Where no provider is: addresses at which a machine's own cloud answers for it.

Pure. A cloud's metadata service gives whoever asks it this machine's credentials. Who
may add a provider must not be able to read it through the gateway, by its address or
by a name that leads there, so the address that a connection has is what is judged.
"""

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Outside the link-local networks: AWS by IPv6, Alibaba, Oracle's first, Azure's host.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
# NAT64: the network behind it undoes the disguise.
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_metadata(host: str) -> bool:
    """Whether an address is link-local or a metadata service; a name never is."""
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return _is_metadata(address)


def _is_metadata(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_metadata(inner)
    return address.is_link_local or address in _METADATA
