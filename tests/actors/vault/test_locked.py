"""Locked memory: slots, wiping, and what a reader of the process finds."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from actors.vault.locked import (
    CHUNK_BYTES,
    OS_ENTROPY,
    SLOT_BYTES_MAX,
    LockedMemory,
    LockedMemoryFull,
)
from actors.vault.messages import KeyScope
from actors.vault.sealing import (
    SCRATCH_BYTES,
    Kek,
    SecretName,
    open_into,
    parse,
    plain_bytes,
    seal,
)
from actors.vault.secret import LeasedKey
from tests.actors.provider.memory_scan import PREFIX, Masked


@pytest.mark.parametrize("secret", [True, False], ids=["memfd_secret", "mlock"])
def test_slots_are_private_and_wiped(secret: bool) -> None:
    memory = LockedMemory(secret=secret)
    one, two = memory.hold(b"a" * 40), memory.hold(b"b" * 40)
    assert (bytes(one.view), bytes(two.view)) == (b"a" * 40, b"b" * 40)
    view = one.view
    one.wipe()
    one.wipe()
    assert len(one.view) == 0
    with pytest.raises(ValueError, match="released"):
        view[0]
    three = memory.take(64)
    assert bytes(three.view) == bytes(64)
    assert bytes(two.view) == b"b" * 40


def test_it_is_bounded_and_says_so() -> None:
    memory = LockedMemory(bytes_max=2 * CHUNK_BYTES)
    slots = 2 * CHUNK_BYTES // SLOT_BYTES_MAX
    held = [memory.take(SLOT_BYTES_MAX) for _ in range(slots)]
    with pytest.raises(LockedMemoryFull, match="leases must end"):
        memory.take(SLOT_BYTES_MAX)
    held.pop().wipe()
    assert memory.take(SLOT_BYTES_MAX)
    with pytest.raises(ValueError, match="no key"):
        memory.take(SLOT_BYTES_MAX + 1)


def test_what_remains_of_a_chunk_is_used() -> None:
    memory = LockedMemory(bytes_max=CHUNK_BYTES)
    big = [memory.take(SLOT_BYTES_MAX) for _ in range(3)]
    small = [memory.take(64) for _ in range(SLOT_BYTES_MAX // 64)]
    assert len({id(one.view) for one in (*big, *small)}) == 3 + len(small)


def test_it_can_be_neither_copied_nor_shown() -> None:
    held = LockedMemory().hold(b"sk-made-up")
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(held)
    assert repr(held) == "<LockedBytes 10 bytes>"


def test_keys_are_random_from_the_system() -> None:
    memory = LockedMemory()
    keys = set()
    for _ in range(50):
        held = memory.take(32)
        OS_ENTROPY.fill(held.view)
        keys.add(bytes(held.view))
    assert len(keys) == 50


def lent(memory: LockedMemory, secret: Masked) -> LeasedKey:
    """A sealed key, opened for a lease, with no copy on the way in."""
    scratch, kek = memory.take(SCRATCH_BYTES), memory.take(32)
    OS_ENTROPY.fill(kek.view)
    plain = bytearray()
    secret.write_to(plain)
    name, key = SecretName("t", "e", "p", "n", 1), Kek("t/e", 1, kek.view)
    record = parse(seal(plain, name, key, entropy=OS_ENTROPY, scratch=scratch.view))
    plain[:] = bytes(len(plain))
    held = memory.take(plain_bytes(record))
    open_into(record, name, key, held.view, scratch=scratch.view)
    return LeasedKey(
        KeyScope("p"),
        held,
        held.view,
        hosts=frozenset({"h"}),
        plain_allowed=False,
        expires_at=10,
        now=lambda: 0,
        on_end=lambda _: None,
    )


@pytest.mark.parametrize("secret_memory", [True, False], ids=["memfd_secret", "mlock"])
def test_after_a_lease_the_key_is_nowhere_in_this_process(secret_memory: bool) -> None:
    """Objects, freed memory, everything that /proc/self/mem shows."""
    memory = LockedMemory(secret=secret_memory)
    secret = Masked()
    lease = lent(memory, secret)
    while_lent = secret.count_in_memory()
    head = bytearray(200)[:0]
    lease.write_key(head, host="h", secure=True)
    assert secret.count_in(head) == 1
    head[:] = bytes(len(head))
    lease.spent()
    gc.collect()

    assert while_lent == (0 if memory.kind == "memfd_secret" else 1)
    assert secret.count_in_objects() == 0
    assert secret.count_in_memory() == 0


CHILD = textwrap.dedent(
    """
    import sys
    from actors.vault.locked import LockedMemory, harden_process
    from tests.actors.vault.test_locked import PREFIX, Masked, lent
    kind, hardened = sys.argv[1], sys.argv[2] == "hardened"
    if hardened:
        harden_process()
    memory = LockedMemory(secret=kind == "memfd_secret")
    secret = Masked()
    lease = lent(memory, secret)
    plain = bytearray()
    if kind == "plain":
        secret.write_to(plain)
    if sys.argv[3] == "ended":
        lease.spent()
    print(memory.kind, [secret._at(i) for i in range(24)], flush=True)
    sys.stdin.read()
    """
)


def cores_of(kind: str, state: str, tmp_path: Path, hardened: str = "") -> int:
    """How often the key stands in a core of a process that lends it; -1: no core."""
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, hardened or "open", state],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        found, _, tail = child.stdout.readline().partition(" ")
        if kind == "memfd_secret" and found != kind:
            child.communicate("")
            pytest.skip("this kernel has no memfd_secret")
        subprocess.run(
            ["gcore", "-o", tmp_path / "core", str(child.pid)],
            capture_output=True,
            check=False,
        )
        child.communicate("")
    cores = list(tmp_path.glob("core.*"))
    if not cores:
        return -1
    secret = PREFIX + bytes(map(int, tail.strip("[]\n ").split(", ")))
    return cores[0].read_bytes().count(secret)


needs_gcore = pytest.mark.skipif(
    shutil.which("gcore") is None, reason="gcore (gdb) is not installed"
)


@needs_gcore
def test_a_core_holds_what_lies_in_plain_memory(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    assert cores_of("plain", "lent", tmp_path) >= 1


@needs_gcore
def test_a_core_of_a_lending_process_holds_no_key(tmp_path: Path) -> None:
    """Taken as root, while the key is on loan."""
    assert cores_of("memfd_secret", "lent", tmp_path) == 0


@needs_gcore
@pytest.mark.parametrize("kind", ["memfd_secret", "mlock"])
def test_a_core_after_a_lease_holds_no_key(tmp_path: Path, kind: str) -> None:
    assert cores_of(kind, "ended", tmp_path) == 0


def test_a_hardened_process_dumps_no_core() -> None:
    script = (
        "import ctypes, resource\n"
        "from actors.vault.locked import harden_process\n"
        "harden_process()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),"
        " resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
    )
    root = Path(__file__).resolve().parents[3]
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == ["0", "0"]
