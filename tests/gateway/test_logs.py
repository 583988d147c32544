"""The log: what may be in it, and that it never holds anything up."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from gateway.logs import (
    FIELDS,
    HIDDEN,
    LibraryHandler,
    Logs,
    LogStatistics,
    is_request_id,
    new_request_id,
    request_of,
)
from gateway.request_line import RequestLine
from runtime import Actor, ChildSpec, Supervisor, Tripped, open_system

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
PROMPT = "Dear diary, my canary is dead"
KEY = "sk-canary-0123456789abcdef"


class Pipe:
    """A log whose other end is read when it is closed."""

    def __init__(self, **options: Any) -> None:
        self._read_end, self.fd = os.pipe()
        self.read = False
        self.logs = Logs(self.fd, now=lambda: NOW, flush_s=0.0, **options)

    def text(self) -> str:
        self.read = True
        # Read while it is written: a pipe holds only so much.
        closing = threading.Thread(target=self._close)
        closing.start()
        with os.fdopen(self._read_end, "rb") as file:
            text = file.read().decode()
        closing.join()
        return text

    def _close(self) -> None:
        self.logs.close(timeout_s=30)
        os.close(self.fd)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    if not pipe.read:
        pipe.text()


def test_a_request_is_one_line_of_json(pipe: Pipe) -> None:
    pipe.logs.request(
        request_id="req_1", site="acme", status=200, duration_ms=1.5, stream=True
    )

    assert pipe.text() == (
        '{"ts":"2026-11-24T08:00:00Z","level":"info","event":"request",'
        '"request_id":"req_1","site":"acme","status":200,"duration_ms":1.5,'
        '"stream":true}\n'
    )


def test_the_quick_way_writes_what_structlog_writes(pipe: Pipe) -> None:
    fields: dict[str, Any] = {"request_id": "req_1", "site": "acme", "status": 200}
    pipe.logs.request(**fields)
    pipe.logs.log.info("request", **fields)

    quick, usual = pipe.lines()
    assert usual == quick


def test_a_field_that_is_not_listed_is_left_out_and_counted(pipe: Pipe) -> None:
    pipe.logs.request(site="acme", prompt=PROMPT, messages=[PROMPT], key=KEY)

    text = pipe.text()
    assert json.loads(text)["site"] == "acme"
    assert "canary" not in text
    assert pipe.logs.statistics().unknown_fields == 3


@pytest.mark.parametrize(
    "value", [PROMPT, KEY, f"gpt/{KEY}", {"text": PROMPT}, "ü", ""]
)
@pytest.mark.parametrize("name", ["model", "request_id", "error_class"])
def test_what_is_no_name_is_hidden(pipe: Pipe, name: str, value: object) -> None:
    """A client may ask for a model whose name is its prompt, or its key."""
    pipe.logs.request(**{name: value})

    (line,) = pipe.lines()
    assert line[name] == HIDDEN
    assert pipe.logs.statistics().hidden_values == 1


def test_a_number_is_a_number(pipe: Pipe) -> None:
    pipe.logs.request(status=PROMPT, tokens_in=[1], tokens_out=7)

    (line,) = pipe.lines()
    assert (line.get("status"), line.get("tokens_in"), line["tokens_out"]) == (
        None,
        None,
        7,
    )


@pytest.mark.parametrize("event", [PROMPT, f"failed_{PROMPT}", KEY, 5, None])
def test_an_event_is_a_name_in_our_code(pipe: Pipe, event: Any) -> None:
    """Somebody will write log.info(f"failed: {error}")."""
    pipe.logs.log.warning(event)

    (line,) = pipe.lines()
    assert line["event"] == HIDDEN


def test_of_an_exception_only_its_class_and_place_are_logged(pipe: Pipe) -> None:
    """The messages of parsers quote what they could not parse."""
    try:
        json.loads(f'{{"prompt": "{PROMPT}"')
    except ValueError:
        pipe.logs.log.exception("crash", actor="stream/1")

    text = pipe.text()
    line = json.loads(text)
    assert line["error_class"] == "JSONDecodeError"
    assert line["where"].startswith("raw_decode@decoder.py:")
    assert "canary" not in text


def test_what_a_library_says_is_reduced_to_where_it_said_it(pipe: Pipe) -> None:
    """Libraries log URLs, and a URL may hold a key."""
    logger = logging.getLogger("tests.some_library")
    logger.propagate = False
    pipe.logs.take_over(logger)

    logger.warning("POST %s?key=%s", PROMPT, KEY)
    logger.info("not worth a line")

    text = pipe.text()
    line = json.loads(text)
    assert (line["event"], line["logger"]) == ("library", "tests.some_library")
    assert "canary" not in text


def test_levels_below_the_chosen_one_cost_nothing() -> None:
    pipe = Pipe(level=logging.ERROR)
    pipe.logs.log.info("request")

    assert pipe.text() == ""


def test_values_that_are_not_there_are_not_written(pipe: Pipe) -> None:
    pipe.logs.request(site=None, status=200)

    (line,) = pipe.lines()
    assert "site" not in line


def test_a_full_buffer_drops_and_counts() -> None:
    """A reader that has stopped must not stop the gateway, nor fill its memory."""
    # Lines stay in the buffer for as long as they are grouped: here, for ever.
    read_end, fd = os.pipe()
    logs = Logs(fd, lines_max=10, flush_s=threading.TIMEOUT_MAX)

    for number in range(25):
        logs.request(status=number)

    assert logs.statistics().dropped == 15
    assert "buffered=10/10" in repr(logs)
    logs.close()
    os.close(fd)
    with os.fdopen(read_end) as file:
        kept = [json.loads(line)["status"] for line in file]
    assert kept == list(range(10))


def test_a_reader_that_has_stopped_holds_up_neither_a_line_nor_the_end() -> None:
    """The thread is stuck in its write; close gives up after its time."""
    pipe = Pipe()
    pipe.logs.writer.write(b"x" * 200_000)  # Three times what a pipe holds.

    pipe.logs.close(timeout_s=0.01)
    pipe.logs.request(status=200)

    assert pipe.logs.statistics().dropped == 1
    with os.fdopen(pipe._read_end, "rb") as file:
        assert len(file.read(200_001)) == 200_001
    pipe.logs.close(timeout_s=30)
    os.close(pipe.fd)


def test_a_reader_that_left_is_counted_and_nothing_is_raised() -> None:
    pipe = Pipe()
    os.close(pipe._read_end)

    pipe.logs.request(status=200)
    pipe.logs.close()
    os.close(pipe.fd)

    assert pipe.logs.statistics() == LogStatistics(0, 0, 1, 0, 0)


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    """Whoever shares our standard output may have set it so."""
    pipe = Pipe()
    os.set_blocking(pipe.fd, False)
    line = b"x" * 200_000  # Three times what a pipe holds.

    received: list[bytes] = []

    def read() -> None:
        with os.fdopen(pipe._read_end, "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    pipe.logs.writer.write(line)
    pipe.logs.close(timeout_s=30)
    os.close(pipe.fd)
    reader.join()

    assert received == [line + b"\n"]


def test_every_line_is_written_once_and_in_order(pipe: Pipe) -> None:
    for number in range(1000):
        pipe.logs.request(status=number)

    assert [line["status"] for line in pipe.lines()] == list(range(1000))
    assert pipe.logs.statistics().written == 1000


def test_a_closed_log_drops(pipe: Pipe) -> None:
    pipe.logs.close()

    pipe.logs.request(status=200)

    assert pipe.logs.statistics().dropped == 1


def test_no_field_invites_what_must_not_be_logged() -> None:
    forbidden = {
        "prompt",
        "messages",
        "content",
        "text",
        "body",
        "key",
        "headers",
        "url",
    }

    assert not forbidden & FIELDS.keys()


def test_ids_are_new_and_fit_to_be_logged(pipe: Pipe) -> None:
    one, other = new_request_id(), new_request_id()
    assert one != other
    assert is_request_id(one)

    pipe.logs.request(request_id=one)

    assert pipe.lines()[0]["request_id"] == one


@pytest.mark.parametrize("text", ["", "short", "x" * 65, "with space", KEY, "a\nb" * 9])
def test_an_id_that_a_client_sent_is_looked_at(text: str) -> None:
    assert not is_request_id(text)


def test_the_memory_of_known_names_is_bounded(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.logs.KNOWN_WORDS_MAX", 3)

    for number in range(10):
        pipe.logs.request(model=f"model-{number}")

    assert len(pipe.logs._allow._known) <= 3
    assert len(pipe.lines()) == 10


class Clerk(Actor):
    """Fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def on_start(self) -> None:
        raise self.error


