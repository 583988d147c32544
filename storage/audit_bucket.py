"""Anchors in a bucket that locks its objects. Implements Anchorage.

    PREFIX ORIGIN/KEYID/REST-SIZE     a published checkpoint, signed

Each is put once, with a retention in compliance mode: neither the gateway nor whoever
takes it over, nor the account's owner, can change or remove it before its time. REST
counts down as SIZE grows, so that the first page of a listing has the largest.

What can be done with the gateway's credentials is to hide an object under a marker of
a deletion, or under a newer version. So versions are read, never names: nothing is
hidden from `audit verify`, and a marker is a problem of its own.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import attrs
import trio

from actors.auditor.notes import (
    TREE_SIZE_MAX,
    BadNote,
    Checkpoint,
    Verifier,
    open_checkpoint,
)
from actors.auditor.ports import AnchorRefused, AnchorsUnavailable
from storage.s3 import COMPLIANCE, S3, S3Error, Version

DAY_S: Final = 86_400
NEWEST: Final = 8  # What a start looks at: a few, should the last be none of ours.
VERSIONS_MAX: Final = 100_000  # Eleven years of one an hour.
READS_AT_ONCE: Final = 8
LOCKED_SLACK_S: Final = DAY_S  # Between our clock and the bucket's.

T = TypeVar("T")


@attrs.frozen
class Anchors:
    """All that a bucket has of one log: what the log must continue, and oddities."""

    notes: tuple[tuple[str, bytes], ...] = ()
    problems: tuple[str, ...] = ()


@attrs.frozen
class AuditBucket:
    """Where the checkpoints of this gateway's logs are kept."""

    s3: S3
    prefix: str
    every_s: float
    retain_days: int
    wall: Callable[[], float] = time.time

    def __repr__(self) -> str:
        return f"<AuditBucket {self.s3.url} prefix={self.prefix!r}>"

    async def keep(self, note: bytes, log: Verifier) -> None:
        """See Anchorage."""
        one = open_checkpoint(note, log)
        key = self._folder(log) + _name(one.size)
        until_s = self.wall() + self.retain_days * DAY_S
        try:
            version = await self.s3.put_locked(key, note, until_s)
        except S3Error as error:
            if error.status != 412:
                raise self._unavailable(error) from None
            version = ""  # An answer that was lost, or somebody was here before.
            until_s = self.wall()
        # Not believed, but read: a bucket that does not lock anchors nothing.
        stored = await self._ask(self.s3.get(key, version))
        try:
            there = open_checkpoint(stored.data, log)
        except BadNote as error:
            raise AnchorsUnavailable(f"{self.s3.url} has {key}: {error}") from None
        if there != one:
            raise AnchorRefused(
                f"a locked anchor knows another log at size {one.size}: it was "
                f"rewritten or rolled back"
            )
        if why := _unlocked(stored.lock_mode, stored.locked_until, until_s):
            raise AnchorsUnavailable(
                f"{self.s3.url} has {key} and {why}: enable Object Lock in the bucket, "
                f"and let the gateway s3:PutObjectRetention and s3:GetObjectRetention"
            )

    async def newest(self, log: Verifier) -> tuple[Checkpoint, ...]:
        """See Anchorage. What is not signed by the log says nothing about it."""
        page = await self._ask(self.s3.versions(self._folder(log), most=NEWEST))
        found: list[Checkpoint] = []
        for one in page.versions:
            if one.is_marker:
                continue
            stored = await self._ask(self.s3.get(one.key, one.version))
            try:
                found.append(open_checkpoint(stored.data, log))
            except BadNote:
                continue
        return tuple(found)

    async def of(self, logs: Iterable[Verifier]) -> Anchors:
        """Everything that is kept of some logs. Raises AnchorsUnavailable."""
        found = [await self.all(log) for log in logs]
        return Anchors(
            tuple(note for one in found for note in one.notes),
            tuple(problem for one in found for problem in one.problems),
        )

    async def all(self, log: Verifier) -> Anchors:
        """All that is kept of a log, hidden or not. Raises AnchorsUnavailable."""
        versions: list[Version] = []
        after: tuple[str, str] | None = None
        while True:
            page = await self._ask(self.s3.versions(self._folder(log), after=after))
            versions += page.versions
            after = page.more
            if after is None:
                break
            if len(versions) > VERSIONS_MAX:
                raise AnchorsUnavailable(
                    f"{self.s3.url} has more than {VERSIONS_MAX} anchors of {log.name}"
                )
        found = [Anchors()] * len(versions)

        async def read(index: int, one: Version) -> None:
            async with limit:
                found[index] = await self._read(one, log)

        limit = trio.CapacityLimiter(READS_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for index, one in enumerate(versions):
                nursery.start_soon(read, index, one)
        return Anchors(
            tuple(note for one in found for note in one.notes),
            tuple(problem for one in found for problem in one.problems),
        )

    async def _read(self, one: Version, log: Verifier) -> Anchors:
        where = f"anchor {one.key}"
        if one.is_marker:
            return Anchors(problems=(f"{where}: somebody tried to delete it",))
        try:
            stored = await self.s3.get(one.key, one.version)
        except S3Error as error:
            return Anchors(problems=(f"{where} cannot be read: the bucket {error}",))
        problems: list[str] = []
        if stored.lock_mode != COMPLIANCE:
            problems.append(f"{where} is not locked: it could be removed")
        try:
            size = open_checkpoint(stored.data, log).size
        except BadNote as error:
            return Anchors(problems=(*problems, f"{where}: {error}"))
        if not one.key.endswith(_name(size)):
            problems.append(f"{where} holds a checkpoint of size {size}")
        return Anchors(((where, stored.data),), tuple(problems))

    async def _ask(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except S3Error as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: S3Error) -> AnchorsUnavailable:
        return AnchorsUnavailable(f"the bucket {self.s3.url} {error}")

    def _folder(self, log: Verifier) -> str:
        # With the key's id: a log begun anew under the same name is another log.
        return f"{self.prefix}{log.name}/{log.key_id.hex()}/"


def _name(size: int) -> str:
    return f"{TREE_SIZE_MAX - size:019d}-{size}"


def _unlocked(mode: str, until: str, until_s: float) -> str:
    """Why an object can be removed before its time; empty: it cannot."""
    if mode != COMPLIANCE:
        return "does not lock it"
    try:
        locked_s = time.strptime(until[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return "does not say until when it is locked"
    if timegm(locked_s) + LOCKED_SLACK_S < until_s:
        return f"locks it only until {until[:10]}"
    return ""
