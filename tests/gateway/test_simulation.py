"""The whole gateway, in many orders, under everything that can go wrong at once.

Clients that leave, stall and dawdle; providers that refuse, fall silent, break and
flood; actors that crash; records that cannot be written; reloads and drains under way.
Whatever happened, in the end nothing is held and every admitted request has one record.

SIM_SEEDS=5000 pytest tests/gateway/test_simulation.py looks longer;
SIM_SEED=117 replays one.
"""

from __future__ import annotations

import os
import re
from collections import Counter as Tally
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
import trio

from actors.auditor.actor import AuditorCell
from actors.ledger.messages import ReportAccounts
from actors.provider.actor import ProviderCell
from actors.provider.messages import Vitals
from actors.vault.messages import ReportVault
from gateway.embed import Embedded, MemoryJournal, embedded
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    BreaksFirst,
    CutAfter,
    Fails,
    FakeProvider,
    Floods,
    Mute,
    PausesAfter,
    Refuses,
    Says,
    Silent,
)
from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from runtime import AskError, DomainError, Ref
from runtime.testing import Fault, Sim, run_sim
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

SEEDS = (
    [int(os.environ["SIM_SEED"])]
    if "SIM_SEED" in os.environ
    else range(int(os.environ.get("SIM_SEEDS", "120")))
)
BATCH = 20
ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
CLIENTS = 12
REQUESTS_EACH = 3
SPAN_S = 40.0  # When clients come; the last answer ends a few minutes later.
ACTORS = ("auditor", "vault", "ledger", "router", "providers/*", "keeper", "tapes")
APART_S = 6.0  # Crashes of one actor: closer ones end the gateway, as they should.


class Crashes(Fault, frozen=True):
    """Crashes that a supervisor forgives: none of one actor soon after another."""

    def hits(self, actor: str, message: str, rng: Random) -> bool:
        if not super().hits(actor, message, rng):
            return False
        now = trio.current_time()
        if now - LAST_CRASH.get(actor, -APART_S) < APART_S:
            return False
        LAST_CRASH[actor] = now
        return True


SITE: dict[str, Any] = {}  # What the site of the run that is on has set.
LAST_CRASH: dict[str, float] = {}  # Of the run that is on; each begins with none.


def faults(seed: int) -> list[Fault]:
    """Every third run without crashes: there the money is exact."""
    if seed % 3 == 0:
        return []
    return [
        *(Crashes("crash", 0.02, actor=name) for name in ACTORS),
        *(Crashes("crash", 0.2, actor=name, message="Down") for name in ACTORS),
        Fault("stall", 0.01, within_s=0.5),
        Fault("crash", 0.05, actor="streams/*"),
        Fault("cancel", 0.1, actor="streams/*", within_s=3.0),
    ]


def living(ref: Ref[Any]) -> Any:
    """The actor itself: what it holds is nobody else's business, but a test's."""
    return ref.cell.actor


def streamed(rng: Random) -> Behaviour:
    choices: list[Behaviour] = [
        Says("one two three", delta_s=rng.choice([0, 0.1, 3])),
        Says("a longer answer that takes its time", delta_s=0.5),
        Says(usage=False),
        Fails(rng.choice([400, 401, 404, 429, 500, 503, 529])),
        Fails(429, headers={"retry-after": rng.choice(["0", "2", "60"])}),
        Refuses(),
        Silent(),
        Mute(),
        BreaksFirst(),
        BreaksAfter(),
        CutAfter(clean=rng.random() < 0.5),
        PausesAfter(),
        Floods(),
    ]
    return rng.choice(choices)


def whole(rng: Random) -> Behaviour:
    slow = Says(delta_s=rng.choice([0, 1, 9]))
    choices: list[Behaviour] = [slow, Fails(500), Fails(401), Refuses(), Silent()]
    return rng.choice(choices)


def made(**site: Any) -> Config:
    """Streams from a, b and c, whole answers from d and e; b's bill goes on."""
    names = "abcde"
    providers = [provider(n, in_flight_max=3, queue_max=2) for n in names]
    providers[1] = provider("b", in_flight_max=2, on_abort="drain")
    given = config(
        providers, spend_max_nanousd=10**9, in_flight_max=8, **{**SITE, **site}
    )
    models = tuple(
        ModelConfig(name=name, route=tuple(Candidate(n, "m") for n in route))
        for name, route in (("fast", "abc"), ("whole", "de"))
    )
    return attrs.evolve(given, models=models)  # type: ignore[misc]


