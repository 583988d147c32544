"""What a gateway still holds when its clients have gone: nothing, or it leaks.

Read from outside: its metrics, its open files, and what the mock sees of it.
"""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass

from bench.lib.gateways import Gateway
from bench.lib.load import Target
from bench.lib.probe import counters
from bench.lib.verify import AnswerError

DRAIN_MAX_S = 15.0  # Of ends that are under way; a read timeout would take longer.
POLL_S = 0.2

# What is counted in the metrics, of every label: each is what requests hold.
GAUGES = {
    "streams": "stagedoor_streams_open",
    "requests of sites": "stagedoor_site_in_flight",
    "permits": "stagedoor_provider_in_flight",
    "waiting": "stagedoor_provider_queued",
    "leases": "stagedoor_vault_leases",
    "money held": "stagedoor_cap_held_usd",
}


@dataclass(frozen=True, slots=True)
class Held:
    """What is held now, by name; ``files`` are those besides pooled connections."""

    gauges: dict[str, float]
    files: int
    tasks: int

    def more_than(self, idle: Held) -> dict[str, float]:
        """What is above an idle gateway's."""
        found = {
            name: value - idle.gauges.get(name, 0.0)
            for name, value in self.gauges.items()
            if value > idle.gauges.get(name, 0.0)
        }
        if self.files > idle.files:
            found["files"] = self.files - idle.files
        if self.tasks > idle.tasks:
            found["actors"] = self.tasks - idle.tasks
        return found


def held(gateway: Gateway, mock: Target) -> Held:
    """Look."""
    process = gateway.process
    assert process is not None
    text = _metrics(gateway.target)
    gauges = {title: _sum(text, name) for title, name in GAUGES.items()}
    pooled = counters(mock).connections_open
    return Held(gauges, process.files() - pooled, gateway.actors())


def wait_drained(gateway: Gateway, mock: Target, idle: Held) -> float:
    """Seconds until it holds no more than when it was idle.

    Raises AnswerError with what is still held.
    """
    start_s = time.monotonic()
    while True:
        streams = counters(mock).in_flight
        rest = held(gateway, mock).more_than(idle)
        if streams:
            rest["upstream streams"] = streams
        if not rest:
            return time.monotonic() - start_s
        if time.monotonic() - start_s > DRAIN_MAX_S:
            raise AnswerError(f"{DRAIN_MAX_S} s after its last client it holds {rest}")
        time.sleep(POLL_S)


def _metrics(target: Target) -> str:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=10.0)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise AnswerError(f"its metrics are {answer.status}: {text[:200]}")
        return text
    finally:
        connection.close()


def _sum(text: str, name: str) -> float:
    values = re.findall(rf"(?m)^{name}(?:\{{[^}}]*\}})? (\S+)", text)
    return sum(map(float, values))
