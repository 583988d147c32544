"""What a start would find on this machine, and what to do about it. Changes nothing.

Each check is a function that yields findings. A failing one says what will not work; a
warning says what works and is weaker or closer to its end than it should be.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs
import trio

from actors.vault.locked import LOCKED_BYTES_MAX
from gateway.settings.checks import notes
from gateway.settings.config import Config
from gateway.settings.server import ServerConfig
from gateway.settings.state_dir import faults

Level: TypeAlias = Literal["ok", "warn", "fail"]

DISK_FREE_MIN: Final = 64 * 2**20  # Four segments of the audit log.
DISK_FREE_LOW: Final = 2**30  # A day of records at 25 requests a second.
INODES_FREE_LOW: Final = 10_000  # Nonces, tiles and records are files.
CLOCK_BACK_S: Final = 5.0  # What a time daemon may set back in one step.
DNS_WAIT_S: Final = 5.0  # The resolver's own first timeout.

_TIMEX_BYTES: Final = 512  # struct timex is 208 bytes where it is largest.
_CAP_IPC_LOCK: Final = 14
_TIME_ERROR: Final = 5  # adjtimex: nobody disciplines this clock.


@attrs.frozen
class Finding:
    """What was found; `todo` is empty where there is nothing to do."""

    level: Level
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """One line of the report."""
        line = f"{self.level:4}  {self.what}"
        return f"{line}\n      -> {self.todo}" if self.todo else line


def settings(config: Config, env: Mapping[str, str]) -> Iterator[Finding]:
    """What the configuration allows and hardly means, and where its keys are."""
    for note in notes(config, env):
        yield Finding("warn", note, "change the configuration, or leave it knowingly")
    for provider in config.providers:
        if provider.key_env and not provider.key:
            yield Finding(
                "warn",
                f"provider {provider.name}: its key is the variable "
                f"{provider.key_env}; it stays readable in /proc/PID/environ",
                f'stagedoor vault add {provider.name}, then key = "vault:default"',
            )
    audit = config.server.audit
    if not (audit.anchors or audit.witness_urls or audit.bucket.url):
        yield Finding(
            "warn",
            "the audit log has neither anchor nor witness: whoever has its disk and "
            "its key can write another history",
            "see docs/audit.md, Anchors and witnesses",
        )


def state_folder(server: ServerConfig, now_s: float) -> Iterator[Finding]:
    """Private, ours, with room; and a clock that is not behind what is in it."""
    folder = server.state_dir
    if not os.path.lexists(folder):
        yield Finding("ok", f"{folder} is not there yet; the first start makes it")
        yield from _room(_nearest(folder))
        return
    found = [Finding("fail", what, todo) for what, todo in faults(folder)]
    yield from found or [Finding("ok", f"{folder} is this user's alone")]
    if not folder.is_dir():
        return
    yield from _room(folder)
    yield from _ahead(folder, now_s)


def clock() -> Iterator[Finding]:
    """Whether the kernel says that somebody keeps the time right."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state == _TIME_ERROR:
        yield Finding(
            "warn",
            "nothing keeps the clock right: signed requests live a minute, budgets "
            "and rotations go by days",
            "run chrony or systemd-timesyncd (on the host, for a container)",
        )
    elif state >= 0:
        yield Finding("ok", "the clock is kept right")


def memory(kind: str, lockable_bytes: int | None = None) -> Iterator[Finding]:
    """What `LockedMemory` got from this kernel.

    `lockable_bytes`: how much it may lock; None: as much as it wants.
    """
    few = lockable_bytes is not None and lockable_bytes < LOCKED_BYTES_MAX
    if kind != "unlocked" and few:
        yield Finding(
            "warn",
            f"only {lockable_bytes} bytes may be locked: keys of many requests at once "
            "may be swapped to disk",
            "raise the limit on locked memory (ulimit -l, LimitMEMLOCK) to "
            f"{2 * LOCKED_BYTES_MAX // 2**20} MiB",
        )
    match kind:
        case "memfd_secret":
            yield Finding(
                "ok", "keys lie in memfd_secret pages: not even root reads them"
            )
        case "mlock":
            yield Finding(
                "warn",
                "keys lie in locked pages; root can read them while they are on loan",
                "a kernel with memfd_secret (5.14 or later, secretmem.enable=1)",
            )
        case _:
            yield Finding(
                "fail",
                "no page can be locked: a key on loan may be swapped to disk",
                "raise the limit on locked memory (ulimit -l) to 8 MiB",
            )


