"""Tiles: the paths of the specification, and trees that are read back from them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.auditor.merkle import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    range_root,
    root_of,
)
from actors.auditor.tiles import (
    TILE_WIDTH,
    BadTile,
    Edge,
    TileTree,
    bundle_path,
    bundles,
    pack_bundle,
    tile_path,
    unpack_bundle,
)

HASHES = [leaf_hash(b"%d" % number) for number in range(1400)]


def test_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 17) == "tile/1/000.p/17"
    assert bundle_path(273, 112) == "tile/entries/273.p/112"
    assert bundle_path(1000) == "tile/entries/x001/000"


def test_a_log_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    edge = Edge()
    for _ in range(70_000):
        edge.append(HASHES[0])
    paths = [path for path, _ in edge.tiles(0, 70_000)]

    assert len([p for p in paths if p.startswith("tile/0/") and ".p/" not in p]) == 273
    assert [p for p in paths if ".p/" in p or not p.startswith("tile/0/")] == [
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.data())
def test_a_tree_published_in_steps_proves_what_it_holds(
    steps: list[int], data: st.DataObject
) -> None:
    """Also when its edge was packed and read back at each step that allows it."""
    edge, files, published = Edge(), dict[str, bytes](), 0
    for step in steps:
        for one in HASHES[edge.size : min(edge.size + step, len(HASHES))]:
            edge.append(one)
        files.update(edge.tiles(published, edge.size))
        published = edge.size
        edge.trim(published)
        if edge.size % TILE_WIDTH == 0:
            edge = Edge.unpack(edge.size, edge.pack(edge.size))
        tree, size = TileTree(files.get, edge.size), edge.size
        assert range_root(tree.node, 0, size) == edge.root() == root_of(HASHES[:size])
        index = data.draw(st.integers(0, size - 1))
        path = inclusion_proof(tree.node, index, size)
        check_inclusion(HASHES[index], index, size, path, edge.root())
        old = data.draw(st.integers(1, size))
        proof = consistency_proof(tree.node, old, size)
        check_consistency(old, size, proof, root_of(HASHES[:old]), edge.root())


@given(st.lists(st.binary(max_size=70), max_size=TILE_WIDTH))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    packed = pack_bundle(entries)

    assert unpack_bundle(packed, len(entries)) == entries
    for wrong in (packed + b"\0", packed[:-1]) if entries else (b"\0",):
        with pytest.raises(BadTile):
            unpack_bundle(wrong, len(entries))


def test_bundles_count_from_where_they_are_asked() -> None:
    assert list(bundles(600)) == [(0, 256), (1, 256), (2, 88)]
    assert list(bundles(512, 1)) == [(1, 256)]


def test_missing_narrow_and_uneven_tiles_are_named() -> None:
    files = {tile_path(0, 0, 3): b"".join(HASHES[:3])}

    assert TileTree(files.get, 3).tile(0, 0) == HASHES[:3]
    with pytest.raises(BadTile, match=r"tile/0/000\.p/4 is missing"):
        TileTree(files.get, 4).tile(0, 0)
    files[tile_path(0, 0, 4)] = b"".join(HASHES[:3])
    with pytest.raises(BadTile, match="wrong length"):
        TileTree(files.get, 4).tile(0, 0)


def test_the_full_tile_stands_in_for_a_partial_one() -> None:
    """A log may drop partial tiles once the full one is there."""
    files = {tile_path(0, 0): b"".join(HASHES[:256])}
    files[bundle_path(0)] = pack_bundle([b"x"] * 256)
    tree = TileTree(files.get, 5)

    assert tree.tile(0, 0) == HASHES[:5]
    assert tree.entries(0) == [b"x"] * 5


@pytest.mark.parametrize("tails", [[], [b"x"], [b"", b"x" * 31]])
def test_an_edge_of_the_wrong_lengths_is_none(tails: list[bytes]) -> None:
    with pytest.raises(BadTile):
        Edge.unpack(256, tails)
