"""Files that are there whole, and durable, or not at all. Blocks: run it in a thread.

A file appears by rename, after its bytes are durable, and its folder is synced.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

READ_BYTES_MAX: Final = 1 << 30  # Far above anything of ours; more is somebody else's.


def read_file(path: Path, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
    """A file's bytes; None where there is none. Raises OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"{path.name} is longer than {bytes_max} bytes")
    return data


def read_private(path: Path, bytes_max: int = READ_BYTES_MAX) -> bytes | None:
    """A plain file of ours that nobody else may touch; None where there is none.

    Raises OSError that says what to do: it is a link, somebody else's, or open to them.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(f"{path} is a symbolic link; put the file itself") from None
        raise
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(f"{path} is no plain file")
        if facts.st_uid != os.geteuid():
            raise _refused(f"{path} belongs to user {facts.st_uid}; make it yours")
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            raise _refused(f"{path} is open to others (mode {mode:04o}); chmod 600 it")
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"{path.name} is longer than {bytes_max} bytes")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Put a whole file there, durable, or change nothing. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(beside, flags, 0o600)
    try:
        os.fchmod(fd, 0o600)  # It may be there since a crash, as somebody left it.
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path, *, below: Path) -> None:
    """Make a folder and those above it, each name durable."""
    missing: list[Path] = []
    while folder != below and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_folder(one.parent)


def _refused(why: str) -> OSError:
    return OSError(errno.EPERM, why)
