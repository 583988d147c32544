"""Who is told of what, how a message is signed, when it is tried again. Pure.

Messages follow Standard Webhooks: `webhook-id` is the same for every try of one, so a
receiver that keeps ids hears each once; `webhook-signature` is HMAC-SHA256 over
`id.timestamp.body`.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

import msgspec

from actors.herald.messages import Raise
from actors.herald.ports import Alert, Outcome, Webhook

# Seconds until the next try: a minute's outage, a night's, then it is dead.
RETRIES_S: Final = (5, 60, 300, 1800, 7200, 18_000, 36_000)
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the part that is public
ERROR_CHARS_MAX: Final = 200
HOUR_MS: Final = 3_600_000
GONE: Final = 410  # The receiver wants no more: Standard Webhooks says to stop.


def wants(webhook: Webhook, kind: str, tenant: str) -> bool:
    """Whether a webhook is told of an alert."""
    if not webhook.enabled or (webhook.kinds and kind not in webhook.kinds):
        return False
    # What is the operator's own is no tenant's business.
    return webhook.tenants is None or (bool(tenant) and tenant in webhook.tenants)


def dedupe_of(raised: Raise, now_ms: int) -> str:
    """What makes two alerts the same one."""
    occasion = raised.dedupe or str(now_ms - now_ms % HOUR_MS)
    return f"{raised.kind}|{raised.tenant}|{raised.subject}|{occasion}"


def body_of(alert: Alert) -> bytes:
    """What is sent."""
    return msgspec.json.encode(
        {
            "type": f"stagedoor.{alert.kind}",
            "timestamp": alert.at_ms // 1000,
            "data": alert,
        }
    )


def headers_of(
    delivery_id: str, now_s: int, body: bytes, secret: bytes
) -> dict[str, str]:
    """The headers of one try."""
    signed = f"{delivery_id}.{now_s}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return {
        "content-type": "application/json",
        "user-agent": "stagedoor-webhooks/1",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{digest}",
    }


def shown_secret(secret: bytes) -> str:
    """A secret as receivers configure it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def after_try(
    tries: int, now_ms: int, status: int | None, error: str, jitter: float
) -> Outcome:
    """What a try came to. `jitter`, 0 to 1, keeps a crowd from coming back at once."""
    if status is not None and 200 <= status < 300:
        return Outcome(delivered=True, status=status, error="")
    said = (error or f"it answered {status}")[:ERROR_CHARS_MAX]
    if status == GONE:
        return Outcome(False, status, said, disable="it answered 410: no more, please")
    if tries > len(RETRIES_S):
        return Outcome(delivered=False, status=status, error=said)
    wait_s = RETRIES_S[tries - 1] * (1 + jitter / 4)
    return Outcome(False, status, said, due_ms=now_ms + round(wait_s * 1000))
