"""Whether the bucket of the audit log's anchors answers, and locks what it is given."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

from actors.provider.transport import Transport
from gateway.auditing import bucket_of
from gateway.checkup import Finding
from gateway.settings.audit import BucketConfig
from gateway.settings.errors import ConfigError
from storage.s3 import S3Error


async def anchors(
    settings: BucketConfig,
    env: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[Finding]:
    """Nothing is put there: what is, stays for years."""
    if not settings.url:
        return []
    made = None
    if transport is None:
        transport = made = Transport(tls=ssl.create_default_context())
    what = f"the bucket of anchors {settings.url}"
    try:
        bucket = bucket_of(settings, env, transport)
        assert bucket is not None, "it has a url"
        await bucket.s3.versions(bucket.prefix, most=1)
        if not await bucket.s3.locks():
            return [
                Finding(
                    "fail",
                    f"{what} has no Object Lock: nothing can be anchored there",
                    "make one with Object Lock enabled; see docs/audit.md",
                )
            ]
    except ConfigError as error:
        found = error.problems[0]
        return [Finding("fail", f"{found.where}: {found.what}", "set it")]
    except S3Error as error:
        return [
            Finding(
                "fail",
                f"{what} {error}",
                "check its url, its region, the credentials and their rights: "
                "docs/audit.md lists them",
            )
        ]
    finally:
        if made is not None:
            await made.aclose()
    return [Finding("ok", f"{what} locks what is put there")]
