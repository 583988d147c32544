"""Refusals in bulk are counted, not listed."""

from __future__ import annotations

from actors.auditor.folding import FOLD_S, KINDS_MAX, Folding
from actors.auditor.messages import AuditEvent

DENIED = AuditEvent("key.grant", actor="key:1", out="denied", req="r1")


def test_the_first_is_written_and_the_others_are_counted() -> None:
    folding = Folding()
    assert folding.admit(DENIED, 0)
    assert not any(folding.admit(DENIED, 1) for _ in range(99))

    assert folding.due(FOLD_S - 0.1) == []
    [(event, count)] = folding.due(FOLD_S)
    assert (count, event.req, event.actor) == (99, "", "key:1")


def test_a_flood_goes_on_being_counted_and_an_end_is_one() -> None:
    folding = Folding()
    folding.admit(DENIED, 0)
    folding.admit(DENIED, 1)
    folding.due(FOLD_S)
    assert not folding.admit(DENIED, FOLD_S + 1)
    [(_, count)] = folding.due(2 * FOLD_S)
    assert count == 1
    assert folding.due(3 * FOLD_S) == []
    assert folding.due_s() is None
    assert folding.admit(DENIED, 3 * FOLD_S)


def test_unlike_refusals_are_each_written_up_to_a_bound() -> None:
    folding = Folding()
    many = [AuditEvent("a", actor=str(n), out="denied") for n in range(KINDS_MAX + 50)]
    written = [event for event in many if folding.admit(event, 0)]

    assert len(written) == KINDS_MAX
    counted = folding.due(0, everything=True)
    assert [(event.name, count) for event, count in counted] == [("*", 50)]
    assert folding.due_s() is None
