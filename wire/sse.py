r"""Server-sent events, both directions, after the WHATWG grammar. Sans-io.

Two layers, so that a relay pays only for the first:

- `SseSplitter` cuts any bytes at blank lines: one BOM dropped, CR, LF and CRLF made LF,
  whole events out, the unfinished one kept.
- `SseDecoder` parses those events into `Frame`s.

Theory of operation: almost all of what providers send is `data: {…}\n\n`, whole
frames in a chunk. Then splitting is one `rfind`, one `split` and a slice a frame, all
in C; lines are looked at one by one only where a frame is not of that shape.

Never raises anything but `SseError`, and only for the named bounds: SSE has no invalid
input. Lines that are no field at all are surfaced as `strays`: Gemini reports errors
in mid-stream as bare JSON lines, which the grammar tells everybody to ignore.
"""

from msgspec import Struct

LINE_BYTES_MAX = 16 * 1024 * 1024
"""A generated picture is one line of base64: 4K pictures come near 12 MiB."""

EVENT_BYTES_MAX = 24 * 1024 * 1024
"""One whole event. Only a broken or hostile upstream sends more than a picture."""

STRAYS_BYTES_MAX = 64 * 1024
"""Bare lines kept for the caller. An error body is some kB; the rest is dropped."""

_BOM = b"\xef\xbb\xbf"

# As numbers: for `b"\r" in data` CPython first makes an exception, that b"\r" is none,
# which costs thirty times as much as to look for it.
LF = 10
CR = 13


class SseError(ValueError):
    """A bound was passed. The frames before it were answered; nothing follows it."""


class Frame(Struct, gc=False):
    """One dispatched event. `event` is "" where the stream named none ("message")."""

    data: bytes
    event: str = ""
    id: str | None = None
    retry_ms: int | None = None


class SseSplitter:
    """Cuts a byte stream into whole events, each ending in one blank line.

    Owns the bytes of the unfinished event, at most `event_bytes_max` and a chunk. Past
    a bound it answers what was whole before, and raises from the next feed on.
    """

    def __init__(
        self,
        *,
        line_bytes_max: int = LINE_BYTES_MAX,
        event_bytes_max: int = EVENT_BYTES_MAX,
    ) -> None:
        self._line_bytes_max = line_bytes_max
        self._event_bytes_max = event_bytes_max
        self._pieces: list[bytes] = []
        self._size = 0
        self._line_size = 0
        self._at_start = True
        self._after_cr = False
        self._careful = (
            True  # At the start, after a CR, after an error: not the fast way.
        )
        self.error: SseError | None = None

    def __repr__(self) -> str:
        return f"<SseSplitter {self._size} bytes unfinished>"

    @property
    def tail(self) -> bytes:
        """The event that is not finished, with LF line ends."""
        return b"".join(self._pieces)

    def feed(self, data: bytes) -> bytes:
        r"""Answer the events now complete, as one run that ends in ``\n\n``, or b"".

        A run may begin with blank lines. Raises SseError once a bound was passed.
        """
        if self._careful or CR in data:
            data = self._normalise(data)
        if self._pieces:
            return self._feed_onto_pieces(data)
        if data.endswith(b"\n\n"):
            return data if len(data) <= self._line_bytes_max else self._bounded(data)
        cut = data.rfind(b"\n\n") + 2
        if cut == 1:  # rfind said -1: no blank line in it.
            self._keep(data)
            return b""
        self._keep(data[cut:])
        run = data[:cut]
        return run if cut <= self._line_bytes_max else self._bounded(run)

    def _feed_onto_pieces(self, data: bytes) -> bytes:
        cut = data.rfind(b"\n\n") + 2
        if cut == 1:
            # The blank line may straddle the seam.
            if not (self._pieces[-1].endswith(b"\n") and data.startswith(b"\n")):
                self._keep(data)
                return b""
            cut = 1
        run = b"".join((*self._pieces, data[:cut]))
        self._pieces.clear()
        self._size = self._line_size = 0
        self._keep(data[cut:])
        return run if len(run) <= self._line_bytes_max else self._bounded(run)

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        newline = data.rfind(b"\n")
        if newline < 0:
            self._line_size += len(data)
        else:
            self._line_size = len(data) - newline - 1
        if self._size > self._event_bytes_max:
            self._fail(f"an event is longer than {self._event_bytes_max} bytes")
        elif self._line_size > self._line_bytes_max:
            self._fail(f"a line is longer than {self._line_bytes_max} bytes")

    def _bounded(self, run: bytes) -> bytes:
        """Of a run that is long enough to hide an overlong event: what is before it."""
        good = 0
        for event in run.split(b"\n\n"):
            if len(event) > self._event_bytes_max:
                self._fail(f"an event is longer than {self._event_bytes_max} bytes")
                break
            if len(event) > self._line_bytes_max and any(
                len(line) > self._line_bytes_max for line in event.split(b"\n")
            ):
                self._fail(f"a line is longer than {self._line_bytes_max} bytes")
                break
            good += len(event) + 2
        return run[:good]

    def _fail(self, why: str) -> None:
        self.error = SseError(why)
        self._pieces.clear()
        self._size = self._line_size = 0
        self._careful = True

    def _normalise(self, data: bytes) -> bytes:
        """Drop one BOM at the start; make CR and CRLF LF, also when cut in between."""
        if self.error is not None:
            raise self.error
        if self._at_start:
            data = b"".join((*self._pieces, data))
            self._pieces.clear()
            self._size = self._line_size = 0
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._keep(data)  # Perhaps half a BOM: wait for the rest of it.
                return b""
            self._at_start = False
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            # That CR already ended its line; an LF now is the other half of it.
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._careful = self._after_cr
        return data


