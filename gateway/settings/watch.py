"""Watching the configuration file, for reloads.

Owns: one thread that waits for the file system, and the judgement that the contents
differ. Editors replace files, Kubernetes swaps a symlink two folders up: so the folders
are watched, and the contents decide.
Never: loads the configuration; whoever asks does, and keeps the old one if it is bad.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import trio
from watchfiles._rust_notify import RustNotify

# One save is several events (truncate, write, rename): wait until it has been quiet.
QUIET_MS: Final = 100
# Something writes without end: look at the contents at least this often.
BURST_MS_MAX: Final = 2_000


async def changes(
    path: Path, *, started: trio.Event | None = None
) -> AsyncIterator[Path]:
    """Yield `path` whenever its contents have changed since the last look.

    Cancelling works at once. A file that is missing or empty for a while (it is being
    replaced, or written) is no change; it is one when it is there with other contents.
    `started` is set when the watch stands: what is written after that is noticed.
    """
    stop = threading.Event()
    # The watch first: what is written between the two is an event, and is looked at.
    notify = await trio.to_thread.run_sync(_watch, path)
    seen = await trio.to_thread.run_sync(_fingerprint, path)
    if started is not None:
        started.set()
    try:
        while True:
            await trio.to_thread.run_sync(
                notify.watch, BURST_MS_MAX, QUIET_MS, 0, stop, abandon_on_cancel=True
            )
            now = await trio.to_thread.run_sync(_fingerprint, path)
            if now is not None and now != seen:
                seen = now
                yield path
    finally:
        stop.set()  # The thread looks at it every QUIET_MS, and ends.


def _watch(path: Path) -> RustNotify:
    folders = {str(path.absolute().parent), str(path.resolve().parent)}
    return RustNotify(sorted(folders), False, False, 0, False, True)


def _fingerprint(path: Path) -> bytes | None:
    """What the contents are known by; None while there are none.

    An empty file is one that is being written: taken at its word, it would be a valid
    configuration, of a gateway that serves nothing.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return hashlib.sha256(data).digest() if data else None
