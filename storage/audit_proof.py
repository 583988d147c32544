"""A proof that one entry is in the log: C2SP tlog-proof, checked before it is given."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final

from actors.auditor.merkle import check_inclusion, inclusion_proof, leaf_hash
from actors.auditor.notes import Verifier, open_checkpoint
from actors.auditor.tiles import BadTile
from storage.audit_verify import proved

HEAD: Final = "c2sp.org/tlog-proof@v1"


def proof_of(folder: Path, log: Verifier, index: int) -> tuple[str, bytes]:
    """The proof as text, and the entry. Raises BadNote, BadTile."""
    note, proof, entry = proved(
        folder, log, index, lambda tree, size: inclusion_proof(tree.node, index, size)
    )
    checkpoint = open_checkpoint(note, log)
    try:
        check_inclusion(
            leaf_hash(entry), index, checkpoint.size, proof, checkpoint.root
        )
    except ValueError as error:
        raise BadTile(f"entry {index} is not what the log covers: {error}") from None
    lines = [HEAD, f"index {index}", *(b64encode(one).decode() for one in proof)]
    return "\n".join([*lines, "", note.decode()]), entry
