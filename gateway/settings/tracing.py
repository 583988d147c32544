"""The settings of tracing: where spans go, and of how many requests.

Owns: `[tracing]`. Never: does I/O, or holds the collector's credentials.
"""

from __future__ import annotations

from typing import Final

from gateway.settings import values
from gateway.settings.definition import config, setting

PER_MILLION: Final = 1_000_000
QUEUE_MAX: Final = values.integer(64, 1_000_000)


@config
class TracingConfig:
    """Spans of requests, told to an OpenTelemetry collector."""

    endpoint: str = setting(
        values.URL_OR_NONE,
        default="",
        default_doc="no traces",
        reload="restart",
        doc="Where spans are posted as OTLP over HTTP, with its path: "
        "`http://127.0.0.1:4318/v1/traces`. Credentials, certificates and resource "
        "attributes come from OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_"
        "HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, …). Needs `stagedoor[otel]`.",
    )
    sample_per_million: int = setting(
        values.integer(0, PER_MILLION),
        default=PER_MILLION,
        reload="restart",
        doc="Of how many requests in a million spans are told, where their client "
        "sends no `traceparent`; one that sends one decides by its sampled flag.",
    )
    to_providers: bool = setting(
        values.BOOLEAN,
        default=True,
        reload="restart",
        doc="Whether calls to providers carry `traceparent`, and the `tracestate` that "
        "the client sent.",
    )
    queue_max: int = setting(
        QUEUE_MAX,
        default=8_192,  # Two seconds of full load; about 8 MB.
        reload="restart",
        doc="The most requests whose spans wait for the collector. Beyond it they are "
        "dropped, and counted (`stagedoor_traces_dropped_total`).",
    )
