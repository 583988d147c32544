"""Real processes and a real disk: kill -9 under load, and a disk without space.

The child is forked, not started: 50 deaths take seconds, not a minute.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import trio

from actors.auditor.actor import Auditor, AuditorCell
from actors.auditor.entries import read
from actors.auditor.messages import Attest, AuditEvent, AuditUnavailable, Noted
from actors.auditor.notes import Verifier
from actors.auditor.ports import Place
from runtime import AskError, Backoff, ChildSpec, Ref, Supervisor, open_system
from storage.audit_files import log_folder
from storage.audit_opening import open_log
from storage.audit_verify import Expectations, leaves, verify

ORIGIN = "log.example/crash"
KILLS = 50
WRITERS = 8


class QuietJournal:
    """No records here."""

    async def append(self, lines: bytes) -> Place:
        await trio.lowlevel.checkpoint()
        return Place("records", 0)


def fork(state: Path, work: Callable[[Ref[Auditor], int], object]) -> tuple[int, int]:
    """Run an auditor on a folder, and `work` with it, in a process of its own.

    Returns its pid and what it writes to.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        trio.run(_child, state, work, writing)
        code = 0
    finally:
        os._exit(code)  # Never back into the test runner.


async def _child(
    state: Path, work: Callable[[Ref[Auditor], int], object], out: int
) -> None:
    book, _ = open_log(state, ORIGIN)
    cell = AuditorCell(QuietJournal(), book, time.time)
    spec = ChildSpec(
        "auditor", lambda: Auditor(cell), backoff=Backoff(first_s=0.05, cap_s=0.1)
    )
    root = ChildSpec("system", lambda: Supervisor([spec]))
    async with open_system(root, rng=Random(1)) as system:
        ref = system.lookup("auditor", Auditor)
        assert ref is not None
        await work(ref, out)  # type: ignore[misc]


async def _load(ref: Ref[Auditor], out: int) -> None:
    """Writers that ask one after another, and tell each acknowledgement."""

    async def write(number: int) -> None:
        while True:
            event = AuditEvent("key.grant", actor=f"w{number}", detail=(("x", 1),))
            ref.offer(Noted((AuditEvent("key.use", actor=f"w{number}"),)))
            receipt = await ref.ask(Attest(event))
            os.write(out, f"{receipt.seq} w{number}\n".encode())

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(write, number)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _drain(fd: int, before: bytes = b"") -> list[list[str]]:
    """All lines; a line is one write of a few bytes, so none is cut by a death."""
    with os.fdopen(fd, "rb") as pipe:
        told = before + pipe.read()
    return [line.decode().split() for line in told.splitlines()]


def test_killed_fifty_times_under_load_it_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    """And it is one log to the end: every entry in its place, every tile true."""
    rng = Random(7)
    acknowledged: dict[int, str] = {}
    for _ in range(KILLS):
        pid, pipe = fork(tmp_path, _load)
        told, wanted = b"", rng.randint(1, 60)
        while told.count(b"\n") < wanted:
            told += os.read(pipe, 4096)
        os.kill(pid, signal.SIGKILL)
        assert _wait(pid) == -signal.SIGKILL
        acknowledged |= {int(seq): who for seq, who in _drain(pipe, told)}

    folder = log_folder(tmp_path, ORIGIN)
    book, files = open_log(tmp_path, ORIGIN)
    files.close()
    key = Verifier.parse((folder / "vkey").read_text())
    report = verify(folder, key, Expectations())
    assert report.problems == []
    found = {at: read(leaf) for at, leaf in leaves(folder, key)}
    assert len(found) == book.log.size == report.size
    assert len(acknowledged) > KILLS, "it was under load"
    for seq, who in acknowledged.items():
        assert (found[seq]["act"], found[seq]["actor"]) == ("key.grant", who)


async def _fill(ref: Ref[Auditor], out: int) -> None:
    """Ask until the file may not grow; make room; ask until it is acknowledged."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    event = AuditEvent("key.grant", actor="filler")

    async def ask() -> str:
        try:
            receipt = await ref.ask(Attest(event))
        except (AuditUnavailable, AskError) as error:
            return f"refused {type(error).__name__}"
        return f"acknowledged {receipt.seq}"

    said = ""
    while not said.startswith("refused"):
        said = await ask()
        os.write(out, f"{said}\n".encode())
    with trio.fail_after(5):
        for _ in range(5):  # Each of them at once: nobody hangs on a full disk.
            os.write(out, f"{await ask()}\n".encode())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for _ in range(100):  # Within the actor's next life or two.
        said = await ask()
        if said.startswith("acknowledged"):
            break
        await trio.sleep(0.05)
    os.write(out, f"{said}\n".encode())


def test_a_full_disk_refuses_and_room_brings_the_log_back(tmp_path: Path) -> None:
    pid, pipe = fork(tmp_path, _fill)
    told = _drain(pipe)
    assert _wait(pid) == 0

    verdicts = [one[0] for one in told]
    full = verdicts.index("refused")
    assert full > 10
    assert verdicts == ["acknowledged"] * full + ["refused"] * 6 + ["acknowledged"]
    folder = log_folder(tmp_path, ORIGIN)
    key = Verifier.parse((folder / "vkey").read_text())
    assert verify(folder, key, Expectations()).problems == []
    entries = [read(leaf) for _, leaf in leaves(folder, key)]
    for _, seq in (one for one in told if one[0] == "acknowledged"):
        assert entries[int(seq)]["act"] == "key.grant"
    acts = [one["act"] for one in entries]
    assert "audit.unacknowledged" in acts


def test_a_log_that_nobody_wrote_to_opens_again(tmp_path: Path) -> None:
    for _ in range(2):
        book, files = open_log(tmp_path, ORIGIN)
        files.close()
        assert book.log.size == 0
