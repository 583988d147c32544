"""The settings of the tamper-evident log: its name, and who else remembers it.

Owns: `[server.audit]`. Never: does I/O.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.settings import values
from gateway.settings.definition import config, setting

ORIGIN: Final = values.text(
    "name like example.com/stagedoor", r"([A-Za-z0-9._/-]{1,200})?"
)
VKEY: Final = values.text(
    "witness key (NAME+ID+KEY)", r"[^\s+]{1,255}\+[0-9a-f]{8}\+\S+"
)


@config
class AuditConfig:
    """The audit log."""

    origin: str = setting(
        ORIGIN,
        default="",
        reload="restart",
        doc="The log's name, for ever: a host name and a path of yours. Empty takes "
        "one from the machine's name when the log is begun, and keeps it.",
    )
    anchors: tuple[Path, ...] = setting(
        values.many(values.PATH),
        default=(),
        reload="restart",
        doc="Files of checkpoints that another user keeps (`stagedoor audit anchor`). "
        "A start is refused when the log does not continue them.",
    )
    witness_urls: tuple[str, ...] = setting(
        values.many(values.URL),
        default=(),
        reload="restart",
        doc="Witnesses (C2SP tlog-witness) that co-sign each published checkpoint.",
    )
    witness_keys: tuple[str, ...] = setting(
        values.many(VKEY),
        default=(),
        reload="restart",
        doc="The verifier keys of these witnesses; other signatures are not kept.",
    )
