"""Let each worker's audit log remember the others', so that none can go unseen.

Owns: when. What is remembered, and how it is checked, is storage/audit_siblings.py's.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import Final

import trio

from actors.auditor.messages import Noted
from gateway.core import Gateway
from storage.audit_siblings import Sibling, keep, look

# First when the others have begun their logs, then when they have published. After
# that: what can be cut off a log by whoever has its key, and not be seen.
LOOKS_S: Final = (2.0, 3.0, 10.0)
EVERY_S: Final = 30.0


async def note_siblings(gateway: Gateway) -> None:
    """Look at the other logs, and remember what is new. Ends by being cancelled."""
    known: dict[str, Sibling] = {}
    try:
        for wait_s in chain(LOOKS_S, repeat(EVERY_S)):
            await trio.sleep(wait_s)
            await _note(gateway, known)
    finally:
        with trio.CancelScope(shield=True):  # Two small files: a moment.
            await _note(gateway, known)


async def _note(gateway: Gateway, known: dict[str, Sibling]) -> None:
    book = gateway.gate.book
    assert book is not None
    state_dir = gateway.config.server.state_dir
    own = book.log.signer.verifier
    try:
        seen = await trio.to_thread.run_sync(look, state_dir, own)
        fresh = [one for one in seen if known.get(one.origin) != one]
        if fresh:
            await trio.to_thread.run_sync(keep, state_dir, own.name, seen)
    except OSError:
        return  # The disk is gone: the auditor says so, and the next look comes.
    if fresh:
        known.update({one.origin: one for one in seen})
        gateway.tree.auditor.offer(Noted(tuple(one.event() for one in fresh)))
