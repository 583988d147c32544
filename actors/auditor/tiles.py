"""The log as files that never change: C2SP tlog-tiles. Pure: paths and bytes.

    tile/<level>/<index>[.p/<width>]   256 hashes, or the first few, unfinished
    tile/entries/<index>[.p/<width>]   the entries below a level 0 tile

A hash at level L is the root of 256**L leaves. `Edge` is the growing right edge of the
tree: what must be kept to make the next tiles. `TileTree` reads a tree back from tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from actors.auditor.merkle import HASH_BYTES, CompactRange, root_of

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
LEVELS_MAX: Final = 8  # Of a tree of 2**63 leaves.
ENTRY_BYTES_MAX: Final = 65_535  # A bundle gives an entry's length two bytes.
TILES_CACHED_MAX: Final = 256  # 2 MiB: a proof's tiles and their neighbours.


class BadTile(ValueError):
    """A tile that is missing or has the wrong length. The text says which."""


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Where a tile of hashes is."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Where a bundle of entries is."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def bundles(size: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """The index and width of every bundle of a log of this size, from one on."""
    for index in range(first, size // TILE_WIDTH):
        yield index, TILE_WIDTH
    if rest := size % TILE_WIDTH:
        yield size // TILE_WIDTH, rest


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries as one bundle. Each has at most ENTRY_BYTES_MAX bytes."""
    return b"".join([len(one).to_bytes(2, "big") + one for one in entries])


def unpack_bundle(bundle: bytes, width: int) -> list[bytes]:
    """The entries of a bundle that should hold this many. Raises BadTile."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 > len(bundle) or end > len(bundle) or len(entries) == width:
            raise BadTile(f"a bundle of {width} entries does not end where they end")
        entries.append(bundle[at + 2 : end])
        at = end
    if len(entries) != width:
        raise BadTile(f"a bundle of {width} entries holds {len(entries)}")
    return entries


@attrs.define
class Level:
    """The hashes of one level from a tile's start on."""

    start: int  # A multiple of TILE_WIDTH.
    hashes: list[bytes]

    @property
    def end(self) -> int:
        """How many hashes the whole level has."""
        return self.start + len(self.hashes)


@attrs.frozen
class Grown:
    """An edge's tree with more leaves, and what each of them completed."""

    tree: CompactRange
    completed: list[list[bytes]]