async def test_a_crash_and_a_trip_say_who_and_why(pipe: Pipe) -> None:
    """An operator whose disk is full must find more in the log than a line number."""
    handler = LibraryHandler(pipe.logs)
    logging.getLogger("runtime").addHandler(handler)
    children = [
        ChildSpec("reader", partial(Clerk, ValueError(PROMPT)), restart="temporary"),
        ChildSpec("writer", partial(Clerk, Tripped("no space", errno=28))),
    ]
    try:
        async with open_system(ChildSpec("top", partial(Supervisor, children))):
            await trio.testing.wait_all_tasks_blocked()
    finally:
        logging.getLogger("runtime").removeHandler(handler)

    crashed, tripped = pipe.lines()
    assert (crashed["event"], crashed["actor"]) == ("actor.crashed", "reader")
    assert crashed["error_class"] == "ValueError"
    assert (tripped["event"], tripped["actor"]) == ("actor.tripped", "writer")
    assert tripped["reason"] == "tripped:_no_space:_errno_28"


@pytest.mark.parametrize("worker", [0, 3])
def test_the_short_way_of_a_requests_line_writes_what_the_long_way_does(
    worker: int,
) -> None:
    """The first is looked at word by word, the second is known."""
    pipe = Pipe(worker=worker)
    line = RequestLine(
        request_id=new_request_id(),
        site="acme",
        model="fast",
        provider="main",
        dialect="openai_chat",
        status=200,
        outcome="ok",
        finish="stop",
        stream=True,
        attempts=1,
        tokens_in=7,
        tokens_out=3,
        spend_nanousd=9,
        duration_ms=12,
    )
    pipe.logs.ended(line)
    pipe.logs.ended(line)
    first, second = pipe.text().splitlines()
    assert first == second
    assert json.loads(first)["request_id"] == line.request_id


def test_a_word_that_is_no_name_is_hidden_each_time(pipe: Pipe) -> None:
    for _ in range(2):
        pipe.logs.ended(
            RequestLine(
                request_id=new_request_id(),
                site="acme",
                model=PROMPT,
                dialect="openai_chat",
                status=404,
                outcome="error",
                stream=False,
                attempts=0,
                tokens_in=0,
                tokens_out=0,
                spend_nanousd=0,
                duration_ms=1,
            )
        )
    assert [line["model"] for line in pipe.lines()] == [HIDDEN, HIDDEN]


def test_request_ids_ascend_with_time_and_never_repeat() -> None:
    """Whoever keeps them in order appends; 48 bits of each are chance."""
    ids = [new_request_id() for _ in range(1_000)]
    times = [one[4:16] for one in ids]
    assert len(set(ids)) == len(ids)
    assert times == sorted(times)
    assert all(is_request_id(one) for one in ids)


def test_an_actor_that_serves_a_request_names_it() -> None:
    """A crash is then found by the id that the client was told."""
    assert request_of("streams/req_0123") == "req_0123"
    assert request_of("providers/main") is None
    assert request_of("ledger") is None
