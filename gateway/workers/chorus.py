"""What any worker answers for all of them: metrics, readiness, the tree, the models.

Each function takes this worker's own answer and asks the others for theirs, over the
paths below `/own` of the control app (control.py). A gateway of one process answers
with its own alone, and none of this runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from gateway.workers import merging
from gateway.workers.peers import OWN, Peers

if TYPE_CHECKING:
    from gateway.gate import Gate

T = TypeVar("T")


async def metrics(
    peers: Peers | None, own: tuple[str, bytes], accept: str
) -> tuple[str, bytes]:
    """One scrape of any worker tells of all."""
    if peers is None:
        return own
    content_type, text = own
    texts: dict[int, bytes | None] = {peers.worker.number: text}
    answers = await peers.ask_all("GET", f"{OWN}/metrics", headers=[("accept", accept)])
    for number, answer in answers.items():
        texts[number] = answer[1] if answer is not None and answer[0] == 200 else None
    # Tens of thousands of lines take tens of milliseconds, which the loop has not.
    merged = await trio.to_thread.run_sync(merging.metrics, dict(sorted(texts.items())))
    return content_type, merged


async def readiness(peers: Peers | None, own: dict[str, Any]) -> tuple[int, Any]:
    """Whether requests would be served by whichever worker gets them."""
    if peers is None:
        return (200 if own["status"] == "ready" else 503), own
    return merging.readiness(await peers.values(f"{OWN}/readyz", own))


async def tree(peers: Peers | None, own: dict[str, Any]) -> Any:
    """All actors of all workers."""
    if peers is None:
        return own["tree"]
    return merging.tree(await peers.values(f"{OWN}/tree", own))


async def models(peers: Peers | None, own: dict[str, Any]) -> Any:
    """The routes, and how their candidates fare."""
    if peers is None:
        return own
    return merging.models(await peers.values(f"{OWN}/models", own))


async def reports(gate: Gate, name: str, kind: type[T]) -> dict[int, T | None]:
    """What each process says of itself, by a report that the admin API has named."""
    own = await gate.reports[name]()
    if gate.peers is None:
        return {1: own}
    found: dict[int, T | None] = {gate.peers.worker.number: own}
    answers = await gate.peers.ask_all("GET", f"{OWN}/reports/{name}")
    for number, answer in answers.items():
        found[number] = None
        if answer is not None and answer[0] == 200:
            found[number] = msgspec.json.decode(answer[1], type=kind)
    return dict(sorted(found.items()))


async def workers(peers: Peers | None) -> Any:
    """Which workers there are, and which answer."""
    if peers is None:
        return {"workers": []}
    own = about(peers)
    found = await peers.values(f"{OWN}/about", own)
    return {
        "workers": [
            {"number": number, "up": False} if one is None else one
            for number, one in found.items()
        ]
    }


def about(peers: Peers) -> dict[str, Any]:
    """This worker, for operators."""
    worker = peers.worker
    return {
        "number": worker.number,
        "up": True,
        "pid": os.getpid(),
        "starts": worker.starts,
    }
