"""Requests and responses that cost microseconds: httpx's classes, built lazily.

`prepare` renders the constant part of a request's head once; `Prepared.request` adds
what varies and yields a true `httpx.Request`, whose headers object comes into being
only if somebody looks (httpx.MockTransport and httpx.AsyncHTTPTransport do).
`UpstreamResponse` does the same for what came back.

`outgoing` turns either kind of request into the bytes to send. It refuses whatever
could smuggle a second request: the transport trusts what comes from here.

Never sees a key: that is added to a copy of the head, in transport.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import httpx
from msgspec import Struct

from actors.provider.wires import Origin

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
Body: TypeAlias = httpx.SyncByteStream | httpx.AsyncByteStream

PORTS: Final = {"http": 80, "https": 443}

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(
    rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
).fullmatch
_TARGET: Final = re.compile(rb"[\x21-\x7e]+").fullmatch
# What the framing of this transport decides; a caller's own would contradict it.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_PER_ORIGIN: Final = frozenset({b"host", b"accept-encoding"})


class Outgoing(Struct, frozen=True):
    """A request as the transport sends it; `head` ends after its last field's CRLF."""

    method: str
    head: bytes
    names: frozenset[bytes]  # Lower case; guards against a second field for the key.
    body: bytes
    stream: httpx.AsyncByteStream | None = None  # Instead of `body`: not repeatable.
    length: int | None = None  # What the head declares for `stream`; None: chunked.

    def __repr__(self) -> str:
        """Neither head nor body."""
        return f"<Outgoing {self.method} {len(self.body)} bytes>"


class PreparedRequest(httpx.Request):
    """An `httpx.Request` that knows its rendered head."""

    def __init__(
        self,
        prepared: "Prepared",
        body: bytes,
        extensions: Mapping[str, Any] | None,
        extra: RawHeaders,
    ) -> None:
        # What httpx.Request.__init__ sets, without its parsing: a test holds this to
        # the attributes of a stock request.
        self.method = prepared.method
        self.url = prepared.url
        self.extensions = {} if extensions is None else dict(extensions)
        self.prepared = prepared
        self.extra = extra
        self._content = body  # Where httpx keeps a body that was read.
        self._stream: Body | None = None
        self._headers: httpx.Headers | None = None

    # Likewise lazy: our own transport looks at `body`.
    @property
    def stream(self) -> Body:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The body, for other transports; each look may read it from the start."""
        return httpx.ByteStream(self._content) if self._stream is None else self._stream

    @stream.setter
    def stream(self, stream: Body) -> None:
        self._stream = stream

    @property
    def body(self) -> bytes:
        """The body; the same as `content`."""
        return self._content

    # httpx has a plain attribute here, which a lazy one has to shadow.
    @property
    def headers(self) -> httpx.Headers:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All fields but the key's; made at the first look, yours to change."""
        if self._headers is None:
            length = (b"content-length", b"%d" % len(self._content))
            fields = [*self.prepared.headers, *self.extra, length]
            self._headers = httpx.Headers(fields)
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers

    @property
    def untouched(self) -> bool:
        """Whether nobody saw, and so nobody changed, the headers; nor set a body."""
        return self._headers is None and self._stream is None


class Prepared:
    """The constant part of all requests to one endpoint."""

    __slots__ = ("head", "headers", "method", "names", "origin", "url")

    def __init__(self, method: str, url: httpx.URL, static_headers: RawHeaders) -> None:
        """See `prepare`."""
        self.method: Final = method.upper()
        self.url: Final = url
        self.origin: Final = origin_of(url)
        given = {name.lower() for name, _ in static_headers}
        if given & _FRAMING:
            raise httpx.LocalProtocolError(
                "content-length and transfer-encoding follow from the body;"
                " leave them out of the static headers"
            )
        fields = list(static_headers)
        if b"host" not in given:
            fields.insert(0, (b"host", url.netloc))
        if b"accept-encoding" not in given:
            # Deltas are looked at as they pass: compressed ones would only cost.
            fields.append((b"accept-encoding", b"identity"))
        self.headers: Final = tuple(fields)
        self.names: Final = frozenset(name.lower() for name, _ in fields)
        line = _request_line(self.method, url)
        self.head: Final = line + render_fields(fields)

    def request(
        self,
        body: bytes,
        extensions: Mapping[str, Any] | None = None,
        headers: RawHeaders = (),
    ) -> PreparedRequest:
        """Make one request; `headers` are those that vary from call to call."""
        return PreparedRequest(self, body, extensions, headers)

    def __repr__(self) -> str:
        return f"<Prepared {self.method} {self.origin}>"


