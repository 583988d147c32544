"""Several that want the same thing at once get it from one who fetches it.

Owns: that a KEK is unwrapped once and a grant is attested once, however many leases
wait for it. The fetch belongs to the first one's task; its error is everybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import attrs
import trio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Abandoned(Exception):
    """Whoever fetched was cancelled; ask again."""


@attrs.define
class _Flight(Generic[V]):
    landed: trio.Event = attrs.field(factory=trio.Event)
    value: list[V] = attrs.field(factory=list[V], repr=False)
    error: Exception | None = None


class Flights(Generic[K, V]):
    """Fetches under way, by what they fetch."""

    def __init__(self) -> None:
        self._flying: dict[K, _Flight[V]] = {}

    def __repr__(self) -> str:
        return f"<Flights {len(self._flying)}>"

    def under_way(self, key: K) -> bool:
        """Whether somebody fetches it now."""
        return key in self._flying

    async def together(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """What `fetch` returns, or raises: ours, or that of one under way."""
        while True:
            flight = self._flying.get(key)
            if flight is None:
                return await self._fly(key, fetch)
            await flight.landed.wait()
            if flight.value:
                return flight.value[0]
            if not isinstance(flight.error, Abandoned):
                assert flight.error is not None
                raise flight.error

    async def _fly(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        flight: _Flight[V] = _Flight(error=Abandoned())
        self._flying[key] = flight
        try:
            value = await fetch()
        except Exception as error:
            flight.error = error
            raise
        else:
            flight.value.append(value)
            return value
        finally:
            del self._flying[key]
            flight.landed.set()
