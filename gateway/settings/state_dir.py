"""The folder of everything the gateway keeps: its own, and nobody else's to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gateway.settings.errors import ConfigError, Problem


def prepare(path: Path) -> Path:
    """Create the folder with mode 0700, or make sure that it is as private as that.

    Raises:
        ConfigError: It is no folder, belongs to someone else or is open to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise _unusable(path, f"cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(path, "is no folder")
    if found.st_uid != os.geteuid():
        raise _unusable(path, f"belongs to user {found.st_uid}, not to this one")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise _unusable(path, f"is open to others (mode {mode:04o}); chmod 700 it")
    return path


def _unusable(path: Path, what: str) -> ConfigError:
    return ConfigError((Problem("", "server.state_dir", f"{path} {what}"),))
