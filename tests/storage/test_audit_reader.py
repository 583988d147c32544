"""Looking at the logs of a state folder while they grow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

import storage.audit_reader as module
from actors.auditor.messages import AuditEvent
from actors.auditor.reading import Entry, NoEntry, Unreadable, Wanted
from gateway.cli import OK
from gateway.cli import main as cli
from storage.audit_reader import AuditReader
from tests.storage.audit_keeper import Keeper


def say(keeper: Keeper, at_ms: int, act: str, **fields: str) -> None:
    keeper.book.log.add(AuditEvent(act, **fields), at_ms)  # type: ignore[arg-type]
    keeper.write(0)


def every(reader: AuditReader, wanted: Wanted, most: int) -> list[list[Entry]]:
    """Its pages, one after another."""

    async def look() -> list[list[Entry]]:
        pages: list[list[Entry]] = []
        places: Mapping[int, int] | None = None
        while True:
            found = await reader.search(wanted, places, most)
            pages.append(list(found.entries))
            places = found.places
            if not places:
                return pages

    return trio.run(look)


def names(pages: list[list[Entry]]) -> list[str]:
    return [one.name for page in pages for one in page]


def test_entries_of_all_workers_come_the_newest_first_page_by_page(
    tmp_path: Path,
) -> None:
    with Keeper(tmp_path) as one, Keeper(tmp_path, worker=2) as two:
        for number in range(600):  # More than two bundles.
            keeper = (one, two)[number % 3 == 0]
            say(keeper, 1000 + number, "key.grant", name=f"n{number}")
        one.publish()
        two.publish()
        reader = AuditReader(tmp_path / "audit", one.key)
        whole = every(reader, Wanted(), 1000)
        paged = every(reader, Wanted(), 77)
        second = every(reader, Wanted(log=2), 1000)

    assert names(whole) == [f"n{number}" for number in range(599, -1, -1)]
    assert names(paged) == names(whole)
    assert {len(page) for page in paged[:-1]} == {77}
    assert names(second) == [f"n{number}" for number in range(597, -1, -3)]
    assert {one.log for one in whole[0]} == {1, 2}


def test_what_comes_while_somebody_pages_does_not_shift_the_pages(
    tmp_path: Path,
) -> None:
    with Keeper(tmp_path) as one:
        one.write(10)
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)
        first = trio.run(reader.search, Wanted(), None, 4)
        one.write(5, name="later")
        one.publish()
        rest = trio.run(reader.search, Wanted(), first.places, 100)

    assert [one.name for one in first.entries] == ["n9", "n8", "n7", "n6"]
    assert [one.name for one in rest.entries] == ["n5", "n4", "n3", "n2", "n1", "n0"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(act="key"), ["c", "a"]),
        (Wanted(act="key.grant"), ["a"]),
        (Wanted(act="ke"), []),
        (Wanted(actor="user:ann"), ["c", "b"]),
        (Wanted(actor="user:ann", act="key"), ["c"]),
        (Wanted(tenant="t1"), ["b"]),
        (Wanted(request="req_1"), ["a"]),
        (Wanted(out="denied"), ["c"]),
        (Wanted(provider="main"), ["a"]),
        (Wanted(name="b"), ["b"]),
        (Wanted(since_ms=2000), ["d", "c", "b"]),
        (Wanted(until_ms=3000), ["b", "a"]),
        (Wanted(log=7), []),
        (Wanted(bookkeeping=False), ["c", "b", "a"]),
        (Wanted(act="records"), ["d"]),
    ],
)
def test_filters_narrow_what_is_found(
    tmp_path: Path, wanted: Wanted, found: list[str]
) -> None:
    with Keeper(tmp_path) as one:
        say(one, 1000, "key.grant", name="a", provider="main", req="req_1")
        say(one, 2000, "site.change", name="b", actor="user:ann", tenant="t1")
        say(one, 3000, "key.rotate", name="c", actor="user:ann", out="denied")
        say(one, 4000, "records.kept", name="d")
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)
        assert names(every(reader, wanted, 10)) == found


def test_a_look_ends_at_its_bound_and_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that wants what is rare holds nobody up."""
    monkeypatch.setattr(module, "SCANNED_MAX", 40)
    with Keeper(tmp_path) as one:
        say(one, 1000, "key.grant", name="rare")
        one.write(99)
        one.publish()
        pages = every(AuditReader(tmp_path / "audit", one.key), Wanted(act="key"), 10)

    assert [len(page) for page in pages] == [0, 0, 1]


def test_a_proof_is_the_one_that_the_command_line_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Keeper(tmp_path) as one:
        one.write(300)
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)
        proof = trio.run(reader.prove, 1, 270)
        with pytest.raises(NoEntry):
            trio.run(reader.prove, 1, 300)
        with pytest.raises(NoEntry):
            trio.run(reader.prove, 2, 0)
        assert cli(["audit", "prove", str(one.folder), "270"]) == OK

    assert capsys.readouterr().out == proof.proof
    assert proof.entry.seq == 270
    assert f'"name":"{proof.entry.name}"' in proof.leaf


def test_a_check_runs_in_a_process_of_its_own_and_finds_what_was_changed(
    tmp_path: Path,
) -> None:
    with Keeper(tmp_path) as one:
        one.write(300)
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)
        before = trio.run(reader.verify)
        bundle = one.folder / "tile/entries/000"
        bundle.write_bytes(bundle.read_bytes().replace(b'"n7"', b'"n8"'))
        after = trio.run(reader.verify)

    assert before.well
    assert [(log.log, log.size) for log in before.logs] == [(1, 300)]
    assert not after.well
    assert after.logs[0].problems


def test_a_check_reports_a_log_that_is_missing(tmp_path: Path) -> None:
    with Keeper(tmp_path) as one, Keeper(tmp_path, worker=2) as two:
        one.write()
        one.publish()
        two.write()
        two.publish()
        one.see_siblings()
    for path in sorted(two.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    two.folder.rmdir()

    found = trio.run(AuditReader(tmp_path / "audit", one.key).verify)

    assert not found.well
    assert any("missing" in text for log in found.logs for text in log.problems)


def test_files_that_are_not_what_they_say_are_a_clear_refusal(tmp_path: Path) -> None:
    with Keeper(tmp_path) as one:
        one.write(3)
        one.publish()
        (one.folder / "checkpoint").write_bytes(b"nonsense")
        with pytest.raises(Unreadable):
            trio.run(AuditReader(tmp_path / "audit", one.key).search, Wanted(), None, 5)


def test_a_folder_without_logs_has_none(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Keeper(tmp_path / "other") as other:
        reader = AuditReader(tmp_path / "audit", other.key)
        assert trio.run(reader.logs) == ()
        assert every(reader, Wanted(), 5) == [[]]
