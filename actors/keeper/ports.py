"""What the keeper needs of the outside: somewhere for finished answers to lie."""

from __future__ import annotations

from typing import Protocol


class Shelf(Protocol):
    """Holds finished answers, each a blob, by site and id.

    A blob holds prompts and answers: an implementation that writes it anywhere but to
    memory seals it first. It may lose what it holds at any time, never mix sites up.
    """

    async def put(self, site: str, name: str, blob: bytes, expires_at: float) -> None:
        """Keep a blob until a time of the runtime's clock; replaces an older one."""
        ...

    async def get(self, site: str, name: str) -> bytes | None:
        """The blob, None when there is none any more."""
        ...

    async def delete(self, site: str, name: str) -> bool:
        """Forget it; whether it was there."""
        ...
