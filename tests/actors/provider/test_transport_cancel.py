"""Cancelled at every single step, a request leaves no slot and no socket behind."""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trio

from actors.provider.pool import PoolLimits
from actors.provider.transport import Transport
from tests.actors.provider.transport_fakes import (
    OK,
    SSE,
    ScriptedDial,
    ScriptedWire,
    post,
    read,
    scripted,
)
from tests.actors.provider.transport_server import (
    NAME,
    certificate,
    client_context,
    server_context,
    upstream,
)

STREAM = [SSE, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope at the n-th step of one task, before or after the step.

    Before: the cancel meets a task that was about to go on, and strikes at its next
    checkpoint. After: it strikes the wait in which the step ended.
    """

    def __init__(
        self,
        task: trio.lowlevel.Task,
        scope: trio.CancelScope,
        step: int,
        *,
        after: bool,
    ) -> None:
        self.task, self.scope, self.step, self.after = task, scope, step, after
        self.steps = 1  # The one that adds this instrument.

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps += 1
            if not self.after and self.steps == self.step:
                self.scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.after and self.steps == self.step:
            self.scope.cancel()


async def cancelled_at(
    step: int, after: bool, call: Callable[[], Awaitable[object]]
) -> bool:
    """Whether the cancel came before the call was over."""
    with trio.CancelScope() as scope:
        cancel = CancelAt(trio.lowlevel.current_task(), scope, step, after=after)
        trio.lowlevel.add_instrument(cancel)
        try:
            await call()
            return False
        finally:
            trio.lowlevel.remove_instrument(cancel)
    return True


def from_first(*, after: bool) -> Iterator[int]:
    """The steps to cancel at; it is too late for one before the first."""
    return itertools.count(1 if after else 2)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_scripted_requests_survive_a_cancel_at_every_step(*, after: bool) -> None:
    """A first request, one that reuses its connection, and one that retries."""
    steps = 0
    for step in from_first(after=after):
        stale = ScriptedWire(STREAM, STREAM, [])
        client, dial = scripted(stale, ScriptedWire(STREAM))

        async def call(client: Transport = client) -> None:
            for _ in range(3):
                assert await read(await client.handle_async_request(post())) == b"ab"

        if not await cancelled_at(step, after, call):
            break
        steps += 1
        leased, idle, waiting = next(iter(client.statistics().values()), (0, 0, 0))
        assert (leased, waiting) == (0, 0), f"replay with step={step}"
        open_wires = sum(not wire.closed for wire in dial.made)
        assert open_wires == idle, f"replay with step={step}"
    assert steps > 15


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_real_connections_close_at_once_at_every_step(
    tls: bool, after: bool, tmp_path: Path
) -> None:
    """Name lookup, connect, handshake, write, head, body: the upstream sees the end."""
    pem = certificate(tmp_path)
    context = server_context(pem) if tls else None
    steps = 0
    phases: set[str] = set()
    async with upstream(STREAM, context) as server:
        for step in from_first(after=after):
            client = Transport(tls=client_context(pem))
            reached: list[str] = []

            async def call(
                client: Transport = client, reached: list[str] = reached
            ) -> None:
                for _ in range(2):
                    request = httpx.Request(
                        "POST",
                        f"{'https' if tls else 'http'}://{NAME}:{server.port}/",
                        content=b"{}",
                        extensions={"stagedoor.phase": reached.append},
                    )
                    response = await client.handle_async_request(request)
                    reached.append("body")
                    assert await read(response) == b"ab"

            cancelled = await cancelled_at(step, after, call)
            for leased, _, waiting in client.statistics().values():
                assert (leased, waiting) == (0, 0), f"replay with step={step}"
            await client.aclose()
            # Hangs (and fails by its time limit) if a socket was left open.
            await server.wait_alone()
            if not cancelled:
                break
            steps += 1
            phases.add(reached[-1] if reached else "")
    assert steps > 5
    # A cancel before a step strikes at the next wait, so it may skip a phase.
    assert {"connect", "body"} <= phases
    assert not after or "headers" in phases
    assert ("tls" in phases) == tls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_cancelled_waiter_never_takes_a_slot_along(*, after: bool) -> None:
    """Also when it was granted in the same moment: the next in line gets it."""
    steps = 0
    for step in from_first(after=after):
        dial = ScriptedDial(*[ScriptedWire(*[[OK]] * 9) for _ in range(9)])
        client = Transport(dial=dial, limits=PoolLimits(connections_max=1))
        outcome: list[bool] = []
        served: list[bytes] = []

        async def call(
            client: Transport = client, served: list[bytes] = served
        ) -> None:
            served.append(await read(await client.handle_async_request(post())))

        async def victim(
            step: int = step,
            call: Callable[[], Awaitable[None]] = call,
            outcome: list[bool] = outcome,
        ) -> None:
            outcome.append(await cancelled_at(step, after, call))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(victim)
            nursery.start_soon(call)
            nursery.start_soon(call)

        (cancelled,) = outcome
        if not cancelled:
            break
        steps += 1
        assert len(served) == 3 + (not cancelled), f"replay with step={step}"
        ((leased, _, waiting),) = client.statistics().values()
        assert (leased, waiting) == (0, 0), f"replay with step={step}"
    assert steps >= 2


async def test_a_cancel_in_the_body_drains_nothing() -> None:
    """What the client will not see is not worth an upstream's tokens."""
    wire = ScriptedWire(STREAM)
    client, _ = scripted(wire)
    response = await client.handle_async_request(post())
    assert isinstance(response.stream, httpx.AsyncByteStream)

    with trio.CancelScope() as scope:
        async for _ in response.stream:
            scope.cancel()

    assert wire.closed
    assert wire.reads == 3, "head, the piece seen, the read that was cancelled"
