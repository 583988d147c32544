"""Writes an audit log in its folder as the auditor does, one step at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import trio

from actors.auditor.messages import AuditEvent
from actors.auditor.notes import Verifier
from actors.auditor.ports import AuditBook
from storage.audit_files import AuditFiles, log_folder
from storage.audit_opening import open_log
from storage.audit_siblings import keep, look

ORIGIN = "log.example/stagedoor"


class Keeper:
    """A log that is open within a `with`."""

    def __init__(self, state: Path, *anchors: Path, worker: int = 1) -> None:
        self.state = state
        self.origin = ORIGIN if worker == 1 else f"{ORIGIN}/w{worker}"
        self.folder = log_folder(state, self.origin)
        self.anchors = anchors
        self.book: AuditBook
        self.files: AuditFiles

    def __enter__(self) -> Self:
        self.book, self.files = open_log(self.state, self.origin, self.anchors)
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    @property
    def key(self) -> Verifier:
        return Verifier.parse((self.folder / "vkey").read_text())

    def write(self, count: int = 1, name: str = "n") -> None:
        log = self.book.log
        for number in range(count):
            log.add(AuditEvent("a.b", name=f"{name}{number}"), 1000)
        while log.pending:
            group = log.seal()
            trio.run(self.files.append, group.data)
            log.commit(group)

    def publish(self) -> None:
        shown = self.book.log.publication()
        assert shown is not None
        trio.run(self.files.publish, shown.files)
        trio.run(self.files.show, shown.note, None)
        self.book.log.publish(shown)

    def see_siblings(self) -> None:
        """As gateway.workers.siblings does."""
        seen = look(self.state, self.key)
        keep(self.state, self.origin, seen)
        for one in seen:
            self.book.log.add(one.event(), 1000)
        self.write(0)
        self.publish()

    def rotate(self) -> None:
        segment = self.book.log.segment()
        trio.run(self.files.rotate, segment)
        self.book.log.rotate(segment)
