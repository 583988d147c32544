"""Others' programs check our log: Go's sumdb, aics-tlog, and a real C2SP witness.

`audit_independent/setup.sh` installs them; what is not there is skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actors.auditor.log import Publication
from actors.auditor.merkle import inclusion_proof
from actors.auditor.notes import (
    Signature,
    Verifier,
    open_checkpoint,
    with_signatures,
)
from actors.auditor.ports import WitnessRefused
from gateway.cli import main
from storage.audit_files import AuditFiles, log_folder
from storage.audit_verify import Expectations, reader, verify
from storage.audit_witness import Witnesses
from tests.storage.audit_keeper import ORIGIN, Keeper

CACHE = Path(
    os.environ.get("AUDIT_VERIFIERS_DIR")
    or Path.home() / ".cache" / "stagedoor-audit-verifiers"
)
GO = CACHE / "verify-go"
TLOG = CACHE / "venv" / "bin" / "aics-tlog"
WITNESS = CACHE / "venv" / "bin" / "aics-witness"
SIZES = (5, 257, 70_000)
START_S_MAX = 20.0

needs_go = pytest.mark.skipif(
    not GO.exists(), reason="Go's sumdb is left out: run audit_independent/setup.sh"
)
needs_aics = pytest.mark.skipif(
    not WITNESS.exists(), reason="aics-* is left out: run audit_independent/setup.sh"
)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 70,000 entries that was published at each size, checkpoints kept."""
    state = tmp_path_factory.mktemp("grown")
    with Keeper(state) as keeper:
        for size in SIZES:
            keeper.write(size - keeper.book.log.size)
            keeper.publish()
            shutil.copytree(keeper.folder, state / str(size))
    return state


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@needs_go
@pytest.mark.parametrize("size", SIZES)
def test_gos_sumdb_accepts_our_log(grown: Path, size: int) -> None:
    older = [grown / str(one) / "checkpoint" for one in SIZES if one <= size]

    said = run(GO, grown / str(size), Keeper(grown).key.vkey, *older)
    assert said.strip() == str(size)


@needs_go
def test_gos_sumdb_refuses_what_we_refuse(grown: Path, tmp_path: Path) -> None:
    """The check is worth something only if it can fail."""
    copy = tmp_path / "copy"
    shutil.copytree(grown / "257", copy)
    tile = copy / "tile" / "0" / "000"
    tile.write_bytes(b"\1" + tile.read_bytes()[1:])
    key = Keeper(grown).key

    with pytest.raises(AssertionError):
        run(GO, copy, key.vkey)
    assert verify(copy, key, Expectations()).problems


