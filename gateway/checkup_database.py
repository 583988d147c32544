"""What a start would find of its database. Changes nothing, and migrates nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.checkup import Finding
from gateway.settings.config import Config
from storage.sql.migrate import SchemaRefused, missing
from storage.sql.opening import open_postgres
from storage.sql.port import DatabaseError
from storage.sql.sqlite import FILE

# Their locks and shared memory do not hold between machines, some not even on one.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
)
MOUNTS: Final = Path("/proc/self/mounts")


async def database(config: Config) -> list[Finding]:
    """Whether it can be reached, and is for this version."""
    settings = config.database
    if not settings.url:
        file = settings.file or config.server.state_dir / FILE
        return [_of_file(file, MOUNTS)]
    try:
        opened = await open_postgres(settings.url.text, 1)
        try:
            waiting = await missing(opened)
        finally:
            await opened.aclose()
    except SchemaRefused as error:
        todo = "run the version that made it, or restore a backup"
        return [Finding("fail", f"the database: {error}", todo)]
    except DatabaseError as error:
        todo = "check database.url, and that PostgreSQL lets this machine in"
        return [Finding("fail", f"the database: {error}", todo)]
    said = f"{settings.url} answers"
    if waiting:
        said += f"; the start applies {len(waiting)} migrations"
    return [Finding("ok", said)]


def _of_file(file: Path, mounts: Path) -> Finding:
    kind = file_system_of(file, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding(
            "fail",
            f"{file} is on a network's file system ({kind}), where SQLite's locks do "
            "not hold",
            "name a database.file on a disk of this machine, or a PostgreSQL",
        )
    there = "is there" if file.exists() else "is made by the first start"
    return Finding("ok", f"the database {file} {there}")


def file_system_of(path: Path, mounts: Path) -> str:
    """The kind of file system that a path is, or will be, on; empty if unknown."""
    wanted = path.absolute().resolve()
    best, kind = -1, ""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, point, found, *_ = line.split(" ")
        # Spaces and the like are written as octal numbers there.
        at = Path(point.encode().decode("unicode_escape"))
        if wanted.is_relative_to(at) and len(at.parts) > best:
            best, kind = len(at.parts), found
    return kind
