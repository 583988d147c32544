"""From the settings of the audit log to the open log, with all that it is held against.

Owns: which bucket a configuration means, and what stops a start: a log that is not what
was acknowledged, and credentials that are missing. Anchors that do not answer stop
none: the auditor asks again, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import httpx
import trio

from actors.auditor.notes import NOTE_BYTES_MAX, BadNote, Checkpoint, Verifier
from actors.auditor.ports import AnchorsUnavailable, AuditBook
from actors.auditor.wal import LogRefused
from gateway.settings.audit import AuditConfig, BucketConfig
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.server import ServerConfig
from storage.audit_bucket import AuditBucket
from storage.audit_files import VKEY, AuditFiles, log_folder, origin_of
from storage.audit_opening import open_log
from storage.audit_reader import AuditReader
from storage.audit_records import cover_rest
from storage.audit_siblings import anchors_beside
from storage.audit_witness import Witnesses, witnesses
from storage.s3 import S3, Credentials
from storage.whole_files import read_file
from wire.sigv4 import KeySigner


@attrs.frozen
class Audit:
    """The audit log, who reads it, and what is closed with it."""

    book: AuditBook
    files: AuditFiles
    witnesses: Witnesses | None
    reader: AuditReader

    async def close(self) -> None:
        """After the auditor has stopped."""
        self.files.close()
        if self.witnesses is not None:
            await self.witnesses.aclose()


async def open_audit(
    server: ServerConfig,
    number: int,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
) -> Audit:
    """The log as it was left. Raises ConfigError: it is not what was acknowledged."""
    settings, state_dir = server.audit, server.state_dir
    bucket = bucket_of(settings.bucket, environ, transport)
    cosigner = _witnesses(settings)
    try:
        origin = await trio.to_thread.run_sync(
            origin_of, state_dir, settings.origin, number
        )
        kept = await _kept(bucket, state_dir, origin)
        open_ = partial(_open, server, origin, number, kept)
        book, files = await trio.to_thread.run_sync(open_)
    except LogRefused as error:
        raise ConfigError((Problem("", "server.audit", str(error)),)) from None
    except OSError as error:
        what = f"the audit log cannot be opened: {error.strerror or error}"
        raise ConfigError((Problem("", "server.audit", what),)) from None
    book.cosigner, book.anchorage = cosigner, bucket
    reader = AuditReader(
        state_dir / "audit",
        book.log.signer.verifier,
        anchors=settings.anchors,
        witnesses=settings.witness_keys,
        records=state_dir / "records",
        bucket=bucket,
    )
    return Audit(book, files, cosigner, reader)


def bucket_of(
    settings: BucketConfig,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
) -> AuditBucket | None:
    """The bucket of a configuration, if it has one. Raises ConfigError."""
    if not settings.url:
        return None
    needed = {
        "access_key_env": settings.access_key_env,
        "secret_key_env": settings.secret_key_env,
    }
    problems = tuple(
        Problem(
            "",
            f"server.audit.bucket.{key}",
            f"{variable} is not set; the bucket of anchors needs it",
        )
        for key, variable in needed.items()
        if not environ.get(variable)
    )
    if problems:
        raise ConfigError(problems)

    def credentials() -> Credentials:
        # Read at each call: whoever renews a token changes it in this mapping.
        access = environ.get(settings.access_key_env, "")
        secret = environ.get(settings.secret_key_env, "")
        token = environ.get(settings.session_token_env) or None
        return Credentials(KeySigner(access, secret.encode()), token)

    s3 = S3(settings.url, settings.region, credentials, transport, time.time)
    return AuditBucket(s3, settings.prefix, settings.every_s, settings.retain_days)


def _witnesses(settings: AuditConfig) -> Witnesses | None:
    try:
        return witnesses(settings.witness_urls, settings.witness_keys)
    except ValueError as error:  # A witness's key that is none.
        problem = Problem("", "server.audit.witness_keys", str(error))
        raise ConfigError((problem,)) from None


async def _kept(
    bucket: AuditBucket | None, state_dir: Path, origin: str
) -> tuple[Checkpoint, ...]:
    """The last locked anchors of a log, when they can be asked for.

    Under the public key in its folder: where that is gone, a new log is made, and the
    auditor finds the anchors of the old one when it puts its first.
    """
    if bucket is None:
        return ()
    try:
        vkey = read_file(log_folder(state_dir, origin) / VKEY, NOTE_BYTES_MAX)
        if vkey is None:
            return ()
        return await bucket.newest(Verifier.parse(vkey.decode(errors="replace")))
    except (AnchorsUnavailable, BadNote):
        return ()


def _open(
    server: ServerConfig, origin: str, number: int, kept: tuple[Checkpoint, ...]
) -> tuple[AuditBook, AuditFiles]:
    settings, state_dir = server.audit, server.state_dir
    # The other workers' logs remember this one, too.
    known = (*settings.anchors, *anchors_beside(state_dir, origin))
    book, files = open_log(state_dir, origin, known, kept)
    cover_rest(book, state_dir, int(time.time() * 1000), number)
    return book, files
