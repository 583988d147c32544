"""All audit logs as a zip file, which verifies elsewhere; whatever is written since."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import trio

from gateway.cli import OK, REFUSED
from gateway.cli import main as cli
from storage import audit_export
from storage.audit_reader import AuditReader
from tests.storage.audit_keeper import Keeper


def unpacked(data: bytes, into: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        archive.extractall(into)
    return into / "audit"


def exported(reader: AuditReader) -> bytes:
    async def take() -> bytes:
        return b"".join([piece async for piece in reader.export()])

    return trio.run(take)


def verifies(folder: Path, key: str) -> int:
    return cli(["audit", "verify", str(folder), "--vkey", key])


def test_an_export_of_several_logs_verifies_offline_with_the_first_ones_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one log has seen of another is there, and no more than that."""
    with Keeper(tmp_path) as one, Keeper(tmp_path, worker=2) as two:
        for keeper in (one, two):
            keeper.write(700)  # Tiles that are full, and one that is not.
            keeper.publish()
        one.see_siblings()
        reader = AuditReader(tmp_path / "audit", one.key)
        folder = unpacked(exported(reader), tmp_path / "elsewhere")

        assert verifies(folder, one.key.vkey) == OK, capsys.readouterr().err
        assert "700 entries" in capsys.readouterr().out
        assert one.key.vkey in (folder.parent / "README.txt").read_text()
        # No secret, and nothing that is not signed.
        names = {path.name for path in folder.rglob("*")}
        assert "wal" not in names
        assert not any("audit.key" in name for name in names)

        (bundle := folder / one.folder.name / "tile/entries/000").write_bytes(
            bundle.read_bytes().replace(b'"n7"', b'"n8"')
        )
        assert verifies(folder, one.key.vkey) == REFUSED


def test_what_is_written_while_a_slow_reader_takes_it_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile that was partial when it began is full, and its partial file is gone."""
    monkeypatch.setattr(audit_export, "PIECE_BYTES", 1)
    with Keeper(tmp_path) as one:
        one.write(300)
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)

        async def slowly() -> list[bytes]:
            return [piece async for piece in reader.export()]

        pieces = audit_export.zip_of([(one.folder, one.key)], one.key)
        taken = [next(pieces)]
        one.write(400, name="later")
        one.publish()
        taken += pieces
        folder = unpacked(b"".join(taken), tmp_path / "elsewhere")

        assert verifies(folder, one.key.vkey) == OK
        assert len(trio.run(slowly)) > 3
        note = (folder / one.folder.name / "checkpoint").read_text()
        assert note.splitlines()[1] == "300"


def test_the_same_log_is_the_same_file(tmp_path: Path) -> None:
    with Keeper(tmp_path) as one:
        one.write(10)
        one.publish()
        reader = AuditReader(tmp_path / "audit", one.key)

        assert exported(reader) == exported(reader)
