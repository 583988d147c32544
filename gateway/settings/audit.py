"""The settings of the tamper-evident log: its name, and who else remembers it.

Owns: `[server.audit]`. Never: does I/O.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.settings import values
from gateway.settings.definition import config, section, setting

if TYPE_CHECKING:
    from gateway.settings.server import Found

ORIGIN: Final = values.text(
    "name like example.com/stagedoor", r"([A-Za-z0-9._/-]{1,200})?"
)
VKEY: Final = values.text(
    "witness key (NAME+ID+KEY)", r"[^\s+]{1,255}\+[0-9a-f]{8}\+\S+"
)
VARIABLE: Final = values.text(
    "name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]{0,127}", hidden=True
)


@config
class BucketConfig:
    """A bucket that locks what is put there."""

    url: str = setting(
        values.URL_OR_NONE,
        default="",
        reload="restart",
        doc="The bucket, with Object Lock enabled: https://BUCKET.s3.REGION."
        "amazonaws.com, or https://HOST/BUCKET of what speaks S3's API. Empty: none.",
    )
    prefix: str = setting(
        values.text("prefix of letters, digits and . _ - /", r"[A-Za-z0-9._/-]{0,200}"),
        default="",
        reload="restart",
        doc="What the names of its objects begin with, the slash included.",
    )
    region: str = setting(
        values.text("region", r"[a-z0-9-]{1,32}"),
        default="us-east-1",
        reload="restart",
        doc="The bucket's region.",
    )
    every_s: float = setting(
        values.SECONDS,
        default=3600.0,
        unit="seconds",
        reload="restart",
        doc="How often a checkpoint is put there, if the log has grown: what is newer "
        "than the last is what somebody with disk and key could still rewrite.",
    )
    retain_days: int = setting(
        values.integer(1, 36_500),
        default=365,
        unit="days",
        reload="restart",
        doc="For how long each is locked. Nobody can shorten it, or pay less.",
    )
    access_key_env: str = setting(
        VARIABLE,
        default="AWS_ACCESS_KEY_ID",
        reload="restart",
        doc="The environment variable with the access key's id.",
    )
    secret_key_env: str = setting(
        VARIABLE,
        default="AWS_SECRET_ACCESS_KEY",
        reload="restart",
        doc="The environment variable with the secret access key.",
    )
    session_token_env: str = setting(
        VARIABLE,
        default="AWS_SESSION_TOKEN",
        reload="restart",
        doc="The environment variable with the session token, where there is one.",
    )

    def problems(self) -> Found:
        """Signed requests are no secret, but whoever answers must be the bucket."""
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not values.is_loopback(parts.hostname or ""):
            yield "url", "would believe whoever answers; use https://"
        if self.every_s < 1:
            yield "every_s", "is less than a second; each one is kept for years"


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
    bucket: BucketConfig = section(
        default_factory=BucketConfig,
        doc="A bucket with Object Lock, where checkpoints are kept so that nobody can "
        "change or remove them (docs/audit.md). A log that does not continue them is "
        "refused.",
    )
