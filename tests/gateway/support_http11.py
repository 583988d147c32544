"""A server on a loopback port, raw clients, and an app that does as it is told."""

import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
import trio.testing

from gateway.http11_exchange import Exchange
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import ClientGone, EdgeDeadlines
from gateway.listener import serve

Handler = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
TURNS_MAX = 2_000  # Of the event loop, until a condition holds; then the test fails.


def error_body(status: int, code: str, message: str) -> tuple[str, bytes]:
    """OpenAI's shape, as the gateway would write it."""
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return "application/json", json.dumps({"error": error, "status": status}).encode()


def post(body: bytes, *fields: bytes, path: bytes = b"/") -> bytes:
    head = [b"POST %b HTTP/1.1" % path, b"Host: test", *fields]
    head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds: no clock, a bounded number of turns."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked(0.001)
    raise AssertionError("the condition never held")


async def read_all(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("inside the body")
        body += message["body"]
        if not message["more_body"]:
            return body


async def reply(
    send: Any, body: bytes = b"hello", status: int = 200, *headers: tuple[bytes, bytes]
) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": list(headers)}
    )
    await send({"type": "http.response.body", "body": body})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with method, path and body."""
    body = await read_all(receive)
    text = f"{scope['method']} {scope['path']} ".encode()
    await reply(send, text + body)


def conn_of(scope: dict[str, Any]) -> Exchange:
    conn = scope["extensions"]["stagedoor"]
    assert isinstance(conn, Exchange)
    return conn


def with_lifespan(handler: Handler) -> Handler:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await handler(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            await send({"type": f"lifespan.{step}.complete"})

    return app


class Client:
    """One connection that sends any bytes, and reads answers with h11."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._unread = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as the end."""
        data, self._unread = self._unread, b""
        try:
            while more := await self.stream.receive_some(65_536):
                data += more
        except trio.BrokenResourceError:
            pass
        return data

    async def until(self, end: bytes) -> bytes:
        data = self._unread
        while end not in data:
            more = await self.stream.receive_some(65_536)
            assert more, f"closed before {end!r}: {data!r}"
            data += more
        seen, _, self._unread = data.partition(end)
        return seen + end

    def take_unread(self) -> bytes:
        """What was read beyond the last answer."""
        data, self._unread = self._unread, b""
        return data

    async def answer(
        self, method: str = "GET"
    ) -> tuple[h11.Response, bytes, list[h11.InformationalResponse]]:
        """The next response, by h11's reading of it."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
        parser.send(h11.EndOfMessage())
        if self._unread:
            parser.receive_data(self._unread)
            self._unread = b""
        response, body, informational = None, b"", []
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self.stream.receive_some(65_536))
            elif isinstance(event, h11.InformationalResponse):
                informational.append(event)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._unread = parser.trailing_data[0]
                assert response is not None
                return response, body, informational
            else:
                raise AssertionError(f"no answer but {event!r}")

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        await self.send(data)
        response, body, _ = await self.answer()
        return response.status_code, body


class Server:
    def __init__(self, address: str, stop: trio.Event) -> None:
        self.address = address
        self.port = int(address.rpartition(":")[2])
        self.stop = stop
        self.stopped = trio.Event()
        self.reports: list[tuple[str, BaseException]] = []
        self._clients: list[Client] = []

    async def connect(self, *, receive_buffer_bytes: int | None = None) -> Client:
        sock = trio.socket.socket()
        if receive_buffer_bytes is not None:
            option = trio.socket.SO_RCVBUF
            sock.setsockopt(trio.socket.SOL_SOCKET, option, receive_buffer_bytes)
        try:
            await sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        client = Client(trio.SocketStream(sock))
        self._clients.append(client)
        return client

    async def aclose_clients(self) -> None:
        for client in self._clients:
            await trio.aclose_forcefully(client.stream)


@asynccontextmanager
async def running(
    handler: Handler,
    *,
    limits: Http11Limits | None = None,
    deadlines: EdgeDeadlines | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """Serve on a free loopback port; on leaving, stop and wait for the end."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        reports: list[tuple[str, BaseException]] = []
        done = trio.Event()

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(
                with_lifespan(handler),
                binds=options.pop("binds", ["127.0.0.1:0"]),
                limits=limits,
                deadlines=deadlines,
                error_body=error_body,
                shutdown=stop.wait,
                report=lambda what, error: reports.append((what, error)),
                task_status=task_status,
                **options,
            )
            done.set()

        addresses = await nursery.start(run)
        server = Server(addresses[0], stop)
        server.reports, server.stopped = reports, done
        try:
            yield server
        except BaseException:
            for what, error in reports:
                print("reported:", what, repr(error))
                traceback.print_exception(error)
            raise
        finally:
            with trio.CancelScope(shield=True):
                await server.aclose_clients()
            stop.set()