def prepare(
    base_url: str | httpx.URL,
    path: str,
    static_headers: RawHeaders,
    *,
    method: str = "POST",
) -> Prepared:
    """Render what all requests to `base_url` + `path` have in common.

    Raises:
        httpx.UnsupportedProtocol: the scheme is neither http nor https.
        httpx.LocalProtocolError: a field could not be sent as it is.
    """
    base = str(base_url).rstrip("/")
    url = httpx.URL(f"{base}/{path.lstrip('/')}" if path else base)
    return Prepared(method, url, static_headers)


class UpstreamResponse(httpx.Response):
    """An `httpx.Response` over the raw fields; only what is asked for is parsed."""

    def __init__(
        self,
        status_code: int,
        raw_headers: list[tuple[bytes, bytes]],
        stream: httpx.AsyncByteStream,
        request: httpx.Request,
        extensions: dict[str, Any],
    ) -> None:
        # What httpx.Response.__init__ sets, likewise held by a test.
        self.status_code = status_code
        self._request = request
        self.next_request = None
        self.extensions = extensions
        self.history = []
        self.is_closed = False
        self.is_stream_consumed = False
        self.default_encoding = "utf-8"
        self.stream = stream
        self._body = stream
        self._num_bytes_downloaded = 0
        self.raw_headers = raw_headers
        self._headers: httpx.Headers | None = None

    @property
    def headers(self) -> httpx.Headers:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All fields as httpx's mapping; made at the first look."""
        if self._headers is None:
            self._headers = httpx.Headers(self.raw_headers)
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers

    async def aclose(self) -> None:
        """Let go of the body; httpx's own asks first what kind of body it is."""
        if not self.is_closed:
            self.is_closed = True
            await self._body.aclose()


