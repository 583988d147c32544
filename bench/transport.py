"""What one upstream request costs: httpx's client, httpcore, ours, a bare socket.

    python -m bench.transport [--requests N] [--deltas N] [--open N]

All clients run in turn in this process, on one core, against the same server in another
process on another core, over loopback and kept-alive connections. CPU seconds of this
process are counted (kernel time included), not the wall clock, and the best of several
rounds is printed, with the spread. The ratios travel between machines; the microseconds
do not.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import gc
import ipaddress
import multiprocessing
import os
import platform
import ssl
import statistics
import tempfile
import time
import timeit
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httpcore
import httptools
import httpx
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from actors.provider.http import UpstreamResponse, prepare
from actors.provider.pool import PoolLimits
from actors.provider.transport import Transport

ROUNDS = 7
WARM = 20  # Responses opened before memory is looked at.
BODY = b'{"model":"m","messages":[{"role":"user","content":"Say hello."}]}'
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
)
DELTA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m"'
    b',"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
)
FIELDS = [
    (b"content-type", b"application/json"),
    (b"accept", b"*/*"),
    (b"user-agent", b"bench"),
    (b"authorization", b"Bearer not-a-key"),
]

Post = Callable[[str], Awaitable[int]]


class _Server(asyncio.Protocol):
    """Answers /unary with JSON, /deltas with DELTAS chunks, a segment each."""

    deltas = 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_message_complete(self) -> None:
        if self.path == b"/open":
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                + b"".join(b"x-ratelimit-%d: 1000\r\n" % n for n in range(18))
                + b"transfer-encoding: chunked\r\n\r\n"
                + b"%x\r\n%b\r\n" % (len(DELTA), DELTA)
            )
        elif self.path == b"/unary":
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: bench\r\n"
                b"x-request-id: req_0123456789\r\ncontent-length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )
        else:
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            self.left = type(self).deltas
            self._next()

    def _next(self) -> None:
        """One delta a turn, so that the client reads them one by one."""
        if self.left == 0:
            self.transport.write(b"0\r\n\r\n")
            return
        self.left -= 1
        self.transport.write(b"%x\r\n%b\r\n" % (len(DELTA), DELTA))
        # A pause, or they would meet in the client's buffer and be one read.
        asyncio.get_running_loop().call_later(0.0002, self._next)


def _serve(pipe: Connection, core: int | None, deltas: int, pem: Path) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    _Server.deltas = deltas

    async def run() -> None:
        loop = asyncio.get_running_loop()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
        servers = [
            await loop.create_server(_Server, "127.0.0.1", 0),
            await loop.create_server(_Server, "127.0.0.1", 0, ssl=tls),
        ]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.to_thread(pipe.recv)  # Until the parent says stop, or dies.

    with contextlib.suppress(EOFError):
        asyncio.run(run())


@contextlib.asynccontextmanager
async def bare(base: str, tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """A trio socket and llhttp: the floor under any client on this loop."""
    url = httpx.URL(base)
    port = url.port or 80
    stream: trio.abc.Stream = (
        await trio.open_tcp_stream(url.host, port)
        if tls is None
        else await trio.open_ssl_over_tcp_stream(url.host, port, ssl_context=tls)
    )

    async def post(path: str) -> int:
        done: list[bool] = []
        pieces: list[bytes] = []

        class Reader:
            on_body = pieces.append

            def on_header(self, name: bytes, value: bytes) -> None: ...

            def on_message_complete(self) -> None:
                done.append(True)

        parser = httptools.HttpResponseParser(Reader())
        fields = b"".join(b"%b: %b\r\n" % field for field in FIELDS)
        await stream.send_all(
            b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b"
            % (path.encode(), fields, len(BODY), BODY)
        )
        while not done:
            parser.feed_data(await stream.receive_some(32_768))
        return sum(map(len, pieces))

    async with stream:
        yield post


@contextlib.asynccontextmanager
async def ours(base: str, tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """actors.provider.transport, with prepared requests, as the gateway uses it."""
    async with Transport(tls=tls) as transport:
        prepared = {p: prepare(base, p, FIELDS) for p in ("/unary", "/deltas")}

        async def post(path: str) -> int:
            request = prepared[path].request(BODY)
            response = await transport.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            return sum([len(piece) async for piece in response.stream])

        yield post


async def _through(client: httpx.AsyncClient, path: str) -> int:
    async with client.stream("POST", path, content=BODY, headers=FIELDS) as response:
        return sum([len(piece) async for piece in response.aiter_raw()])


@contextlib.asynccontextmanager
async def ours_below_httpx(
    base: str, tls: ssl.SSLContext | None
) -> AsyncIterator[Post]:
    """The same transport under a stock httpx client."""
    async with httpx.AsyncClient(transport=Transport(tls=tls), base_url=base) as client:

        async def post(path: str) -> int:
            return await _through(client, path)

        yield post


@contextlib.asynccontextmanager
async def core(base: str, tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """The pool of httpcore."""
    async with httpcore.AsyncConnectionPool(ssl_context=tls) as pool:

        async def post(path: str) -> int:
            async with pool.stream(
                "POST",
                base + path,
                headers=[
                    (b"host", b"x"),
                    *FIELDS,
                    (b"content-length", b"%d" % len(BODY)),
                ],
                content=BODY,
            ) as response:
                return sum([len(piece) async for piece in response.aiter_stream()])

        yield post


@contextlib.asynccontextmanager
async def stock(base: str, tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """The client of httpx, on its own transport."""
    verify = True if tls is None else tls
    async with httpx.AsyncClient(base_url=base, verify=verify) as client:

        async def post(path: str) -> int:
            return await _through(client, path)

        yield post


CLIENTS = {
    "bare socket": bare,
    "ours": ours,
    "ours below httpx": ours_below_httpx,
    "httpcore": core,
    "httpx": stock,
}


async def measure(
    base: str, path: str, size: int, calls: int, tls: ssl.SSLContext | None = None
) -> dict[str, list[float]]:
    """CPU seconds a call of each client, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in CLIENTS}
    async with contextlib.AsyncExitStack() as stack:
        posts = {
            name: await stack.enter_async_context(client(base, tls))
            for name, client in CLIENTS.items()
        }
        for _ in range(ROUNDS):
            for name, post in posts.items():
                assert await post(path) == size
                gc.collect()
                begun = time.process_time()
                for _ in range(calls):
                    await post(path)
                seconds[name].append((time.process_time() - begun) / calls)
    return seconds