def lockable() -> int | None:
    """How many bytes this process may lock; None: no limit is put to it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or _has_ipc_lock():
        return None
    return soft


def _has_ipc_lock() -> bool:
    """Whether the kernel lets this process lock what it wants, as root may."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> _CAP_IPC_LOCK & 1)


def root_key(path: Path, *, guarded: bool) -> Iterator[Finding]:
    """The local KMS, said plainly."""
    if guarded:
        yield Finding("ok", f"the root key is {path}, under a passphrase; it is no HSM")
        return
    yield Finding(
        "warn",
        f"the root key is the plain file {path}: whoever copies it and state_dir has "
        "every stored key; it is no HSM",
        "keep it on another volume (vault.root_key_file), use a passphrase or a KMS",
    )


def files(server: ServerConfig, wanted: int) -> Iterator[Finding]:
    """Whether as many connections as are configured find a descriptor each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            "warn",
            f"at most {hard} files may be open, and "
            f"{server.limits.connections_max} connections need {wanted}",
            "raise the limit (LimitNOFILE, ulimit -Hn) or lower connections_max",
        )
    else:
        yield Finding("ok", f"{wanted} files may be open")


def workers(
    server: ServerConfig, told: Sequence[Mapping[str, object]]
) -> Iterator[Finding]:
    """Whether there is a core for each, and whether those that run answer."""
    cores = len(os.sched_getaffinity(0))
    if server.workers > cores:
        yield Finding(
            "warn",
            f"{server.workers} workers share {cores} cores",
            "lower server.workers: more than one a core only costs memory",
        )
    for one in told:
        if not one.get("up"):
            yield Finding(
                "fail",
                f"worker {one.get('number')} does not answer",
                "look at what the gateway said on standard error",
            )
    if told and all(one.get("up") for one in told):
        yield Finding("ok", f"{len(told)} workers answer")


async def names(config: Config) -> list[Finding]:
    """Whether each provider's name is known to the resolver."""
    found: dict[str, Finding] = {}
    hosts = {
        urlsplit(provider.base_url).hostname or "": provider.name
        for provider in config.providers
        if provider.base_url
    }

    async def look_up(host: str, name: str) -> None:
        finding = Finding(
            "fail",
            f"provider {name}: {host} is not resolved within {DNS_WAIT_S:g} s",
            "check the resolver",
        )
        with trio.move_on_after(DNS_WAIT_S):
            try:
                await trio.socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
                finding = Finding("ok", f"provider {name}: {host} is known")
            except (OSError, UnicodeError) as error:
                finding = Finding(
                    "fail",
                    f"provider {name}: {host} is not known ({error})",
                    "check base_url and the resolver",
                )
        found[host] = finding

    async with trio.open_nursery() as nursery:
        for host, name in hosts.items():
            nursery.start_soon(look_up, host, name)
    return [found[host] for host in sorted(found)]


def _nearest(path: Path) -> Path:
    """The folder that is there and in which `path` would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _room(folder: Path) -> Iterator[Finding]:
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        yield Finding("fail", f"{folder}: {error.strerror}", "name another state_dir")
        return
    free = disk.f_bavail * disk.f_frsize
    said = f"{free / 2**20:,.0f} MiB free at {folder}"
    if disk.f_flag & os.ST_RDONLY:
        yield Finding("fail", f"{folder} is read-only", "mount it writable")
    elif free < DISK_FREE_MIN:
        yield Finding(
            "fail", said, "make room: without the audit log nothing is served"
        )
    elif free < DISK_FREE_LOW:
        yield Finding("warn", said, "make room, or prune records/")
    else:
        yield Finding("ok", said)
    if disk.f_files and disk.f_favail < INODES_FREE_LOW:
        yield Finding("warn", f"{disk.f_favail} inodes free at {folder}", "make room")


def _ahead(folder: Path, now_s: float) -> Iterator[Finding]:
    """A file of the future: this clock is behind the one that wrote it."""
    newest = max(
        (entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder)),
        default=0.0,
    )
    if newest > now_s + CLOCK_BACK_S:
        yield Finding(
            "fail",
            f"{folder} was written {newest - now_s:,.0f} s in the future: the clock is "
            "behind what it was",
            "set it right before the start; budgets and signatures go by it",
        )
