"""From an upstream response into a client's channel, at the client's pace.

Nothing goes out before the first content; what goes out first commits the stream. A
channel that is full stops the read from upstream, and that is all the backpressure
there is.

After the commit bytes flow: they are looked at and handed to the client in the turn in
which they came, and the stream's task sleeps until there is something to decide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

import attrs
import httpx

from actors.ledger.messages import Meter
from actors.provider.http import field_map
from actors.stream import faults, policy, tokens
from actors.stream.belief import believed
from actors.stream.messages import Begin, Piece, Whole
from actors.stream.tail import see_out
from runtime import ReceiverGone, StreamChannel
from wire.dialect import ClientDialect, Reader, Reading, Reply, truncated
from wire.events import Fault, FinishReason, Usage
from wire.exchange import Exchange, Translated
from wire.relay import Translation, failure

if TYPE_CHECKING:
    from actors.stream.hooked import Hooked

ANSWER_BYTES_MAX = 64 * 2**20  # A whole answer: 1M tokens of text is 5 MB, audio more.

# A model that keeps its bound writes at most this many characters a token on average;
# one that ignores it is cut here. The ledger settles at the provider's own count.
CHARS_PER_TOKEN_MAX = 8

DEGRADED = "x-stagedoor-degraded"


@attrs.define
class Relayed:
    """What came of an attempt so far."""

    usage: Usage | None = None
    service: str | None = None  # As the provider told: what it charges for.
    finish: FinishReason | None = None
    chars: int = 0
    events: int = 0
    cut: bool = False
    over: bool = False  # The answer has ended, if not its body.


class Call(Protocol):
    """What relaying needs of its attempt."""

    relayed: Relayed
    meter: Meter
    sink: Sink
    first_content_at: float | None
    chars_per_token: float
    hooked: Hooked | None

    @property
    def source(self) -> str:
        """The provider's name, for faults."""
        ...

    @property
    def output_tokens_max(self) -> int | None:
        """The bound of the answer, None without one."""
        ...

    def now(self) -> float:
        """The runtime's clock."""
        ...

    def arm_first_content(self) -> None:
        """The head came."""
        ...

    def arm_idle(self, now: float) -> None:
        """Content flows."""
        ...

    def arm_flush(self, at: float) -> None:
        """Ring `hooked` then."""
        ...


@attrs.define
class Sink:
    """The client's end of a stream: commits once, never speaks after a break."""

    channel: StreamChannel[Piece]
    dialect: ClientDialect
    reply: Reply
    headers: tuple[tuple[str, str], ...]
    passed: tuple[tuple[str, str], ...] = ()  # What the provider says of its pace.
    degraded: tuple[str, ...] = ()  # What the site's caps made of the request.
    routed: tuple[tuple[str, str], ...] = ()  # How it was routed, if the site wants it.
    owner: object = None  # The call whose content came first.
    reader: Reader | None = None  # Its reader: the grammar of what was sent so far.
    on_claim: Callable[[object], None] | None = None
    committed: bool = False
    gone: bool = False  # The client left: nothing is sent, reading may go on.
    drained_tokens_from: int = 0
    drain_until: float = 0.0

    def degrade(self, step: str) -> None:
        """Say, with the answer, that it is less than was asked for, and why."""
        if step not in self.degraded:
            self.degraded = (*self.degraded, step)

    def _own(self) -> tuple[tuple[str, str], ...]:
        if not self.degraded:
            return self.headers
        return (*self.headers, (DEGRADED, ", ".join(self.degraded)))

    def claim(self, call: object) -> bool:
        """Whether this call answers: the first with content does, and no other."""
        if self.owner is not None:
            return self.owner is call
        self.owner = call
        if self.on_claim is not None:
            self.on_claim(call)
        return True

    async def begin(self) -> None:
        """Commit: from here on this attempt answers, well or badly."""
        self.committed = True
        await self._send(
            Begin(
                200,
                (
                    *self.dialect.stream_headers,
                    *self._own(),
                    *self.routed,
                    *self.passed,
                ),
            )
        )

    async def send(self, out: bytes, *, last: bool = False) -> None:
        """Pass bytes on, when the client has room for them; `last`: the end follows."""
        if not self.gone:
            await self._send(out, last=last)

    def offer(self, out: bytes) -> bool:
        """Pass bytes on now; False where `send` would have to wait, or has more to say.

        Only after `begin`.
        """
        return self.channel.offer(out)

    async def answer(self, status: int, body: bytes, content_type: str) -> None:
        """A whole answer."""
        self.committed = True
        whole = Whole(
            status,
            (
                ("content-type", content_type),
                *self._own(),
                *self.routed,
                *self.passed,
            ),
            body,
        )
        if not self.channel.offer(whole):
            await self._send(whole)

    async def refuse(self, fault: Fault) -> None:
        """An error instead of an answer, in the client's dialect."""
        self.committed = True
        error = self.dialect.render_error(fault)
        await self._send(
            Whole(
                error.status,
                (*error.headers, *self.headers, *self.routed),
                error.body,
                self.dialect.error_event(fault),
            )
        )

    async def break_off(self, fault: Fault) -> None:
        """After the commit: end the stream as its grammar ends a failed one."""
        if self.reader is None:
            await self.send(self.dialect.error_event(fault))
        else:
            await self.send(failure(self.reader, self.dialect, fault))

    async def _send(self, piece: Piece, *, last: bool = False) -> None:
        try:
            await self.channel.send(piece, last=last)
        except ReceiverGone:
            self.gone = True


def chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes. httpx's own iterators add a layer a chunk, for nothing.

    Give it to `close` afterwards: some transports answer with a generator.
    """
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream)


async def close(body: AsyncIterator[bytes]) -> None:
    """End an iteration that may have been left early."""
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()


class Flowing(Protocol):
    """A body whose pieces can be had without asking for each."""

    async def flow(self, take: Callable[[bytes], bool]) -> None:
        """Give `take` the pieces as they come, until it has had enough."""
        ...


class _Flow:
    """The common case of a stream under way, without a wait in it.

    `take` passes on what needs no decision; anything else it leaves in `left`, unused
    but for being read, and answers False.
    """

    __slots__ = ("_call", "_chars_max", "_feed", "left")

    def __init__(self, call: Call, feed: Callable[[bytes], Reading]) -> None:
        self._call = call
        self._chars_max = _chars_max(call)
        self._feed = feed
        self.left: Reading | None = None

    def take(self, data: bytes) -> bool:
        """Look at a piece, and pass it on."""
        reading = self._feed(data)
        call = self._call
        sink, relayed = call.sink, call.relayed
        if (
            reading.done
            or reading.fault is not None
            or relayed.chars + reading.output_chars > self._chars_max
            or relayed.cut
            or sink.owner is not call
            or not sink.committed
            or sink.gone
            or (reading.out and not sink.offer(reading.out))
        ):
            self.left = reading
            return False
        _note(call, reading)
        call.arm_idle(call.now())
        return True


async def relay_stream(
    call: Call, reader: Reader, response: httpx.Response
) -> Fault | None:
    """Relay until the answer's end, or the fault that ended it early."""
    call.arm_first_content()
    hooked = call.hooked if isinstance(reader, Translation) else None
    body = chunks(response)
    try:
        if hooked is None:
            fault = await _relay_flowing(call, reader, body, reader.feed)
        elif hooked.pipeline.inline:
            feed = partial(hooked.feed_now, call, cast("Translation", reader))
            fault = await _relay_flowing(call, reader, body, feed)
        else:
            fault = await _relay_hooked(call, cast("Translation", reader), body, hooked)
        if fault is not None or _is_over(call):
            return fault
        if _is_done(reader):
            call.relayed.over = True
            await see_out(body)
    finally:
        await close(body)
    if call.relayed.finish is None or not _is_done(reader):
        if hooked is None:
            reading = reader.finish()
        else:
            reading = await hooked.finish(call, cast("Translation", reader))
        fault = await _relay(call, reading, reader)
        if fault is not None:
            return fault
    if not call.sink.committed:
        return truncated(call.source)
    return None


async def _relay_flowing(
    call: Call,
    reader: Reader,
    body: AsyncIterator[bytes],
    feed: Callable[[bytes], Reading],
) -> Fault | None:
    flow = _Flow(call, feed)
    # `hasattr` narrows nothing for mypy: a transport's body may or may not flow.
    flowing: Flowing | None = body if hasattr(body, "flow") else None  # type: ignore[assignment]
    async for data in body:
        flow.take(data)
        while True:
            left, flow.left = flow.left, None
            if left is not None:
                fault = await _relay(call, left, reader)
                if fault is not None or left.done or _is_over(call):
                    return fault
            if flowing is None or not call.sink.committed:
                break
            await flowing.flow(flow.take)
            if flow.left is None:
                break  # The next piece has to be asked for.
    return None


