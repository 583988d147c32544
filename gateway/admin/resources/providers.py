"""Providers: their state, what can be done about it, and a call to try one."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import trio

from actors.provider.messages import ReportVitals, Vitals
from actors.router.messages import Deployment
from gateway.admin import together
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.paging import Page, Paged, page_of
from gateway.admin.problems import Problem
from gateway.admin.resources.shapes import ProviderState, RateRoom
from gateway.admin.trying import Tried, try_deployment
from gateway.settings.providers import ProviderConfig
from gateway.workers import chorus
from runtime import AskError, Ref

DRAIN_S_MAX: Final = 60.0  # A call waits no longer for its answer; ask again then.
DRAIN_LOOK_S: Final = 0.1
REPORT: Final = "providers"


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take a provider out of use."""

    reason: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="Why, for other operators.",
        ),
    ]
    drain_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=DRAIN_S_MAX,
            description="How long to wait for its calls to end before answering.",
        ),
    ] = 0.0


class Try(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test call: one short question, to one model, at the provider's price."""

    model: Annotated[
        str, msgspec.Meta(max_length=200, description="Empty: its first one.")
    ] = ""
    site: Annotated[
        str,
        msgspec.Meta(
            max_length=128,
            description="The site that it is charged to. Empty: the first by name.",
        ),
    ] = ""


def provider_of(office: Office, name: str) -> ProviderConfig:
    """A configured provider. Raises Problem."""
    for one in office.config.providers:
        if one.name == name:
            return one
    raise Problem("not-found", f"there is no provider {name}")


def key_of(provider: ProviderConfig) -> str:
    """Where a provider's key is, without it."""
    if provider.key:
        return provider.key
    if provider.federation.exchange:
        return "federation"
    if provider.service_account_file is not None:
        return "service-account"
    return "env" if provider.key_env else "none"


async def all_shown(office: Office) -> dict[str, ProviderState]:
    """Every provider as it is now, in all processes."""
    found = await chorus.reports(office.gate, REPORT, tuple[ProviderState, ...])
    return together.providers([told for told in found.values() if told is not None])


async def _shown(office: Office, one: ProviderConfig) -> ProviderState:
    """A provider as it is now, in this process."""
    ref: Ref[Any] | None = office.gate.lookup(f"providers/{one.name}")
    vitals: Vitals | None = None
    retry_in_s: float | None = None
    last_trip: str | None = None
    state, lives = "unknown", 0
    if ref is not None:
        try:
            vitals = await ref.ask(ReportVitals())
        except AskError:
            state = "open"
        for node in office.system().snapshot().walk():
            if node.id == f"providers/{one.name}":
                retry_in_s, last_trip = node.retry_in_s, node.last_crash
                lives = node.incarnation
    if vitals is not None:
        state = "paused" if vitals.paused else vitals.state
        lives = vitals.epoch
    now = trio.current_time()
    cooling = vitals.cooling_until if vitals is not None else None
    return ProviderState(
        name=one.name,
        kind=one.kind,
        base_url=one.base_url,
        models=one.models,
        region=one.data_region,
        state=state,
        paused_for=vitals.paused if vitals is not None else "",
        in_flight=vitals.in_flight if vitals is not None else 0,
        in_flight_max=one.in_flight_max,
        queued=vitals.queued if vitals is not None else 0,
        queue_max=one.queue_max,
        failures=vitals.failures if vitals is not None else 0,
        lives=lives,
        retry_in_s=retry_in_s,
        cooling_s=max(0.0, cooling - now) if cooling is not None else None,
        key_refused=vitals.key_refused if vitals is not None else False,
        last_trip=last_trip,
        key=key_of(one),
        room=tuple(
            RateRoom(left.kind, left.left, left.limit, max(0.0, left.resets_at - now))
            for left in (vitals.room if vitals is not None else ())
        ),
    )


def operations(office: Office) -> tuple[Operation, ...]:
    """All about providers."""

    async def own_states() -> tuple[ProviderState, ...]:
        return tuple([await _shown(office, one) for one in office.config.providers])

    office.gate.reports[REPORT] = own_states

    async def shown(one: ProviderConfig) -> ProviderState:
        # One that nobody tells of is new, and is as it is here.
        return (await all_shown(office)).get(one.name) or await _shown(office, one)

    async def list_providers(call: Call) -> Page[ProviderState]:
        page = page_of(
            "providers", office.config.providers, call.query, lambda one: one.name
        )
        found = await all_shown(office)
        items = [found.get(one.name) or await _shown(office, one) for one in page.items]
        return Page(tuple(items), page.next_cursor)

    async def get_provider(call: Call) -> ProviderState:
        return await shown(provider_of(office, call.param("provider")))

    async def pause(call: Call) -> ProviderState:
        one = provider_of(office, call.param("provider"))
        await call.record(provider=one.name)
        await office.pause(one.name, call.body.reason, call.principal.name)
        with trio.move_on_after(call.body.drain_s):
            while (await shown(one)).in_flight:  # noqa: ASYNC110 - no actor tells
                await trio.sleep(DRAIN_LOOK_S)
        return await shown(one)

    async def resume(call: Call) -> ProviderState:
        one = provider_of(office, call.param("provider"))
        await call.record(provider=one.name)
        await office.pause(one.name, "", call.principal.name)
        return await shown(one)

    async def try_it(call: Call) -> Tried:
        one = provider_of(office, call.param("provider"))
        model = call.body.model or one.models[0]
        if model not in one.models:
            raise Problem("conflict", f"{one.name} serves no {model}")
        site = call.body.site or min((s.name for s in office.config.sites), default="")
        if site not in {known.name for known in office.config.sites}:
            raise Problem("conflict", "there is no such site to charge it to")
        await call.record(model, provider=one.name, site=site)
        key_id = f"{site}:{office.gate.actor_of(call.principal.name)}"
        at = Deployment(one.name, model)
        return await try_deployment(office.gate, site, key_id, at)

    return (
        Operation(
            "listProviderStates", "GET", "/provider-states", "providers",
            "Providers and how they are", list_providers,
            reach="operator", query=Paged, gives=Page[ProviderState],
        ),
        Operation(
            "getProviderState", "GET", "/providers/{provider}/state", "providers",
            "How one provider is", get_provider, reach="operator", gives=ProviderState,
        ),
        Operation(
            "pauseProvider", "POST", "/providers/{provider}/pause", "providers",
            "Take a provider out of use", pause,
            doc="Calls under way go on; new ones go to the next candidate, in every "
            "process, until it is resumed. With `drain_s` the answer waits for them.",
            role="admin", reach="operator", body=Pause, gives=ProviderState,
            act="provider.pause",
        ),
        Operation(
            "resumeProvider", "POST", "/providers/{provider}/resume", "providers",
            "Put a provider back into use", resume, role="admin", reach="operator",
            gives=ProviderState, act="provider.resume",
        ),
        Operation(
            "tryProvider", "POST", "/providers/{provider}/test", "providers",
            "Send a provider one short question", try_it,
            doc="It costs what such a call costs, and counts for the breaker.",
            role="admin", reach="operator", body=Try, gives=Tried,
            act="provider.test", conflicts=True,
        ),
    )  # fmt: skip
