"""What the edge itself costs: hypercorn's stock trio worker beside ours.

    python -m bench.hello                     requests/s and CPU a request, as ratios
    python -m bench.hello --only stream       CPU of one small streamed write
    python -m bench.hello --only memory       bytes of an idle and of a streaming one

Server and load generator are two processes on two cores. Stock and ours take turns
within one run, so that a busy machine slows both; the CPU columns, read from the
server itself, hardly notice it at all.
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import trio

BODY = json.dumps(
    {"model": "bench", "messages": [{"role": "user", "content": "Say hello."}]}
).encode()
REPLY = json.dumps({"id": "bench", "choices": [{"text": "Hello."}]}).encode()
DELTA = b'data: {"choices":[{"delta":{"content":" hello"}}]}\n\n'
SERVER_CORES: set[int] = set()
DELTAS = 20_000  # As fast as they go: what is busy may travel together.
PAUSES, PAUSE_S = 1_000, 0.002  # One at a time: as from a model, a system call each.


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI 3 and nothing else, so that both servers run the same."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    head = [(b"content-type", b"application/json")]
    if scope["path"] == "/stats":
        reply = json.dumps({"cpu_s": time.process_time(), "rss": _rss_bytes()}).encode()
    elif scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": head})
        piece = {"type": "http.response.body", "body": DELTA, "more_body": True}
        for _ in range(DELTAS):
            await send(piece)
        await send({"type": "http.response.body", "body": b""})
        return
    elif scope["path"] == "/paced":
        await send({"type": "http.response.start", "status": 200, "headers": head})
        piece = {"type": "http.response.body", "body": DELTA, "more_body": True}
        spent_s = 0.0
        for _ in range(PAUSES):
            await trio.sleep(PAUSE_S)  # The client catches up: each write is a packet.
            before = time.thread_time()
            await send(piece)
            spent_s += time.thread_time() - before
        last = json.dumps({"cpu_s": spent_s / PAUSES}).encode()
        await send({"type": "http.response.body", "body": last})
        return
    elif scope["path"] == "/hold":
        await send({"type": "http.response.start", "status": 200, "headers": head})
        piece = {"type": "http.response.body", "body": DELTA, "more_body": True}
        await send(piece)
        await receive()  # Until the client leaves.
        return
    else:
        json.loads(body)
        reply = REPLY
    head.append((b"content-length", b"%d" % len(reply)))
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": reply})


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _serve(kind: str) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    if kind == "ours":
        from gateway.listener import serve  # noqa: PLC0415 - the other kind is without

        await serve(
            app,
            binds=[listening],
            error_body=lambda _status, _code, text: ("text/plain", text.encode()),
            shutdown=trio.sleep_forever,
        )
    else:
        import hypercorn.trio  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        config = Config()
        config.bind = [f"fd://{listening.detach()}"]
        config.errorlog = None
        config.keep_alive_max_requests = 10**9
        config.keep_alive_timeout = 600
        await hypercorn.trio.serve(app, config)


def _request(path: str, body: bytes = b"") -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer bench\r\n"
        b"Accept: application/json\r\nUser-Agent: bench\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), len(body), body)
    )


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _stats(port: int) -> dict[str, float]:
    with _connect(port) as sock:
        sock.sendall(_request("/stats"))
        data = b""
        while not data.endswith(b"}"):
            data += sock.recv(4096)
    stats: dict[str, float] = json.loads(data[data.index(b"{") :])
    return stats


def _load(port: int, connections: int, seconds: float) -> tuple[float, float]:
    """Closed loop: requests/s and the server's CPU seconds a request."""
    request, replied = _request("/", BODY), 0
    poll = select.epoll()
    socks = {}
    before = _stats(port)["cpu_s"]
    for _ in range(connections):
        sock = _connect(port)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sock.sendall(request)
    started = time.perf_counter()
    while (now := time.perf_counter()) < started + seconds:
        for fd, _ in poll.poll(1):
            # Stock writes head and body apart: only the reply's end is the end.
            if socks[fd].recv(65536).endswith(REPLY):
                replied += 1
                socks[fd].send(request)
    for sock in socks.values():
        sock.close()
    cpu_s = _stats(port)["cpu_s"] - before
    return replied / (now - started), cpu_s / replied