def split_events(run: bytes) -> list[bytes]:
    r"""The events of a run from `SseSplitter.feed`, without their blank lines."""
    if run.find(LF) == len(run) - 2:  # Most runs are one event of one line.
        return [run[:-2]]
    events = run.split(b"\n\n")
    events.pop()  # What follows the last blank line is empty.
    return events


class SseDecoder:
    """Bytes into frames; `tail` and `strays` are what the grammar says to drop."""

    def __init__(
        self,
        *,
        line_bytes_max: int = LINE_BYTES_MAX,
        event_bytes_max: int = EVENT_BYTES_MAX,
    ) -> None:
        self._splitter = SseSplitter(
            line_bytes_max=line_bytes_max, event_bytes_max=event_bytes_max
        )
        self.strays: list[bytes] = []
        self._strays_size = 0

    def __repr__(self) -> str:
        return f"<SseDecoder strays={len(self.strays)} {self._splitter!r}>"

    @property
    def error(self) -> SseError | None:
        """Set once a bound was passed; the next feed raises it."""
        return self._splitter.error

    @property
    def tail(self) -> bytes:
        """The unfinished last event, which the grammar says to drop."""
        return self._splitter.tail

    def feed(self, data: bytes) -> list[Frame]:
        """Answer the frames now complete. Raises SseError once a bound was passed."""
        run = self._splitter.feed(data)
        if not run:
            return []
        frames: list[Frame] = []
        for event in split_events(run):
            if event.startswith(b"data: ") and LF not in event:
                frames.append(Frame(event[6:]))
            elif event:
                frame = self._parse(event)
                if frame is not None:
                    frames.append(frame)
        return frames

    def _parse(self, event: bytes) -> Frame | None:
        strays: list[bytes] = []
        frame = parse_event(event, strays)
        for stray in strays:
            self._strays_size += len(stray)
            if self._strays_size <= STRAYS_BYTES_MAX:
                self.strays.append(stray)
        return frame


def parse_event(event: bytes, strays: list[bytes] | None = None) -> Frame | None:
    """Parse the lines of one event (LF ends, no blank line); None when it has no data.

    Lines that are neither field nor comment are added to `strays`.
    """
    if event.startswith(b"event: ") and event.count(b"\n") == 1:
        # The other common shape: a name, then one line of data.
        told, found, data = event.partition(b"\ndata: ")
        if found:
            return Frame(data, told[7:].decode("utf-8", "replace"))
    datas: list[bytes] = []
    name = ""
    last_id: str | None = None
    retry_ms: int | None = None
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            datas.append(line[6:] if line.startswith(b"data: ") else line[5:])
            continue
        if not line or line.startswith(b":"):
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                datas.append(value)
            case b"event":
                name = value.decode("utf-8", "replace")
            case b"id":
                if b"\0" not in value:
                    last_id = value.decode("utf-8", "replace")
            case b"retry":
                if value.isdigit() and len(value) <= 9:  # ASCII digits; 11 days do.
                    retry_ms = int(value)
            case _:
                if strays is not None:
                    strays.append(line)
    if not datas:
        return None
    return Frame(b"\n".join(datas), name, last_id, retry_ms)


HEARTBEAT = b": hb\n"
"""A comment with no blank line after it. With one, OpenAI's own client for Python
dispatches an empty event once it has seen any `id:`, and dies of it."""


def comment(text: str) -> bytes:
    """A comment line for a human with curl; never the blank line (see HEARTBEAT)."""
    assert "\n" not in text
    assert "\r" not in text
    return b": " + text.encode() + b"\n"


def encode_data(data: bytes) -> bytes:
    """One frame of JSON (which has no line ends in it) without a name."""
    return b"data: " + data + b"\n\n"


def encode_frame(
    data: bytes,
    *,
    event: str = "",
    id: str | None = None,  # noqa: A002 - SSE's word
) -> bytes:
    """One frame. LF only, `id` only where the client opted in to resuming."""
    lines: list[bytes] = []
    if event:
        assert "\n" not in event
        assert "\r" not in event
        lines.append(b"event: " + event.encode())
    if id is not None:
        assert not set(id) & {"\n", "\r", "\0"}
        lines.append(b"id: " + id.encode())
    if CR in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines.extend(b"data: " + line for line in data.split(b"\n"))
    return b"\n".join(lines) + b"\n\n"
