"""The log as a value: what is lost, what is kept, and what is refused at a start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.auditor import wal
from actors.auditor.entries import read
from actors.auditor.log import GROUP_ENTRIES_MAX, AuditLog
from actors.auditor.merkle import leaf_hash, root_of
from actors.auditor.messages import AuditEvent
from actors.auditor.notes import Signer, open_checkpoint
from actors.auditor.tiles import TileTree
from actors.auditor.wal import LogRefused, recover

SIGNER = Signer.of("log.example", bytes(32))
KEY = SIGNER.verifier


class Disk:
    """A log and the bytes that it has written: a file that can be cut and changed."""

    def __init__(self) -> None:
        self.log = AuditLog.new(SIGNER, "b00t")
        self.segment = bytearray(self.log.segment())
        self.log.rotate(bytes(self.segment))
        self.ends = [len(self.segment)]  # Of each group.
        self.files: dict[str, bytes] = {}
        self.leaves: list[bytes] = []

    def write(self, *names: str) -> None:
        """One group."""
        for name in names:
            self.log.add(AuditEvent("a", name=name), 1000)
        self.leaves += self.log.pending
        group = self.log.seal()
        self.segment += group.data
        self.log.commit(group)
        self.ends.append(len(self.segment))

    def publish(self) -> None:
        """What readers may see."""
        shown = self.log.publication()
        if shown is not None:
            self.files.update(shown.files)
            self.log.publish(shown)

    def rotate(self) -> None:
        """A new segment."""
        self.segment = bytearray(self.log.segment())
        self.log.rotate(bytes(self.segment))
        self.ends = [len(self.segment)]


@pytest.fixture
def disk() -> Disk:
    made = Disk()
    made.write("one", "two")
    made.write("three")
    made.write("four", "five", "six")
    return made


def test_a_log_is_read_back_as_it_was_written(disk: Disk) -> None:
    found = recover(bytes(disk.segment), KEY, {0, 2, 3, 4, 6})

    assert found.entries == disk.leaves
    assert found.edge.root() == disk.log.root
    assert open_checkpoint(found.note, KEY).size == 6
    assert found.torn_bytes == 0
    hashes = [leaf_hash(leaf) for leaf in disk.leaves]
    assert found.roots == {n: root_of(hashes[:n]) for n in (0, 2, 3, 4, 6)}


def test_cut_at_every_byte_of_its_last_group_it_keeps_all_groups_before(
    disk: Disk,
) -> None:
    """A crash tears the last write; nobody was told that it had happened."""
    before, after = disk.ends[-2:]
    for cut in range(before, after):
        found = recover(bytes(disk.segment[:cut]), KEY)
        assert found.entries == disk.leaves[:3]
        assert (found.good_bytes, found.torn_bytes) == (before, cut - before)


def test_a_group_without_its_checkpoint_never_happened(disk: Disk) -> None:
    note = wal.frame(wal.CHECKPOINT, disk.log.note)
    assert disk.segment.endswith(note)

    assert recover(bytes(disk.segment[: -len(note)]), KEY).entries == disk.leaves[:3]


def test_noise_after_the_last_group_goes(disk: Disk) -> None:
    for noise in (b"\0" * 512, b"C" * 64, b"E\0\0\0\x05", b"\xff" * 9):
        found = recover(bytes(disk.segment) + noise, KEY)
        assert (found.entries, found.torn_bytes) == (disk.leaves, len(noise))


def test_every_changed_byte_before_the_last_checkpoint_is_tampering(
    disk: Disk,
) -> None:
    """Beyond the damage is a checkpoint that we signed: it was durable once."""
    for place in range(disk.ends[-2]):
        for bit in (0, 5):
            bad = bytearray(disk.segment)
            bad[place] ^= 1 << bit
            with pytest.raises(LogRefused):
                recover(bytes(bad), KEY)


def test_an_entry_rewritten_with_a_right_checksum_is_tampering(disk: Disk) -> None:
    """Without the signing key the checkpoint over it stays what it was."""
    old = wal.frame(wal.ENTRY, disk.leaves[1])
    forged = disk.leaves[1].replace(b'"two"', b'"TWO"')
    new = wal.frame(wal.ENTRY, forged)
    bad = bytes(disk.segment).replace(old, new)

    with pytest.raises(LogRefused, match="an entry has been changed"):
        recover(bad, KEY)


def test_a_group_that_was_taken_out_is_tampering(disk: Disk) -> None:
    _, _, second, third, _ = [0, *disk.ends]
    bad = bytes(disk.segment[:second] + disk.segment[third:])

    with pytest.raises(LogRefused, match="are not those"):
        recover(bad, KEY)


def test_a_log_rewritten_with_the_key_differs_at_every_known_size(disk: Disk) -> None:
    """With the key the segment is consistent; what others remember is not."""
    forged = Disk()
    forged.write("one", "TWO")
    forged.write("three")
    forged.write("four", "five", "six")
    found = recover(bytes(forged.segment), KEY, {3})
    true = recover(bytes(disk.segment), KEY, {3})

    assert found.entries != disk.leaves
    assert found.roots[3] != true.roots[3]


def test_another_logs_segment_and_another_version_are_refused(disk: Disk) -> None:
    other = Signer.of("other.example", bytes(32)).verifier
    with pytest.raises(LogRefused, match=r"log of log\.example, not of other"):
        recover(bytes(disk.segment), other)
    with pytest.raises(LogRefused, match="no readable beginning"):
        recover(b"", KEY)
    with pytest.raises(LogRefused, match="cannot be believed"):
        recover(bytes(disk.segment), Signer.of("log.example", b"x" * 32).verifier)


def test_a_failed_group_is_written_again_before_anything_else() -> None:
    """Else two roots would have been signed for one size: a fork of our own making."""
    disk = Disk()
    disk.write("zero")
    disk.log.add(AuditEvent("a", name="one"), 1000)
    failed = disk.log.seal()
    disk.log.add(AuditEvent("a", name="two"), 1000)
    again = disk.log.seal()

    assert (failed.size, again.size) == (2, 3)
    disk.log.commit(again)
    hashes = [leaf_hash(leaf) for leaf in disk.log.kept]
    assert root_of(hashes[:2]) == failed.root
    assert [read(leaf)["seq"] for leaf in disk.log.kept] == [0, 1, 2]


def test_a_group_has_a_bound() -> None:
    log = AuditLog.new(SIGNER, "b")
    for number in range(GROUP_ENTRIES_MAX + 5):
        log.add(AuditEvent("a", name=str(number)), 0)

    group = log.seal()
    assert group.count == GROUP_ENTRIES_MAX
    log.commit(group)
    assert log.seal().count == 5


def test_time_never_goes_back(disk: Disk) -> None:
    disk.log.add(AuditEvent("a"), 5)
    disk.log.add(AuditEvent("a"), 2000)
    disk.log.add(AuditEvent("a"), 1500)

    assert [read(leaf)["ts"] for leaf in disk.log.pending] == [1000, 2000, 2000]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.sampled_from(["", "p", "pr", "prs"])),
        min_size=1,
        max_size=7,
    )
)
def test_however_it_is_published_rotated_and_restarted_it_is_one_log(
    steps: list[tuple[int, str]],
) -> None:
    disk = Disk()
    for count, then in steps:
        disk.write(*("n" for _ in range(count)))
        if "p" in then:
            disk.publish()
        if "r" in then:
            disk.rotate()
        if "s" in then:
            found = recover(bytes(disk.segment), KEY)
            published = disk.log.published
            disk.log = AuditLog.of(SIGNER, "next", found, published)
    disk.publish()

    hashes = [leaf_hash(leaf) for leaf in disk.leaves]
    assert disk.log.root == root_of(hashes)
    tree = TileTree(disk.files.get, disk.log.size)
    read_back = [
        leaf for index in range(-(-len(hashes) // 256)) for leaf in tree.entries(index)
    ]
    assert read_back == disk.leaves
    found = recover(bytes(disk.segment), KEY)
    assert found.edge.root() == root_of(hashes)


def test_a_rotated_segment_cannot_be_changed_either(disk: Disk) -> None:
    """Its beginning is checked by the first checkpoint in it."""
    for _ in range(3):
        disk.write(*("n" for _ in range(150)))
    disk.publish()
    disk.rotate()
    disk.write("last")
    start = wal.read_frame(bytes(disk.segment), 0)
    assert start is not None
    assert recover(bytes(disk.segment), KEY).base == 256
    for place in range(0, start.end, 7):
        bad = bytearray(disk.segment)
        bad[place] ^= 4
        with pytest.raises(LogRefused):
            recover(bytes(bad), KEY)
    with pytest.raises(LogRefused, match="with no checkpoint"):
        recover(bytes(disk.segment[: start.end]), KEY)
