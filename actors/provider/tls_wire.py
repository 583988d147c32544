"""TLS over a SocketWire, by OpenSSL's memory buffers.

trio.SSLStream does the same for any stream and any two tasks at a time. In one run of
`python -m bench.transport`, llhttp on a bare SSLStream took 99 µs of CPU a request, the
whole transport over this wire 83. Here one task at a time reads or writes one socket,
and an abandoned exchange closes the connection, so no half-done step is ever resumed.

Owns the wire. Never sends close_notify (it could block, and every request is framed),
but demands the peer's: where only the close ends a body, a close without it is a cut.
"""

import contextlib
import ssl
from typing import Final

import trio

from actors.provider.wires import SocketWire, Take

# OpenSSL's buffers keep the size they once had; a record is at most 16 KiB, so passing
# one at a time is what bounds them for the life of the connection.
RECORD_BYTES_MAX: Final = 16_384
# Round trips in a handshake: 1 to 3 in fact. A peer that trickles bytes has a deadline.
HANDSHAKE_READS_MAX: Final = 64


class TlsWire:
    """A TLS connection; use `shake_hands` before anything else."""

    __slots__ = ("_ended", "_incoming", "_outgoing", "_ssl", "_wire", "secure")

    def __init__(self, wire: SocketWire, context: ssl.SSLContext, host: str) -> None:
        """Prepare to speak with `host` over `wire`, which is then ours."""
        self._wire = wire
        self._ended = False  # The peer's close_notify came.
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host
        )
        self.secure: bool = (
            context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        )

    @property
    def protocol(self) -> str | None:
        """What ALPN chose, if the peer knows it."""
        return self._ssl.selected_alpn_protocol()

    async def shake_hands(self) -> None:
        """Agree on keys and verify the peer.

        Raises:
            OSError: the network failed, or (as ssl.SSLError) the peer is not who it
                should be.
        """
        for _ in range(HANDSHAKE_READS_MAX):
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                # The alert tells the peer why; it may not matter to anybody.
                with contextlib.suppress(OSError):
                    self._wire.send_nowait(self._outgoing.read())
                raise
            else:
                await self._flush()
                return
        raise ssl.SSLError("the handshake comes to no end")

    async def send_all(self, data: bytes | bytearray) -> None:
        """Encrypt and write all of it, a record at a time."""
        if len(data) <= RECORD_BYTES_MAX:
            await self._encrypt(data)
            await self._flush()
            return
        with memoryview(data) as view:
            for start in range(0, len(view), RECORD_BYTES_MAX):
                await self._encrypt(view[start : start + RECORD_BYTES_MAX])
                await self._flush()

    async def receive(self) -> bytes:
        """Wait for plain text; empty when the peer said that it is over."""
        data = self._decrypt()  # What came along with something else.
        await self._flush()  # The peer asked for new keys.
        while data is None:
            if self._ended:
                return b""
            await self._fill()
            data = self._decrypt()
            await self._flush()
        return data

    async def flow(self, take: Take) -> None:
        """See Wire. What TLS has to say itself ends it: `receive` sends that."""
        if (
            self._ended  # What follows, if anything, is TCP's own end.
            or self._incoming.pending
            or self._ssl.pending()
            or self._outgoing.pending
        ):
            await trio.lowlevel.checkpoint_if_cancelled()
            return

        def decrypt(data: bytes) -> bool:
            self._feed(data)
            plain = self._decrypt()
            wanted = plain is None or take(plain)
            return wanted and not (self._ended or self._outgoing.pending)

        await self._wire.flow(decrypt, RECORD_BYTES_MAX)

    def quiet(self) -> bool:
        """Whether nothing came but TLS's own business, and nobody hung up."""
        if self._wire.quiet():
            return True
        # A late session ticket is no reason for a new handshake.
        try:
            data = self._wire.receive_nowait(RECORD_BYTES_MAX)
            if not data:
                return data is None
            self._incoming.write(data)
            return not (self._decrypt() or self._ended or self._outgoing.pending)
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket now."""
        self._wire.close()

    def get_extra_info(self, info: str) -> object:
        """Answer httpx's `network_stream` questions."""
        return self._ssl if info == "ssl_object" else self._wire.get_extra_info(info)

    async def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        while True:
            try:
                written = self._ssl.write(data)
            except ssl.SSLWantReadError:  # TLS 1.2 renegotiates: let it.
                await self._flush()
                await self._fill()
            else:
                assert written == len(data), "a record is written whole"
                return

    def _decrypt(self) -> bytes | None:
        """All plain text that is there, or None."""
        pieces: list[bytes] = []
        try:
            # While there is cipher text, rather than until OpenSSL says it wants more:
            # an exception for each read would cost as much as the decryption.
            while self._incoming.pending or self._ssl.pending():
                piece = self._ssl.read(RECORD_BYTES_MAX)
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass  # A part of a record, or nothing but tickets.
        return b"".join(pieces) if pieces else None

    async def _fill(self) -> None:
        self._feed(await self._wire.receive(RECORD_BYTES_MAX))

    def _feed(self, data: bytes) -> None:
        if not data:
            raise ssl.SSLEOFError("the peer closed without close_notify")
        self._incoming.write(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._wire.send_all(self._outgoing.read())

    def __repr__(self) -> str:
        return f"<TlsWire over {self._wire!r}>"
