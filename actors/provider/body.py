"""The body of a response as it arrives: read only when somebody asks.

Owns the slot until the body's end. Between two reads nothing is taken from the socket,
so a slow consumer stops the upstream by TCP's own window; what waits here is at most
what one read brought.
"""

import warnings
from typing import Final

import httpx
import trio

from actors.provider.exchange import Slot, within
from actors.provider.response_parser import BadResponse, ResponseParser
from actors.provider.wires import WIRE_FAULTS, Take

FAULTS: Final = (BadResponse, *WIRE_FAULTS)


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

    async def flow(self, take: Take) -> None:
        """Give `take` the pieces as they come, in no task of ours, while it wants more.

        Returns, perhaps at once, when the next piece has to be asked for: come back
        after that one. As with a piece that was asked for, nothing is read meanwhile.
        """
        slot, parser = self._slot, self._parser
        if slot is None or parser.has_pieces or self._read_s is not None:
            return
        assert slot.connection is not None

        def parse(data: bytes) -> bool:
            _parse(parser, data)
            wanted = not parser.has_pieces or take(parser.take())
            return wanted and not parser.complete

        try:
            await slot.connection.wire.flow(parse)
        except FAULTS as error:
            self._drop(slot)
            raise _told(slot, error) from error
        except BaseException:
            self._drop(slot)
            raise
        if parser.complete:
            # Not in the turn of its last byte: a connection that is of no more use is
            # closed, and that would wake this task with an error.
            self._settle(slot)

    @property
    def over(self) -> bool:
        """Whether all of it was given, and the slot with it."""
        return self._slot is None and not self._parser.has_pieces

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
            _parse(parser, data)
        except FAULTS as error:
            raise _told(slot, error) from error

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


def _parse(parser: ResponseParser, data: bytes) -> None:
    if data:
        parser.feed(data)
    else:
        parser.feed_eof()


def _told(slot: Slot, error: BaseException) -> httpx.TransportError:
    """As httpx tells it."""
    if isinstance(error, BadResponse):
        return httpx.RemoteProtocolError(f"{slot.origin}: {error}")
    return httpx.ReadError(f"{slot.origin}: the connection broke in the body: {error}")
