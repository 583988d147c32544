"""Has a provider delete its own copy of an answer, as its client asked the gateway to.

Owns, and gives back whatever happens: the permit, the lease, the response. What becomes
of it says nothing of how well the provider answers: its breaker hears no verdict. Talks
to: provider, vault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import httpx
import trio

from actors.provider.messages import Admit, Outcome, Permit, Upstream
from actors.stream.relay import read_at_most
from actors.vault.keyuse import KeyHandle
from actors.vault.messages import Acquire, LeaseRefused
from runtime import ActorDown, AskError, Context, Ref
from wire.openai_responses import RESPONSES, build_delete

if TYPE_CHECKING:
    from actors.keeper.messages import Kept
    from actors.provider.actor import Provider
    from actors.stream.actor import Stream
    from actors.vault.actor import Vault

DELETE_S: Final = 10.0  # A row of a table, somewhere; its client waits.
ANSWER_BYTES_MAX: Final = 64 * 1024
# It has no such answer, or never stores any: nothing of it is left there.
GONE: Final = frozenset({404, 405, 410, 501})


async def delete_there(ctx: Context, kept: Kept, site: str) -> str:
    """Why the copy may still be there; empty when it is not.

    A provider that is no longer configured cannot be asked by anybody: what the gateway
    holds is deleted all the same.
    """
    provider: Ref[Provider] | None = ctx.lookup(f"providers/{kept.provider}")
    vault: Ref[Vault] | None = ctx.lookup("vault")
    if not kept.upstream_id or provider is None or vault is None:
        return ""
    with trio.move_on_after(DELETE_S):
        return await _ask(ctx, provider, vault, kept, site)
    return f"has not answered in {DELETE_S:g} s"


async def _ask(
    ctx: Context, provider: Ref[Provider], vault: Ref[Vault], kept: Kept, site: str
) -> str:
    # Permits and leases end with whom they were given to; here that is the keeper.
    asker = cast("Ref[Stream]", ctx.ref)
    try:
        permit = await provider.ask(Admit(asker, "", site=site))
    except ActorDown:
        return "is out of use after failures"
    except AskError:
        return "takes no more requests now"
    if not isinstance(permit, Permit):
        return permit.message.partition(f"{kept.provider} ")[2] or "is busy"
    try:
        return await _send(vault, asker, permit.upstream, kept, site)
    finally:
        provider.offer(Outcome(permit.id, permit.epoch, "cancelled"))


async def _send(
    vault: Ref[Vault], asker: Ref[Stream], upstream: Upstream, kept: Kept, site: str
) -> str:
    if RESPONSES.name not in upstream.speech.natives:
        return ""
    scope = upstream.key

    async def lend() -> KeyHandle:
        assert scope is not None
        lease = await vault.ask(
            Acquire(
                scope=scope,
                stream=asker,
                site=site,
                request_id=kept.id,
                ttl_s=DELETE_S,
                route="responses.delete",
            )
        )
        return lease.handle

    request = build_delete(kept.upstream_id, upstream.target("", None))
    try:
        response = await upstream.send(
            request, None if scope is None else lend, _unheard
        )
        try:
            await read_at_most(response, ANSWER_BYTES_MAX)
        finally:
            await response.aclose()
    except httpx.TransportError:
        return "cannot be reached"
    except (LeaseRefused, AskError):
        return "needs a key that is not to be had now"
    status = response.status_code
    if 200 <= status < 300 or status in GONE:
        return ""
    if status in {401, 403}:
        return f"does not let the gateway's key delete it (status {status})"
    return f"refused (status {status})"


def _unheard(_phase: str) -> None:
    """One deadline is enough here."""
