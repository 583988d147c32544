"""Metrics: plain numbers on the way, Prometheus families when somebody scrapes.

The hot path takes one handle (`Metrics.traffic`, a dict lookup) and records once
(`Traffic.record`): together under 1 µs.
"""

from gateway.metrics.counts import (
    AuditGauges,
    CapGauges,
    Gauges,
    HookGauges,
    Mark,
    ProviderGauges,
    Traffic,
    VaultGauges,
)
from gateway.metrics.registry import Metrics

__all__ = [
    "AuditGauges",
    "CapGauges",
    "Gauges",
    "HookGauges",
    "Mark",
    "Metrics",
    "ProviderGauges",
    "Traffic",
    "VaultGauges",
]
