"""A provider that answers every call with one recording, cut where it hurts.

In memory (`RecordedUpstream`, an httpx transport) or over loopback (`LoopbackUpstream`,
a thread with a socket for any number of recordings). Both serve the recorded status,
content type and framing; neither reads what it is asked, but they keep it for tests.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import attrs
import httpx
import trio

from tests.recordings_cases import Case
from tests.support_recordings import cut, cut_cruelly

# Beyond this size 1 to 7 bytes a piece cost seconds and find nothing more: the rest is
# cut inside characters, between CR and LF, and at points up to 500 bytes apart.
CUT_FINELY_BYTES: Final = 6_000
CONTENT_TYPES: Final = {
    "response.json": "application/json",
    "response.sse": "text/event-stream",
    "response.ndjson": "application/x-ndjson",
    "response.bin": "application/vnd.amazon.eventstream",
}
# Headers that tell a client something. The others describe the recorder's transfer.
KEPT: Final = ("retry-after", "x-ratelimit", "anthropic-ratelimit", "x-amzn-errortype",
               "x-should-retry", "request-id", "x-request-id")  # fmt: skip
SEED: Final = 4


def pieces_of(
    body: bytes, seed: int = SEED, finely: int = CUT_FINELY_BYTES
) -> list[bytes]:
    """The body in pieces of 1 to 7 bytes, the rest of a long one in larger ones."""
    pieces = cut(body[:finely], seed)
    for piece in cut(body[finely:], seed, 500):
        pieces += cut_cruelly(piece)
    assert b"".join(pieces) == body
    return [piece for piece in pieces if piece]


def headers_of(case: Case) -> dict[str, str]:
    """The recorded headers that matter, and the type that the file is of."""
    kept = {
        name.lower(): value
        for name, value in case.response_headers.items()
        if name.lower().startswith(KEPT) and "<" not in value
    }
    recorded = {k.lower(): v for k, v in case.response_headers.items()}
    kept["content-type"] = (
        recorded.get("content-type") or CONTENT_TYPES[case.response_file]
    )
    return kept


@attrs.define
class Served:
    """What an upstream was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class RecordedUpstream(httpx.AsyncBaseTransport):
    """Answers with one recording, as often as it is asked."""

    def __init__(self, case: Case, pieces: Iterable[bytes] | None = None) -> None:
        self.case = case
        self.pieces = list(pieces_of(case.body) if pieces is None else pieces)
        self.served: list[Served] = []

    def __repr__(self) -> str:
        """Which recording."""
        return f"<RecordedUpstream {self.case.name} asked {len(self.served)} times>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take the key, as a socket would, and answer."""
        use = request.extensions.get("stagedoor.key")
        headers = dict(request.headers)
        if use is not None:
            head = bytearray(use.prefix)
            use.handle.write_key(head, host=request.url.host, secure=True)
            use.handle.spent()
            headers[use.name.decode()] = "(a key)"
        served = Served(
            request.method,
            request.url.raw_path.decode(),
            headers,
            await request.aread(),
        )
        self.served.append(served)
        return httpx.Response(
            self.case.status, headers=headers_of(self.case), stream=_Pieces(self.pieces)
        )


class _Pieces(httpx.AsyncByteStream):
    """A body as the network brings it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await trio.lowlevel.checkpoint()
            yield piece


# -- over loopback -------------------------------------------------------------------

HANG_UP_WAIT_S: Final = 20.0  # A busy machine may take long to hang up, not for ever.


class LoopbackUpstream:
    """Many recordings behind one port; the first segment of a path says which."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.served: list[tuple[str, Served]] = []
        self.hung_up = threading.Event()

    def __repr__(self) -> str:
        """Where it is."""
        return f"<LoopbackUpstream :{self.port} asked {len(self.served)} times>"

    def base_url(self, slug: str) -> str:
        """The address of one recording's provider."""
        return f"http://127.0.0.1:{self.port}/{slug}"


class _Handler(BaseHTTPRequestHandler):
    """One connection. A held recording stops halfway until the caller hangs up."""

    protocol_version = "HTTP/1.1"
    wbufsize = 0  # Each piece is a write of its own.
    upstream: LoopbackUpstream
    recordings: Mapping[str, Case]
    held: frozenset[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        slug = self.path.split("/")[1]
        asked = {name.lower(): value for name, value in self.headers.items()}
        self.upstream.served.append((slug, Served("POST", self.path, asked, body)))
        case = self.recordings[slug]
        self.send_response(case.status)
        for name, value in headers_of(case).items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        pieces = pieces_of(case.body)
        try:
            if slug in self.held:
                self._write(pieces[: len(pieces) // 2])
                self._wait_for_the_end()
                return
            self._write([*pieces, b""])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # The gateway left: its client did.

    def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _wait_for_the_end(self) -> None:
        self.close_connection = True
        self.connection.settimeout(HANG_UP_WAIT_S)
        try:
            gone = not self.connection.recv(1)
        except ConnectionResetError:
            gone = True
        except TimeoutError:
            gone = False
        if gone:
            self.upstream.hung_up.set()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def loopback(
    recordings: Mapping[str, Case], held: Iterable[str] = ()
) -> Generator[LoopbackUpstream]:
    """Serve recordings by slug: chunked, a write a piece, kept alive."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    upstream = LoopbackUpstream(server.server_port)
    handler.upstream = upstream  # type: ignore[attr-defined]
    handler.recordings = recordings  # type: ignore[attr-defined]
    handler.held = frozenset(held)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
