"""Check all logs of one gateway: each for itself, and each against the others.

Owns: which key is whose, and that a log which another one has seen is there and goes on
from what was seen. Never: writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from actors.auditor.merkle import range_root
from actors.auditor.notes import Verifier
from actors.auditor.tiles import BadTile
from storage.audit_files import worker_of
from storage.audit_siblings import SIBLINGS, Claim, key_of
from storage.audit_verify import Expectations, Report, origin_in, reader, verify


def verify_all(
    pairs: Sequence[tuple[Path, Verifier]], expected: Expectations
) -> list[Report]:
    """Check the logs of a gateway, each for itself and against the others."""
    remembered = tuple(folder / SIBLINGS for folder, _ in pairs)
    reports = [
        verify(folder, key, attrs.evolve(expected, siblings=remembered))
        for folder, key in pairs
    ]
    by_name = {report.origin: report for report in reports}
    for report in reports:
        for claim in report.claims.values():
            _check_claim(claim, report, by_name.get(claim.origin))
    return reports


def _check_claim(claim: Claim, by: Report, about: Report | None) -> None:
    """One log has seen another one like this: is it there, and does it continue so?"""
    seen = f"entry {claim.index} of {by.origin} has seen it with {claim.size} entries"
    if about is None:
        by.problem(f"the log {claim.origin} is missing: {seen}")
    elif claim.size > about.published:
        about.problem(f"its checkpoint is of {about.published} entries, but {seen}")
    elif claim.size:
        tree = reader(about.folder, about.published)
        try:
            root = range_root(tree.node, 0, claim.size)
        except BadTile as error:
            about.problem(f"its first {claim.size} entries cannot be shown: {error}")
            return
        if root != claim.root:
            about.problem(f"it is another log than it was: {seen}, by another root")


def match(
    folders: Iterable[Path], keys: Sequence[Verifier]
) -> tuple[list[tuple[Path, Verifier]], list[str]]:
    """Each log with its key; and what has no counterpart.

    One key signs the logs of all workers, so the first worker's stands for the others.
    """
    by_name = {key.name: key for key in keys}
    pairs: list[tuple[Path, Verifier]] = []
    problems: list[str] = []
    for folder in folders:
        name = origin_in(folder)
        first = by_name.get(worker_of(name)[0])
        if name in by_name:
            pairs.append((folder, by_name[name]))
        elif first is not None:
            pairs.append((folder, key_of(first, name)))
        else:
            problems.append(f"{folder}: no --vkey was given for the log {name!r}")
    present = {key.name for _, key in pairs}
    problems += [
        f"the log {key.name} is missing" for key in keys if key.name not in present
    ]
    return pairs, problems
