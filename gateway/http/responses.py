"""POST /v1/responses: an answer that is kept, gone on from, or given in the background.

Owns: what of the dialect's state the gateway takes on itself, whatever the provider.
The answer's bytes are not touched; they are recorded on their way (`Recording`).
Never: where answers lie and for how long; that is the keeper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.keeper.messages import (
    Adopt,
    Finished,
    Keep,
    Named,
    NotKept,
    Recall,
    Unknown,
)
from actors.keeper.recording import Recording
from actors.stream.messages import Inquiry, Opened, Piece
from gateway.gate import Gate
from gateway.http.answers import follow
from gateway.http.inquiries import Endpoint, fault_of
from gateway.http.replies import JSON, reply
from gateway.http.request import Request
from runtime import AskError, Ref
from wire import openai_responses_stored as stored
from wire.dialect import ClientError
from wire.events import Fault
from wire.openai_responses import RESPONSES, expand

if TYPE_CHECKING:
    from actors.keeper.actor import Keeper


class _Recorder:
    """A `Tap` that keeps what it hears."""

    def __init__(self, recording: Recording, keeper: Ref[Keeper]) -> None:
        self.recording = recording
        self.keeper = keeper

    def take(self, piece: Piece) -> None:
        """See Tap."""
        if self.recording.take(piece):
            self.keeper.offer(Named(self.recording))


class ResponsesEndpoint(Endpoint):
    """The Responses dialect with its memory."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate, RESPONSES)

    async def answer(self, request: Request, inquiry: Inquiry) -> None:
        """See Endpoint."""
        try:
            control = stored.read_control(inquiry.body)
            wanted = self._wanted(control)
            items = (
                stored.input_items(inquiry.body, inquiry.request_id) if wanted else ()
            )
            placeholder = b""
            if wanted:
                placeholder = self._placeholder(inquiry, bool(control.background))
            if control.background:
                body = stored.without_background(inquiry.body)
                inquiry = msgspec.structs.replace(inquiry, body=body)
            if control.previous_response_id:
                previous = control.previous_response_id
                inquiry = await gone_on(self.gate, inquiry, previous)
        except ClientError as error:
            await self.turn_away(request, inquiry, error.fault())
            return
        except AskError:
            await self.turn_away(request, inquiry, unavailable())
            return
        if not wanted:
            await super().answer(request, inquiry)
            return
        recording = await self._record(
            Keep(
                site=inquiry.site,
                request_id=inquiry.request_id,
                input=items,
                previous=control.previous_response_id or "",
                background=bool(control.background),
                streamed=bool(control.stream),
                placeholder=placeholder,
            )
        )
        if isinstance(recording, Recording):
            await self._recorded(request, inquiry, recording)
        elif control.background:
            await self.turn_away(request, inquiry, recording)
        else:  # It cannot be kept: the answer matters more than its copy.
            await super().answer(request, inquiry)

    def _wanted(self, control: stored.Control) -> bool:
        """Whether the answer is to be kept. Raises ClientError."""
        keeps = self.gate.config.server.limits.kept_bytes_max > 0
        wanted = keeps and control.store is not False
        if control.background and not wanted:
            raise ClientError(
                "A background response has to be stored; set 'store' to true."
                if keeps
                else "This gateway keeps no responses, so it gives none in the "
                "background.",
                param="background",
                code="unsupported_parameter",
            )
        return wanted

    def _placeholder(self, inquiry: Inquiry, background: bool) -> bytes:
        return stored.placeholder(
            inquiry.body,
            id=f"resp_{inquiry.request_id}",
            created=self.gate.unix_s(),
            model=inquiry.head.model,
            background=background,
        )

    async def _record(self, keep: Keep) -> Recording | Fault:
        try:
            kept = await self.gate.keeper.ask(keep)
        except AskError:
            return unavailable()
        if isinstance(kept, NotKept):
            why = f"{kept.why[0].upper()}{kept.why[1:]}."
            return fault_of(429, "too_many_background_responses", why)
        return kept

    async def _recorded(
        self, request: Request, inquiry: Inquiry, recording: Recording
    ) -> None:
        awaited = not recording.background
        opened = await self.open(request, inquiry, awaited=awaited)
        if opened is None:
            recording.forgotten = True
            self.gate.keeper.offer(Finished(recording))
        elif recording.background:
            self.gate.keeper.offer(Adopt(recording, opened))
            await self._show(request, inquiry, recording)
        else:
            await self._tapped(request, inquiry, opened, recording)

    async def _tapped(
        self, request: Request, inquiry: Inquiry, opened: Opened, recording: Recording
    ) -> None:
        keeper = self.gate.keeper
        try:
            tap = _Recorder(recording, keeper)
            await self.pass_on(request, inquiry, opened, tap)
        finally:
            # A client that left has ended the call: what came is not the answer.
            recording.cancelled = opened.channel.cancelled is not None
            keeper.offer(Finished(recording))

    async def _show(
        self, request: Request, inquiry: Inquiry, recording: Recording
    ) -> None:
        """A background answer's first sign: the object at once, or its events."""
        ids = (("x-request-id", inquiry.request_id), *self.ids(inquiry.request_id))
        if recording.streamed:
            await follow(self.gate, request, recording, -1, ids)
            return
        await reply(request.send, 200, recording.answer, (("content-type", JSON), *ids))


async def gone_on(gate: Gate, inquiry: Inquiry, previous_id: str) -> Inquiry:
    """The request with all that came before. Raises ClientError and AskError.

    The provider that stores the former answer itself is asked first, by its own id;
    every other candidate gets the whole conversation.
    """
    found = await gate.keeper.ask(Recall(inquiry.site, previous_id))
    if isinstance(found, Unknown):
        raise ClientError(
            f"Previous response with id '{previous_id[:128]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    body = expand(inquiry.body, stored.portable(found.items))
    body_at = b""
    if found.upstream_id:
        body_at = stored.with_previous(inquiry.body, found.upstream_id)
    return msgspec.structs.replace(
        inquiry,
        body=body,
        head=RESPONSES.read_head(body, inquiry.headers),
        stored_at=found.provider if body_at else "",
        stored_body=body_at,
    )


def unavailable() -> Fault:
    """The keeper cannot be asked."""
    return fault_of(
        503,
        "gateway_unavailable",
        "The gateway cannot look up stored responses now; try again in a moment.",
    )
