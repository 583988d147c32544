"""Catalogue files: compressed JSON, the same bytes for the same content.

Owns: the shipped file, the refreshed one's place in the state folder, and the checks
that a file has to pass. Never: touches the network.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from actors.router.catalogue.lookup import Lookup
from actors.router.catalogue.schema import SCHEMA, Catalogue
from actors.router.catalogue.sound import unsound

REFRESHED: Final = "catalogue.json.gz"
FILE_BYTES_MAX: Final = 16 * 2**20  # The public list is 3 MB, ours a twentieth of it.
JSON_BYTES_MAX: Final = 64 * 2**20  # Of what a file unpacks to.
_GZIP: Final = b"\x1f\x8b"


class BadCatalogue(Exception):
    """A file is no catalogue that this version can use."""


@cache
def shipped() -> Catalogue:
    """The catalogue of this version."""
    path = files("actors.router.catalogue").joinpath("data", "catalogue.json.gz")
    return decode(path.read_bytes())


def lookup(state_dir: Path | None = None) -> Lookup:
    """The shipped catalogue, under a refreshed one where there is one.

    Raises:
        BadCatalogue: the refreshed file is damaged.
        OSError: it cannot be read.
    """
    layers = [shipped()]
    path = None if state_dir is None else state_dir / REFRESHED
    if path is not None and path.exists():
        layers.append(read(path))
    return Lookup(layers)


def read(path: Path) -> Catalogue:
    """A catalogue from a file.

    Raises:
        BadCatalogue: it is none.
        OSError: it cannot be read.
    """
    if path.stat().st_size > FILE_BYTES_MAX:
        raise BadCatalogue(f"{path.name} has more than {FILE_BYTES_MAX} bytes")
    try:
        return decode(path.read_bytes())
    except BadCatalogue as error:
        raise BadCatalogue(f"{path.name} {error}") from None


def decode(data: bytes) -> Catalogue:
    """A catalogue from a file's bytes. Raises BadCatalogue."""
    try:
        found = msgspec.json.decode(unpacked(data), type=Catalogue)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadCatalogue(f"is no catalogue ({error})") from None
    if found.schema != SCHEMA:
        raise BadCatalogue(
            f"has schema {found.schema}; this version reads {SCHEMA} only"
        )
    wrong = unsound(found)
    if wrong:
        raise BadCatalogue(f"cannot be right: {wrong}")
    return found


def unpacked(data: bytes) -> bytes:
    """The JSON of a file, compressed or not. Raises BadCatalogue."""
    if not data.startswith(_GZIP):
        return data
    # Bounded: a few kilobytes can unpack to gigabytes.
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, JSON_BYTES_MAX)
    except zlib.error:
        raise BadCatalogue("is damaged; it cannot be unpacked") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise BadCatalogue("is cut short, or unpacks to too much")
    return text


def encode(catalogue: Catalogue) -> bytes:
    """The bytes of a catalogue's file, in one order and without a time."""
    text = msgspec.json.encode(catalogue, order="deterministic")
    return gzip.compress(text, 9, mtime=0)


def write(path: Path, catalogue: Catalogue) -> str:
    """Replace a file at once; the SHA-256 of its bytes."""
    data = encode(catalogue)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()
