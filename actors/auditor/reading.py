"""What of the log can be looked at while it grows, and by whom: a port and its values.

Owns: the shape of an entry for readers, what may be asked for, what a check found. What
is shown is what readers of the folder see: entries under a published checkpoint.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol

from msgspec import Struct

from runtime import DomainError

FIELDS: Final = frozenset(
    {
        "v", "seq", "ts", "boot", "act", "actor", "out", "tenant", "env", "provider",
        "name", "ver", "lease", "req", "nonce", "n",
    }
)  # fmt: skip


BOOKKEEPING: Final = frozenset({"records.kept", "records.found", "audit.sibling"})
"""What the log says of itself, many times a minute: hashes of records, other logs."""


class Log(Struct, frozen=True):
    """One worker's log, as its readers see it."""

    number: int
    """The worker that writes it, from 1."""
    origin: str
    vkey: str
    """Its public key: keep a copy elsewhere."""
    size: int
    root: str
    """The root hash of its published checkpoint, in hex."""
    witnessed: int
    """The size of the last checkpoint that witnesses have signed; 0: none."""


class Entry(Struct, frozen=True):
    """One act: who did what to what, and how it went. Never a value."""

    log: int
    seq: int
    at_ms: int
    act: str
    actor: str
    out: str
    tenant: str
    env: str
    provider: str
    name: str
    version: int
    request: str
    lease: str
    times: int
    """How many alike ones this entry stands for."""
    boot: str
    """Which life of the process wrote it."""
    detail: dict[str, str | int]
    person: str = ""
    """Whom `actor` means, while that can be told: no part of the log."""


class Wanted(Struct, frozen=True):
    """Which entries; empty fields want any. `act` also wants what begins with it.

    Without `bookkeeping` only acts of somebody are wanted.
    """

    log: int = 0
    act: str = ""
    actor: str = ""
    actors: tuple[str, ...] = ()
    """Any of these, in place of `actor`: somebody is named anew in each epoch."""
    out: str = ""
    tenant: str = ""
    provider: str = ""
    name: str = ""
    request: str = ""
    since_ms: int = 0
    until_ms: int | None = None
    bookkeeping: bool = True

    def takes(self, fields: Mapping[str, str | int]) -> bool:
        """Whether an entry is one of them; the log and the times are looked at before.

        `fields` are the entry's own.
        """
        act = str(fields.get("act", ""))
        if not self.bookkeeping and act in BOOKKEEPING:
            return False
        family = f"{self.act.rstrip('.')}."
        if self.act and act != self.act and not act.startswith(family):
            return False
        if self.actors and fields.get("actor", "") not in self.actors:
            return False
        return all(
            not wanted or fields.get(name, "") == wanted
            for name, wanted in (
                ("actor", self.actor),
                ("out", self.out),
                ("tenant", self.tenant),
                ("provider", self.provider),
                ("name", self.name),
                ("req", self.request),
            )
        )


class Found(Struct, frozen=True):
    """Entries, the newest first, and where each log goes on below them.

    No places: there is nothing more. With places and few entries, or none, the look
    ended at its bound, and goes on from there.
    """

    entries: tuple[Entry, ...]
    places: dict[int, int]


class Proof(Struct, frozen=True):
    """An entry as it is hashed, with what shows that the log covers it."""

    entry: Entry
    leaf: str
    proof: str
    """A C2SP tlog-proof, checkpoint and all."""
    vkey: str


class Checked(Struct, frozen=True):
    """What a check of one log found."""

    log: int
    origin: str
    size: int
    published: int
    anchors: int
    """How many anchored checkpoints it continues."""
    witnesses: tuple[str, ...]
    batches: int
    """How many batches of request records are as they were."""
    problems: tuple[str, ...]


class Verdict(Struct, frozen=True):
    """What a check of all logs found; well when there is no problem."""

    well: bool
    logs: tuple[Checked, ...]
    problems: tuple[str, ...] = ()
    """Those that are no single log's: one that is missing, a check that did not end."""
    took_ms: int = 0


class Unreadable(DomainError):
    """The log's files cannot be read now, or are not what they say."""


class NoEntry(DomainError):
    """There is no such log or entry, or it is not published yet."""


class LogReader(Protocol):
    """Reads the logs of this gateway. Each method raises Unreadable."""

    async def logs(self) -> tuple[Log, ...]:
        """Those there are, by their numbers."""
        ...

    async def search(
        self, wanted: Wanted, places: Mapping[int, int] | None, most: int
    ) -> Found:
        """Entries, the newest first; `places` are those of an earlier answer."""
        ...

    async def prove(self, number: int, seq: int) -> Proof:
        """One entry and its proof. Raises NoEntry."""
        ...

    def export(self) -> AsyncGenerator[bytes]:
        """All logs as a zip file, which `stagedoor audit verify` takes offline."""
        ...

    async def verify(self) -> Verdict:
        """Hash everything anew and compare; the gateway goes on meanwhile."""
        ...


def entry_of(number: int, fields: Mapping[str, str | int]) -> Entry:
    """An entry from its leaf's fields."""

    def text(name: str) -> str:
        return str(fields.get(name, ""))

    def whole(name: str, default: int = 0) -> int:
        value = fields.get(name, default)
        return value if isinstance(value, int) else default

    return Entry(
        log=number,
        seq=whole("seq"),
        at_ms=whole("ts"),
        act=text("act"),
        actor=text("actor"),
        out=text("out"),
        tenant=text("tenant"),
        env=text("env"),
        provider=text("provider"),
        name=text("name"),
        version=whole("ver"),
        request=text("req"),
        lease=text("lease"),
        times=whole("n", 1),
        boot=text("boot"),
        detail={k: v for k, v in fields.items() if k not in FIELDS},
    )
