"""The directory: what the admin API writes and every process reads.

`storage/directory.py` implements it over SQL. Each write is one transaction that moves
the directory to its next generation and wakes every process; `gateway` then asks for
the `changes` and obeys them as it obeys the file. Requests never wait for any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from actors.directory.messages import (
    Changes,
    Declared,
    Document,
    HeldKey,
    KeyFacts,
    KeyTerms,
    Kind,
    NewKey,
    Page,
)

Judge = Callable[[Sequence[Declared]], tuple[str, ...]]
"""What would be wrong with a configuration of the file and these objects; pure.

It is asked inside the transaction of a write, in another thread.
"""


class Wakeup(Protocol):
    """Hears that the directory has changed."""

    async def wait(self) -> None:
        """Return when it has since the last return, or since the start."""
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class Directory(Protocol):
    """Objects and keys that are added at run time.

    `expected` is optimistic concurrency: None takes what is there, 0 wants nothing to
    be there, a version wants that very state. `by` is who does it, for `updated_by`;
    whoever calls writes the audit entry. Every method may raise DirectoryDown.
    """

    async def list_declared(
        self,
        kind: Kind,
        *,
        tenant: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[Declared]:
        """Objects of a kind, by name."""
        ...

    async def declared(self, kind: Kind, name: str) -> Declared:
        """One object. Raises Unknown."""
        ...

    async def declare(
        self,
        kind: Kind,
        name: str,
        document: Document,
        *,
        by: str,
        expected: int | None = None,
    ) -> Declared:
        """Make or replace an object.

        Raises Exists, Outdated, Unknown, Unfit, TooMany.
        """
        ...

    async def remove(
        self, kind: Kind, name: str, *, by: str, expected: int | None = None
    ) -> None:
        """Take an object away; with a site, its keys.

        Raises Unknown, Outdated, Unfit.
        """
        ...

    async def list_keys(
        self, *, site: str | None = None, after: str = "", limit: int = 100
    ) -> Page[KeyFacts]:
        """Keys by id, revoked ones too."""
        ...

    async def key(self, key_id: str) -> KeyFacts:
        """One key, by its id (or a whole prefix). Raises Unknown."""
        ...

    async def create_key(self, site: str, terms: KeyTerms, *, by: str) -> NewKey:
        """A key for a site, of the file or of the directory. Raises TooMany.

        Whether there is such a site is for the caller to know: files differ by machine.
        """
        ...

    async def change_key(
        self, key_id: str, terms: KeyTerms, *, by: str, expected: int | None = None
    ) -> KeyFacts:
        """Give it other terms. Raises Unknown, Outdated."""
        ...

    async def rotate_key(self, key_id: str, *, overlap_s: int, by: str) -> NewKey:
        """A new secret; the earlier ones serve for `overlap_s` more at most.

        Raises Unknown: also when it is revoked. Raises TooMany.
        """
        ...

    async def revoke_key(self, key_id: str, *, by: str) -> KeyFacts:
        """End it everywhere, with the streams begun with it. Again is the same."""
        ...

    async def changes(self, since: int = 0) -> Changes:
        """What is different from generation `since`; 0 is the empty directory."""
        ...

    async def subscribe(self) -> Wakeup:
        """Hear of changes by any process."""
        ...


__all__ = ["Directory", "HeldKey", "Judge", "Wakeup"]
