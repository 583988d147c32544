"""Plots of one seed: latency, failures, spend and shares by hour. Needs matplotlib."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.routing.figures import Figures

COLOURS = {
    "ours": "#0b6e4f",
    "fixed": "#b23a48",
    "random": "#8d99ae",
    "least_busy": "#3d5a80",
    "fastest_mean": "#e09f3e",
    "cheapest": "#9d6bb0",
}


def plot_all(figures: Sequence[Figures], folder: Path) -> None:
    """One picture a scenario."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only who plots needs it
    except ImportError:
        print("no plots: pip install matplotlib (requirements/bench.in)")
        return
    mpl.use("Agg")
    by: dict[str, list[Figures]] = defaultdict(list)
    for one in figures:
        by[one.scenario].append(one)
    for scenario, ones in by.items():
        _plot(scenario, ones, folder / f"{scenario}.png")


def _plot(scenario: str, ones: list[Figures], path: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - see above

    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), sharex=True)
    hours = range(24)
    for one in ones:
        style = {
            "color": COLOURS[one.player],
            "label": one.player,
            "linewidth": 2.2 if one.player == "ours" else 1.1,
        }
        axes[0][0].plot(hours, one.hourly_p95_s, **style)
        axes[0][1].plot(hours, one.hourly_failed, **style)
        axes[1][0].plot(hours, one.hourly_usd, **style)
    axes[0][0].set_title("p95 latency by hour, s (failed: 120)")
    axes[0][0].set_yscale("log")
    axes[0][1].set_title("requests that failed, by hour")
    axes[1][0].set_title("spend by hour, $")
    axes[0][0].legend(fontsize=8)
    ours = next(one for one in ones if one.player == "ours")
    axes[1][1].stackplot(
        hours,
        list(ours.hourly_shares.values()),
        labels=list(ours.hourly_shares),
        alpha=0.85,
    )
    axes[1][1].set_title("ours: shares of the deployments")
    axes[1][1].legend(fontsize=8, loc="lower left")
    for row in axes:
        for axis in row:
            axis.grid(alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("hour of the day")
    figure.suptitle(f"{scenario} ({ours.trace}, seed {ours.seed})")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def plot_realtime(
    scenario: str, tenths_p95_s: Mapping[str, Sequence[float]], path: Path
) -> None:
    """One scenario in real time: p95 by tenths of the day, for each player."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only who plots needs it
    except ImportError:
        print("no plots: pip install matplotlib (requirements/bench.in)")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - see above

    figure, axis = plt.subplots(figsize=(7, 3.6))
    for player, values in tenths_p95_s.items():
        ours = player == "gateway"
        axis.plot(
            range(1, len(values) + 1),
            values,
            color=COLOURS["ours" if ours else player],
            label=player,
            linewidth=2.2 if ours else 1.1,
            marker="o",
            markersize=3,
        )
    axis.set_title(f"{scenario} in real time: p95 latency, s (failed: 120)")
    axis.set_yscale("log")
    axis.set_xlabel("tenths of the day")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
