"""The tree of the log: RFC 6962 hashes, roots, proofs, and their checks. Pure.

    hash of a leaf   SHA-256(00 ‖ leaf)
    hash of a node   SHA-256(01 ‖ left ‖ right)

A tree that grows is a `CompactRange`: the roots of its complete subtrees, one for each
bit of its size. Proofs are made from a `Nodes`, which answers with the root of any
complete subtree (tiles.py reads them from files). Checks also know the subtrees
[start, end) of the Merkle tree certificates draft, of which a whole tree is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
PROOF_HASHES_MAX: Final = 63  # One a level of the largest tree that C2SP allows.

# nodes(height, index): the root of leaves index * 2**height up to the next such.
Nodes: TypeAlias = Callable[[int, int], bytes]


class BadProof(ValueError):
    """A proof does not prove what it should. The text says why."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of an entry's bytes."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """A tree that grows by leaves and knows its root; 32 bytes a level."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError(
                f"a tree of {size} has {size.bit_count()} complete subtrees, "
                f"got {len(peaks)}"
            )
        self.size = size
        self.peaks = list(peaks)  # The largest subtree first.

    def __repr__(self) -> str:
        return f"<CompactRange size={self.size}>"

    def copy(self) -> CompactRange:
        """An equal tree that grows on its own."""
        return CompactRange(self.size, self.peaks)

    def append(self, hash_of_leaf: bytes) -> list[bytes]:
        """Add a leaf. Returns the roots of the subtrees that it completed, by height.

        The first is the leaf's own hash (height 0).
        """
        completed = [hash_of_leaf]
        size, peaks = self.size, self.peaks
        while size & 1:
            completed.append(node_hash(peaks.pop(), completed[-1]))
            size >>= 1
        peaks.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        """The hash of the whole tree."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in self.peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of a whole tree, from the hashes of its leaves."""
    tree = CompactRange()
    for one in leaf_hashes:
        tree.append(one)
    return tree.root()


def nodes_of(leaf_hashes: Sequence[bytes]) -> Nodes:
    """The subtrees of a tree whose leaves are all at hand."""

    def node(height: int, index: int) -> bytes:
        if height == 0:
            return leaf_hashes[index]
        return node_hash(node(height - 1, index * 2), node(height - 1, index * 2 + 1))

    return node


def range_root(nodes: Nodes, start: int, end: int) -> bytes:
    """The RFC's MTH(D[start:end]) for an aligned start: a tree of its own."""
    if start == end:
        return EMPTY_ROOT
    peaks: list[bytes] = []
    at = start
    while at < end:
        height = (end - at).bit_length() - 1
        peaks.append(nodes(height, at >> height))
        at += 1 << height
    root = peaks.pop()
    while peaks:
        root = node_hash(peaks.pop(), root)
    return root


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The path from a leaf to the root of the tree of this size, nearest first."""
    if not 0 <= index < size:
        raise ValueError(f"a log of {size} entries has no entry {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(nodes, middle, end))
            end = middle
        else:
            path.append(range_root(nodes, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """What shows that the tree of the old size is the beginning of the new one."""
    if not 0 <= old <= new:
        raise ValueError(f"a log of {new} entries was never one of {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, known = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_root(nodes, middle, end))
            end = middle
        else:
            path.append(range_root(nodes, start, middle))
            start, known = middle, False
    if not known:
        path.append(range_root(nodes, start, end))
    return path[::-1]


def check_inclusion(
    hash_of_leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise BadProof unless the leaf is at this place of the tree."""
    check_subtree_inclusion(hash_of_leaf, index, proof, root, start=0, end=size)


def check_subtree_inclusion(
    hash_of_leaf: bytes,
    index: int,
    proof: Sequence[bytes],
    root: bytes,
    *,
    start: int,
    end: int,
) -> None:
    """Raise BadProof unless the leaf is at this place of the subtree [start, end)."""
    _check_subtree(start, end)
    _check_hashes(hash_of_leaf, root, *proof)
    if not start <= index < end:
        raise BadProof(f"entry {index} is not within [{start}, {end})")
    place, last = index - start, end - start - 1
    made = hash_of_leaf
    for sibling in proof:
        if last == 0:
            raise BadProof("the proof is too long")
        if place & 1 or place == last:
            made = node_hash(sibling, made)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            made = node_hash(made, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise BadProof("the proof is too short")
    if made != root:
        raise BadProof("the proof leads to another root")


def check_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise BadProof unless the old tree is the beginning of the new one.

    Nothing begins every tree, and proves nothing: a size of 0 takes an empty proof.
    """
    _check_hashes(old_root, new_root, *proof)
    if old == 0 and new >= 0:
        if proof:
            raise BadProof("a proof from an empty tree is empty")
        return
    check_subtree_consistency(proof, old_root, new_root, start=0, end=old, size=new)


def check_subtree_consistency(
    proof: Sequence[bytes],
    subtree_root: bytes,
    root: bytes,
    *,
    start: int,
    end: int,
    size: int,
) -> None:
    """Raise BadProof unless [start, end) is a subtree of the tree of this size."""
    _check_hashes(subtree_root, root, *proof)
    if end > size:
        raise BadProof(f"a tree of {size} has no subtree [{start}, {end})")
    if 0 <= start == end:  # Nothing is a part of every tree.
        if proof or subtree_root != EMPTY_ROOT:
            raise BadProof("an empty subtree has the empty root and an empty proof")
        return
    _check_subtree(start, end)
    if start == 0 and end == size:
        if proof:
            raise BadProof("a proof from a tree to itself is empty")
        if subtree_root != root:
            raise BadProof("two roots for one size")
        return
    first, second, last = start, end - 1, size - 1
    # Up to where the subtree ends with a complete one, or is itself as a whole.
    if second == last:
        while first != second:
            first, second, last = first >> 1, second >> 1, last >> 1
    else:
        while first != second and second & 1:
            first, second, last = first >> 1, second >> 1, last >> 1
    rest = list(proof)
    if first == second:
        below = above = subtree_root
    else:
        if not rest:
            raise BadProof("the proof is too short")
        below = above = rest.pop(0)
    for sibling in rest:
        if last == 0:
            raise BadProof("the proof is too long")
        if second & 1 or second == last:
            if first < second:
                below = node_hash(sibling, below)
            above = node_hash(sibling, above)
            while not second & 1 and second:
                first, second, last = first >> 1, second >> 1, last >> 1
        else:
            above = node_hash(above, sibling)
        first, second, last = first >> 1, second >> 1, last >> 1
    if last:
        raise BadProof("the proof is too short")
    if below != subtree_root:
        raise BadProof("the proof leads to another old root")
    if above != root:
        raise BadProof("the proof leads to another new root")


def _split(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_subtree(start: int, end: int) -> None:
    if not 0 <= start < end:
        raise BadProof(f"[{start}, {end}) is no subtree")
    # Aligned to its own size, rounded up to a power of two.
    if start & ((1 << (end - start - 1).bit_length()) - 1):
        raise BadProof(f"[{start}, {end}) is no subtree of any tree")


def _check_hashes(*hashes: bytes) -> None:
    if len(hashes) > PROOF_HASHES_MAX + 2:
        raise BadProof("the proof is too long")
    if any(len(one) != HASH_BYTES for one in hashes):
        raise BadProof(f"a hash in the proof is not {HASH_BYTES} bytes long")
