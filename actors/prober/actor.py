"""Prober. Asks deployments that nobody calls how they are; off unless configured.

A probe is a request like any other, for no client (`actors/stream/aside.py`): a small
question with a permit, a hold, a lease, a record and a bill that its site pays. What
comes of it the breaker and the router hear as of any call. Asks: the router. Tells: the
streams. Never waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from actors.prober import policy
from actors.prober.messages import Look, Probed, SetProbes
from actors.router.messages import Candidate, Deployment, Plan, ReportHeard
from actors.stream.messages import Aside, Inquiry, OpenAside
from runtime import Actor, AskError, MailboxSpec, Ref, answers, handles
from wire.openai_chat import CHAT

if TYPE_CHECKING:
    from actors.router.actor import Router
    from actors.stream.aside import Asides

MESSAGES_QUEUED_MAX: Final = 16
ANSWER_TOKENS_MAX: Final = 16  # OpenAI's Responses take no smaller bound.
QUESTION: Final = "Answer with the single word OK."
FEATURE: Final = "probe"  # The use under which its spend is shown.


@attrs.define
class ProberCell:
    """What outlives a crash: who is asked, and when each was, the last time."""

    probes: tuple[Probed, ...]
    rng: Random
    request_id: Callable[[], str]
    asked_at: dict[Deployment, float] = attrs.field(factory=dict[Deployment, float])


class Prober(Actor):
    """Questions at the right time."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="shed", down="hold")
    accepts = (Look, SetProbes)

    def __init__(self, cell: ProberCell) -> None:
        self.cell = cell
        self.looking = False

    def __repr__(self) -> str:
        """How many there are."""
        return f"<Prober probes={len(self.cell.probes)}>"

    def on_start(self) -> None:
        """Look from time to time, if there is anybody to ask."""
        self._again()

    @answers(SetProbes)
    def set_probes(self, msg: SetProbes) -> None:
        """Take others."""
        self.cell.probes = msg.probes
        asked = self.cell.asked_at
        kept = {one.deployment for one in msg.probes}
        self.cell.asked_at = {one: at for one, at in asked.items() if one in kept}
        if not self.looking:
            self._again()

    @handles(Look)
    async def look(self, _msg: Look) -> None:
        """Ask who is due."""
        self.looking = False
        cell, now = self.cell, self.ctx.now()
        router: Ref[Router] | None = self.ctx.lookup("router")
        streams: Ref[Asides] | None = self.ctx.lookup("streams")
        if cell.probes and router is not None and streams is not None:
            try:
                heard = await router.ask(ReportHeard())
            except AskError:
                heard = {}  # It will be back by the next look.
            for one in policy.due(cell.probes, heard, cell.asked_at, now):
                cell.asked_at[one.deployment] = policy.counted_from(one, now, cell.rng)
                streams.offer(_question(one, cell.request_id()))
        self._again()

    def _again(self) -> None:
        if self.cell.probes:
            self.looking = True
            self.ctx.tell_at(self.ctx.now() + policy.look_s(self.cell.probes), Look())


def _question(one: Probed, request_id: str) -> OpenAside:
    body = msgspec.json.encode(
        {
            "model": one.deployment.model,
            "stream": True,
            "max_completion_tokens": ANSWER_TOKENS_MAX,
            "messages": [{"role": "user", "content": QUESTION}],
        }
    )
    inquiry = Inquiry(
        request_id=request_id,
        site=one.site,
        key_id="",
        operation="chat",
        dialect=CHAT,
        head=CHAT.read_head(body, {}),
        body=body,
        headers={},
        feature=FEATURE,
        only=one.deployment,
        aside=Aside("probe"),
    )
    # Of no route: a probe's length says nothing about answers to clients.
    plan = Plan("", (Candidate(one.deployment),), (), ANSWER_TOKENS_MAX)
    return OpenAside(inquiry, plan)
