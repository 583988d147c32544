"""The local KMS: its file, its checks, its passphrase."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from actors.vault.kms.local import LocalKms, open_root, write_root
from actors.vault.locked import OS_ENTROPY, LockedMemory
from actors.vault.ports import ContextMismatch, KmsDenied, KmsUnavailable

MEMORY = LockedMemory()
CONTEXT = {"tenant": "acme", "env": "prod", "kek": "acme/prod@1"}


def test_a_root_key_is_made_private_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = open_root(path, MEMORY, make=True)
    assert path.stat().st_mode & 0o777 == 0o400
    assert bytes(open_root(path, MEMORY).view) == bytes(made.view)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_root_key_is_never_made_up(tmp_path: Path) -> None:
    """A new one would open nothing that is stored."""
    with pytest.raises(KmsUnavailable, match="restore it"):
        open_root(tmp_path / "root.key", MEMORY)


def test_a_root_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = open_root(path, MEMORY, make=True)
    with pytest.raises(FileExistsError):
        write_root(path, made)


def test_others_may_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    open_root(path, MEMORY, make=True)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(KmsDenied, match="chmod 600"):
            open_root(path, MEMORY)


def test_neither_links_nor_pipes_nor_folders_are_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.key"
    open_root(real, MEMORY, make=True)
    link = tmp_path / "link.key"
    link.symlink_to(real)
    pipe = tmp_path / "pipe.key"
    os.mkfifo(pipe, 0o600)
    for path in (link, pipe, tmp_path):
        with pytest.raises(KmsDenied):
            open_root(path, MEMORY)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"sk-123", b'{"format":"x","key":"YQ=="}']
)
def test_other_files_are_no_root_keys(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KmsDenied):
        open_root(path, MEMORY)


def test_a_passphrase_guards_the_file(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = open_root(path, MEMORY, passphrase=b"correct horse", make=True)
    opened = open_root(path, MEMORY, passphrase=b"correct horse")
    assert bytes(opened.view) == bytes(made.view)
    with pytest.raises(KmsDenied, match="passphrase is wrong"):
        open_root(path, MEMORY, passphrase=b"wrong horse")
    with pytest.raises(KmsDenied, match="needs its passphrase"):
        open_root(path, MEMORY)


@pytest.mark.parametrize(
    ("field", "value"),
    [("passes", 10_000), ("memory_kib", 2**30), ("lanes", 0), ("passes", 2)],
)
def test_a_changed_file_neither_opens_nor_costs_minutes(
    tmp_path: Path, field: str, value: int
) -> None:
    path = tmp_path / "root.key"
    open_root(path, MEMORY, passphrase=b"correct horse", make=True)
    file = json.loads(path.read_bytes())
    file[field] = value
    path.chmod(0o600)
    path.write_text(json.dumps(file))
    with pytest.raises(KmsDenied):
        open_root(path, MEMORY, passphrase=b"correct horse")


async def test_a_wrapped_key_opens_in_its_context_only() -> None:
    root = MEMORY.take(32)
    OS_ENTROPY.fill(root.view)
    kms = LocalKms(root, MEMORY)
    made = await kms.generate(CONTEXT)
    assert bytes((await kms.unwrap(made.blob, CONTEXT)).view) == bytes(made.key.view)
    for context in ({**CONTEXT, "env": "dev"}, {"tenant": "acme"}, {}):
        with pytest.raises(ContextMismatch):
            await kms.unwrap(made.blob, context)
    for place in range(len(made.blob)):
        changed = bytearray(made.blob)
        changed[place] ^= 1
        with pytest.raises(ContextMismatch):
            await kms.unwrap(bytes(changed), CONTEXT)
    for size in range(len(made.blob)):
        with pytest.raises(ContextMismatch):
            await kms.unwrap(made.blob[:size], CONTEXT)
    moved = await kms.rewrap(made.blob, CONTEXT, {"tenant": "x"})
    assert bytes((await kms.unwrap(moved, {"tenant": "x"})).view) == bytes(
        made.key.view
    )


def test_any_key_comes_back_from_its_text(tmp_path: Path) -> None:
    """It is written and read three bytes at a time, so that no whole copy is left."""
    for number in range(8):
        path = tmp_path / f"{number}.key"
        root = MEMORY.hold(bytes((number * 37 + at * 29) % 256 for at in range(32)))
        write_root(path, root)
        kept = json.loads(path.read_bytes())["key"]
        assert base64.b64decode(kept) == bytes(root.view)
        assert bytes(open_root(path, MEMORY).view) == bytes(root.view)
