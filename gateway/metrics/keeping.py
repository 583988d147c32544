"""The families of the audit log, the vault, the hooks and the traces. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)

from gateway.metrics.counts import AuditGauges, HookGauges, VaultGauges
from gateway.tracing.exporter import TraceStatistics


def audit(now: AuditGauges) -> Iterator[Metric]:
    """How the log stands. Alert on trouble, disowned, and what is late or grows."""
    for name, doc, value in (
        (
            "published_entries",
            "Entries under the checkpoint readers see.",
            now.published,
        ),
        ("witnessed_entries", "Entries under what a witness signed.", now.witnessed),
        ("anchored_entries", "Entries under what a bucket has locked.", now.anchored),
        (
            "anchor_late_seconds",
            "For how long the next locked anchor is overdue.",
            now.anchor_late_s,
        ),
        ("unpublished_entries", "Not there yet.", max(0, now.entries - now.published)),
        ("waiting_entries", "Not on disk yet.", now.waiting),
        ("trouble", "1 while the log cannot be written or published.", now.troubled),
        ("disowned", "1 after a witness or an anchor refused it.", now.disowned),
    ):
        yield GaugeMetricFamily(f"stagedoor_audit_{name}", doc, value=float(value))
    yield CounterMetricFamily(
        "stagedoor_audit_entries", "Entries of the audit log.", value=now.entries
    )


def vault(now: VaultGauges) -> Iterator[Metric]:
    """How the vault stands. Alert on overdue, failing, and refused leases."""
    for name, doc, value in (
        ("secrets", "Keys in the vault, by name.", now.secrets),
        ("leases", "Keys on loan.", now.leases),
        ("grants", "Grants in force.", now.grants),
        ("keks_cached", "Unwrapped keys of tenants.", now.keks_cached),
        (
            "rotation_overdue",
            "Keys that are older than they may be.",
            now.rotation_overdue,
        ),
        ("rotation_failing", "Rotations whose last step failed.", now.rotation_failing),
        ("locked_bytes", "Locked memory.", now.locked_bytes),
    ):
        yield GaugeMetricFamily(f"stagedoor_vault_{name}", doc, value=value)
    for name, doc, value in (
        ("leases_granted", "Keys lent.", now.leases_granted),
        (
            "leases_refused",
            "Keys not lent: denied, missing, or the KMS.",
            now.leases_refused,
        ),
    ):
        yield CounterMetricFamily(f"stagedoor_vault_{name}", doc, value=value)


def hooks(now: Sequence[HookGauges]) -> Iterator[Metric]:
    """What hooks do and cost. Alert on failures."""
    calls = CounterMetricFamily(
        "stagedoor_hook_calls", "Times that a hook was called.", labels=("hook",)
    )
    spent = CounterMetricFamily(
        "stagedoor_hook_seconds", "Time that it took.", labels=("hook",)
    )
    halts = CounterMetricFamily(
        "stagedoor_hook_halts", "Answers that it ended.", labels=("hook",)
    )
    failures = CounterMetricFamily(
        "stagedoor_hook_failures",
        "Answers for which it raised, or was late.",
        labels=("hook", "reason"),
    )
    for one in now:
        calls.add_metric((one.name,), one.calls)
        spent.add_metric((one.name,), one.spent_s)
        halts.add_metric((one.name,), one.halts)
        for reason, count in one.failures.items():
            failures.add_metric((one.name, reason), count)
    yield from (calls, spent, halts, failures)


def traces(now: TraceStatistics) -> Iterator[Metric]:
    """What became of the requests whose spans are told. Alert on dropped and failed."""
    for name, doc, value in (
        ("told", "Requests whose spans the collector took.", now.told),
        ("dropped", "Requests whose spans found no room in the queue.", now.dropped),
        ("failed", "Requests whose spans the collector did not take.", now.failed),
    ):
        yield CounterMetricFamily(f"stagedoor_traces_{name}", doc, value=value)
    yield GaugeMetricFamily(
        "stagedoor_traces_waiting", "Requests whose spans wait.", value=now.waiting
    )
