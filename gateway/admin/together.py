"""What each worker says of itself, as one answer of the admin API. Pure.

A gateway of one process has one answer, and nothing is changed about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from gateway.admin.resources.shapes import Actor, ProviderState, RateRoom, Tree

# What an operator has to look at first, where workers differ.
WORST_FIRST: Final = ("open", "probation", "paused", "unknown", "closed")


def trees(found: Mapping[int, Tree | None]) -> Tree:
    """The trees of all workers below one root; of one that is down, its name."""
    there = [tree for tree in found.values() if tree is not None]
    branches = tuple(
        _branch(number, "restarting", ())
        if tree is None
        else _branch(number, "running", (tree.root,))
        for number, tree in found.items()
    )
    return Tree(
        root=_made("stagedoor", "gateway", "running", branches),
        actors=sum(tree.actors for tree in there),
        crashes_total=sum(tree.crashes_total for tree in there),
        crashes=tuple(crash for tree in there for crash in tree.crashes),
        dead_letters_total=sum(tree.dead_letters_total for tree in there),
    )


def providers(told: Sequence[Sequence[ProviderState]]) -> dict[str, ProviderState]:
    """Each provider as all workers see it: calls in sum, the worst of the states."""
    by_name: dict[str, list[ProviderState]] = {}
    for states in told:
        for state in states:
            by_name.setdefault(state.name, []).append(state)
    return {name: _provider(states) for name, states in by_name.items()}


def _provider(states: Sequence[ProviderState]) -> ProviderState:
    worst = min(states, key=lambda one: _rank(one.state))
    return replace(
        worst,
        in_flight=sum(one.in_flight for one in states),
        queued=sum(one.queued for one in states),
        failures=max(one.failures for one in states),
        lives=max(one.lives for one in states),
        key_refused=any(one.key_refused for one in states),
        last_trip=next((one.last_trip for one in states if one.last_trip), None),
        room=_room(states),
    )


def _room(states: Sequence[ProviderState]) -> tuple[RateRoom, ...]:
    """The tightest of each kind: all workers call under the same limits."""
    by_kind: dict[str, RateRoom] = {}
    for one in (room for state in states for room in state.room):
        known = by_kind.get(one.kind)
        if known is None or one.left < known.left:
            by_kind[one.kind] = one
    return tuple(by_kind.values())


def _rank(state: str) -> int:
    return WORST_FIRST.index(state) if state in WORST_FIRST else len(WORST_FIRST)


def _branch(number: int, state: str, below: tuple[Actor, ...]) -> Actor:
    return _made(f"worker/{number}", "worker", state, below)


def _made(name: str, kind: str, state: str, below: tuple[Actor, ...]) -> Actor:
    """A node that is no actor of the kernel's."""
    return Actor(
        id=name,
        kind=kind,
        state=state,
        incarnation=1,
        restarts=0,
        mailbox_depth=0,
        mailbox_peak=0,
        mailbox_capacity=0,
        shed=0,
        dead_letters=0,
        handled=0,
        handling=None,
        age_s=0.0,
        retry_in_s=None,
        last_crash=None,
        children=below,
    )
