"""What streams can be asked and told, and what comes out of their channels.

`Open` starts one actor for one request. Its answer comes through the channel: either
one `Whole`, or `Begin` and then bytes. The channel's end says how it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actors.directory.messages import KeyTerms
from actors.router.messages import Deployment, Plan
from runtime import ControlTell, Ref, Request, StreamChannel, Tell
from wire.dialect import ClientDialect, Head, Headers
from wire.trace_context import Trace

if TYPE_CHECKING:
    from actors.stream.actor import Stream
    from actors.stream.aside import Asides
    from actors.stream.session import Session, Sessions
    from actors.stream.streams import Streams

CHUNKS_BUFFERED_MAX = 16  # 80 ms of a fast model; a slow client stops the read beyond.


KEY_REVOKED = "its API key was revoked"
SITE_CLOSED = "its site was suspended or removed"
PAGE_ASTRAY = "its page's origin is not allowed any more"

Operation = Literal["chat", "embed", "count"]


class Aside(Struct, frozen=True):
    """Why something is asked that no client waits for.

    A `mirror` copies the request `of` for another deployment to answer as well; a
    `probe` is a question of the gateway's own, about a deployment's health.
    """

    kind: Literal["mirror", "probe"]
    of: str = ""


class Inquiry(Struct, frozen=True):
    """What one client asks for. Never shown: `body` is its prompt.

    `stored_at` is the provider that holds what this goes on from: it is tried first,
    with `stored_body`, which names it there; everybody else gets the whole `body`.
    `feature` is what the client calls this use: a tag for usage, nothing else. `only`
    is the deployment an operator tries: there is no plan then, and nobody else.
    `aside` says that no client waits for the answer, and why it is asked for.
    """

    request_id: str
    site: str
    key_id: str
    operation: Operation
    dialect: ClientDialect
    head: Head
    body: bytes
    headers: Headers
    terms: KeyTerms | None = None  # What its key may do, on top of its site.
    stored_at: str = ""
    stored_body: bytes = b""
    feature: str = ""
    only: Deployment | None = None
    page: str = ""  # The origin of the page that reads it, where a grant let it.
    people: tuple[str, str] = ("", "")  # Its user and address, as records name them.
    aside: Aside | None = None
    trace: Trace | None = None  # None: nobody traces it.

    @property
    def for_page(self) -> bool:
        """Whether strangers read the answer: it names no sums of the site."""
        return bool(self.page)

    def body_for(self, provider: str) -> bytes:
        """What this provider is asked."""
        stored = self.stored_at and provider == self.stored_at
        return self.stored_body if stored else self.body

    def __repr__(self) -> str:
        """Without body and headers."""
        return f"<Inquiry {self.request_id} site={self.site} {self.head!r}>"


class Begin(Struct, frozen=True):
    """The head of a streamed answer."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Whole(Struct, frozen=True):
    """A complete answer.

    `event` is an error as the stream's last event, for a client whose stream had to
    be begun before there was an answer, to keep it alive.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    event: bytes = b""


Piece = Begin | Whole | bytes


class Open(Request["Streams", "Opened"], frozen=True):
    """Serve this inquiry. `beats`: send heartbeats while its stream is silent."""

    inquiry: Inquiry
    beats: bool = False


class OpenAside(Tell["Asides"], frozen=True):
    """Ask this as well, for nobody to read. Where there is no room it is dropped.

    `plan` is of the one deployment that is asked.
    """

    inquiry: Inquiry
    plan: Plan


class Opened(Struct, frozen=True):
    """A running stream: tell `ref` when the client goes, read from `channel`."""

    ref: Ref[Stream]
    channel: StreamChannel[Piece]


class Link:
    """The two channels of a session, and with which code and why it ended.

    Shared memory, like the channels: the session writes the end, its reader reads it.
    """

    __slots__ = ("code", "from_client", "reason", "to_client")

    def __init__(
        self, to_client: StreamChannel[Piece], from_client: StreamChannel[bytes]
    ) -> None:
        self.to_client = to_client
        self.from_client = from_client
        self.code = 0
        self.reason = ""

    def __repr__(self) -> str:
        """Both ways, and the end."""
        return f"<Link {self.to_client!r} {self.from_client!r} code={self.code}>"

    def end(self, code: int, reason: str) -> None:
        """Say how it ends; the first word counts."""
        if not self.code:
            self.code, self.reason = code, reason


class OpenSession(Request["Sessions", "OpenedSession"], frozen=True):
    """Begin a realtime session: the channels are the client's."""

    inquiry: Inquiry


class OpenedSession(Struct, frozen=True):
    """A session: `Begin` and events come out of it, or one `Whole` that refuses it."""

    ref: Ref[Session]
    link: Link


class ClientGone(ControlTell["Stream"], frozen=True):
    """The client left. The stream decides: cancel, or drain within bounds."""

    why: Literal["disconnected", "write_deadline", "aborted"] = "disconnected"


class EndStream(ControlTell["Stream"], frozen=True):
    """The gateway ends this stream: drain deadline, revoked key, revoked site key."""

    why: str


class EndStreams(ControlTell["Streams"], frozen=True):
    """End every stream of these sites, and every one begun with these keys.

    `astray`: and every one whose page may not have it any more.
    """

    why: str
    sites: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    astray: bool = False


class EndIfOf(ControlTell["Stream"], frozen=True):
    """The same, to one stream: it knows whose it is."""

    of: EndStreams
