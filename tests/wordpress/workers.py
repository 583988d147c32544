"""How many PHP workers are busy: PHP-FPM's own word, asked for beside them.

FPM answers its status page on a socket of its own, so that asking takes no worker.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Final

import attrs

from tests.wordpress.lab import Site

RECORD: Final = struct.Struct(
    ">BBHHBx"
)  # FastCGI's head: version, type, id, length, padding.
BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
RESPONDER: Final = 1
WAIT_S: Final = 10.0


@attrs.frozen
class Workers:
    """What they do now, and how many requests they have been given."""

    active: int
    idle: int
    accepted: int


def workers(site: Site) -> Workers:
    """Ask."""
    status = json.loads(_ask(str(site.folder / site.server / "status.sock")))
    return Workers(
        active=status["active processes"],
        idle=status["idle processes"],
        accepted=status["accepted conn"],
    )


def _ask(path: str) -> bytes:
    """One request of FastCGI; the answer's body."""
    given = {
        "SCRIPT_NAME": "/status",
        "SCRIPT_FILENAME": "/status",
        "QUERY_STRING": "json",
        "REQUEST_METHOD": "GET",
    }
    pairs = b"".join(
        bytes([len(name), len(value)]) + name.encode() + value.encode()
        for name, value in given.items()
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_S)
        sock.connect(path)
        sock.sendall(
            _record(BEGIN, struct.pack(">HB5x", RESPONDER, 0))
            + _record(PARAMS, pairs)
            + _record(PARAMS, b"")
            + _record(STDIN, b"")
        )
        with sock.makefile("rb") as stream:
            said = b""
            while len(head := stream.read(RECORD.size)) == RECORD.size:
                _, kind, _, length, padding = RECORD.unpack(head)
                content = stream.read(length + padding)[:length]
                if kind == STDOUT:
                    said += content
                if kind == END:
                    break
    return said.split(b"\r\n\r\n", 1)[1]


def _record(kind: int, content: bytes) -> bytes:
    return RECORD.pack(1, kind, 1, len(content), 0) + content
