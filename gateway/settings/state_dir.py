"""The folder of everything the gateway keeps: its own, and nobody else's to read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.settings.errors import ConfigError, Problem

# Each may be a link, to another volume say; where it leads must be as private.
PARTS: Final = ("vault", "audit", "records")


def prepare(path: Path) -> Path:
    """Create the folder with mode 0700, or make sure that it is as private as that.

    Raises:
        ConfigError: It, or a folder in it, is none, belongs to someone else or is open
            to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(f"{path} cannot be made: {error.strerror}") from None
    for what, todo in faults(path):
        raise _unusable(f"{what}; {todo}")
    return path


def faults(path: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a state folder that is there, and what to do about it."""
    yield from _faults(path, follow=False)
    for name in PARTS:
        if os.path.lexists(path / name):
            yield from _faults(path / name, follow=True)


def _faults(path: Path, *, follow: bool) -> Iterator[tuple[str, str]]:
    try:
        found = path.stat() if follow else path.lstat()
    except OSError as error:
        yield f"{path} cannot be used: {error.strerror}", "mount it, or mend the link"
        return
    if stat.S_ISLNK(found.st_mode):
        yield f"{path} is a symbolic link", "name the folder that it leads to"
    elif not stat.S_ISDIR(found.st_mode):
        yield f"{path} is no folder", "name another state_dir"
    elif found.st_uid != os.geteuid():
        what = f"{path} belongs to user {found.st_uid}, not to this one"
        yield what, "run as that user, or name another state_dir"
    elif found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        yield f"{path} is open to others (mode {mode:04o})", f"chmod 700 {path}"


def _unusable(what: str) -> ConfigError:
    return ConfigError((Problem("", "server.state_dir", what),))
