"""What the audit log says of changed settings: which, never to what. Pure.

A reload is one entry, more where many settings changed. A change that touches money
(caps, ladders, spend limits) is a `cap.change` besides, so that whoever asks who
raised a cap, and when, finds it by its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from actors.auditor.entries import DETAILS_MAX, FIELD_CHARS_MAX
from actors.auditor.messages import AuditEvent
from gateway.settings.changes import Change, Diff

ACTOR: Final = "operator:config"
PATHS_AN_ENTRY: Final = DETAILS_MAX - 2  # Beside how many changed, and how many wait.
ENTRIES_MAX: Final = 16  # Over 200 settings at once is another file: say how many.

_MONEY: Final = re.compile(
    r"caps\.|sites\.[^.]+(\.(spend|ladder|pacing|each_key|tokens_per|requests_per).*)?$"
)


def reloaded(diff: Diff, actor: str = ACTOR) -> tuple[AuditEvent, ...]:
    """The entries of a reload; none when nothing changed."""
    changes = (*diff.live, *diff.restart)
    if not changes:
        return ()
    counts = (("changed", len(diff.live)), ("need_restart", len(diff.restart)))
    events = [
        AuditEvent("config.reload", actor=actor, detail=(*counts, *_named(part)))
        for part in _parts(changes)
    ]
    money = [change for change in diff.live if _MONEY.match(change.path)]
    events += [
        AuditEvent("cap.change", actor=actor, detail=_named(part))
        for part in _parts(money)
    ]
    return tuple(events)


def _parts(changes: Sequence[Change]) -> list[Sequence[Change]]:
    end = min(len(changes), PATHS_AN_ENTRY * ENTRIES_MAX)
    return [changes[at : at + PATHS_AN_ENTRY] for at in range(0, end, PATHS_AN_ENTRY)]


def _named(changes: Sequence[Change]) -> tuple[tuple[str, str], ...]:
    """`set_1: sites.acme.models changed`, … The path says which; no value is there."""
    return tuple(
        (f"set_{place}", _fitting(str(change)))
        for place, change in enumerate(changes, 1)
    )


def _fitting(text: str) -> str:
    """As an entry can hold it: printable, and cut where it is too long."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    if len(plain) <= FIELD_CHARS_MAX:
        return plain
    return plain[: FIELD_CHARS_MAX - 1] + "…"
