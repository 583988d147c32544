"""The tools against each other: load, stock pair, mock. Small, and never timed."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from bench.lib import aborts, gateways, hooked, probe, procs, shape
from bench.lib.gateways import Gateway
from bench.lib.load import StreamLoad, Target, UnaryLoad, burst
from bench.lib.verify import AnswerError

BRIEF_S = 0.02


def streams(target: Target) -> StreamLoad:
    return StreamLoad(target, streams=8, deltas=6, gap_us=500, ramp_s=0.0)


@contextmanager
def one_answer(data: bytes) -> Generator[Target, None, None]:
    """A server that says ``data`` to whoever comes first, whatever they ask."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65_536)
                sock.sendall(data)
                sock.recv(1)  # the client closes

        thread = threading.Thread(target=serve)
        thread.start()
        yield Target("127.0.0.1", listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("place", [0, 1], ids=["direct", "stock"])
def test_every_request_is_answered_and_counted(
    pair: tuple[Gateway, Gateway], place: int
) -> None:
    mock = pair[0].target
    before = probe.counters(mock).requests
    with UnaryLoad(pair[place].target, 4) as load:
        result = load.run(BRIEF_S)
    assert result.requests >= 4
    assert len(result.latencies_ns) == result.requests
    assert probe.counters(mock).requests - before == result.requests


@pytest.mark.parametrize("place", [0, 1], ids=["direct", "stock"])
def test_every_stream_comes_whole(pair: tuple[Gateway, Gateway], place: int) -> None:
    seen: list[str] = []
    before = probe.counters(pair[0].target)
    result = streams(pair[place].target).run(lambda: seen.append("open"))
    after = probe.counters(pair[0].target)
    assert seen == ["open"]
    assert len(result.first_ns) == 8
    assert len(result.seen.delays_ns) == 8 * 6
    assert len(result.seen.gaps_ns) == 8 * 5
    assert after.finished - before.finished == 8
    assert after.deltas - before.deltas == 8 * 6


@pytest.mark.parametrize("place", [0, 1], ids=["direct", "stock"])
def test_a_burst_is_larger_than_any_buffer_and_still_whole(
    pair: tuple[Gateway, Gateway], place: int
) -> None:
    assert burst(pair[place].target, 5_000) > 0


def test_a_stream_of_words_says_them_in_order(
    pair: tuple[Gateway, Gateway],
) -> None:
    assert hooked.hooked_burst(pair[0].target, 500) > 0


@pytest.mark.parametrize("place", [0, 1], ids=["direct", "stock"])
def test_a_client_that_leaves_is_seen_upstream(
    pair: tuple[Gateway, Gateway], place: int
) -> None:
    before = probe.counters(pair[0].target).aborted
    took_ms = aborts.abort_ms(aborts.by_sse, pair[place].target, pair[0].target)
    assert took_ms >= 0
    assert probe.counters(pair[0].target).aborted == before + 1


def test_a_client_that_reads_nothing_stops_the_mock(
    pair: tuple[Gateway, Gateway],
) -> None:
    direct = pair[0].target
    stalled = probe.stalled(direct, direct)
    whole = len(shape.burst("stalled", probe.STALL_DELTAS))
    assert 0 < stalled.taken_bytes < whole


def test_what_the_mock_does_not_know_is_a_404(pair: tuple[Gateway, Gateway]) -> None:
    mock = pair[0].target
    with socket.create_connection((mock.host, mock.port)) as sock:
        sock.sendall(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 404 ")


def test_a_wrong_stream_ends_the_measurement() -> None:
    lost = [shape.STREAM_HEAD, shape.opening("s0"), shape.delta("s0", 1, 1)]
    with one_answer(b"".join(lost)) as target:
        load = StreamLoad(target, streams=1, deltas=6, gap_us=1, ramp_s=0.0)
        with pytest.raises(AnswerError, match="delta 1 where 0 was due: lost"):
            load.run()


def test_a_wrong_answer_ends_the_measurement() -> None:
    with (
        one_answer(shape.error(503, "busy")) as target,
        UnaryLoad(target, 1) as load,
        pytest.raises(AnswerError, match="status 503"),
    ):
        load.run(BRIEF_S)


def test_a_process_is_read_through_proc(pair: tuple[Gateway, Gateway]) -> None:
    process = pair[1].process
    assert process is not None
    assert process.cpu_s() > 0
    assert process.rss_bytes() > 1 << 20
    assert process.pids == [process.popen.pid]


def test_a_gateway_that_does_not_start_says_why() -> None:
    also = f"broken={sys.executable} -c 'raise SystemExit(\"no such key\")'"
    chosen = gateways.options("t").parse_args(["--only", "broken", "--also", also])
    with (
        pytest.raises(procs.StartError, match="no such key"),
        gateways.all_started(chosen, pin=False),
    ):
        pass
