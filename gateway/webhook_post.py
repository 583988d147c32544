"""Sends webhooks to where operators say, and nowhere else.

Owns: which addresses may be reached. A name is resolved here, and the connection goes
to the very address that was judged, so that a name that changes its mind between the
two gains nothing. No redirect is followed, no proxy used, no more of the answer read
than its first line. Implements the herald's `Post`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

import trio

from actors.herald.ports import PostFailed

CONNECT_S: Final = 5.0
LINE_BYTES_MAX: Final = 4096  # A status line has some 20 bytes.
ADDRESSES_MAX: Final = 8  # Of one name; a list longer than that is no receiver.

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")


def problem_of(url: str, private: Sequence[Network]) -> str:
    """Why a URL can be no webhook's; empty when it may be. Resolves nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host:
        return "is no https:// URL"
    if parts.username is not None or parts.password is not None:
        return "holds a login; use the signature to know the sender"
    if parts.fragment or not _HOST.fullmatch(host):
        return "has a host or a fragment that no receiver has"
    if not re.fullmatch(r"[\x21-\x7e]*", url) or port == 0:
        return "has characters that have to be percent-encoded"
    address = _literal(host)
    if address is not None and not may_reach(address, private):
        return f"leads to {address}, which is not public; see alerts.private_networks"
    if parts.scheme == "http" and not private:
        return "is not encrypted; use https://"
    return ""


def may_reach(address: Address, private: Sequence[Network]) -> bool:
    """Whether a webhook may go there."""
    if isinstance(address, ipaddress.IPv6Address):
        # The same machine by another name must be judged as what it is.
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is not None:
            return may_reach(inner, private)
    if any(address in network for network in private):
        return True
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _TRANSLATED
    )


# NAT64: an IPv4 address in disguise, which the network behind it would undo.
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Poster:
    """Posts over HTTPS, a connection a message: there are few of them."""

    def __init__(
        self, tls: ssl.SSLContext, private: Callable[[], Sequence[Network]]
    ) -> None:
        self._tls = tls
        self._private = private

    def __repr__(self) -> str:
        return "<Poster>"

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See Post."""
        if problem := problem_of(url, self._private()):
            raise PostFailed(f"its URL {problem}")
        parts = urlsplit(url)
        addresses = await self._resolve(parts)
        stream = await self._connect(parts, addresses)
        try:
            await stream.send_all(_request(parts, headers, body))
            return await _status(stream)
        except (trio.BrokenResourceError, OSError, ssl.SSLError) as error:
            raise PostFailed(f"the connection broke: {type(error).__name__}") from None
        finally:
            await trio.aclose_forcefully(stream)

    async def _resolve(self, parts: SplitResult) -> list[tuple[str, int, Address]]:
        """The addresses that may be reached, of all that its name has."""
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        except OSError:
            raise PostFailed("its name cannot be resolved") from None
        allowed: list[tuple[str, int, Address]] = []
        for _, _, _, _, where in found[:ADDRESSES_MAX]:
            address = ipaddress.ip_address(str(where[0]).partition("%")[0])
            if not may_reach(address, self._private()):
                continue
            if parts.scheme == "http" and not _within(address, self._private()):
                raise PostFailed("it is not encrypted, and not in a private network")
            allowed.append((str(address), port, address))
        if not allowed:
            raise PostFailed(
                "its name leads to no public address; see alerts.private_networks"
            )
        return allowed

    async def _connect(
        self, parts: SplitResult, addresses: list[tuple[str, int, Address]]
    ) -> trio.abc.Stream:
        trouble = "it does not answer"
        for host, port, _ in addresses:
            try:
                with trio.fail_after(CONNECT_S):
                    # A literal: nothing is resolved again.
                    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
                    if parts.scheme == "https":
                        secure = trio.SSLStream(
                            stream, self._tls, server_hostname=parts.hostname
                        )
                        await secure.do_handshake()
                        stream = secure
                return stream  # noqa: TRY300 - the loop's way out
            except trio.TooSlowError:
                trouble = f"no connection within {CONNECT_S:g} s"
            except (OSError, trio.BrokenResourceError) as error:
                trouble = f"no connection: {type(error).__name__}"
        raise PostFailed(trouble)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _request(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> bytes:
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    host = f"{host}:{parts.port}" if parts.port else host
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {host}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


async def _status(stream: trio.abc.Stream) -> int:
    """The status of the answer; nothing else of it matters. Raises PostFailed."""
    heard = b""
    while len(heard) < LINE_BYTES_MAX:
        piece = await stream.receive_some(LINE_BYTES_MAX)
        heard += piece
        while (found := _STATUS.match(heard)) is not None:
            status = int(found[1])
            if status >= 200:
                return status
            # 1xx: the real answer follows its head.
            _, blank, rest = heard.partition(b"\r\n\r\n")
            if not blank:
                break
            heard = rest
        if not piece or (found is None and b"\n" in heard):
            break
    raise PostFailed("what it answers is no HTTP")
