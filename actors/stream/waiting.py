"""A place in a full candidate's queue, and later any place that comes free elsewhere.

Owns the asks while they wait, and gives back what it was given too much. Never decides
where to stand by: the stream's policy does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from actors.provider.messages import Admit, Outcome, Permit, Refused
from actors.router.messages import Candidate
from actors.stream import faults
from actors.stream.policy import ELSEWHERE_AFTER_S
from runtime import ActorDown, AskError, Later, Ref
from wire.events import Fault

if TYPE_CHECKING:
    from actors.provider.actor import Provider
    from actors.stream.attempt import Attempt

Ask: TypeAlias = Callable[[], Awaitable[Permit | Fault]]


async def ask(
    attempt: Attempt,
    provider: Ref[Provider],
    candidate: Candidate,
    prompt_tokens: int,
    *,
    standby: bool = False,
) -> Permit | Fault:
    """Ask one provider for a permit; wait in its queue where it has none."""
    aside = attempt.inquiry.aside
    try:
        admitted = provider.ask_now(
            Admit(
                attempt.stream,
                candidate.deployment.model,
                prompt_tokens,
                attempt.inquiry.site,
                spare=aside is not None,
                probing=aside is not None and aside.kind == "probe",
                standby=standby,
            )
        )
        if isinstance(admitted, Later):
            admitted = await admitted
    except ActorDown as down:
        return faults.provider_open(down, attempt.peers.now())
    except AskError as error:
        return faults.provider_busy(candidate.deployment, error)
    if isinstance(admitted, Refused):
        return faults.refused(admitted, attempt.peers.now())
    return admitted


async def ask_anywhere(attempt: Attempt, provider: Ref[Provider]) -> Permit | Fault:
    """Wait at this candidate's, and in a while for whoever has a place first."""
    places = [(attempt.candidate, provider)]
    for other in attempt.elsewhere:
        there = attempt.peers.provider(other.deployment.provider)
        if there is not None:
            places.append((other, there))
    own, *others = (
        partial(
            ask,
            attempt,
            there,
            one,
            attempt.prompt.at(one.deployment).tokens,
            standby=one is not attempt.candidate,
        )
        for one, there in places
    )

    def give_back(place: int, permit: Permit) -> None:
        places[place][1].offer(Outcome(permit.id, permit.epoch, "cancelled"))

    place, admitted = await first_place(
        own, others, after_s=ELSEWHERE_AFTER_S, give_back=give_back
    )
    if place:
        attempt.move(*places[place])
    return admitted


async def first_place(
    own: Ask,
    others: Sequence[Ask],
    *,
    after_s: float,
    give_back: Callable[[int, Permit], None],
) -> tuple[int, Permit | Fault]:
    """Wait for `own`, and after `after_s` for any of the others too.

    Returns whose answer it is: 0 is `own`, whose refusal ends the wait, for a place in
    a queue is what entitles to stand by. `give_back` gets what came too late, also when
    this is cancelled.
    """
    permits: list[tuple[int, Permit]] = []
    refusal: list[Fault] = []
    taken = False

    async def wait(place: int, ask: Ask) -> None:
        answer = await ask()
        if isinstance(answer, Permit):
            permits.append((place, answer))
        elif place == 0:
            refusal.append(answer)
        else:
            return  # It stands by there no more.
        nursery.cancel_scope.cancel(reason="a place was found")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 0, own)
            await trio.sleep(after_s)
            for place, ask in enumerate(others, 1):
                nursery.start_soon(wait, place, ask)
        taken = True
    finally:
        # A permit that is already on its way when its asker leaves is one all the same.
        for place, permit in permits[1:] if taken else permits:
            give_back(place, permit)
    return permits[0] if permits else (0, refusal[0])
