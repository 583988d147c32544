"""Tracing as a start finds it configured: the exporter, and what the gate is given."""

from __future__ import annotations

from gateway.cli import installed_version
from gateway.gate import Gate
from gateway.settings.errors import ConfigError, Problem
from gateway.tracing.entry import Tracing
from gateway.tracing.exporter import OtelMissing, SpanExporter, open_exporter


def traced(gate: Gate, worker: int) -> SpanExporter | None:
    """Have the gate trace, if there is somebody to tell. Raises ConfigError."""
    settings = gate.config.tracing
    if not settings.endpoint:
        return None
    try:
        made = open_exporter(
            settings, lambda: gate.config, version=installed_version(), worker=worker
        )
    except OtelMissing as error:
        problem = Problem("", "tracing.endpoint", str(error))
        raise ConfigError((problem,)) from None
    gate.tracing = Tracing(settings, made.offer, offer_refusal=made.offer_refusal)
    gate.traces = made.statistics
    return made
