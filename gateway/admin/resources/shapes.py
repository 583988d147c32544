"""What the admin API says of live things: actors, crashes, providers. Values only."""

from __future__ import annotations

import msgspec


class Actor(msgspec.Struct, frozen=True):
    """One live actor."""

    id: str
    kind: str
    state: str
    incarnation: int
    restarts: int
    mailbox_depth: int
    mailbox_peak: int
    mailbox_capacity: int
    shed: int
    dead_letters: int
    handled: int
    handling: str | None
    age_s: float
    retry_in_s: float | None
    last_crash: str | None
    children: tuple[Actor, ...]


class Crash(msgspec.Struct, frozen=True):
    """What ended one life of an actor. Names and places, never a value."""

    actor: str
    incarnation: int
    error: str
    where: tuple[str, ...]


class Tree(msgspec.Struct, frozen=True):
    """The live actors, and the latest crashes."""

    root: Actor
    actors: int
    crashes_total: int
    crashes: tuple[Crash, ...]
    dead_letters_total: int


class RateRoom(msgspec.Struct, frozen=True):
    """What a rate limit has left, as the provider's last answer told."""

    kind: str
    """requests or tokens."""
    left: int
    limit: int | None
    resets_in_s: float


class ProviderState(msgspec.Struct, frozen=True):
    """A deployment and how it is now.

    In all processes of this gateway: its calls in sum, its state where it is worst.
    """

    name: str
    kind: str
    base_url: str
    models: tuple[str, ...]
    region: str
    state: str
    """closed: in use; probation: tried again; open: out; paused: by an operator."""
    paused_for: str
    in_flight: int
    in_flight_max: int
    queued: int
    queue_max: int
    failures: int
    lives: int
    """How often its breaker has closed: 1 is its first life."""
    retry_in_s: float | None
    cooling_s: float | None
    key_refused: bool
    last_trip: str | None
    key: str
    """Where its key is: `vault:NAME`, `env`, `federation`, `none`. Never the key."""
    room: tuple[RateRoom, ...] = ()
    """Empty: its answers do not say, or none came a short time ago."""
