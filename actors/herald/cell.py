"""What outlives a life of the herald."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import attrs

from actors.herald.messages import Raise
from actors.herald.ports import AlertBook, Post, Secrets

Watch = Callable[[], Awaitable[Sequence[Raise]]]
"""Looks for what nobody tells: keys that expire, an audit log in trouble."""


@attrs.define
class HeraldCell:
    """The book, the way out, and what is not in the book yet."""

    book: AlertBook
    secrets: Secrets
    post: Post
    watch: Watch
    keep_days: Callable[[], int]
    wall: Callable[[], float]
    rng: Random
    waiting: deque[tuple[Raise, int]] = attrs.field(factory=deque[tuple[Raise, int]])
    dropped: int = 0
    delivered: int = 0
    failed: int = 0
    trouble: str = ""
