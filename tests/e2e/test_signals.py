"""Signals at every phase of a gateway's life: none of them costs a record."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, staged


def records(stage: Stage) -> list[str]:
    """The lines on disk."""
    files = (stage.state_dir / "records").glob("*.jsonl")
    return [line for file in files for line in file.read_text().splitlines()]


def refuses(stage: Stage) -> bool:
    """Whether its door is shut already."""
    try:
        return stage.ask("GET", "/readyz")[0] != 200
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_to_stop_ends_the_drain_in_order(
    tmp_path: Path, number: int
) -> None:
    """Not by the kernel: what ran is recorded, and the exit code says all is well."""
    with staged(tmp_path) as stage:
        with stage.open_stream("t1", deltas=10_000, gap_us=20_000):
            stage.process.send_signal(number)
            stage.until("it drains", lambda: refuses(stage))
            assert stage.stop(number) == 0
        assert len(records(stage)) == 1


def test_no_other_signal_hurts_a_drain(tmp_path: Path) -> None:
    """A SIGHUP or SIGUSR1 without its handler would end the process at once."""
    with staged(tmp_path) as stage:
        with stage.open_stream("t1", deltas=10_000, gap_us=20_000):
            stage.process.send_signal(signal.SIGTERM)
            for _ in range(20):
                stage.process.send_signal(signal.SIGHUP)
                stage.process.send_signal(signal.SIGUSR1)
            assert stage.process.wait(20) == 0
        assert len(records(stage)) == 1