class Edge:
    """The right edge of a growing tree: enough to sign it and to write its tiles."""

    __slots__ = ("levels", "tree")

    def __init__(self) -> None:
        self.tree = CompactRange()
        self.levels: list[Level] = [Level(0, [])]

    def __repr__(self) -> str:
        kept = sum(len(level.hashes) for level in self.levels)
        return f"<Edge size={self.size} hashes={kept}>"

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self.tree.size

    def root(self) -> bytes:
        """The tree's root."""
        return self.tree.root()

    def append(self, leaf_hash: bytes) -> None:
        """Add a leaf."""
        self._keep(self.tree.append(leaf_hash))

    def grown(self, leaf_hashes: Sequence[bytes]) -> Grown:
        """The tree with these leaves too; this one stays as it is until `adopt`."""
        tree = self.tree.copy()
        return Grown(tree, [tree.append(one) for one in leaf_hashes])

    def adopt(self, grown: Grown) -> None:
        """Become the grown tree."""
        self.tree = grown.tree
        for completed in grown.completed:
            self._keep(completed)

    def _keep(self, completed: Sequence[bytes]) -> None:
        for number, hash_ in enumerate(completed[::TILE_HEIGHT]):
            if number == len(self.levels):
                self.levels.append(Level(0, []))
            self.levels[number].hashes.append(hash_)

    def trim(self, published: int) -> None:
        """Forget the tiles that are complete and written for a log of this size."""
        for number, level in enumerate(self.levels):
            done = (published >> (TILE_HEIGHT * number)) // TILE_WIDTH * TILE_WIDTH
            if done > level.start:
                del level.hashes[: done - level.start]
                level.start = done

    def tiles(self, published: int, size: int) -> Iterator[tuple[str, bytes]]:
        """The tiles that a log of `size` has and one of `published` has not."""
        for number, level in enumerate(self.levels):
            shift = TILE_HEIGHT * number
            end, had = size >> shift, published >> shift
            for index in range(had // TILE_WIDTH, -(-end // TILE_WIDTH)):
                first = index * TILE_WIDTH
                width = min(TILE_WIDTH, end - first)
                if first + width > had:
                    at = first - level.start
                    data = b"".join(level.hashes[at : at + width])
                    yield tile_path(number, index, width), data

    def pack(self, base: int) -> list[bytes]:
        """Each level's unfinished tile as it was at a size, for `unpack`.

        The size is a multiple of 256 and nothing after it has been trimmed.
        """
        assert base % TILE_WIDTH == 0, "an edge is kept where a bundle ends"
        tails: list[bytes] = []
        for number, level in enumerate(self.levels):
            count = base >> (TILE_HEIGHT * number)
            first = count // TILE_WIDTH * TILE_WIDTH - level.start
            tails.append(b"".join(level.hashes[first : count - level.start]))
        return tails

    @classmethod
    def unpack(cls, size: int, tails: Sequence[bytes]) -> Edge:
        """The edge of a tree of this size. Raises BadTile when the lengths are wrong.

        Whether they are the right hashes shows when the root is compared.
        """
        edge = cls()
        edge.levels = []
        for number, tail in enumerate(tails[:LEVELS_MAX]):
            count = size >> (TILE_HEIGHT * number)
            width = count % TILE_WIDTH
            if len(tail) != width * HASH_BYTES:
                raise BadTile(
                    f"the edge at {size} has {width} hashes at level {number}"
                )
            edge.levels.append(Level(count - width, split_hashes(tail)))
        if len(edge.levels) <= max(size.bit_length() - 1, 0) // TILE_HEIGHT:
            raise BadTile(f"the edge at {size} has more than {len(tails)} levels")
        edge.tree = CompactRange(size, _peaks(size, edge.levels))
        return edge


class TileTree:
    """The nodes of a tree that is read from tiles. `read` gives a file or None."""

    def __init__(self, read: Callable[[str], bytes | None], size: int) -> None:
        self.read = read
        self.size = size
        self._cache: dict[tuple[int, int], list[bytes]] = {}

    def __repr__(self) -> str:
        return f"<TileTree size={self.size}>"

    def node(self, height: int, index: int) -> bytes:
        """See `merkle.Nodes`. Raises BadTile."""
        level, within = divmod(height, TILE_HEIGHT)
        first = index << within
        hashes = self.tile(level, first // TILE_WIDTH)
        at = first % TILE_WIDTH
        wanted = hashes[at : at + (1 << within)]
        if len(wanted) != 1 << within:
            raise BadTile(f"tile {level}/{first // TILE_WIDTH} is too narrow")
        return root_of(wanted)

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile, as many as a tree of this size has. Raises BadTile."""
        found = self._cache.get((level, index))
        if found is None:
            width = (self.size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH
            width = max(0, min(TILE_WIDTH, width))
            # A log may drop a partial tile once the full one is there.
            paths = [tile_path(level, index, width), tile_path(level, index)]
            data = read_first(self.read, paths)
            if data is None or len(data) < width * HASH_BYTES or len(data) % HASH_BYTES:
                what = "is missing" if data is None else "has the wrong length"
                raise BadTile(f"{paths[0]} {what}")
            found = split_hashes(data)[:width]
            if len(self._cache) >= TILES_CACHED_MAX:
                self._cache.clear()
            self._cache[level, index] = found
        return found

    def entries(self, index: int) -> list[bytes]:
        """The entries of a bundle, as many as a log of this size has."""
        width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
        data = self.read(bundle_path(index, width))
        if data is not None:
            return unpack_bundle(data, width)
        data = self.read(bundle_path(index))
        if data is None:
            raise BadTile(f"{bundle_path(index, width)} is missing")
        return unpack_bundle(data, TILE_WIDTH)[:width]


def read_first(
    read: Callable[[str], bytes | None], paths: Sequence[str]
) -> bytes | None:
    """The first of these files that there is."""
    for path in paths:
        data = read(path)
        if data is not None:
            return data
    return None


def split_hashes(data: bytes) -> list[bytes]:
    """A tile's hashes."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _peaks(size: int, levels: Sequence[Level]) -> list[bytes]:
    """The complete subtrees of a tree, largest first, from its unfinished tiles."""
    peaks: list[bytes] = []
    for number in range(len(levels) - 1, -1, -1):
        hashes = levels[number].hashes
        at = 0
        for height in range(TILE_HEIGHT - 1, -1, -1):
            if (size >> (TILE_HEIGHT * number)) >> height & 1:
                peaks.append(root_of(hashes[at : at + (1 << height)]))
                at += 1 << height
    return peaks


def _number(index: int) -> str:
    """The index in groups of three digits, each a folder but the last."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
