"""The body of a response as it arrives: read only when somebody asks.

Owns the slot until the body's end. Between two reads nothing is taken from the socket,
so a slow consumer stops the upstream by TCP's own window; what waits here is at most
what one read brought.
"""

import warnings

import httpx
import trio

from actors.provider.exchange import Slot, within
from actors.provider.response_parser import BadResponse, ResponseParser
from actors.provider.wires import WIRE_FAULTS


class BodyStream(httpx.AsyncByteStream):
    """Yields what each read brought, whatever the chunking was; can be read once."""

    __slots__ = ("_parser", "_read_s", "_slot")

    def __init__(
        self, slot: Slot, parser: ResponseParser, read_s: float | None
    ) -> None:
        """`parser` has read the head, over the connection that `slot` holds."""
        self._parser = parser
        self._read_s = read_s
        self._slot: Slot | None = slot
        if parser.complete:
            self._settle(slot)

    # An iterator of our own: an async generator would cost more, and leave its clean-up
    # to whoever finalises it.
    def __aiter__(self) -> "BodyStream":
        return self

    async def __anext__(self) -> bytes:
        parser = self._parser
        # What came along with the head needs no wait, so the first piece of a body may
        # come without a checkpoint; every later one waits for the socket.
        while not parser.has_pieces:
            slot = self._slot
            if slot is None:
                if parser.complete:
                    raise StopAsyncIteration
                raise httpx.StreamClosed
            try:
                await self._read(slot, parser)
            except BaseException:
                # Cancelled or broken: the rest is of no use to anybody.
                self._drop(slot)
                raise
            if parser.complete:
                # Before the last piece is handed out: the connection need not wait
                # for the consumer.
                self._settle(slot)
        return parser.take()

    async def aclose(self) -> None:
        """Let go; an unfinished body closes its connection, without a drain."""
        if self._slot is not None:
            self._drop(self._slot)

    async def _read(self, slot: Slot, parser: ResponseParser) -> None:
        assert slot.connection is not None
        wire = slot.connection.wire
        try:
            data = await within(
                self._read_s,
                httpx.ReadTimeout,
                slot.origin,
                "a read of the body",
                wire.receive,
            )
            if data:
                parser.feed(data)
            else:
                parser.feed_eof()
        except BadResponse as error:
            raise httpx.RemoteProtocolError(f"{slot.origin}: {error}") from None
        except WIRE_FAULTS as error:
            raise httpx.ReadError(
                f"{slot.origin}: the connection broke in the body: {error}"
            ) from error

    def _settle(self, slot: Slot) -> None:
        self._slot = None
        if not self._parser.reusable:
            slot.drop()
            return
        slot.keep()

    def _drop(self, slot: Slot) -> None:
        self._slot = None
        self._parser.abandon()
        slot.drop()

    def __del__(self) -> None:
        slot = getattr(self, "_slot", None)
        if slot is None:
            return
        # The collector may run in any thread: the slot goes back in trio's.
        try:
            slot.token.run_sync_soon(slot.drop)
        except trio.RunFinishedError:
            return
        warnings.warn(
            f"a response of {slot.origin} was dropped unread; close it with aclose()",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    def __repr__(self) -> str:
        return f"<BodyStream {self._slot or 'done'} {self._parser!r}>"
