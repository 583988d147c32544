"""A realtime session: a stream that talks both ways, for as long as both want to.

It is a `Stream` in all that matters outside: a slot in the records, a plan, a permit, a
lease for the one head that carries the key, watched by everybody. Its money is held an
answer at a time, and settled by what the provider says each one took:

    before an answer   a hold for the worst case of the next one stands
    response.created   that hold is the answer's
    response.done      settled at its usage; the next hold, or the session ends
    the client talks   what it said makes the next answer dearer: so does the hold

Events pass as they came, over one bounded channel each way: who does not read holds the
other side back.
"""

from __future__ import annotations

from typing import Final

from actors.router.messages import Plan
from actors.stream.actor import Stream
from actors.stream.aside import Asides
from actors.stream.attempt import Attempt
from actors.stream.messages import (
    CHUNKS_BUFFERED_MAX,
    Inquiry,
    Link,
    OpenedSession,
    OpenSession,
    Piece,
)
from actors.stream.policy import Failure
from actors.stream.prompt import Prompt
from actors.stream.session_call import FAILED, GOING_AWAY, SessionCall
from runtime import (
    ChildSpec,
    Draining,
    StreamChannel,
    answers,
)

EVENTS_BYTES_MAX: Final = 2**20  # Each way: some seconds of sound, or one long event.

NO_MONEY: Final = 4402


class Sessions(Asides):
    """Parent of all streams and sessions."""

    @answers(OpenSession)
    def open_session(self, msg: OpenSession) -> OpenedSession:
        """Start a session. Raises Draining when the gateway is on its way out."""
        if self.ctx.draining:
            raise Draining(self.ctx.id)
        inquiry = msg.inquiry
        to_client: StreamChannel[Piece] = StreamChannel(
            CHUNKS_BUFFERED_MAX, cost=_size, cost_max=EVENTS_BYTES_MAX
        )
        from_client: StreamChannel[bytes] = StreamChannel(
            CHUNKS_BUFFERED_MAX, cost=len, cost_max=EVENTS_BYTES_MAX
        )
        link = Link(to_client, from_client)
        ref = self.ctx.spawn(
            ChildSpec(
                inquiry.request_id,
                lambda: Session(self, inquiry, link),
                restart="temporary",
            )
        )
        return OpenedSession(ref, link)


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else 0


class Session(Stream):
    """One session."""

    def __init__(self, parent: Sessions, inquiry: Inquiry, link: Link) -> None:
        super().__init__(parent.peers, inquiry, link.to_client)
        self.link = link

    def __repr__(self) -> str:
        """As an operator wants it."""
        return super().__repr__().replace("<Stream", "<Session", 1)

    def on_drain(self, deadline: float) -> None:
        """Let the answer under way finish; without one, end at once."""
        super().on_drain(deadline)
        self.link.end(GOING_AWAY, "the gateway is stopping")
        call = self.current
        if isinstance(call, SessionCall):
            call.stopping = True
            ended = self.link.from_client.ended
            if call.phase == "session" and call.is_over and not ended:
                self.link.from_client.close("the gateway is stopping")

    async def _measure(self) -> Prompt:
        return self.prompt  # There is none yet.

    def _attempt(self, plan: Plan, place: int, failures: list[Failure]) -> Attempt:
        attempt = SessionCall(
            self.peers,
            self.ctx.ref,
            self.inquiry,
            plan,
            plan.candidates[place],
            sink=self.sink,
            prompt=self.prompt,
            set_alarm=self._set_alarm,
            opened=self.opened,
            turn_s=self._turn_s(plan, place, failures),
            patience_s=self._patience_s(plan, place, failures),
        )
        attempt.link = self.link
        self.attempts.append(attempt)
        self._answers(plan, attempt)
        return attempt

    def _close(self, why: str) -> None:
        link = self.link
        if not self.recorded:
            if self.ended_by and not self.sink.gone:
                link.end(GOING_AWAY if self.ctx.draining else FAILED, self.ended_by)
            elif self.fault is not None:
                code = self.fault.code or self.fault.kind
                money = code == "insufficient_quota"
                link.end(NO_MONEY if money else FAILED, code)
            elif why:
                link.end(FAILED, "the gateway failed")
            link.from_client.cancel("the session is over")
        super()._close(why)
