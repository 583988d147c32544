"""Reloads: when the file changes or somebody asks, load it and apply what can be.

Owns: that one follows the other, and that a file with mistakes changes nothing but what
is said of it.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import trio

from gateway.following import Following
from gateway.settings.errors import ConfigError
from gateway.settings.load import Source
from gateway.settings.watch import changes
from runtime import AskError, DomainError


async def follow(source: Source, reload: trio.MemorySendChannel[None]) -> None:
    """Ask for a reload whenever the file changes. Ends by being cancelled."""
    async with trio.open_nursery() as nursery:
        started = trio.Event()
        nursery.start_soon(_look_again, started, reload)
        async for _ in changes(source.path, started=started):
            ask_for(reload)


async def _look_again(
    started: trio.Event, reload: trio.MemorySendChannel[None]
) -> None:
    """What was written between the load and the watch is no event of the watch."""
    await started.wait()
    ask_for(reload)


def ask_for(reload: trio.MemorySendChannel[None]) -> None:
    """Want a reload; never waits."""
    # One that waits already will read what the file holds then.
    with suppress(trio.WouldBlock):
        reload.send_nowait(None)


async def reloading(
    following: Following, source: Source, wanted: trio.MemoryReceiveChannel[None]
) -> None:
    """One reload after the other, and none on the way of a signal to stop."""
    async for _ in wanted:
        await _reload(following, source)


async def _reload(following: Following, source: Source) -> None:
    """Load and apply; a file with mistakes changes nothing."""
    log = following.gateway.gate.logs.log
    try:
        config = await trio.to_thread.run_sync(source.load)
        await following.rebase(config)
    except ConfigError as error:
        for problem in error.problems:
            # Not an exception to be traced: the operator's file has a mistake.
            log.error("reload.refused", setting=problem.where)  # noqa: TRY400
            say(str(problem))
    except (AskError, DomainError, OSError) as error:
        # Half of it may stand: the next one does all that is not done yet.
        log.error("reload.failed", error_class=type(error).__name__)  # noqa: TRY400
        say(f"reload: {error}; send SIGHUP to try again")


def say(text: str) -> None:
    """For whoever reads the console; the log has its own, allow-listed words."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
