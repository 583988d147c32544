"""Streams: the parent of every stream. Opens them, ends some, keeps all awake.

Owns: nothing of a request; each stream does. It spawns one actor for each, which no
failure restarts, and looks now and then which of them have said nothing for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from actors.stream.actor import Stream
from actors.stream.heart import LOOKS
from actors.stream.messages import (
    CHUNKS_BUFFERED_MAX,
    EndIfOf,
    EndStreams,
    Open,
    Opened,
    Piece,
)
from actors.stream.peers import Peers
from runtime import (
    ChildSpec,
    Context,
    ControlTell,
    Draining,
    ReceiverGone,
    StreamChannel,
    Supervisor,
    answers,
    handles,
)
from wire.dialect import HEARTBEAT_S


class Beat(ControlTell["Streams"], frozen=True):
    """An alarm: look which streams are silent."""


class Streams(Supervisor):
    """Parent of all streams: opens one for each request, and keeps clients awake."""

    def __init__(
        self, peers: Callable[[Context], Peers], silent_s: float = HEARTBEAT_S
    ) -> None:
        super().__init__()
        self.peers_of = peers
        self.look_s = silent_s / LOOKS
        self.beating = False

    def on_start(self) -> None:
        """Find the others; they were started before."""
        self.peers = self.peers_of(self.ctx)

    @handles(Beat)
    def beat(self, msg: Beat) -> None:
        """Send heartbeats; look again as long as a stream is open."""
        del msg
        heart = self.peers.heart
        for channel, beat in heart.look():
            # A full channel, or one whose client has just left, needs none.
            with suppress(trio.WouldBlock, ReceiverGone):
                channel.send_nowait(beat)
        self.beating = bool(len(heart))
        if self.beating:
            self.ctx.tell_at(self.peers.now() + self.look_s, Beat())

    def _keep_awake(self, channel: StreamChannel[Piece], beat: bytes) -> None:
        self.peers.heart.add(channel, beat)
        if not self.beating:
            self.beating = True
            self.ctx.tell_at(self.peers.now() + self.look_s, Beat())

    @answers(Open)
    def open(self, msg: Open) -> Opened:
        """Start a stream. Raises Draining when the gateway is on its way out."""
        if self.ctx.draining:
            raise Draining(self.ctx.id)
        channel: StreamChannel[Piece] = StreamChannel(CHUNKS_BUFFERED_MAX)
        inquiry = msg.inquiry
        if msg.beats and inquiry.head.stream:
            self._keep_awake(channel, inquiry.dialect.heartbeat)
        ref = self.ctx.spawn(
            ChildSpec(
                inquiry.request_id,
                lambda: Stream(self.peers, inquiry, channel),
                restart="temporary",
            )
        )
        return Opened(ref, channel)

    @handles(EndStreams)
    def end_streams(self, msg: EndStreams) -> None:
        """Tell all; each knows its own key."""
        told = EndIfOf(msg)
        for stream in self.ctx.children:
            stream.offer(told)