@needs_aics
@pytest.mark.parametrize("size", SIZES)
def test_aics_tlog_accepts_our_checkpoints_and_entries(
    grown: Path, tmp_path: Path, size: int
) -> None:
    folder, vkey = grown / str(size), tmp_path / "vkey"
    vkey.write_text(Keeper(grown).key.vkey)
    known = ("--vkey-file", vkey, "--origin", ORIGIN, "--tiles", folder)

    run(TLOG, "verify-checkpoint", *known)
    for index in (0, size // 2, size - 1):
        run(TLOG, "verify-inclusion", *known, "--index", str(index),
            "--leaf-hash", _leaf_hash(folder, index))  # fmt: skip
    if size > SIZES[0]:
        older = grown / str(SIZES[0]) / "checkpoint"
        run(TLOG, "verify-consistency", *known, "--old-checkpoint", older)


def _leaf_hash(folder: Path, index: int) -> str:
    whole, width = folder / "tile/0", index // 256
    tile = whole / f"{width:03d}"
    if not tile.exists():
        [tile] = (whole / f"{width:03d}.p").iterdir()
    at = index % 256 * 32
    return tile.read_bytes()[at : at + 32].hex()


@contextmanager
def witness(folder: Path, log: Verifier) -> Generator[tuple[str, Verifier]]:
    """A real witness that trusts our log, on a free port."""
    config = folder / "witness.json"
    run(WITNESS, "init", "--config", config, "--name", "witness.example/w1",
        "--listen", "127.0.0.1:0")  # fmt: skip
    vkey = re.search(r"\S+\+[0-9a-f]{8}\+\S+", run(WITNESS, "status", "-c", config))
    assert vkey is not None
    run(WITNESS, "add-log", "-c", config, "--origin", log.name, "--vkey", log.vkey)
    said = folder / "witness.log"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [str(WITNESS), "serve", "-c", str(config)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, said), Verifier.parse(vkey[0].strip("\",'"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    """Where it listens, by what the kernel knows of its sockets."""
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        assert process.poll() is None, said.read_text()
        inodes = {
            match[1]
            for fd in Path(f"/proc/{process.pid}/fd").iterdir()
            if (match := re.match(r"socket:\[(\d+)\]", str(fd.readlink())))
        }
        for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in inodes:
                return f"http://127.0.0.1:{int(fields[1].split(':')[1], 16)}"
        time.sleep(0.05)
    raise AssertionError(f"no witness listens: {said.read_text()}")


def _show(keeper: Keeper) -> Publication:
    """What the auditor's next publication is, its files written."""
    shown = keeper.book.log.publication()
    assert shown is not None
    trio.run(keeper.files.publish, shown.files)
    return shown


async def _ask(
    url: str, key: Verifier, shown: Publication, store: AuditFiles
) -> tuple[Signature, ...]:
    witnesses = Witnesses([url], [key])
    try:
        signatures = await witnesses.cosign(shown, store)
        assert signatures, [one.trouble for one in witnesses.witnesses]
        return signatures
    finally:
        await witnesses.aclose()


def _cosign(url: str, key: Verifier, keeper: Keeper) -> None:
    """Publish as the auditor does."""
    shown = _show(keeper)
    note = with_signatures(shown.note, trio.run(_ask, url, key, shown, keeper.files))
    trio.run(keeper.files.show, note, note)
    keeper.book.log.publish(shown)


@needs_aics
def test_a_real_witness_signs_growth_and_refuses_a_fork_and_a_rollback(
    tmp_path: Path,
) -> None:
    state, forged = tmp_path / "state", tmp_path / "forged"
    state.mkdir()
    with Keeper(state) as keeper:
        keeper.write(3)
        with witness(tmp_path, keeper.key) as (url, key):
            for more in (0, 400):  # The second with a consistency proof.
                keeper.write(more)
                _cosign(url, key, keeper)
            _checked_by_others(keeper, key, tmp_path)

            # A start knows nothing of the witness: it learns, and goes on.
            keeper.write(1)
            _cosign(url, key, keeper)

            # Another history, signed with the stolen key, is refused: longer or not.
            shutil.copytree(state, forged)
            shutil.rmtree(log_folder(forged, ORIGIN))
            with Keeper(forged) as thief:
                thief.write(3, "forged")
                _refused(url, key, thief)  # Shorter: a rollback.
                thief.write(500)
                _refused(url, key, thief)  # Longer: a fork.


def _refused(url: str, key: Verifier, thief: Keeper) -> None:
    with pytest.raises(WitnessRefused, match="another history"):
        trio.run(_ask, url, key, _show(thief), thief.files)


def _checked_by_others(keeper: Keeper, key: Verifier, tmp_path: Path) -> None:
    """aics-tlog and our own command count the signature, and demand it."""
    vkey = tmp_path / "vkey"
    vkey.write_text(keeper.key.vkey)
    run(TLOG, "verify-checkpoint", "--vkey-file", vkey, "--tiles", keeper.folder,
        "--origin", ORIGIN, "--witness-key", key.vkey, "--quorum", "1")  # fmt: skip
    command = ["audit", "verify", str(keeper.folder), "--vkey", keeper.key.vkey]
    assert main([*command, "--witness", key.vkey]) == 0
    assert main([*command, "--witness", key.vkey, "--quorum", "2"]) == 1


@needs_aics
def test_our_proof_is_one_that_others_check(grown: Path, tmp_path: Path) -> None:
    """The path in `audit prove` N, given to aics-tlog hash by hash."""
    folder, key = grown / "70000", Keeper(grown).key
    checkpoint = open_checkpoint((folder / "checkpoint").read_bytes(), key)
    tree = reader(folder, checkpoint.size)
    proof = tmp_path / "proof"
    hashes = inclusion_proof(tree.node, 69_999, checkpoint.size)
    proof.write_text("".join(f"{b64encode(one).decode()}\n" for one in hashes))

    run(TLOG, "verify-inclusion", "--proof", proof, "--index", "69999",
        "--size", str(checkpoint.size), "--root", b64encode(checkpoint.root).decode(),
        "--leaf-hash", _leaf_hash(folder, 69_999))  # fmt: skip
    assert json.loads(tree.entries(273)[-1])["seq"] == 69_999
