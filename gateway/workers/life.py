"""A worker's side of the line: it says that it lives, and does what the parent says."""

from __future__ import annotations

import signal

import trio

from gateway.signals import WorkerSignals
from gateway.workers.link import BEAT, READY, Order, WorkerEnd
from gateway.workers.policy import BEAT_S


async def obey_parent(link: WorkerEnd, signals: WorkerSignals) -> None:
    """Until cancelled, or until the parent is gone: then stop in order."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, link)
        while (orders := await link.orders()) is not None:
            for order in orders:
                _obey(order, signals)
        signals.note(signal.SIGTERM)
        nursery.cancel_scope.cancel(reason="the parent is gone")


def _obey(order: Order, signals: WorkerSignals) -> None:
    match order:
        case Order.STOP:
            signals.note(signal.SIGTERM)
        case Order.HURRY:
            signals.hurry()
        case Order.RELOAD:
            signals.note(signal.SIGHUP)
        case Order.DUMP:
            signals.note(signal.SIGUSR1)


async def _beat(link: WorkerEnd) -> None:
    """Tell that it serves, then that its loop turns."""
    await link.say(READY)
    while True:
        await trio.sleep(BEAT_S)
        await link.say(BEAT)
