"""A request's memory is freed as it ends: nothing of it waits for the collector."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.embed import embedded
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    Fails,
    FakeProvider,
    Says,
    Silent,
)
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

OURS = ("runtime.", "actors.", "gateway.", "wire.", "storage.")
NOT_A_REQUEST = ("gateway.embed",)  # The client and the providers of the test itself.
ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}


def _ours(found: Sequence[object]) -> Counter[str]:
    names = (f"{type(o).__module__}.{type(o).__qualname__}" for o in found)
    return Counter(
        n for n in names if n.startswith(OURS) and not n.startswith(NOT_A_REQUEST)
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "first",
    [Says("Hello there you"), Fails(500), Silent(), BreaksAfter()],
    ids=lambda b: type(b).__name__,
)
async def test_no_request_leaves_a_cycle(
    autojump_clock: MockClock, first: Behaviour, stream: bool
) -> None:
    """The prompt among them: it must not lie about until somebody collects."""
    a, b = FakeProvider([first]), FakeProvider([Says("from b")])
    made = config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        await gateway.post(CHAT, chat(stream=stream), key=KEY)
        await wait_all_tasks_blocked()
        gc.collect()
        gc.disable()
        try:
            await gateway.post(CHAT, chat(stream=stream), key=KEY)
            await wait_all_tasks_blocked()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = _ours(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert left == {}
