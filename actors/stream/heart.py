"""Signs of life for clients whose stream is silent. Pure: no trio, no clock.

A stream that says nothing is cut by proxies (nginx after 60 s, Cloudflare after 100 s).
So who has had nothing for a while is sent the dialect's heartbeat, through the channel
like everything else: between two pieces, and in their order.

It costs a delta nothing: nobody times deltas. Every few seconds one look at each
channel's own count says whether anything came since the look before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

LOOKS: Final = 3  # In the time that a stream may be silent: it beats in the last third.


class Silent(Protocol):
    """What is looked at of a channel."""

    @property
    def passed(self) -> int:
        """How many items ever went in."""
        ...

    @property
    def depth(self) -> int:
        """How many wait for their reader."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        ...


C = TypeVar("C", bound=Silent)


class Heart(Generic[C]):
    """The open streams, each with what keeps its client awake."""

    def __init__(self) -> None:
        self._pulses: dict[C, _Pulse] = {}

    def __repr__(self) -> str:
        """How many it beats for."""
        return f"<Heart of {len(self._pulses)} streams>"

    def __len__(self) -> int:
        return len(self._pulses)

    def add(self, channel: C, beat: bytes) -> None:
        """Look after this stream until it ends."""
        self._pulses[channel] = _Pulse(beat, channel.passed)

    def discard(self, channel: C) -> None:
        """It has ended; harmless where it was not known."""
        self._pulses.pop(channel, None)

    def look(self) -> Iterator[tuple[C, bytes]]:
        """Whose client is to be sent what: those silent since two looks ago."""
        for channel, pulse in list(self._pulses.items()):
            if channel.ended:
                del self._pulses[channel]
            elif channel.passed != pulse.passed or channel.depth:
                # What lies there unread needs no company: the client is slow, not we.
                pulse.passed = channel.passed
                pulse.silent = 0
            else:
                pulse.silent += 1
                if pulse.silent >= LOOKS - 1:
                    yield channel, pulse.beat


class _Pulse:
    """How long one stream has been silent."""

    __slots__ = ("beat", "passed", "silent")

    def __init__(self, beat: bytes, passed: int) -> None:
        self.beat = beat
        self.passed = passed
        self.silent = 0
