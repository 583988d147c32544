"""A bounded hop for one stream of items, with exactly one end.

Owns: the buffer between a producer and a consumer that run at their own speed. A
slow consumer blocks the producer, so it stops reading from upstream. A hop through
trio's channel is 5 us; here the reader may drain what is there in one go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio
from outcome import Error, Value
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from runtime.errors import ReceiverGone
from runtime.message import Normal

T = TypeVar("T")
S = TypeVar("S")

# A side that never has to wait lets others run after so many items.
ITEMS_IN_A_ROW_MAX = 16


class StreamChannel(Generic[T]):
    """`send` on one side, `async for` on the other, one terminal status.

    At most `capacity` items are buffered and, with a `cost` function, items of at
    most `cost_max` together; a single dearer item passes when the buffer is empty.
    The sender ends it with `close(status)` or `fail(error)`, which the reader meets
    after the last item. The reader ends it with `cancel(reason)`: what is buffered
    is dropped and the sender's next `send` raises ReceiverGone.
    """

    __slots__ = (
        "_buffer",
        "_cancelled",
        "_capacity",
        "_cost",
        "_cost_max",
        "_costs",
        "_direct",
        "_error",
        "_in_a_row",
        "_passed",
        "_peak",
        "_reader",
        "_senders",
        "_status",
    )

    def __init__(
        self,
        capacity: int,
        *,
        cost: Callable[[T], int] | None = None,
        cost_max: int = 0,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a stream of {capacity} can carry nothing; use 1 or more")
        if (cost is None) != (cost_max == 0):
            raise ValueError("cost and cost_max bound the buffer together; give both")
        self._buffer: deque[T] = deque()
        self._capacity = capacity
        self._cost = cost
        self._cost_max = cost_max
        self._costs = 0
        self._senders: deque[tuple[Task, T]] | None = None
        self._reader: Task | None = None
        self._direct: Callable[[T], bool] | None = None  # Only while the reader waits.
        self._status: Any = None
        self._error: BaseException | None = None
        self._cancelled: str | None = None
        self._in_a_row = 0
        self._passed = 0
        self._peak = 0

    def __repr__(self) -> str:
        state = "open"
        if self._cancelled is not None:
            state = f"cancelled: {self._cancelled}"
        elif self._error is not None:
            state = f"failed: {type(self._error).__name__}"
        elif self._status is not None:
            state = "closed"
        return f"<StreamChannel {self.depth}/{self._capacity} {state}>"

    # -- both sides ------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many items are buffered."""
        return len(self._buffer)

    @property
    def peak(self) -> int:
        """The most that were ever buffered."""
        return self._peak

    @property
    def passed(self) -> int:
        """How many items were ever handed over."""
        return self._passed

    @property
    def cost(self) -> int:
        """What the buffered items cost together."""
        return self._costs

    @property
    def ended(self) -> bool:
        """Whether either side has ended it; items may still be buffered."""
        return (
            self._status is not None
            or self._error is not None
            or self._cancelled is not None
        )

    @property
    def status(self) -> Any:
        """What `close` said, None before."""
        return self._status

    @property
    def cancelled(self) -> str | None:
        """Why the reader left, None while it has not."""
        return self._cancelled

    # -- the sender's side -----------------------------------------------------

    async def send(self, item: T, *, last: bool = False) -> None:
        """Hand over an item; wait while the buffer is full.

        `last` says that the end follows at once: the reader then meets both together.
        Raises ReceiverGone when the reader has left. In a cancelled scope nothing is
        sent.
        """
        await checkpoint_if_cancelled()
        if self._admits(item) and not self._senders:
            if last:
                self._direct = None
            self._push(item)
            self._in_a_row += 1
            if self._in_a_row >= ITEMS_IN_A_ROW_MAX:
                self._in_a_row = 0
                # The item is sent: from here on this call must not say otherwise.
                await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._in_a_row = 0
        entry = (current_task(), item)
        senders = self._senders
        if senders is None:
            senders = self._senders = deque()
        senders.append(entry)

        def abort(_raise_cancel: Any) -> Abort:
            senders.remove(entry)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def send_nowait(self, item: T) -> None:
        """Hand over an item now; trio.WouldBlock when the buffer is full."""
        if self._senders or not self._admits(item):
            raise trio.WouldBlock
        self._push(item)

    def offer(self, item: T) -> bool:
        """Hand over an item now; False, and nothing done, where `send` would wait.

        So too where the stream has ended, which `send` then tells.
        """
        direct = self._direct
        if direct is not None and direct(item):
            self._passed += 1
            return True
        self._direct = None  # It has seen this one.
        if self._senders or self.ended or not self._admits(item):
            return False
        self._push(item)
        return True

    def close(self, status: Any = None) -> None:
        """End it well. The reader sees `status` after the last item."""
        self._refuse_second_end()
        self._status = Normal() if status is None else status
        self._wake_reader()

    def fail(self, error: BaseException) -> None:
        """End it badly. The reader meets `error` after the last item."""
        self._refuse_second_end()
        self._error = error
        self._wake_reader()

    # -- the reader's side -----------------------------------------------------

    def cancel(self, reason: str) -> None:
        """Leave: drop what is buffered and tell the sender at its next send."""
        if self.ended and self._cancelled is None:
            self._drop()
            return
        if self._cancelled is not None:
            return
        self._cancelled = reason
        self._drop()
        senders, self._senders = self._senders, None
        for task, _ in senders or ():
            reschedule(task, Error(ReceiverGone(reason)))
        self._wake_reader()

    def __aiter__(self) -> StreamChannel[T]:
        return self

    async def __anext__(self) -> T:
        await checkpoint_if_cancelled()
        if self._buffer:
            self._in_a_row += 1
            if self._in_a_row >= ITEMS_IN_A_ROW_MAX:
                self._in_a_row = 0
                await checkpoint()
        while not self._buffer:
            if self.ended:
                self._raise_end()
                raise StopAsyncIteration
            await self._wait()
        return self.receive_nowait()

    async def receive_some(self, direct: Callable[[T], bool] | None = None) -> list[T]:
        """Wait for at least one item and take all there are; empty at the end.

        While it waits, each item is shown to `direct` first, in its sender's task: one
        that `direct` takes (True) has arrived, and the wait goes on. It must neither
        wait nor raise; what it does not take is buffered, and ends the wait.

        Raises the sender's error at a bad end.
        """
        await checkpoint_if_cancelled()
        while not self._buffer:
            if self.ended:
                self._raise_end()
                return []
            await self._wait(direct)
        return self.take_all()

    def receive_nowait(self) -> T:
        """The next item now; trio.WouldBlock when there is none."""
        if not self._buffer:
            raise trio.WouldBlock
        item = self._buffer.popleft()
        if self._cost is not None:
            self._costs -= self._cost(item)
        if self._senders:
            self._admit()
        return item

    def take_all(self) -> list[T]:
        """All that is buffered, perhaps nothing."""
        items = list(self._buffer)
        self._buffer.clear()
        self._costs = 0
        if self._senders:
            self._admit()
        return items

    # -- inside ----------------------------------------------------------------

    def _admits(self, item: T) -> bool:
        if self.ended:
            if self._cancelled is not None:
                raise ReceiverGone(self._cancelled)
            raise trio.ClosedResourceError("this stream was ended; send before close")
        if self._cost is None:
            return len(self._buffer) < self._capacity
        if not self._buffer:
            return True
        total = self._costs + self._cost(item)
        return len(self._buffer) < self._capacity and total <= self._cost_max

    def _push(self, item: T) -> None:
        self._passed += 1
        if self._direct is not None and self._direct(item):
            return
        if self._cancelled is not None:
            return  # It found that the reader's own reader had left.
        self._buffer.append(item)
        if self._cost is not None:
            self._costs += self._cost(item)
        depth = len(self._buffer)
        if depth > self._peak:  # noqa: PLR1730 - max() costs twice as much, each delta
            self._peak = depth
        self._wake_reader()

    def _admit(self) -> None:
        """Let blocked senders in, first come first."""
        while self._senders and self._fits(self._senders[0][1]):
            task, item = self._senders.popleft()
            self._push(item)
            reschedule(task, Value(None))

    def _fits(self, item: T) -> bool:
        if not self._buffer:
            return True
        if len(self._buffer) >= self._capacity:
            return False
        return self._cost is None or self._costs + self._cost(item) <= self._cost_max

    def _drop(self) -> None:
        self._buffer.clear()
        self._costs = 0

    async def _wait(self, direct: Callable[[T], bool] | None = None) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError("this stream has a reader already")
        self._reader = current_task()
        self._direct = direct

        def abort(_raise_cancel: Any) -> Abort:
            self._reader = self._direct = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._direct = None
        if reader is not None:
            reschedule(reader, Value(None))

    def _refuse_second_end(self) -> None:
        if self._status is not None or self._error is not None:
            raise trio.ClosedResourceError("this stream has ended once already")

    def _raise_end(self) -> None:
        if self._error is not None:
            raise self._error
