"""HTTP/1.1 requests out of bytes. Sans-io: no trio, no socket, no clock.

Owns: framing, limits and the verdict on every malformed request (`Refusal`).
Never: answers by itself, keeps more than one read's worth of a body, or repairs
what it was sent: an ambiguous message is refused, because the proxy in front may
have read it differently (request smuggling).

llhttp (through httptools) finds the tokens and is strict about them: bare LF,
obs-fold, spaces before a colon, signs and duplicates in `Content-Length`, both
lengths at once. This module adds what llhttp leaves to its user: limits, Host, the
versions and codings we do not speak, and which upgrades are handed over.
"""

import re
from collections import deque

import httptools
from msgspec import Struct

from gateway.http11_handover import NoHandshake, Upgrade, head_for, head_of, upgrade_of

READ_BYTES_MAX = 16_384  # One read; also bounds what pipelining can queue here.
CHUNK_OVERHEAD_BYTES = 32_768  # Sizes, extensions and trailers beside the content.
CHUNK_OVERHEAD_RATIO = 16  # One-byte chunks cost 6 to 1; ten more for extensions.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4.

_HOST = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]*").fullmatch
_ABSOLUTE = re.compile(rb"https?://[^/?]*(.*)", re.DOTALL | re.IGNORECASE).fullmatch


class Http11Limits(Struct, frozen=True, kw_only=True):
    """What one connection may cost, each bound with its reason."""

    target_bytes_max: int = 8_192  # RFC 9110 asks for 8,000; we have no long ones.
    head_bytes_max: int = 65_536  # Tokens and cookies of big single sign-on set-ups.
    headers_max: int = 100  # Apache's and Go's order of magnitude.
    body_bytes_max: int = 33_554_432  # 32 MiB: a prompt with images in base64.
    unsent_bytes_max: int = 65_536  # Ours, beside what the kernel holds.
    kernel_unsent_bytes_max: int = 131_072  # TCP_NOTSENT_LOWAT: caps the kernel too.
    connections_max: int = 10_240  # 10 KB each here: 100 MB when all are used.

    def __post_init__(self) -> None:
        """Check what the code relies on."""
        if self.unsent_bytes_max < READ_BYTES_MAX:
            raise ValueError(
                f"unsent_bytes_max={self.unsent_bytes_max} is less than one TLS record;"
                f" set at least {READ_BYTES_MAX}"
            )


