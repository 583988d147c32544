"""Numbers of several rounds, printed as a table, as markdown or as JSON.

A number is the median over rounds with the smallest and largest beside it: on a
shared machine the spread says more than a second digit.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import httptools
import msgspec

from bench.lib import procs
from bench.lib.gateways import Gateway
from bench.lib.verify import AnswerError

ONE_CORE = "gateway on one core, mock and load on another"


@dataclass(slots=True)
class Row:
    """One measure of one gateway, a value a round."""

    gateway: str
    measure: str
    unit: str
    compare: bool = True  # whether a multiple of the baseline says anything
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    def text(self) -> str:
        """The median and the spread."""
        low, high = min(self.values), max(self.values)
        return f"{_short(self.median)} ({_short(low)} .. {_short(high)})"


class Report:
    """Collects values round by round and prints them."""

    def __init__(
        self, title: str, *, baseline: str = "stock", where: str = ONE_CORE
    ) -> None:
        self._title = title
        self._where = where
        self._baseline = baseline
        self._rows: dict[tuple[str, str], Row] = {}
        self._failures: dict[str, str] = {}

    def add(
        self,
        gateway: str,
        measure: str,
        unit: str,
        value: float,
        *,
        compare: bool = True,
    ) -> None:
        """Note the value of one round."""
        row = self._rows.setdefault(
            (measure, gateway), Row(gateway, measure, unit, compare)
        )
        row.values.append(value)

    @contextlib.contextmanager
    def guard(self, gateway: Gateway) -> Generator[None, None, None]:
        """Note what goes wrong with one gateway; the others are still measured."""
        try:
            yield
        except (AnswerError, OSError, httptools.HttpParserError) as error:
            reason = f"{type(error).__name__}: {error}"
            self._failures[gateway.name] = reason
            said = gateway.process.log_tail() if gateway.process else ""
            print(f"{gateway.name} failed: {reason}\n{said}", file=sys.stderr)

    def failed(self, gateway: Gateway) -> bool:
        """Whether it went wrong and should be left alone."""
        return gateway.name in self._failures

    def finish(self, chosen: argparse.Namespace) -> None:
        """Print, and end the program with 1 if a gateway answered wrongly."""
        self._print(chosen)
        if self._failures:
            raise SystemExit(1)

    def _print(self, chosen: argparse.Namespace) -> None:
        if chosen.json:
            print(msgspec.json.format(msgspec.json.encode(self._tree())).decode())
        elif chosen.markdown:
            print(self._markdown())
        else:
            print(self._table())

    def _tree(self) -> dict[str, object]:
        rows = [
            {
                "gateway": row.gateway,
                "measure": row.measure,
                "unit": row.unit,
                "median": row.median,
                "min": min(row.values),
                "max": max(row.values),
                "values": row.values,
                "times_baseline": self._times(row),
            }
            for row in self._rows.values()
        ]
        return {
            "title": self._title,
            "command": command(),
            "machine": procs.machine(),
            "baseline": self._baseline,
            "failures": self._failures,
            "rows": rows,
        }

    def _cells(self) -> list[list[str]]:
        """A line a measure, a column a gateway."""
        measures = list(dict.fromkeys(measure for measure, _ in self._rows))
        gateways = list(dict.fromkeys(gateway for _, gateway in self._rows))
        lines = [[self._title, *gateways]]
        for measure in measures:
            line = [measure]
            for gateway in gateways:
                row = self._rows.get((measure, gateway))
                if row is None:
                    line.append("")
                    continue
                if line[0] == measure:
                    line[0] = f"{measure}, {row.unit}" if row.unit else measure
                times = self._times(row)
                ratio = "" if times is None else f" = {times:.2f}x"
                line.append(row.text() + ratio)
            lines.append(line)
        return lines

    def _times(self, row: Row) -> float | None:
        """How many times the baseline's median this is."""
        base = self._rows.get((row.measure, self._baseline))
        if base is None or base is row or row.gateway == "direct":
            return None
        if not row.compare or base.median <= 0 or row.median <= 0:
            return None
        return row.median / base.median

    def _table(self) -> str:
        lines = self._cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [
            "  ".join(
                cell.ljust(width) for cell, width in zip(line, widths, strict=True)
            )
            for line in lines
        ]
        texts.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*(text.rstrip() for text in texts), "", self._footer()])

    def _markdown(self) -> str:
        lines = [f"| {' | '.join(line)} |" for line in self._cells()]
        lines.insert(1, "|---" * (lines[0].count("|") - 1) + "|")
        return "\n".join([f"`{command()}`", "", *lines, "", self._footer()])

    def _footer(self) -> str:
        rounds = max((len(row.values) for row in self._rows.values()), default=0)
        failed = "".join(
            f"FAILED {name}: {reason}\n" for name, reason in self._failures.items()
        )
        return (
            f"{failed}Median of {rounds} interleaved rounds (min .. max). "
            f"{procs.machine()}; {self._where}."
        )


def command() -> str:
    """The command line that gives these numbers again."""
    module = sys.modules["__main__"].__spec__
    name = module.name if module is not None else sys.argv[0]
    return " ".join(["python -m", name, *sys.argv[1:]])


def progress(chosen: argparse.Namespace, texts: Sequence[str]) -> None:
    """Say where we are, to somebody who watches."""
    if not chosen.json and sys.stderr.isatty():
        print("\r\033[K" + " ".join(texts), end="", file=sys.stderr, flush=True)


def _short(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
