"""Transport: HTTP/1.1 to the providers, behind httpx's transport interface.

On trio and llhttp, with a bounded pool for each origin (scheme, host, port). Everything
above speaks `httpx.AsyncBaseTransport`, so httpx.MockTransport and
httpx.AsyncHTTPTransport (HTTP/2, proxies) drop in wherever no key is to be written.

Owns the pools. Decides nothing about them (pool.py does), never follows a redirect,
never decodes a content coding, never reads ahead of its consumer, and never retries a
request except on a kept-alive connection that turned out to be dead (see `_is_stale`).

A request's extensions, all optional:
  timeout           httpx's connect, read, write and pool, in seconds. Deadlines as
                    cancel scopes of the caller are the better way, and need none.
  stagedoor.phase   called with each phase as it begins: "pool" (only if it waits),
                    "connect" (name lookup included), "tls", "write", "headers". The
                    return of `handle_async_request` begins the body.
  stagedoor.key     a KeyUse: its header goes last, straight from the lease.

Errors are httpx's, with the origin in the text and never a header or a body; those of
a `KeyHandle` pass as they are.
"""

import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import httpx
import trio

from actors.provider.body import BodyStream
from actors.provider.dial import DialRefused, dial
from actors.provider.exchange import (
    Connection,
    KeyedHead,
    Slot,
    Timeouts,
    send,
    within,
)
from actors.provider.http import (
    Outgoing,
    PreparedRequest,
    UpstreamResponse,
    origin_of,
    outgoing,
)
from actors.provider.pool import Full, Pool, PoolLimits, Settled, Ticket
from actors.provider.response_parser import BadResponse, ResponseParser
from actors.provider.wires import WIRE_FAULTS, Dial, Origin, PhaseHook, Wire
from actors.vault.keyuse import KeyUse

ORIGINS_MAX: Final = 64  # A provider has one, or one a region; more is a mistake.
# A reused connection that dies unread within this time was hung up on while idle: its
# FIN or RST crossed our request, which takes a round trip. Later, the peer was working.
STALE_S_MAX: Final = 1.0
FRESH_S: Final = 0.1  # Left so lately, a connection is taken to be as it was.

OriginPool: TypeAlias = Pool[Connection]

_VERSIONS: Final = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}


class PoolFull(httpx.PoolTimeout):
    """Too many already wait for a connection: refused at once."""


class StaleConnection(httpx.ReadError):
    """A kept-alive connection died before any byte of a response.

    Handled here, once, on a fresh connection; it surfaces where that cannot be: the
    lease permits no second use of its key. Sending again with a new one is safe.
    """


