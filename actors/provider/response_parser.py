"""One HTTP/1.1 response: bytes in, a head and body pieces out. Pure: no I/O.

Strict on purpose, because a lenient client is half of a response-splitting bug: it
refuses what llhttp refuses, any version but 1.0 and 1.1, any transfer coding but
`chunked`, upgrades nobody asked for, and an end of stream before the declared end.
One parser reads one response; interim 1xx responses before it are skipped.

Owns the bounds of a head. Never keeps more than one read's worth of body.
"""

from typing import Final

import httptools

HEAD_BYTES_MAX: Final = 65_536  # Four times what nginx and Apache send at most.
HEADERS_MAX: Final = 256  # Real heads hold 10 to 40; a hash map's worth is an attack.
INTERIM_MAX: Final = 16  # 1xx responses; 100 and a few 103 are plausible, more is not.

_H: Final = ord("H")


class BadResponse(Exception):
    """The peer's bytes are no acceptable response; the text quotes none of them."""


class _Enough(Exception):
    """Stops the parser where our response ends."""


class ResponseParser:
    """Reads one response; feed it until `complete`, take what it has."""

    __slots__ = (
        "_chunked",
        "_declared",
        "_head_bytes",
        "_head_only",
        "_interims",
        "_parser",
        "_pieces",
        "_surplus",
        "_untouched_bytes",
        "complete",
        "head_complete",
        "headers",
        "on_body",
        "received",
        "status",
        "version",
    )

    def __init__(self, *, head_only: bool = False) -> None:
        """`head_only` is for HEAD: its response declares a body that never comes."""
        self.status = 0
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_complete = False
        self.complete = False
        self.received = False  # Whether any byte came at all.
        self._head_only = head_only
        self._declared = False
        self._chunked = False
        self._head_bytes = 0
        self._untouched_bytes = 0
        self._interims = 0
        self._surplus = False
        self._pieces: list[bytes] = []
        # A builtin instead of a method: no Python frame per piece.
        self.on_body = self._pieces.append
        # A cycle (the parser holds our methods) that `_finish` and `abandon` cut.
        self._parser: httptools.HttpResponseParser | None = (
            httptools.HttpResponseParser(self)
        )

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after this response."""
        return self.complete and not self._surplus

    @property
    def has_pieces(self) -> bool:
        """Whether `take` would return bytes."""
        return bool(self._pieces)

    def take(self) -> bytes:
        """Return the body bytes parsed since the last call, joined."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        body = b"".join(pieces)
        pieces.clear()
        return body

    def feed(self, data: bytes) -> None:
        """Parse what one read brought.

        Raises:
            BadResponse: the bytes break the protocol or a bound.
        """
        parser = self._parser
        if parser is None:
            self._surplus = True
            return
        if not self.received:
            self.received = True
            # llhttp also speaks RTSP and ICE, and forgives leading line ends.
            if data[0] != _H:
                raise BadResponse("the response does not begin with HTTP/1.")
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadResponse("the peer upgrades, which nobody asked for") from None
        except httptools.HttpParserError as error:
            if self.complete:
                # What follows the end concerns nobody but the connection's reuse.
                self._surplus = True
                self._finish()
                return
            cause = error.__context__
            if isinstance(cause, BadResponse):
                raise cause from None
            raise BadResponse(f"the response is malformed: {error}") from None
        if self.complete:
            self._finish()
        elif self._pieces:
            self._untouched_bytes = 0
        else:
            # Heads, trailers and chunk extensions that yield no body: bounded as one.
            self._untouched_bytes += len(data)
            if self._untouched_bytes > HEAD_BYTES_MAX:
                raise BadResponse(
                    f"more than {HEAD_BYTES_MAX} bytes of head or trailers"
                )

    def feed_eof(self) -> None:
        """The peer closed its side.

        Raises:
            BadResponse: the response was not over.
        """
        if self.complete:
            return
        if not self.received:
            raise BadResponse("the peer closed before any byte of a response")
        if not self.head_complete:
            raise BadResponse("the peer closed in the middle of the head")
        if self._declared or self._chunked:
            raise BadResponse("the peer closed before the end of the body")
        # Neither a length nor chunks: the close is the end, and ends the connection.
        self._surplus = True
        self.complete = True
        self._finish()

    def abandon(self) -> None:
        """Let go of the parser, so that no cycle waits for the collector."""
        self._parser = None

    def _finish(self) -> None:
        self._parser = None

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """Refuse whatever follows the response."""
        if self.complete:
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, or drop one of the trailers."""
        # Trailers count too, and are dropped: no dialect puts meaning there, and
        # merging them into the head is a known smuggling path.
        self._head_bytes += len(name) + len(value) + 4
        headers = self.headers
        if self._head_bytes > HEAD_BYTES_MAX:
            raise BadResponse(f"the head is larger than {HEAD_BYTES_MAX} bytes")
        if self.head_complete:
            return
        if len(headers) >= HEADERS_MAX:
            raise BadResponse(f"the head has more than {HEADERS_MAX} fields")
        headers.append((name, value.rstrip(b" \t")))
        # By length first: two compares a field instead of a lower() each.
        size = len(name)
        if size == 17 and name.lower() == b"transfer-encoding":
            if self._chunked or value.strip().lower() != b"chunked":
                raise BadResponse("a transfer coding other than chunked")
            self._chunked = True
        elif size == 14 and name.lower() == b"content-length":
            self._declared = True

    def on_headers_complete(self) -> None:
        """Take the status; know whether a body can follow."""
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise BadResponse("the peer upgrades, which nobody asked for")
            self._interims += 1
            if self._interims > INTERIM_MAX:
                raise BadResponse(f"more than {INTERIM_MAX} interim responses")
            return
        version = parser.get_http_version()
        if version != "1.1":
            if version != "1.0":
                raise BadResponse("the version is neither HTTP/1.0 nor HTTP/1.1")
            if self._chunked:
                raise BadResponse("an HTTP/1.0 response cannot be chunked")
            self.version = version
        self.status = status
        self.head_complete = True
        if self._head_only:
            # llhttp would now wait for the body that was only announced. What it
            # would have read is unknown, so the connection is not used again.
            self.complete = True
            self._surplus = True
            raise _Enough

    def on_message_complete(self) -> None:
        """End the response, or the interim one before it."""
        if not self.head_complete:
            # An interim response: forget its fields, wait for the real one.
            self.headers.clear()
            self._declared = self._chunked = False
            return
        self.complete = True
        parser = self._parser
        if parser is not None and not parser.should_keep_alive():
            self._surplus = True

    def __repr__(self) -> str:
        state = (
            "complete"
            if self.complete
            else "body"
            if self.head_complete
            else "head"
            if self.received
            else "waiting"
        )
        return f"<ResponseParser {state} status={self.status or '-'}>"