async def _relay_hooked(
    call: Call, reader: Translation, body: AsyncIterator[bytes], hooked: Hooked
) -> Fault | None:
    async for data in body:
        reading = await hooked.feed(call, reader, data)
        fault = await _relay(call, reading, reader)
        if fault is not None or reading.done or _is_over(call):
            return fault
    return None


def _note(call: Call, reading: Reading) -> None:
    """Keep count of what came."""
    relayed = call.relayed
    if reading.usage is not None:
        chars = relayed.chars + reading.output_chars
        relayed.usage = believed(reading.usage, chars)
    if reading.service is not None:
        relayed.service = reading.service
    if reading.finish is not None:
        relayed.finish = reading.finish
    relayed.events += reading.events
    if reading.output_chars:
        relayed.chars += reading.output_chars
        call.meter.output_tokens = tokens.output_tokens(
            relayed.chars, call.chars_per_token
        )


def _chars_max(call: Call) -> float:
    """How long the answer may be at most."""
    bound = call.output_tokens_max
    return inf if bound is None else bound * CHARS_PER_TOKEN_MAX


async def _relay(call: Call, reading: Reading, reader: Reader) -> Fault | None:
    _note(call, reading)
    sink = call.sink
    now = call.now()
    if reading.out:
        if sink.owner is not call and not sink.claim(call):
            return faults.ended("another candidate answered first")
        if not sink.committed:
            call.first_content_at = now
            sink.reader = reader
            await sink.begin()
        call.arm_idle(now)
        await sink.send(reading.out, last=reading.done)
    elif sink.committed or reading.content:
        call.arm_idle(now)  # Content that a hook keeps back has come all the same.
    if call.relayed.chars > _chars_max(call):
        # Upstream ignores the bound it was given: the hold is spent, the answer ends.
        call.relayed.cut = True
        call.relayed.finish = "length"
        await sink.send(await _cut(call, reader))
    return reading.fault


def _is_over(call: Call) -> bool:
    """Whether nothing more is wanted of it."""
    return call.relayed.cut or _drained(call)


async def _cut(call: Call, reader: Reader) -> bytes:
    hooked = call.hooked
    if hooked is None or not isinstance(reader, Translation):
        return reader.cut("length")
    return await hooked.cut(reader)


def _is_done(reader: Reader) -> bool:
    return bool(getattr(reader, "done", False))


def _drained(call: Call) -> bool:
    sink = call.sink
    if not sink.gone:
        return False
    since = call.meter.output_tokens - sink.drained_tokens_from
    return policy.drained_enough(since, 0.0) or call.now() >= sink.drain_until


async def relay_whole(
    call: Call, exchange: Exchange, response: httpx.Response
) -> Fault | None:
    """Read a whole answer, then give it."""
    call.arm_first_content()
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks(response):
        pieces.append(chunk)
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            return faults.ours(
                f"Provider {call.source} sent more than {ANSWER_BYTES_MAX} bytes.",
                status=502,
                code="upstream_too_large",
            )
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    status, headers, hooked = response.status_code, field_map(response), call.hooked
    if hooked is not None and isinstance(exchange, Translated):
        taken = exchange.take(status, headers, body)
        reading = await hooked.whole(call, exchange, *taken)
    else:
        reading = exchange.unary(status, headers, body)
    if reading.fault is not None:
        return reading.fault
    call.first_content_at = call.now()
    usage = reading.usage
    if usage is not None:
        usage = believed(usage, reading.output_chars)
    call.relayed.usage = usage
    call.relayed.service = reading.service
    call.relayed.finish = reading.finish
    call.relayed.chars = reading.output_chars
    call.meter.output_tokens = (
        usage.completion
        if usage is not None
        else tokens.output_tokens(reading.output_chars, call.chars_per_token)
    )
    await call.sink.answer(200, reading.out, "application/json")
    return None


async def read_at_most(response: httpx.Response, bytes_max: int) -> bytes:
    """The body of an error; past the bound it is cut, the cause is at its start."""
    body = bytearray()
    async for chunk in chunks(response):
        body += chunk
        if len(body) >= bytes_max:
            break
    return bytes(body[:bytes_max])
