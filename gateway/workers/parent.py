"""The parent of the workers: forks them, watches them, starts dead ones again.

Owns: which workers there are, the lines to them, the order of start and stop. It serves
nobody, runs no loop of trio's and has no thread, so forking it is safe at any time.

The first worker starts alone: it makes what all share (keys, folders, tables). A stop
closes the sockets here, tells all workers, and ends those that outlive the deadline.
`run` returns in the parent when all is over, and *in each new worker* with what that
one is: the caller then serves, and leaves through its own end.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import attrs

from gateway.settings.changes import diff
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.load import Source
from gateway.workers import policy
from gateway.workers.balance import Balance
from gateway.workers.doors import Doors
from gateway.workers.failure import WorkersFailed
from gateway.workers.link import READY, Order, ParentEnd, WorkerEnd, pair

STOP_SPARE_S: Final = 15.0  # After the drain: the tree, the log's last group, pools.
LOOK_S: Final = 1.0  # How often silence and deadlines are looked at.

WATCHED: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD,
)  # fmt: skip


@attrs.frozen
class Worker:
    """What one worker is told about itself."""

    number: int  # From 1.
    count: int
    starts: int  # How often this number has been started; 1 the first time.
    doors: Doors
    balance: Balance
    link: WorkerEnd

    @property
    def is_first(self) -> bool:
        """Whether nobody of this gateway has served before it."""
        return self.number == 1 and self.starts == 1


@attrs.define
class _Child:
    """A worker as its parent sees it."""

    number: int
    starts: int = 0
    pid: int = 0  # 0: it does not run.
    link: ParentEnd | None = None
    ready: bool = False
    heard_at: float = 0.0
    again_at: float | None = None
    deaths: list[policy.Death] = attrs.field(factory=list[policy.Death])
    stuck: bool = False

    @property
    def alive(self) -> bool:
        return self.pid != 0


class Parent:
    """The parent process."""

    def __init__(
        self,
        config: Config,
        source: Source | None,
        doors: Doors,
        *,
        on_ready: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.config = config
        self._source = source
        self._doors = doors
        self._on_ready = on_ready
        self._children = [_Child(n + 1) for n in range(config.server.workers)]
        self._balance = Balance(len(self._children))
        self._announced = False
        self._stop_by: float | None = None
        self._failure: WorkersFailed | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._handlers: dict[int, object] = {}

    def __repr__(self) -> str:
        alive = sum(child.alive for child in self._children)
        return f"<Parent workers={alive}/{len(self._children)}>"

    def run(self) -> tuple[Worker, Config] | None:
        """Keep the workers running until told to stop.

        Returns None in the parent; in a new worker, what it is and its configuration.

        Raises:
            WorkersFailed: a worker could not start, or died too often.
        """
        gc.collect()
        gc.freeze()  # So that no collection writes to the pages the workers share.
        self._take_signals()
        self._children[0].again_at = time.monotonic()
        while True:
            born = self._start_due()
            if born is not None:
                return born
            if self._stop_by is not None and not any(c.alive for c in self._children):
                self._end()
                return None
            self._wait()

    # -- starting ----------------------------------------------------------------

    def _start_due(self) -> tuple[Worker, Config] | None:
        now = time.monotonic()
        for child in self._children:
            due = child.again_at is not None and child.again_at <= now
            if due and self._stop_by is None:
                born = self._start(child)
                if born is not None:
                    return born
        return None

    def _start(self, child: _Child) -> tuple[Worker, Config] | None:
        child.starts += 1
        child.again_at, child.ready, child.stuck = None, False, False
        ours, theirs = pair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            return self._become(child, theirs)
        theirs.close()
        child.pid, child.link, child.heard_at = pid, ours, time.monotonic()
        return None

    def _become(self, child: _Child, link: WorkerEnd) -> tuple[Worker, Config]:
        """In the new process: leave everything of the parent's behind."""
        signal.set_wakeup_fd(-1)
        self._wake_in.close()
        self._wake_out.close()
        for other in self._children:
            if other.link is not None:
                # An end that stayed open here would hide the parent's death from it.
                other.link.close()
        self._give_signals_back()
        count = len(self._children)
        worker = Worker(
            child.number, count, child.starts, self._doors, self._balance, link
        )
        return worker, self._newest() if child.starts > 1 else self.config

    def _newest(self) -> Config:
        """What the file says now, as far as it can be obeyed without a restart."""
        if self._source is None:
            return self.config
        try:
            found = self._source.load()
        except ConfigError:
            return self.config  # The last good one; the mistakes were told already.
        return self.config if diff(self.config, found).restart else found

    # -- watching ----------------------------------------------------------------

    def _wait(self) -> None:
        """Until something happens, then see what."""
        wanted_s = self._until_due()
        before = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            for child in self._children:
                if child.link is not None:
                    selector.register(child.link.sock, selectors.EVENT_READ)
            selector.select(wanted_s)
        now = time.monotonic()
        paused = policy.overslept(wanted_s=wanted_s, slept_s=now - before)
        for child in self._children:
            self._hear(child, now)
            if paused:
                child.heard_at = now
        self._reap()
        self._obey()
        self._look(now)

    def _until_due(self) -> float:
        now = time.monotonic()
        due = [c.again_at - now for c in self._children if c.again_at is not None]
        return max(0.0, min([LOOK_S, *due]))

    def _hear(self, child: _Child, now: float) -> None:
        if child.link is None:
            return
        words = child.link.heard()
        if words is None:
            child.link.close()
            child.link = None
            return
        if words:
            child.heard_at = now
        if READY in words and not child.ready:
            child.ready = True
            self._on_child_ready()

    def _on_child_ready(self) -> None:
        if self._announced:
            return
        waiting = [child for child in self._children if not child.ready]
        for child in waiting:
            if not child.alive and child.again_at is None:
                child.again_at = (
                    time.monotonic()
                )  # The first one has made what all need.
        if not waiting:
            self._announced = True
            if self._on_ready is not None:
                server = self.config.server
                self._on_ready(self._doors.urls(tls=server.tls_cert is not None))

    def _reap(self) -> None:
        for child in self._children:
            if not child.alive:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._died(child, os.waitstatus_to_exitcode(status))

    def _died(self, child: _Child, code: int) -> None:
        child.pid = 0
        self._balance.gone(child.number)
        if child.link is not None:
            child.link.close()
            child.link = None
        if self._stop_by is not None:
            if code != 0 and self._failure is None:
                why = f"worker {child.number} {_how(code, child)} while stopping"
                self._failure = WorkersFailed(why, 1)
            return
        if not child.ready and not self._announced:
            # It has said why on standard error, and the next would say the same.
            self._fail(f"worker {child.number} cannot start: {_how(code, child)}", code)
            return
        now = time.monotonic()
        death = policy.Death(now, _how(code, child), child.ready)
        child.deaths = [*policy.remembered(child.deaths, now), death]
        match policy.after(child.deaths):
            case policy.Again(after_s):
                child.again_at = now + after_s
                self._say(
                    f"worker {child.number} {death.why}; it is started again in "
                    f"{after_s:g} s, the others serve on"
                )
            case policy.GiveUp(why):
                self._fail(
                    f"worker {child.number} {why}; look at what it said before, and "
                    "at `stagedoor doctor`",
                    1,
                )

    def _look(self, now: float) -> None:
        for child in self._children:
            silent_s = now - child.heard_at
            if (
                child.alive
                and not child.stuck
                and policy.is_stuck(silent_s=silent_s, serves=child.ready)
            ):
                child.stuck = True
                self._say(
                    f"worker {child.number} has been silent for {silent_s:.0f} s: "
                    "its loop is stuck; it is killed"
                )
                os.kill(child.pid, signal.SIGKILL)
        if self._stop_by is not None and now > self._stop_by:
            for child in self._children:
                if child.alive:
                    os.kill(child.pid, signal.SIGKILL)

    # -- obeying -----------------------------------------------------------------

    def _obey(self) -> None:
        try:
            numbers = self._wake_in.recv(4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop()
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR1:
                    self._tell(Order.DUMP)
                case _:
                    pass  # A child ended: `_reap` has seen it.

    def _stop(self) -> None:
        if self._stop_by is not None:
            self._tell(Order.HURRY)
            return
        drain_s = self.config.server.deadlines.drain_s
        self._stop_by = time.monotonic() + drain_s + STOP_SPARE_S
        self._doors.close()
        for child in self._children:
            child.again_at = None
        self._tell(Order.STOP)

    def _reload(self) -> None:
        """Workers load by themselves; the parent only for those it starts later."""
        if self._source is not None:
            with suppress(ConfigError):
                found = self._source.load()
                if not diff(self.config, found).restart:
                    self.config = found
        self._tell(Order.RELOAD)

    def _tell(self, order: Order) -> None:
        for child in self._children:
            if child.link is not None:
                child.link.say(order)

    def _fail(self, why: str, code: int) -> None:
        if self._failure is None:
            self._failure = WorkersFailed(why, code if code > 0 else 1)
        if self._stop_by is None:
            self._stop()

    def _end(self) -> None:
        self._give_signals_back()
        signal.set_wakeup_fd(-1)
        self._wake_in.close()
        self._wake_out.close()
        if self._failure is not None:
            raise self._failure

    def _take_signals(self) -> None:
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        for number in WATCHED:
            # The byte in the socket says all; without a handler there would be none.
            self._handlers[number] = signal.signal(number, lambda *_: None)

    def _give_signals_back(self) -> None:
        for number, before in self._handlers.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _how(code: int, child: _Child) -> str:
    """How a worker ended, in words."""
    if child.stuck:
        return "was stuck"
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