def certificate(folder: Path) -> Path:
    """Write a throw-away certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "bench.pem"
    path.write_bytes(
        made.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


def resident_bytes() -> int:
    """What this process occupies; the kernel's socket buffers are not in it."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def measure_memory(base: str, count: int) -> float:
    """Bytes of one open streaming response whose consumer has read a delta."""
    limits = PoolLimits(connections_max=count + WARM)
    async with Transport(limits=limits) as transport:
        prepared = prepare(base, "/open", FIELDS)

        async def opened() -> httpx.Response:
            response = await transport.handle_async_request(prepared.request(BODY))
            assert isinstance(response.stream, httpx.AsyncByteStream)
            await anext(aiter(response.stream))
            return response

        held = [await opened() for _ in range(WARM)]
        before = resident_bytes()
        held += [await opened() for _ in range(count)]
        after = resident_bytes()
        for response in held:
            await response.aclose()
    return (after - before) / count


def measure_objects() -> float:
    """Seconds for an httpx.Request and an httpx.Response, as we make them."""
    prepared = prepare("http://127.0.0.1", "/unary", FIELDS)
    raw = [(b"x-field", b"value")] * 20
    stream = httpx.ByteStream(b"")
    calls = 20_000

    def pair() -> None:
        request = prepared.request(BODY)
        UpstreamResponse(200, raw, stream, request, {"http_version": b"HTTP/1.1"})

    return min(timeit.repeat(pair, number=calls, repeat=ROUNDS)) / calls


def report(title: str, seconds: dict[str, list[float]], units: int) -> None:
    """Print best, median and worst, and the ratio of the bests to ours."""
    print(f"\n{title}: µs CPU, best / median / worst of {ROUNDS} rounds")
    ours_s = min(seconds["ours"])
    for name, rounds in seconds.items():
        best, middle, worst = (
            value / units * 1e6
            for value in (min(rounds), statistics.median(rounds), max(rounds))
        )
        print(
            f"  {name:18} {best:8.1f} / {middle:8.1f} / {worst:8.1f}"
            f"   {min(rounds) / ours_s:6.2f} x ours"
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=1000)
    arguments.add_argument("--deltas", type=int, default=500)
    arguments.add_argument("--open", type=int, default=400)
    options = arguments.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[0]})
    folder = tempfile.TemporaryDirectory()
    pem = certificate(Path(folder.name))
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_serve,
        args=(there, cores[1] if len(cores) > 1 else None, options.deltas, pem),
        daemon=True,
    )
    server.start()
    port, tls_port = here.recv()
    base = f"http://127.0.0.1:{port}"
    tls_base = f"https://127.0.0.1:{tls_port}"
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {len(cores)} cores"
    )

    async def run() -> None:
        unary = await measure(base, "/unary", len(ANSWER), options.requests)
        report(f"one POST, {len(ANSWER)} bytes of JSON", unary, 1)
        trusted = ssl.create_default_context(cafile=str(pem))
        secret = await measure(
            tls_base, "/unary", len(ANSWER), options.requests, trusted
        )
        report("the same POST over TLS 1.3", secret, 1)
        size = len(DELTA) * options.deltas
        deltas = await measure(base, "/deltas", size, 1)
        report("one delta of a stream, a segment each", deltas, options.deltas)
        memory = await measure_memory(base, options.open)
        print(f"\none open streaming response: {memory / 1024:.1f} KiB resident")
        print(f"one Request and one Response: {measure_objects() * 1e6:.1f} µs")

    trio.run(run)
    here.send("stop")
    server.join(5)
    folder.cleanup()


if __name__ == "__main__":
    main()
