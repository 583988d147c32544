"""What a start would find of its certificate and its collector of traces."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import trio
from cryptography import x509

from gateway.checkup import DNS_WAIT_S, Finding
from gateway.settings.server import ServerConfig
from gateway.settings.tracing import TracingConfig

DAY_S: Final = 86_400
DAYS_LOW: Final = 14  # ACME clients renew a month ahead: here one has failed for weeks.
OTLP: Final = "opentelemetry.exporter.otlp.proto.http"


def certificate(server: ServerConfig, now_s: float) -> Iterator[Finding]:
    """Whether the certificate goes with its key, and for how long it is good."""
    path, key = server.tls_cert, server.tls_key
    if path is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
        yield Finding(
            "fail",
            f"the certificate {path} cannot be used with {key}: {type(error).__name__}",
            "name a PEM chain and its own key, both readable by this user",
        )
        return
    days = (found.not_valid_after_utc.timestamp() - now_s) / DAY_S
    if days <= 0:
        yield Finding(
            "fail", f"the certificate {path} has expired", "renew it, and restart"
        )
    elif found.not_valid_before_utc.timestamp() > now_s:
        yield Finding(
            "fail", f"the certificate {path} is not valid yet", "check the clock"
        )
    elif days < DAYS_LOW:
        yield Finding(
            "warn",
            f"the certificate {path} expires in {days:.0f} days",
            "renew it, and restart",
        )
    else:
        yield Finding("ok", f"the certificate {path} is good for {days:.0f} days")


async def tracing(settings: TracingConfig) -> list[Finding]:
    """Whether spans can be told to anybody."""
    if not settings.endpoint:
        return []
    if not _is_there(OTLP):
        return [
            Finding(
                "fail",
                "tracing.endpoint is set and OpenTelemetry is not installed",
                "pip install 'stagedoor[otel]'",
            )
        ]
    parts = urlsplit(settings.endpoint)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with trio.fail_after(DNS_WAIT_S):
            stream = await trio.open_tcp_stream(host, port)
            await stream.aclose()
    except (OSError, trio.TooSlowError):
        return [
            Finding(
                "warn",
                f"the collector of traces at {host}:{port} takes no connection",
                "start it, or correct tracing.endpoint; spans are dropped meanwhile",
            )
        ]
    return [Finding("ok", f"the collector of traces at {host}:{port} is there")]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
