"""`stagedoor audit`: verify, prove, tail, export and anchor an audit log.

Owns: how they are asked and what they print. All work on a folder, which may be a copy
on another machine: no gateway is asked, nothing but a public key is trusted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from actors.auditor.merkle import (
    check_consistency,
    consistency_proof,
)
from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Verifier,
    open_checkpoint,
)
from actors.auditor.tiles import BadTile, TileTree
from actors.auditor.wal import LogRefused
from gateway.cli import OK, REFUSED, USAGE, complain
from gateway.cli.control import ControlError, Refused, post
from storage import audit_set, audit_verify
from storage.audit_bucket import Anchors
from storage.audit_files import CHECKPOINT, VKEY
from storage.audit_opening import read_anchors
from storage.audit_proof import proof_of
from storage.whole_files import read_file

FOLLOW_S: Final = 0.5  # How often `tail --follow` looks.


def arguments(parser: argparse.ArgumentParser) -> None:
    """One parser for each thing that can be done."""
    todo = parser.add_subparsers(dest="todo", metavar="WHAT", required=True)

    verify = todo.add_parser("verify", help="check a log, or all logs of a folder")
    _log(verify, many=True)
    verify.add_argument(
        "--anchor", type=Path, action="append", default=[], metavar="FILE",
        help="a file of checkpoints that the log must continue (repeat)",
    )  # fmt: skip
    verify.add_argument(
        "--bucket", default="", metavar="URL",
        help="a bucket of locked anchors that the log must continue; reads "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
    )  # fmt: skip
    verify.add_argument(
        "--bucket-prefix", default="", metavar="PREFIX",
        help="what the names of its objects begin with",
    )  # fmt: skip
    verify.add_argument(
        "--bucket-region", default="us-east-1", metavar="REGION",
        help="where it is (us-east-1)",
    )  # fmt: skip
    verify.add_argument(
        "--witness", action="append", default=[], metavar="VKEY",
        help="a witness's key whose signature counts (repeat)",
    )  # fmt: skip
    verify.add_argument(
        "--quorum", type=int, default=0, metavar="N",
        help="how many witnesses must have signed (default: as many as are named)",
    )  # fmt: skip
    verify.add_argument(
        "--records", type=Path, metavar="DIR",
        help="the folder of request records, to check those against the log too",
    )  # fmt: skip

    prove = todo.add_parser("prove", help="print the proof that an entry is in the log")
    _log(prove)
    prove.add_argument(
        "index", type=int, metavar="N", help="the entry's number, from 0"
    )
    prove.add_argument("--entry", action="store_true", help="print the entry instead")

    tail = todo.add_parser("tail", help="print the last entries")
    _log(tail)
    tail.add_argument("-n", type=int, default=20, metavar="N", help="how many (20)")
    tail.add_argument("--follow", action="store_true", help="go on as it grows")

    export = todo.add_parser("export", help="print all entries, a line each")
    _log(export)
    export.add_argument("--from", dest="first", type=int, default=0, metavar="N")
    export.add_argument("--to", dest="last", type=int, default=None, metavar="N")

    anchor = todo.add_parser(
        "anchor", help="add the log's checkpoint to a file, if it continues that file"
    )
    _log(anchor)
    anchor.add_argument("file", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    try:
        match args.todo:
            case "verify":
                return _verify(args)
            case "prove":
                return _prove(args)
            case "tail":
                return _tail(args)
            case "export":
                return _export(args)
            case _:
                return _anchor(args)
    except (BadNote, BadTile, LogRefused) as error:
        complain(error)
        return REFUSED
    except OSError as error:
        complain(f"{error.filename or args.folder}: {error.strerror or error}")
        return USAGE


def _log(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the log's folder")
    parser.add_argument(
        "--vkey", action="append" if many else "store", metavar="VKEY",
        default=[] if many else None, required=many,
        help="the log's public key, as STATE/audit/LOG/vkey had it when it was begun"
        + (
            " (repeat; the first worker's stands for the others')"
            if many
            else " (default: the folder's own)"
        ),
    )  # fmt: skip


def _verify(args: argparse.Namespace) -> int:
    keys = [Verifier.parse(one) for one in args.vkey]
    witnesses = tuple(Verifier.parse(one) for one in args.witness)
    folders = audit_verify.logs_in(args.folder)
    pairs, problems = audit_set.match(folders, keys)
    kept = _kept(args, {key.name: key for key in (*keys, *(key for _, key in pairs))})
    problems += kept.problems
    expected = audit_verify.Expectations(
        anchors=tuple(args.anchor),
        notes=kept.notes,
        witnesses=witnesses,
        quorum=args.quorum or len(witnesses),
        records=args.records,
    )
    if folders == [args.folder]:  # One log by itself: its siblings were not asked for.
        reports = [audit_verify.verify(*pair, expected) for pair in pairs]
    else:
        reports = audit_set.verify_all(pairs, expected)
    for report in reports:
        problems += [f"{report.origin}: {one}" for one in report.problems]
        if not report.problems:
            print(_summary(report))
    for one in problems:
        complain(one)
    return REFUSED if problems else OK


def _kept(args: argparse.Namespace, keys: Mapping[str, Verifier]) -> Anchors:
    """The anchors of a bucket, if one is named."""
    if not args.bucket:
        return Anchors()
    import trio  # noqa: PLC0415 - slow to import

    from gateway.cli.anchors import fetch  # noqa: PLC0415

    return trio.run(
        fetch, args.bucket, args.bucket_prefix, args.bucket_region, keys.values()
    )


def _summary(report: audit_verify.Report) -> str:
    facts = [f"{report.origin}: {report.size} entries are as they were signed"]
    if report.size > report.published:
        facts.append(f"{report.size - report.published} of them not published yet")
    if report.anchors:
        facts.append(f"{report.anchors} anchored checkpoints continued")
    if report.witnesses:
        names = ", ".join(report.witnesses)
        facts.append(f"witnessed at {report.witnessed} by {names}")
    if report.batches:
        facts.append(f"{report.batches} batches of records unchanged")
    if report.claims:
        facts.append(f"it has seen {len(report.claims)} other logs of this gateway")
    return "; ".join(facts)


def _prove(args: argparse.Namespace) -> int:
    key = _key(args)
    proof, entry = proof_of(args.folder, key, args.index)
    if args.entry:
        sys.stdout.buffer.write(entry)
        return OK
    sys.stdout.write(proof)
    return OK


def _tail(args: argparse.Namespace) -> int:
    key = _key(args)
    size = _size(args.folder, key)
    at = max(0, size - max(0, args.n))
    while True:
        for index, leaf in _leaves(args.folder, key, at):
            _print(leaf)
            at = index + 1
        if not args.follow:
            return OK
        sys.stdout.flush()
        time.sleep(FOLLOW_S)


def _export(args: argparse.Namespace) -> int:
    """Only what a signed checkpoint covers: the folder is verified first."""
    key = _key(args)
    report = audit_verify.verify(args.folder, key, audit_verify.Expectations())
    for problem in report.problems:
        complain(problem)
    if report.problems or not _recorded(args):
        return REFUSED
    for index, leaf in _leaves(args.folder, key, max(0, args.first)):
        if args.last is not None and index > args.last:
            break
        _print(leaf)
    return OK


def _recorded(args: argparse.Namespace) -> bool:
    """Let the log of a running gateway say that it is read out; false: it refuses.

    A copy has no gateway beside it, and whoever may read the files could copy them:
    this is for the record, and keeps nobody out.
    """
    socket = args.folder.resolve().parent.parent / "control.sock"
    if not socket.is_socket():
        return True
    span = {
        "first": max(0, args.first),
        "last": -1 if args.last is None else max(0, args.last),
    }
    try:
        post(socket, "/audit/exports", span)
    except Refused as refused:
        complain(f"the log cannot record the export: {refused}")
        return False
    except ControlError as error:
        complain(f"the export is not recorded: {error}")
    return True


def _anchor(args: argparse.Namespace) -> int:
    """Run by another user, whose file the gateway's user cannot write."""
    key = _key(args)
    note = read_file(args.folder / CHECKPOINT, NOTE_BYTES_MAX)
    if note is None:
        raise BadNote(f"{args.folder} has no published checkpoint yet")
    now = open_checkpoint(note, key)
    for before in read_anchors([args.file], key):
        if before.size > now.size:
            raise BadNote(
                f"{args.file} knows {before.size} entries, the log has {now.size}: it "
                f"was rolled back"
            )
        tree = audit_verify.reader(args.folder, now.size)
        _check_growth(tree, before.size, before.root, now.size, now.root)
        if before.size == now.size:
            return OK
    with args.file.open("ab") as file:
        file.write(note + b"\n")
        file.flush()
        os.fsync(file.fileno())
    print(f"{args.file}: {now.origin} at {now.size}")
    return OK


def _check_growth(
    tree: TileTree, old: int, old_root: bytes, new: int, new_root: bytes
) -> None:
    try:
        proof = consistency_proof(tree.node, old, new)
        check_consistency(old, new, proof, old_root, new_root)
    except ValueError as error:
        raise BadNote(f"the log does not continue what is anchored: {error}") from None


def _key(args: argparse.Namespace) -> Verifier:
    if args.vkey is not None:
        return Verifier.parse(args.vkey)
    own = read_file(args.folder / VKEY, NOTE_BYTES_MAX)
    if own is None:
        raise BadNote(f"{args.folder} holds no vkey; give it with --vkey")
    return Verifier.parse(own.decode(errors="replace"))


def _size(folder: Path, key: Verifier) -> int:
    note = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
    size = open_checkpoint(note, key).size if note is not None else 0
    for index, _ in audit_verify.leaves(folder, key, size):
        size = index + 1
    return size


def _leaves(folder: Path, key: Verifier, first: int) -> Iterator[tuple[int, bytes]]:
    return audit_verify.leaves(folder, key, first)


def _print(leaf: bytes) -> None:
    sys.stdout.write(leaf.decode(errors="replace") + "\n")
