"""A scenario: a TOML file with the deployments there are and what befalls them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.routing.load import Traced
from bench.routing.world import SOFT_SLOPE, Fault, Model

SCENARIOS: Final = Path(__file__).with_name("scenarios")


class Deadlines(Struct, frozen=True):
    """As a gateway's settings; a failed request counts as `total_s`."""

    connect_s: float = 5.0
    first_content_s: float = 30.0
    total_s: float = 120.0


class Scenario(Struct, frozen=True):
    """One day.

    Args:
        requests_per_s: the day's mean; the trace's gaps are stretched to it, and
            capacities follow.
        utilisation: of the first deployment, were it to carry the mean load alone.
        from_h, to_h: the part of the day that is simulated.
        cap_usd: a hard cap on the day's spend.
        all_down: from and to hour between which no deployment lives.
    """

    name: str
    doc: str
    deployments: tuple[Model, ...] = ()
    faults: tuple[Fault, ...] = ()
    requests_per_s: float = 0.4
    utilisation: float = 0.7
    from_h: float = 0.0
    to_h: float = 24.0
    cap_usd: float | None = None
    prefer: str = "balanced"
    output_bound: int = 2048
    deadlines: Deadlines = Deadlines()

    def capacity(self, trace: list[Traced]) -> float:
        """Of the first deployment: it carries the mean load at `utilisation`."""
        first = self.deployments[0]
        work = [
            first.overhead_s
            + line.prompt_tokens / first.prefill_tokens_per_s
            + line.completion_tokens / first.decode_tokens_per_s
            for line in trace
        ]
        load = self.requests_per_s * sum(work) / len(work)
        return (1.0 + SOFT_SLOPE) * load / self.utilisation


def load_scenario(path: Path, **changes: Any) -> Scenario:
    """Read one; `base` names a file beside it to start from."""
    raw = tomllib.loads(path.read_text())
    base = raw.pop("base", None)
    if base is not None:
        raw = {**tomllib.loads((path.parent / base).read_text()), **raw}
    raw = {**raw, **changes}
    return msgspec.convert(raw, Scenario)


def all_scenarios() -> list[Path]:
    """Those that are shipped, in order."""
    return [p for p in sorted(SCENARIOS.glob("*.toml")) if not p.stem.startswith("_")]
