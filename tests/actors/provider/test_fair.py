"""The queue of a provider: sites take turns, whoever shouts loudest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.provider.fair import FairQueue

flows = st.sampled_from(["a", "b", "c"])


def test_one_site_is_served_in_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(5):
        queue.push("a", number)

    assert [queue.pop() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_flood_waits_behind_itself() -> None:
    """Whoever comes seldom is next, however many of another site wait."""
    queue: FairQueue[str] = FairQueue()
    for number in range(50):
        queue.push("flood", f"flood {number}")
    for _ in range(10):
        queue.pop()
    queue.push("quiet", "quiet")

    assert "quiet" in (queue.pop(), queue.pop())


def test_turns_follow_shares() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(300):
        queue.push("one", "one")
        queue.push("two", "two", share=2.0)

    served = Counter(queue.pop() for _ in range(300))
    assert served["two"] == pytest.approx(200, abs=2)


def test_room_is_made_at_the_end_of_the_longest_line() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(4):
        queue.push("flood", number)

    assert queue.push_out("quiet") == 3
    queue.push("quiet", 99)
    assert queue.push_out("flood") is None
    assert len(queue) == 4


def test_nobody_is_pushed_out_for_the_sake_of_one_more_of_as_many() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push("a", 1)
    queue.push("b", 2)

    assert queue.push_out("c") is None
    assert queue.push_out("b") is None


def test_an_empty_queue_has_nobody() -> None:
    queue: FairQueue[int] = FairQueue()

    assert queue.push_out("a") is None
    with pytest.raises(IndexError):
        queue.pop()


@given(st.lists(st.tuples(flows, st.booleans()), max_size=200))
def test_nobody_is_lost_and_each_line_keeps_its_order(
    steps: list[tuple[str, bool]],
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    waiting = 0
    out: list[tuple[str, int]] = []
    for number, (flow, come) in enumerate(steps):
        if come:
            queue.push(flow, (flow, number))
            waiting += 1
        elif waiting:
            out.append(queue.pop())
            waiting -= 1
        assert len(queue) == waiting
    out += [queue.pop() for _ in range(waiting)]
    for flow in "abc":
        mine = [number for name, number in out if name == flow]
        assert mine == sorted(mine)
    assert len(out) == sum(come for _, come in steps)


@given(st.lists(flows, min_size=1, max_size=60))
def test_while_two_wait_neither_is_served_twice_more(order: list[str]) -> None:
    """With equal shares, turns differ by one at the most."""
    queue: FairQueue[str] = FairQueue()
    for flow in order:
        queue.push(flow, flow)
    left = Counter(order)
    served: Counter[str] = Counter()
    for _ in order:
        flow = queue.pop()
        served[flow] += 1
        left[flow] -= 1
        still = [name for name in left if left[name]]
        for one in still:
            assert served[flow] <= served[one] + 1