Ends = tuple[bytes, ...]
PLACE = re.compile(rb"^id: (req_[0-9a-f]{24})\.([0-9]+)$", re.MULTILINE)


@attrs.define
class Seen:
    """What the clients saw."""

    ids: set[str] = attrs.field(factory=set)
    problems: list[str] = attrs.field(factory=list)
    statuses: Tally[int] = attrs.field(factory=Tally)


def asked(
    rng: Random, model: str, *, stream: bool
) -> tuple[str, dict[str, Any], tuple[bytes, ...]]:
    """A path, a body, and what a stream may end with: well, or with an error."""
    tokens = rng.choice([5, 50])
    spoken: dict[str, Any] = {**chat(stream=stream, max_tokens=tokens), "model": model}
    match rng.choice(["openai", "openai", "anthropic", "responses"]):
        case "openai":
            return CHAT, spoken, (b"[DONE]", b'"error"')
        case "anthropic":
            ends = (b"event: message_stop", b"event: error")
            return "/v1/messages", spoken, ends
        case _:
            asks = {"model": model, "stream": stream, "input": "hi"}
            body: dict[str, Any] = {**asks, "max_output_tokens": tokens}
            good = (b"response.completed", b"response.incomplete")
            return "/v1/responses", body, (*good, b"response.failed", b"event: error")


async def come_back(gateway: Embedded, seen: Seen, had: bytes, ends: Ends) -> None:
    """Go on where a stream was left: nothing is lost, and nothing comes twice."""
    places = PLACE.findall(had)
    if not places:
        return
    name, last = places[-1]
    path = f"/v1/streams/{name.decode()}?starting_after={int(last)}"
    answer = await gateway.request("GET", path, key=KEY)
    if answer.status == 204:
        return
    if answer.status != 200:
        if b'"error"' not in answer.body:
            seen.problems.append(f"{answer.status} without an error, coming back")
        return
    numbers = [int(number) for _, number in PLACE.findall(answer.body)]
    if numbers != list(range(int(last) + 1, int(last) + 1 + len(numbers))):
        seen.problems.append(f"behind {int(last)} came {numbers[:9]}")
    if not any(end in answer.body for end in ends):
        seen.problems.append("a stream that was gone on with ended as if it were whole")


async def client(sim: Sim, gateway: Embedded, seen: Seen) -> None:
    rng = sim.random
    for turn in range(REQUESTS_EACH):
        headers = {}
        if rng.random() < 0.3:
            headers["idempotency-key"] = f"{rng.randrange(4)}-{turn}"
        await sim.jitter(SPAN_S / REQUESTS_EACH)
        stream = rng.random() < 0.7
        path, ask, ends = asked(rng, "fast" if stream else "whole", stream=stream)
        body, manner = bytearray(), ""
        with sim.impatience(0.3, 12.0) as patience:
            async with gateway.open(
                "POST", path, ask, key=KEY, headers=headers
            ) as call:
                await call.head()
                if "x-request-id" in call.headers:
                    seen.ids.add(call.headers["x-request-id"])
                manner = rng.choice(["reads", "reads", "dawdles", "stalls", "leaves"])
                while piece := await call.chunk():
                    body += piece
                    if manner == "dawdles":
                        await sim.jitter(2.0)
                    if manner == "leaves" and rng.random() < 0.3:
                        break
                    if manner == "stalls":
                        await trio.sleep(45)
                        return
                    if len(body) > 200_000:  # Of a flood, this is enough.
                        return
        if manner == "leaves":
            await sim.jitter(3.0)
            with sim.impatience(0.1, 12.0):
                await come_back(gateway, seen, bytes(body), ends)
            continue
        if patience.cancelled_caught:
            continue
        seen.statuses[call.status] += 1
        if call.status == 0:
            seen.problems.append("a client was left without an answer")
        elif call.status >= 400:
            if b'"error"' not in body:
                seen.problems.append(f"{call.status} without an error: {body[:200]!r}")
        elif stream and not any(end in body for end in ends):
            seen.problems.append(f"a stream ended as if it were whole: {body[-200:]!r}")


