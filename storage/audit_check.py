"""`python -m storage.audit_check`: check all logs of a folder, in a process of its own.

Hashing a long log in a thread would take the interpreter from the requests; a process
with a low priority takes what is left of another core. It is told what to check on its
standard input, gets none of the gateway's environment, and answers with JSON.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from actors.auditor.notes import BadNote, Verifier
from actors.auditor.reading import Checked, Verdict
from storage import audit_set, audit_verify
from storage.audit_files import worker_of

NICENESS: Final = 10  # Behind every request, before what is only batch.


class Asked(msgspec.Struct, frozen=True):
    """What to check, against what. `vkey` is the first worker's."""

    folder: str
    vkey: str
    anchors: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    records: str = ""
    notes: tuple[tuple[str, str], ...] = ()  # Anchors of a bucket, and where each was.
    problems: tuple[str, ...] = ()  # What was found while these were fetched.


def check(asked: Asked) -> Verdict:
    """All logs of a folder. Problems are in what is returned."""
    try:
        expected = audit_verify.Expectations(
            anchors=tuple(map(Path, asked.anchors)),
            witnesses=(keys := tuple(map(Verifier.parse, asked.witnesses))),
            quorum=len(keys),
            notes=tuple((where, note.encode()) for where, note in asked.notes),
            records=Path(asked.records) if asked.records else None,
        )
        folders = audit_verify.logs_in(Path(asked.folder))
        pairs, problems = audit_set.match(folders, [Verifier.parse(asked.vkey)])
        problems += asked.problems
        reports = audit_set.verify_all(pairs, expected)
    except BadNote as error:
        return Verdict(well=False, logs=(), problems=(str(error),))
    except OSError as error:
        what = f"{error.filename or asked.folder}: {error.strerror or error}"
        return Verdict(well=False, logs=(), problems=(what,))
    logs = tuple(
        Checked(
            log=worker_of(one.origin)[1],
            origin=one.origin,
            size=one.size,
            published=one.published,
            anchors=one.anchors,
            witnesses=one.witnesses,
            batches=one.batches,
            problems=tuple(one.problems),
        )
        for one in reports
    )
    well = not problems and not any(one.problems for one in logs)
    return Verdict(well=well, logs=logs, problems=tuple(problems))


def main() -> None:
    """Answer one question."""
    os.nice(NICENESS)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    sys.stdout.buffer.write(msgspec.json.encode(check(asked)))


if __name__ == "__main__":
    main()