class _Call(NamedTuple):
    """A request, taken apart once."""

    out: Outgoing
    key: KeyUse | None
    timeouts: Timeouts
    phase: PhaseHook

    @classmethod
    def of(cls, request: httpx.Request) -> "_Call":
        extensions = request.extensions
        return cls(
            outgoing(request),
            extensions.get("stagedoor.key"),
            Timeouts.of(request),
            extensions.get("stagedoor.phase", _no_phase),
        )


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over bounded pools; one instance for each provider, or shared."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        limits: PoolLimits | None = None,
        dial: Dial = dial,
    ) -> None:
        """Make a transport without connections.

        Args:
            tls: how servers are verified; by default httpx's (certifi, or
                SSL_CERT_FILE). ALPN is set on it: this transport speaks http/1.1.
            limits: the bounds of each origin's pool.
            dial: how connections are made.
        """
        self._limits: Final = limits or PoolLimits()
        self._dial: Final = dial
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        self._pools: dict[Origin, OriginPool] = {}
        self._waiting: dict[Ticket[Connection], trio.Event] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._clock: Callable[[], float] = trio.current_time
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return with the head read and the body still to come."""
        call = _Call.of(request)
        origin = (
            request.prepared.origin
            if isinstance(request, PreparedRequest)
            else origin_of(request.url)
        )
        slot = await self._acquire(origin, call)
        try:
            try:
                parser = await _exchange(slot, call)
            except StaleConnection as stale:
                slot.found_dead()
                await self._redial(slot, call)
                parser = await _exchange(slot, call, stale)
            assert slot.connection is not None
            info = slot.connection.info
            body = BodyStream(slot, parser, call.timeouts.read)
        except BaseException:
            slot.drop()
            raise
        return UpstreamResponse(
            parser.status,
            parser.headers,
            body,
            request,
            {"http_version": _VERSIONS[parser.version], "network_stream": info},
        )

    async def connect(self, url: httpx.URL, on_phase: PhaseHook) -> tuple[Wire, Origin]:
        """A wire of its own, outside the pools, for what is more than a request.

        Raises httpx.ConnectError.
        """
        origin = origin_of(url)
        if self._closed:
            raise httpx.ConnectError(f"{origin}: the transport is closed")
        tls = self._tls_context() if origin.scheme == "https" else None
        try:
            return await self._dial(origin, tls, on_phase), origin
        except DialRefused as refused:
            raise httpx.ConnectError(f"{origin}: {refused}") from refused

    async def aclose(self) -> None:
        """Close what is idle, turn away who waits; open responses end by themselves."""
        self._closed = True
        for pool in self._pools.values():
            _close_all(pool.drain())
            for ticket in pool.shut():
                self._waiting.pop(ticket).set()

    def sweep(self) -> None:
        """Close idle connections that are too old, or whose peer hung up.

        Every request does the first for its own origin; whoever owns the transport
        may call this now and then, so that a quiet provider holds no dead sockets.
        """
        now_s = trio.current_time()
        for origin, pool in list(self._pools.items()):
            _close_all(pool.expire(now_s))
            _close_all(pool.prune(_is_hung_up))
            if pool.unused and not pool.idle:
                del self._pools[origin]

    def statistics(self) -> dict[Origin, tuple[int, int, int]]:
        """Leased, idle and waiting, for each origin."""
        return {
            origin: (pool.leased, pool.idle, pool.waiting)
            for origin, pool in self._pools.items()
        }

    async def _acquire(self, origin: Origin, call: _Call) -> Slot:
        """Get a slot with a connection that looks alive."""
        if self._closed:
            raise httpx.ConnectError(f"{origin}: the transport is closed")
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
            # As trio.current_time, without its layers.
            self._clock = trio.lowlevel.current_clock().current_time
        pool = self._pools.get(origin) or self._add_pool(origin)
        now_s = self._clock()
        _close_all(pool.expire(now_s))
        match pool.take():
            case Full(leased=leased, waiting=waiting):
                raise PoolFull(
                    f"{origin}: {leased} connections are in use and {waiting} requests"
                    " wait for one; try another provider or raise connections_max"
                )
            case Ticket() as ticket:
                connection = await self._queue(origin, pool, ticket, call)
            case grant:
                connection = grant.connection
        while connection is not None and self._is_dead(pool, connection, call, now_s):
            connection.wire.close()
            connection = pool.another()
        slot = Slot(
            origin, pool, connection, self._settle, self._token, clock=self._clock
        )
        if connection is None:
            await self._redial(slot, call)
        return slot

    @staticmethod
    def _is_dead(
        pool: OriginPool, connection: Connection, call: _Call, now_s: float
    ) -> bool:
        """Whether the peer hung up; of one that was in use just now, nobody asks.

        A system call lets the other threads in, which costs a busy gateway more than
        the call. Peers hang up on what has been idle for long. One that does so at once
        is found out by its first request, which goes out again as if the two had
        crossed (`_is_stale`), and is asked from then on.
        """
        fresh = now_s - connection.kept_s < FRESH_S
        if fresh and not pool.abrupt and call.out.stream is None:
            return False
        return _is_hung_up(connection)

    async def _queue(
        self,
        origin: Origin,
        pool: OriginPool,
        ticket: Ticket[Connection],
        call: _Call,
    ) -> Connection | None:
        granted = self._waiting[ticket] = trio.Event()
        try:
            call.phase("pool")
            await within(
                call.timeouts.pool,
                httpx.PoolTimeout,
                origin,
                "the wait for a connection",
                granted.wait,
            )
        except BaseException:
            if self._waiting.pop(ticket, None) is not None or ticket.grant is not None:
                self._settle(pool.withdraw(ticket, trio.current_time()))
            raise
        if ticket.grant is None:
            raise httpx.ConnectError(f"{origin}: the transport was closed")
        return ticket.grant.connection

    async def _redial(self, slot: Slot, call: _Call) -> None:
        """Give a slot a fresh connection in the place of none, or of a dead one."""
        origin = slot.origin
        try:
            if slot.connection is not None:
                slot.connection.wire.close()
                slot.connection = None
            tls = self._tls_context() if origin.scheme == "https" else None
            wire = await within(
                call.timeouts.connect,
                httpx.ConnectTimeout,
                origin,
                "connecting",
                self._dial,
                origin,
                tls,
                call.phase,
            )
        except DialRefused as refused:
            slot.drop()
            raise httpx.ConnectError(f"{origin}: {refused}") from refused
        except BaseException:
            slot.drop()
            raise
        slot.connection = Connection(wire, trio.current_time())

    def _add_pool(self, origin: Origin) -> OriginPool:
        if len(self._pools) >= ORIGINS_MAX:
            for known, pool in self._pools.items():
                if pool.unused:
                    _close_all(pool.drain())
                    del self._pools[known]
                    break
            else:
                raise PoolFull(
                    f"{origin}: {ORIGINS_MAX} other origins are in use already;"
                    " give each provider its own transport"
                )
        pool = self._pools[origin] = Pool(self._limits)
        return pool

    def _settle(self, settled: Settled[Connection]) -> None:
        """Do what the pool decided when a slot came back."""
        if settled.close is not None:
            settled.close.wire.close()
        if settled.wake is not None:
            self._waiting.pop(settled.wake).set()

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def __repr__(self) -> str:
        pools = ", ".join(f"{origin} {pool!r}" for origin, pool in self._pools.items())
        return f"<Transport {'closed' if self._closed else pools or 'unused'}>"


async def _exchange(
    slot: Slot, call: _Call, stale: StaleConnection | None = None
) -> ResponseParser:
    """Write a request and read the head of its response.

    `stale` says that this is the second time, and why.
    """
    connection, origin = slot.connection, slot.origin
    assert connection is not None
    wire, out, timeouts = connection.wire, call.out, call.timeouts
    call.phase("write")
    keyed = _keyed(slot, connection, call, stale)
    broken: BaseException | None = None
    try:
        await within(
            timeouts.write,
            httpx.WriteTimeout,
            origin,
            "writing the request",
            send,
            wire,
            out,
            keyed,
        )
    except WIRE_FAULTS as error:
        if out.stream is not None:  # The fault may be the stream's own.
            raise httpx.WriteError(f"{origin}: cannot write: {error}") from error
        # A peer that refuses a large body answers and hangs up: read its answer.
        broken = error
    written_s = slot.clock()
    call.phase("headers")
    parser = ResponseParser(head_only=out.method == "HEAD")
    try:
        while not parser.head_complete:
            data = await within(
                timeouts.read,
                httpx.ReadTimeout,
                origin,
                "waiting for the head of the response",
                wire.receive,
            )
            if data:
                parser.feed(data)
                continue
            if _is_stale(connection, out, parser, written_s):
                raise StaleConnection(f"{origin}: closed while it was idle")
            parser.feed_eof()
    except BadResponse as error:
        text = f"{origin}: {error}"
        if broken is not None:
            raise httpx.WriteError(f"{text}, having broken the write") from broken
        raise httpx.RemoteProtocolError(text) from None
    except WIRE_FAULTS as error:
        if _is_stale(connection, out, parser, written_s):
            raise StaleConnection(f"{origin}: reset while it was idle") from error
        if broken is not None:
            raise httpx.WriteError(f"{origin}: cannot write: {broken}") from broken
        raise httpx.ReadError(
            f"{origin}: the connection broke before the response: {error}"
        ) from error
    finally:
        if not parser.head_complete:
            parser.abandon()
    return parser


def _keyed(
    slot: Slot, connection: Connection, call: _Call, stale: StaleConnection | None
) -> KeyedHead | None:
    """Have the lease write its key, if the request comes with one."""
    if call.key is None:
        return None
    try:
        return KeyedHead(call.key, call.out, slot.origin, secure=connection.wire.secure)
    except BaseException:
        # Nothing was sent: the connection is as good as it was.
        slot.keep()
        if stale is not None:
            raise stale from None
        raise


def _is_stale(
    connection: Connection, out: Outgoing, parser: ResponseParser, written_s: float
) -> bool:
    """Whether a dead connection says nothing about the request.

    Why repeating is safe enough even for a POST: the connection had been idle, so the
    peer had reason to time it out; not one byte came back; and it ended within a
    round trip or so of our write, which is what a hang-up that crossed our request
    looks like. A peer that had begun to work and crashed would have to do so in that
    same second, and then a generation is paid for twice; nothing else is lost, as
    generations change nothing. Later deaths surface, for the router to judge.
    """
    return (
        connection.kept > 0
        and not parser.received
        and out.stream is None  # What was streamed once cannot be sent again.
        and trio.current_time() - written_s <= STALE_S_MAX
    )


def _is_hung_up(connection: Connection) -> bool:
    return not connection.wire.quiet()


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.wire.close()


def _no_phase(phase: str) -> None:
    """Nobody wants to know."""