async def trouble(sim: Sim, gateway: Embedded, journal: MemoryJournal) -> None:
    """Reloads, and a disk that is full for a while."""
    rng = sim.random
    for _ in range(3):
        await sim.jitter(SPAN_S / 3)
        match rng.randrange(3):
            case 0:
                journal.broken = True
                await sim.jitter(6.0)
                journal.broken = False
            case 1:
                providers = list(made().providers)
                gone = rng.choice("abcd")
                left = [p for p in providers if p.name != gone]
                changed = attrs.evolve(made(), providers=tuple(left))  # type: ignore[misc]
                models = tuple(
                    attrs.evolve(
                        m, route=tuple(c for c in m.route if c.provider != gone)
                    )  # type: ignore[misc]
                    for m in made().models
                )
                await reload(gateway, attrs.evolve(changed, models=models))  # type: ignore[misc]
                await sim.jitter(4.0)
                await reload(gateway, made())
            case _:
                await reload(gateway, made(output_tokens_max=rng.choice([20, 30])))


async def reload(gateway: Embedded, config: Config) -> None:
    """As an operator does: again, until it is done."""
    while True:
        try:
            await gateway.gateway.reload(config)
        except (AskError, DomainError):
            await trio.sleep(0.5)
        else:
            return


async def simulate(seed: int, sim: Sim) -> None:
    LAST_CRASH.clear()
    SITE["resume"] = ("off", "detach", "cancel", "detach")[seed % 4]
    rng = Random(seed)
    fakes = {n: FakeProvider([streamed(rng) for _ in range(12)]) for n in "abc"}
    fakes |= {n: FakeProvider([whole(rng) for _ in range(12)]) for n in "de"}
    for fake in fakes.values():
        fake.script.append(Says())
    journal = MemoryJournal()
    seen = Seen()
    drains = seed % 5 == 4
    broken = False
    async with embedded(
        made(), fakes, environ=ENV, journal=journal, seed=seed
    ) as gateway:
        auditor: AuditorCell = living(gateway.gateway.tree.auditor).cell
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(client, sim, gateway, seen)
            nursery.start_soon(trouble, sim, gateway, journal)
            if drains:
                await trio.sleep(SPAN_S / 2)
                nursery.cancel_scope.deadline = trio.current_time() + 120
                await gateway.gateway.drain()
                broken = journal.broken
        sim.calm()
        journal.broken = False
        if not drains:
            await trio.sleep(300)  # What goes on alone may try three for a minute each.
            await check(seed, gateway)
    # Stopped: nobody is left who could still give something back.
    assert {n: fake.open for n, fake in fakes.items()} == dict.fromkeys(fakes, 0)
    assert (auditor.slots, auditor.slot_of) == ({}, {})
    ids = [record.request_id for record in journal.records]
    # A disk that is still full when the gateway stops takes no more: only those miss.
    missing = len(auditor.waiting) if broken else 0
    assert len(ids) == len(set(ids)) == auditor.slots_opened - missing
    assert seen.problems == []


async def check(seed: int, gateway: Embedded) -> None:
    """All is back, all is written, all is paid."""
    tree = gateway.gateway.tree
    records = await gateway.records()
    names = [node.id for node in tree.system.snapshot().walk()]
    assert [n for n in names if n.startswith(("streams/", "vault/"))] == []
    for name, vitals in (await gateway.gateway.gate.vitals()).items():
        ref = tree.provider(name)
        assert ref is not None
        if isinstance(vitals, Vitals):
            assert (vitals.in_flight, vitals.queued) == (0, 0), vitals
            cell: ProviderCell = living(ref).cell
            assert (cell.grants, cell.permit_of) == ({}, {})
    [account] = await tree.ledger.ask(ReportAccounts())
    assert (account.held_nanousd, account.in_flight) == (0, 0)
    if not faults(seed):
        assert account.spent_nanousd == sum(r.cost_nanousd for r in records)
        assert not [r for r in records if r.outcome == "crashed"]
    assert (await tree.vault.ask(ReportVault())).leases == 0


@pytest.mark.parametrize("batch", range(0, len(SEEDS), BATCH))
def test_whatever_happens_nothing_is_held_and_all_is_recorded(batch: int) -> None:
    for seed in SEEDS[batch : batch + BATCH]:
        run_sim(partial(simulate, seed), seed, faults(seed))
