"""What the keeper can be asked and told.

`Keep` opens a `Recording`, which whoever reads the answer fills; `Finished` says that
it is complete. A background answer is read by the keeper itself (`Adopt`), so that it
goes on without its client. Everything is found by site and id: what another site has
does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actors.keeper.recording import Recording
from actors.stream.messages import Opened
from runtime import ControlTell, Request

if TYPE_CHECKING:
    from actors.keeper.actor import Keeper


class Kept(Struct, frozen=True):
    """A finished answer, as it lies on the shelf.

    Args:
        id: as its client knows it.
        upstream_id: as the provider that gave it knows it; empty where it is ours.
        provider: who gave it.
        previous: the answer it went on from, by the client's id.
        input: the request's own items.
        answer: the response object.
        events: its stream, compressed; empty where it was not streamed.
    """

    id: str
    upstream_id: str
    provider: str
    previous: str
    background: bool
    input: tuple[bytes, ...]
    answer: bytes
    events: bytes

    def __repr__(self) -> str:
        """Without what was asked and answered."""
        return f"<Kept {self.id} from {self.provider}>"


class Unknown(Struct, frozen=True):
    """There is no such answer, or it is another site's: nobody can tell."""


class NotKept(Struct, frozen=True):
    """It cannot be recorded now, and why."""

    why: str


class Keep(Request["Keeper", "Recording | NotKept"], frozen=True):
    """Record the answer to this request."""

    site: str
    request_id: str
    input: tuple[bytes, ...]
    previous: str
    background: bool
    streamed: bool
    placeholder: bytes

    def __repr__(self) -> str:
        """Without the prompt."""
        return f"<Keep {self.request_id} of {self.site}>"


class Adopt(ControlTell["Keeper"], frozen=True):
    """Read this answer to its end, whether or not its client stays."""

    recording: Recording
    opened: Opened


class Named(ControlTell["Keeper"], frozen=True):
    """The answer has told its own id."""

    recording: Recording


class Finished(ControlTell["Keeper"], frozen=True):
    """Nothing more comes."""

    recording: Recording


class Answered(ControlTell["Keeper"], frozen=True):
    """Who answered a request; comes before `Finished`."""

    request_id: str
    provider: str


class Find(Request["Keeper", "Recording | Kept | Unknown"], frozen=True):
    """The answer with this id."""

    site: str
    id: str


class Recall(Request["Keeper", "Recalled | Unknown"], frozen=True):
    """All that was said up to and with this answer."""

    site: str
    id: str


class Recalled(Struct, frozen=True):
    """A conversation: its items, oldest first, and where its last answer is known.

    `upstream_id` is empty where no provider stores it.
    """

    items: tuple[bytes, ...]
    provider: str
    upstream_id: str

    def __repr__(self) -> str:
        """Without what was said."""
        return f"<Recalled {len(self.items)} items>"


class NotForgotten(Struct, frozen=True):
    """It is still there, since its provider's copy is; why that is."""

    provider: str
    why: str


class Forget(Request["Keeper", "bool | NotForgotten"], frozen=True):
    """Delete it, first where its provider keeps it; whether it was there."""

    site: str
    id: str


class Cancel(
    Request["Keeper", "Literal['ending', 'over', 'foreground', 'unknown']"], frozen=True
):
    """End a background answer that is still running."""

    site: str
    id: str