def _load_stream(port: int) -> float:
    """The server's CPU seconds for one streamed write, one client."""
    before = _stats(port)["cpu_s"]
    with _connect(port) as sock:
        sock.sendall(_request("/stream"))
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            tail = tail[-8:] + sock.recv(1 << 20)
    return (_stats(port)["cpu_s"] - before) / DELTAS


def _load_paced(port: int) -> float:
    """CPU seconds of one ASGI send to an idle peer, its system call included."""
    with _connect(port) as sock:
        sock.sendall(_request("/paced"))
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            tail = tail[-80:] + sock.recv(65536)
    cpu_s: float = json.loads(tail[tail.rindex(b"{") : tail.rindex(b"}") + 1])["cpu_s"]
    return cpu_s


def _load_memory(port: int, connections: int) -> tuple[float, float]:
    """RSS bytes for one idle and for one streaming connection."""
    held = [_connect(port) for _ in range(50)]  # Warm: caches are not connections.
    for sock in held:
        sock.sendall(_request("/", BODY))
        sock.recv(65536)
    before = _stats(port)["rss"]
    idle = [_connect(port) for _ in range(connections)]
    for sock in idle:
        sock.sendall(_request("/", BODY))
        while not sock.recv(65536).endswith(REPLY):
            pass
    with_idle = _stats(port)["rss"]
    for sock in idle:
        sock.sendall(_request("/hold"))
        data = b""
        while DELTA not in data:
            data += sock.recv(65536)
    with_streams = _stats(port)["rss"]
    return (with_idle - before) / connections, (with_streams - before) / connections


class Server:
    """A server in a process of its own, on the first core we may use."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hello", "--serve", kind],
            stdout=subprocess.PIPE,
            text=True,
        )
        os.sched_setaffinity(self._process.pid, SERVER_CORES)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _throughput(connections: int, rounds: int, seconds: float) -> None:
    rates: dict[str, list[float]] = {"stock": [], "ours": []}
    cpus: dict[str, list[float]] = {"stock": [], "ours": []}
    with Server("stock") as stock, Server("ours") as ours:
        ports = {"stock": stock.port, "ours": ours.port}
        for port in ports.values():
            _load(port, connections, 0.3)
        for _ in range(rounds):
            for kind, port in ports.items():
                rate, cpu_s = _load(port, connections, seconds)
                rates[kind].append(rate)
                cpus[kind].append(cpu_s)
    print(f"{connections} keep-alive connections, {rounds} rounds of {seconds:g} s:")
    for kind, seen in rates.items():
        cpu_us = statistics.median(cpus[kind]) * 1e6
        print(
            f"  {kind:5} {statistics.median(seen):7,.0f} requests/s"
            f" ({min(seen):,.0f} to {max(seen):,.0f}), {cpu_us:4.0f} us CPU a request"
        )
    ratios = [o / s for o, s in zip(rates["ours"], rates["stock"], strict=True)]
    cpu_ratio = statistics.median(cpus["stock"]) / statistics.median(cpus["ours"])
    print(
        f"  ours / stock: {statistics.median(ratios):.2f}x requests/s"
        f" ({min(ratios):.2f} to {max(ratios):.2f}), {cpu_ratio:.2f}x less CPU"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--serve", choices=("stock", "ours"))
    arguments.add_argument("--only", choices=("requests", "stream", "memory"))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--connections", type=int, default=2_000, help="for memory")
    args = arguments.parse_args()
    if args.serve:
        trio.run(_serve, args.serve)
        return
    cores = sorted(os.sched_getaffinity(0))
    SERVER_CORES.add(cores[0])
    os.sched_setaffinity(0, cores[-1:])
    if args.only in (None, "requests"):
        for connections in (16, 32):
            _throughput(connections, args.rounds, args.seconds)
    for kind in ("stock", "ours"):
        if args.only in (None, "stream"):
            with Server(kind) as server:
                burst = [_load_stream(server.port) for _ in range(args.rounds)]
                paced = [_load_paced(server.port) for _ in range(args.rounds)]
            print(
                f"{kind:5} one streamed write: {statistics.median(burst) * 1e6:5.1f} us"
                f" CPU in a burst, {statistics.median(paced) * 1e6:5.1f} us at pace"
            )
        if args.only in (None, "memory"):
            with Server(kind) as server:
                idle, streaming = _load_memory(server.port, args.connections)
            print(
                f"{kind:5} a connection: {idle / 1024:5.1f} KiB idle,"
                f" {streaming / 1024:5.1f} KiB streaming ({args.connections:,} open)"
            )


if __name__ == "__main__":
    main()