class Refusal(Exception):
    """Why a request is refused, and with which status. Never quotes the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message


class Request:
    """One request: its head at once, its body as it arrives."""

    __slots__ = (
        "body",
        "complete",
        "expects_continue",
        "headers",
        "http_1_0",
        "keep_alive",
        "method",
        "received",
        "target",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.http_1_0 = False
        self.keep_alive = True
        self.expects_continue = False
        self.body: list[bytes] = []  # Read off the wire, not yet taken.
        self.received = 0
        self.complete = False

    def __repr__(self) -> str:
        state = "complete" if self.complete else "partial"
        return f"<Request {self.method} {state} body_bytes={self.received}>"


class RequestParser:
    """Feed it what was read; take `requests`, then look at `refusal` and `upgrade`.

    Both of these end the HTTP/1.1 life of the connection, after the requests that
    came before them were answered. `rest` then holds every byte, from the head of
    the upgrading request on, for the protocol that takes over.
    """

    __slots__ = (
        "_ended",
        "_head_bytes",
        "_head_fed_bytes",
        "_in_body",
        "_leftover",
        "_limits",
        "_overhead_bytes",
        "_parser",
        "_request",
        "_trailers",
        "_upgrading",
        "refusal",
        "requests",
        "rest",
        "upgrade",
    )

    def __init__(self, limits: Http11Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._in_body = False
        self._ended = False  # This read ended a message.
        self._upgrading = False
        self._head_bytes = 0
        self._head_fed_bytes = 0
        self._overhead_bytes = 0
        self._trailers = 0
        self._leftover = b""  # A beginning that may become the HTTP/2 preface.
        self.requests: deque[Request] = deque()  # Bounded by READ_BYTES_MAX.
        self.refusal: Refusal | None = None
        self.upgrade: Upgrade = ""
        self.rest = b""

    def __repr__(self) -> str:
        state = "body" if self._in_body else "head"
        return f"<RequestParser in={state} queued={len(self.requests)}>"

    @property
    def mid_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        return self._head_fed_bytes > 0 and not self._in_body

    def feed(self, data: bytes) -> None:
        """Take one read of at most READ_BYTES_MAX bytes. Never raises."""
        assert self.refusal is None, "nothing is read after a refusal"
        assert not self.upgrade, "nothing is read after an upgrade"
        if self._leftover or (
            data[:2] in (b"P", b"PR") and not self._in_body and not self._head_fed_bytes
        ):
            data = self._leftover + data
            self._leftover = b""
            if data.startswith(PREFACE):
                self.upgrade, self.rest = "h2", data
                return
            if PREFACE.startswith(data):
                self._leftover = data
                self._head_fed_bytes = len(data)
                return
        self._ended = False
        if not self._parse(data):
            return
        if self._in_body:
            self._check_overhead(len(data))
        elif self._request.target or not self._ended:
            self._check_head(len(data))

    def _parse(self, data: bytes) -> bool:
        """Let llhttp have it; False if that ended in an upgrade or a refusal."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                self._fail(error)
                return False
            else:
                return True
        return not self.upgrade

    def close(self) -> None:
        """Break the cycle with httptools, so that no collection is needed."""
        del self._parser

    # What httptools calls, in the order of a message.

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        request = self._request
        request.target += url
        if len(request.target) > self._limits.target_bytes_max:
            self._refuse(
                414,
                "uri_too_long",
                f"the request target is longer than {self._limits.target_bytes_max}"
                " bytes; send data in the body",
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer."""
        if self._in_body:
            # Trailers are read past: nothing above us asks for them, and merging
            # them into the head is how forbidden fields are smuggled in.
            self._trailers += 1
            if self._trailers > self._limits.headers_max:
                self._refuse(431, "trailers_too_large", "too many trailer fields")
            return
        headers = self._request.headers
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.head_bytes_max:
            self._refuse_head()
        if len(headers) >= self._limits.headers_max:
            self._refuse(
                431,
                "headers_too_large",
                f"more than {self._limits.headers_max} header fields",
            )
        headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """The head is whole: judge it."""
        request, parser = self._request, self._parser
        request.method = parser.get_method().decode()
        request.keep_alive = parser.should_keep_alive()
        version = parser.get_http_version()
        if version != "1.1":
            if version != "1.0":
                self._refuse(
                    505, "http_version", f"HTTP/{version} is not spoken here; use 1.1"
                )
            request.http_1_0 = True
        self._head_bytes = self._head_fed_bytes = 0
        if request.method == "CONNECT":
            self._refuse(405, "method", "CONNECT is for proxies; this is none")
        self._judge_headers(request)
        if request.target[:1] not in b"/*":
            request.target = self._origin_form(request)
        self._in_body = True
        if parser.should_upgrade():
            self._upgrading = True
        else:
            self.requests.append(request)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        request = self._request
        request.received += len(body)
        if request.received > self._limits.body_bytes_max:
            self._refuse_body()
        request.body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrading:
            return
        self._request.complete = self._ended = True
        self._in_body = False
        self._overhead_bytes = self._trailers = 0
        self._request = Request()

    # Verdicts.

    def _judge_headers(self, request: Request) -> None:
        """Refuse what llhttp lets through and the next hop could read otherwise."""
        hosts = 0
        for name, value in request.headers:
            if name == b"host":
                hosts += 1
                if not _HOST(value):
                    self._refuse(400, "bad_host", "the Host header is malformed")
            elif name == b"content-length":
                if int(value) > self._limits.body_bytes_max:
                    self._refuse_body()
            elif name == b"transfer-encoding":
                if request.http_1_0:
                    self._refuse(
                        400, "bad_framing", "HTTP/1.0 has no Transfer-Encoding"
                    )
                if value.lower() != b"chunked":
                    self._refuse(
                        501,
                        "transfer_coding",
                        "the only transfer coding understood is `chunked`",
                    )
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    self._refuse(
                        417, "expectation", "the only expectation met is 100-continue"
                    )
                request.expects_continue = not request.http_1_0
        if hosts > 1 or (hosts == 0 and not request.http_1_0):
            self._refuse(
                400, "bad_host", f"HTTP/1.1 needs one Host header, there are {hosts}"
            )

    def _origin_form(self, request: Request) -> bytes:
        """The path and query of an absolute target (RFC 9112 section 3.2.2)."""
        absolute = _ABSOLUTE(request.target)
        if absolute is None:
            self._refuse(400, "bad_target", "the request target is no path and no URL")
            raise AssertionError
        path: bytes = absolute[1]
        return path if path[:1] == b"/" else b"/" + path

    def _check_head(self, fed_bytes: int) -> None:
        """Bound a head that never ends: httptools gathers one value unseen."""
        self._head_fed_bytes += fed_bytes
        if self._head_fed_bytes > self._limits.head_bytes_max + READ_BYTES_MAX:
            self.refusal = self._too_large_head()

    def _check_overhead(self, fed_bytes: int) -> None:
        """Bound chunk extensions and trailers, which no callback shows."""
        self._overhead_bytes += fed_bytes
        received = self._request.received
        spent = self._overhead_bytes - received
        if spent > CHUNK_OVERHEAD_BYTES + CHUNK_OVERHEAD_RATIO * received:
            self.refusal = Refusal(
                413,
                "chunk_overhead",
                "chunk extensions and trailers outweigh the body; send fewer",
            )

    def _upgrade(self, rest: bytes) -> bytes:
        """Hand over what we can; else return the request without its wish.

        A server may ignore `Upgrade` (RFC 9110 section 7.8). llhttp cannot be told
        so and would take the body for the next protocol's bytes: a fresh parser
        gets the same head without that field.
        """
        request, self._request = self._request, Request()
        self._upgrading = self._in_body = False
        method, target, fields = request.method, request.target, request.headers
        try:
            kind = upgrade_of(
                method, fields, http_1_0=request.http_1_0, early=bool(rest)
            )
        except NoHandshake as no:
            self.refusal = Refusal(no.status, no.code, no.message)
            return b""
        self._parser = httptools.HttpRequestParser(self)
        if kind:
            self.upgrade = kind
            self.rest = head_for(kind, method, target, fields) + rest
            return b""
        kept = [field for field in fields if field[0] != b"upgrade"]
        version = "1.0" if request.http_1_0 else "1.1"
        return head_of(method, target, kept, version) + rest

    def _fail(self, error: httptools.HttpParserError) -> None:
        if self.refusal is not None:
            return  # One of our callbacks has said it better.
        reason = str(error)
        if isinstance(error, httptools.HttpParserCallbackError):
            raise error  # A bug of ours: crash with its context.
        if reason.startswith("Data after"):
            return  # Nothing after `Connection: close` is ours to read.
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            self.refusal = Refusal(400, "bad_method", "the method is not one of HTTP's")
        elif reason == "Invalid HTTP version":
            self.refusal = Refusal(
                505, "http_version", "this HTTP version is not spoken here; use 1.1"
            )
        else:
            # llhttp's reasons are fixed sentences: they never quote the request.
            self.refusal = Refusal(400, "bad_request", f"malformed request: {reason}")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.refusal = Refusal(status, code, message)
        raise self.refusal  # Stops llhttp; `_fail` sees that it was us.

    def _too_large_head(self) -> Refusal:
        head_bytes_max = self._limits.head_bytes_max
        if not self._request.headers and self._request.target == b"":
            return Refusal(414, "uri_too_long", "the request line never ends")
        return Refusal(
            431, "headers_too_large", f"the head is larger than {head_bytes_max} bytes"
        )

    def _refuse_head(self) -> None:
        self.refusal = self._too_large_head()
        raise self.refusal

    def _refuse_body(self) -> None:
        self._refuse(
            413,
            "body_too_large",
            f"the body is larger than {self._limits.body_bytes_max} bytes",
        )