class FieldMap(Mapping[str, str]):
    """Raw header fields as a mapping, for who asks for one or two; the first counts."""

    __slots__ = ("_raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        """The first field of this name, in whatever case."""
        wanted = name.lower().encode("latin-1")
        for key, value in self._raw:
            if key.lower() == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Names in lower case, each once."""
        return iter(
            dict.fromkeys(key.lower().decode("latin-1") for key, _ in self._raw)
        )

    def __len__(self) -> int:
        """How many names there are."""
        return len({key.lower() for key, _ in self._raw})

    def __repr__(self) -> str:
        """Without values."""
        return f"<FieldMap {len(self._raw)} fields>"


def raw_fields(response: httpx.Response) -> RawHeaders:
    """The fields of any response's head, as they came."""
    if isinstance(response, UpstreamResponse):
        return response.raw_headers
    return response.headers.raw


def field_map(response: httpx.Response) -> Mapping[str, str]:
    """The fields of any response's head by name; httpx's own are made only if there."""
    if isinstance(response, UpstreamResponse):
        return FieldMap(response.raw_headers)
    return response.headers


def header(response: httpx.Response, name: bytes) -> bytes | None:
    """Return the first field called `name` (lower case) of any response, cheaply."""
    size = len(name)
    for key, value in raw_fields(response):
        if len(key) == size and key.lower() == name:
            return value
    return None


def origin_of(url: httpx.URL) -> Origin:
    """Where a URL's connection leads.

    Raises:
        httpx.UnsupportedProtocol: the scheme is neither http nor https, or no host.
    """
    port = PORTS.get(url.scheme)
    host = url.raw_host.decode("ascii")
    if port is None or not host:
        raise httpx.UnsupportedProtocol(
            f"a provider's URL begins with http:// or https:// and names a host;"
            f" this one has scheme {url.scheme!r}"
        )
    return Origin(url.scheme, host, url.port or port)


def render_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Render header fields, refusing any that would not arrive as one field.

    Raises:
        httpx.LocalProtocolError: naming the field, never its value.
    """
    rendered = bytearray()
    for name, value in fields:
        if not _TOKEN(name):
            raise httpx.LocalProtocolError(f"{name!r} is no name for a header field")
        if not _VALUE(value):
            raise httpx.LocalProtocolError(
                f"the value of header field {name.decode('ascii')} has line ends,"
                " control characters or blanks around it; strip it first"
            )
        rendered += b"%b: %b\r\n" % (name, value)
    return bytes(rendered)


def outgoing(request: httpx.Request) -> Outgoing:
    """Turn a request into what is sent.

    Raises:
        httpx.LocalProtocolError: it contradicts itself or could not be framed.
    """
    if isinstance(request, PreparedRequest) and request.untouched:
        return _outgoing_prepared(request)
    return _outgoing_stock(request)


def _outgoing_prepared(request: PreparedRequest) -> Outgoing:
    prepared = request.prepared
    body = request.body
    if not request.extra:
        head = b"%bcontent-length: %d\r\n" % (prepared.head, len(body))
        return Outgoing(prepared.method, head, prepared.names, body)
    extra = {name.lower() for name, _ in request.extra}
    if extra & (_FRAMING | _PER_ORIGIN):
        raise httpx.LocalProtocolError(
            "host, accept-encoding, content-length and transfer-encoding"
            " do not vary from call to call"
        )
    fields = render_fields(request.extra)
    head = b"%b%bcontent-length: %d\r\n" % (prepared.head, fields, len(body))
    return Outgoing(prepared.method, head, prepared.names | extra, body)


def _outgoing_stock(request: httpx.Request) -> Outgoing:
    fields = request.headers.raw
    lower = [name.lower() for name, _ in fields]
    names = frozenset(lower)
    for once in (b"host", b"content-length", b"transfer-encoding"):
        if lower.count(once) > 1:
            raise httpx.LocalProtocolError(f"two header fields {once.decode()}")
    if b"host" not in names:
        fields.insert(0, (b"host", request.url.netloc))
    if b"accept-encoding" not in names:
        fields.append((b"accept-encoding", b"identity"))
    line = _request_line(request.method, request.url)
    body, stream = _body_of(request)
    declared = _declared_length(request, names)
    chunked = b"transfer-encoding" in names
    if stream is None:
        if chunked:  # The whole body is here: a length says it better.
            fields = [f for f in fields if f[0].lower() != b"transfer-encoding"]
        if declared is None:
            if body or request.method in ("POST", "PUT", "PATCH"):
                fields.append((b"content-length", b"%d" % len(body)))
        elif declared != len(body):
            raise httpx.LocalProtocolError(
                f"content-length says {declared}, the body has {len(body)} bytes"
            )
    elif declared is None and not chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    head = line + render_fields(fields)
    return Outgoing(request.method, head, names, body, stream, declared)


def _declared_length(request: httpx.Request, names: frozenset[bytes]) -> int | None:
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise httpx.LocalProtocolError(
                "both content-length and transfer-encoding: choose one"
            )
        if request.headers["transfer-encoding"].lower() != "chunked":
            raise httpx.LocalProtocolError("a transfer coding other than chunked")
        return None
    if b"content-length" not in names:
        return None
    text = request.headers["content-length"]
    if not (text.isascii() and text.isdigit()):
        raise httpx.LocalProtocolError("content-length is no number")
    return int(text)


def _body_of(request: httpx.Request) -> tuple[bytes, httpx.AsyncByteStream | None]:
    stream = request.stream
    # ByteStream is both; any other stream may give its bytes only once.
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream), None
    if isinstance(stream, httpx.AsyncByteStream):
        return b"", stream
    return b"".join(stream), None


def _request_line(method: str, url: httpx.URL) -> bytes:
    verb = method.encode("ascii", "replace")
    if not _TOKEN(verb) or verb == b"CONNECT":
        raise httpx.LocalProtocolError(f"{method!r} is no method this transport sends")
    target = url.raw_path
    if not _TARGET(target):
        raise httpx.LocalProtocolError(
            "the URL's path has blanks or control characters"
        )
    return b"%b %b HTTP/1.1\r\n" % (verb, target)
