"""`generate: false`: an answer without a word, so that later turns can go on from it.

Owns: what a warm-up checks and what it leaves behind. No provider is called and nothing
is spent; what was said so far is kept as that of any answer, on the socket and, unless
the client asked for no storing, with the keeper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.keeper.messages import Finished, Keep
from actors.keeper.recording import Recording
from actors.router.messages import MakePlan, NoRoute
from actors.stream.messages import Inquiry, Whole
from gateway.gate import Gate
from gateway.http.lane_events import error_message, named
from gateway.http.naming import check_name
from gateway.http.request import Request
from gateway.http.responses import gone_on, unavailable
from gateway.logs import new_request_id
from gateway.sites import Caller
from runtime import AskError
from wire import openai_responses_stored as stored
from wire.dialect import ClientError
from wire.events import Fault
from wire.openai_responses import RESPONSES

if TYPE_CHECKING:
    from gateway.http.lane_call import LaneCall

_NOTHING_USED = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


async def warm_up(
    gate: Gate, request: Request, caller: Caller, call: LaneCall
) -> tuple[str, tuple[bytes, ...]]:
    """Answer it; the id to go on from and what was asked, or ("", ()) if refused."""
    request_id = new_request_id()
    create = call.create
    try:
        inquiry, items = await _check(gate, request, caller, call, request_id)
    except ClientError as error:
        await _refuse(gate, caller, call, request_id, error.fault())
        return "", ()
    except AskError:
        await _refuse(gate, caller, call, request_id, unavailable())
        return "", ()
    begun = stored.placeholder(
        create.body,
        id=f"resp_{request_id}",
        created=gate.unix_s(),
        model=inquiry.head.model,
        background=False,
    )
    ended = stored.completed(begun, _NOTHING_USED)
    if create.store is not False:
        await _keep(gate, inquiry, create.previous, items, begun=begun, ended=ended)
    await call.say(
        [
            named(
                name,
                call.lane,
                (("sequence_number", number), ("response", msgspec.Raw(answer))),
            )
            for number, (name, answer) in enumerate(
                (
                    ("response.created", begun),
                    ("response.in_progress", begun),
                    ("response.completed", ended),
                )
            )
        ]
    )
    return stored.id_of(ended), items


def _alone(body: bytes) -> bytes:
    """The body without what it goes on from, which was looked up already."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields.pop("previous_response_id", None)
    return msgspec.json.encode(fields)


async def _check(
    gate: Gate, request: Request, caller: Caller, call: LaneCall, request_id: str
) -> tuple[Inquiry, tuple[bytes, ...]]:
    """The request and its items, if a turn like it could be served now.

    Raises ClientError and AskError.
    """
    create = call.create
    head = RESPONSES.read_head(create.body, request.headers)
    check_name(head.model)
    inquiry = Inquiry(
        request_id=request_id,
        site=caller.site,
        key_id=caller.key_id,
        operation="chat",
        dialect=RESPONSES,
        head=head,
        body=create.body,
        headers=request.headers,
        terms=caller.terms,
    )
    if create.previous and not create.local:
        await gone_on(gate, inquiry, create.previous)
    RESPONSES.parse_request(_alone(create.body), request.headers)
    plan = await gate.router.ask(
        MakePlan(
            site=inquiry.site,
            model=head.model,
            dialect=RESPONSES.name,
            prompt_tokens=0,
            output_tokens_max=head.max_output_tokens,
            needs=head.needs,
            stream=True,
            affinity=0,
            terms=inquiry.terms,
        )
    )
    if isinstance(plan, NoRoute):
        raise ClientError(
            plan.message, param=plan.param, code=plan.code, status=plan.status
        )
    return inquiry, stored.input_items(create.body, request_id)


async def _refuse(
    gate: Gate, caller: Caller, call: LaneCall, request_id: str, fault: Fault
) -> None:
    shown = RESPONSES.render_error(fault)
    gate.refused(
        request_id,
        site=caller.site,
        dialect=RESPONSES.name,
        status=shown.status,
        code=fault.code or fault.kind,
    )
    headers = (*shown.headers, ("x-request-id", request_id))
    await call.say([error_message(shown.status, shown.body, headers, call.lane)])


async def _keep(
    gate: Gate,
    inquiry: Inquiry,
    previous: str,
    items: tuple[bytes, ...],
    *,
    begun: bytes,
    ended: bytes,
) -> None:
    recording = await gate.keeper.ask(
        Keep(
            site=inquiry.site,
            request_id=inquiry.request_id,
            input=items,
            previous=previous,
            background=False,
            streamed=False,
            placeholder=begun,
        )
    )
    if isinstance(recording, Recording):
        recording.take(Whole(200, (), ended))
        gate.keeper.offer(Finished(recording))
