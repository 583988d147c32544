"""Read the locked anchors of logs from their bucket, for `stagedoor audit verify`.

Owns: with whose credentials: those of whoever verifies, who need do no more than read.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from actors.auditor.notes import Verifier
from actors.auditor.ports import AnchorsUnavailable
from actors.provider.transport import Transport
from gateway.auditing import bucket_of
from gateway.settings.audit import BucketConfig
from gateway.settings.errors import ConfigError
from storage.audit_bucket import Anchors


async def fetch(
    url: str, prefix: str, region: str, logs: Iterable[Verifier]
) -> Anchors:
    """All anchors; what cannot be read is a problem."""
    transport = Transport(tls=ssl.create_default_context())
    try:
        settings = BucketConfig(url=url, prefix=prefix, region=region)
        bucket = bucket_of(settings, os.environ, transport)
        return await bucket.of(logs) if bucket is not None else Anchors()
    except ConfigError as error:
        return Anchors(problems=tuple(one.what for one in error.problems))
    except AnchorsUnavailable as error:
        return Anchors(problems=(str(error),))
    finally:
        await transport.aclose()
