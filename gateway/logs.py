"""The log: one JSON line a request, and one for whatever an operator must know.

Owns: the list of what may be logged (FIELDS), the writer thread, the counters of what
was dropped.
Never: holds up the loop, or writes a prompt, an answer or a key. A field that is not
listed is left out; a value that is no plain name or number is replaced by "hidden";
of an exception, its class and its place are logged, never its message.
Talks to: a file descriptor, from a thread of its own.

structlog builds the lines, msgspec encodes them, `LineWriter.write` appends them to a
bounded buffer. A full buffer counts and drops: a gateway that waits for its log is down
whenever the disk is.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from traceback import walk_tb
from typing import Any, Final, Literal, cast

import attrs
import msgspec
import structlog

from gateway.log_lines import CLOSE_S, FLUSH_S, LINES_MAX, LineWriter
from gateway.request_line import RequestLine
from runtime import CrashReport, Tripped

WORD_CHARS_MAX: Final = 128
KNOWN_WORDS_MAX: Final = 4096  # Names of sites, models, providers: checked once each.
FRAMES_MAX: Final = 4  # The innermost frames say where; the rest is the framework.

Kind = Literal["word", "id", "number"]

# What may be logged, and as what. A word is checked once and remembered, an id is
# different every time, a number is an int, a float or a bool.
FIELDS: Final[Mapping[str, Kind]] = {
    # A request.
    "request_id": "id",
    "trace_id": "id",
    "site": "word",
    "model": "word",
    "provider": "word",
    "upstream_model": "word",
    "upstream_request_id": "id",
    "dialect": "word",
    "operation": "word",
    "method": "word",
    "route": "word",
    "http_version": "word",
    "status": "number",
    "outcome": "word",
    "error_class": "word",
    "error_code": "word",
    "finish": "word",
    "degraded": "word",
    "aside": "word",
    "stream": "number",
    "attempts": "number",
    "fallbacks": "number",
    "tokens_in": "number",
    "tokens_out": "number",
    "tokens_cached": "number",
    "tokens_reasoning": "number",
    "estimated": "number",
    "spend_nanousd": "number",
    "bytes_in": "number",
    "bytes_out": "number",
    "queued_ms": "number",
    "first_content_ms": "number",
    "duration_ms": "number",
    # An actor, the process, the configuration.
    "actor": "word",
    "state": "word",
    "epoch": "number",
    "restarts": "number",
    "retry_in_s": "number",
    "reason": "word",
    "where": "word",
    "logger": "word",
    "line": "number",
    "bind": "word",
    "version": "word",
    "worker": "number",
    "pid": "number",
    "setting": "word",
    "count": "number",
    "limit": "number",
    "elapsed_s": "number",
}

HIDDEN: Final = "hidden"
_EVENT: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_NO_WORD: Final = re.compile(r"[^\w.:/-]+", re.ASCII)
_WORD: Final = re.compile(r"[\w.:/@+<>()\[\],*-]{1,128}", re.ASCII)
# How the keys of the common providers begin. A word that holds one is no name.
_CREDENTIAL: Final = re.compile(
    r"(?i)(?:^|[^a-z0-9])(?:sk|pk|rk|gsk|xai|hf|ghp|pat|key|aiza|akia|asia|bearer|eyj)"
    r"[-_a-z0-9]{12,}"
)
_NUMBERS: Final = (int, float)
_OWN_ID: Final = re.compile(r"req_[0-9a-f]{24}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")

_encode: Final = msgspec.json.Encoder().encode

CHANCE_BYTES: Final = 6  # For each millisecond: a million requests in it may share one.
CHANCES_AHEAD: Final = 128  # A system call for each would be 5 % of a request's time.
_chances_ahead: list[str] = []
os.register_at_fork(after_in_child=_chances_ahead.clear)  # No two processes share any.


def new_request_id() -> str:
    """An id for a request whose client sent none: the time, then chance.

    So ids ascend, and the database's pages that the next records go to are the last
    ones, not all of them: at 2,000 requests a second that is 4,000 page writes less.
    """
    if not _chances_ahead:
        drawn = os.urandom(CHANCE_BYTES * CHANCES_AHEAD).hex()
        size = 2 * CHANCE_BYTES
        _chances_ahead.extend(
            drawn[at : at + size] for at in range(0, len(drawn), size)
        )
    return f"req_{int(time.time() * 1000):012x}{_chances_ahead.pop()}"


def is_request_id(text: str) -> bool:
    """Whether an id that a client sent is fit to be logged and echoed."""
    return bool(_REQUEST_ID.fullmatch(text)) and not _CREDENTIAL.search(text)


@attrs.frozen
class LogStatistics:
    """What became of the lines so far."""

    written: int
    dropped: int
    failed: int
    unknown_fields: int
    hidden_values: int


class AllowList:
    """The structlog processor that lets only FIELDS pass, as what they claim to be."""

    def __init__(self, now: Callable[[], datetime], worker: int = 0) -> None:
        self.unknown_fields = 0
        self.hidden_values = 0
        self._now = now
        self._known: set[str] = set()
        self._worker = worker

    def __call__(
        self, _logger: object, method: str, fields: MutableMapping[str, Any]
    ) -> dict[str, Any]:
        """The line's fields, in the order they are written."""
        event = fields.pop("event", None)
        line: dict[str, Any] = {
            "ts": self._now(),
            "level": method,
            "event": event if event in self._known else self._event(event),
        }
        if self._worker:
            line["worker"] = self._worker
        known, kind_of = self._known, FIELDS.get
        exc_info = fields.pop("exc_info", None)
        for name, value in fields.items():
            kind = kind_of(name)
            if kind is None:
                self.unknown_fields += 1
            elif value is None:
                continue
            elif kind == "number":
                if isinstance(value, _NUMBERS):
                    line[name] = value
                else:
                    self.hidden_values += 1
            elif type(value) is str and value in known:
                line[name] = value
            elif kind == "id":
                line[name] = self._id(value)
            else:
                line[name] = self._word(value)
        if exc_info:
            line.update(_described(exc_info))
        return line

    def start_of(self, line: RequestLine) -> bytes | None:
        """How a request's line begins; None where a word of it has to be looked at."""
        known = self._known
        for word in line.words:
            if word is not None and word not in known:
                return None
        if not _OWN_ID.fullmatch(line.request_id):
            return None
        worker = b'"worker":%d,' % self._worker if self._worker else b""
        ts = _encode(self._now())
        return b'{"ts":%b,"level":"info","event":"request",%b' % (ts, worker)

    def _event(self, event: object) -> str:
        """An event is a name in our code; a sentence might hold anything."""
        if isinstance(event, str) and _EVENT.fullmatch(event):
            return self._remember(event)
        self.hidden_values += 1
        return HIDDEN

    def _word(self, value: object) -> str:
        if isinstance(value, str) and _is_plain(value):
            return self._remember(value)
        self.hidden_values += 1
        return HIDDEN

    def _id(self, value: object) -> str:
        """An id is never remembered: each is seen once, and would push out a name."""
        if isinstance(value, str) and (_OWN_ID.fullmatch(value) or _is_plain(value)):
            return value
        self.hidden_values += 1
        return HIDDEN

    def _remember(self, word: str) -> str:
        if len(self._known) >= KNOWN_WORDS_MAX:
            self._known.clear()
        self._known.add(word)
        return word


def _is_plain(text: str) -> bool:
    return bool(_WORD.fullmatch(text)) and not _CREDENTIAL.search(text)


def _described(exc_info: object) -> dict[str, str]:
    """An exception's class and where it happened. Its message may quote anything."""
    error: BaseException | None
    match exc_info:
        case BaseException():
            error = exc_info
        case (_, BaseException() as found, _):
            error = found
        case _:
            error = sys.exc_info()[1]
    if error is None:
        return {}
    frames = [
        f"{frame.f_code.co_name}@{os.path.basename(frame.f_code.co_filename)}:{line}"  # noqa: PTH119 - a name, not a path to follow
        for frame, line in walk_tb(error.__traceback__)
    ]
    return {
        "error_class": type(error).__name__,
        "where": ",".join(reversed(frames[-FRAMES_MAX:]))[:WORD_CHARS_MAX],
    }


def _render(_logger: object, _method: str, line: Mapping[str, Any]) -> bytes:
    return _encode(line)


class _Sink:
    """What structlog calls at the end: one method for every level."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = write
        self.msg = self.exception = self.warn = self.fatal = self.failure = write


class Logs:
    """The process's log: hand `log` to whoever has something to say."""

    def __init__(
        self,
        fd: int = 1,
        *,
        level: int = logging.INFO,
        lines_max: int = LINES_MAX,
        flush_s: float = FLUSH_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        worker: int = 0,
    ) -> None:
        self.writer = LineWriter(fd, lines_max=lines_max, flush_s=flush_s)
        self._allow = AllowList(now, worker)
        self._level = level
        self.log: structlog.typing.FilteringBoundLogger = cast(
            "structlog.typing.FilteringBoundLogger",
            structlog.wrap_logger(
                _Sink(self.writer.write),
                processors=[self._allow, _render],
                wrapper_class=structlog.make_filtering_bound_logger(level),
                context_class=dict,
                cache_logger_on_first_use=True,
            ).bind(),
        )

    def __repr__(self) -> str:
        return f"<Logs {self.writer!r}>"

    def request(self, **fields: Any) -> None:
        """The line of one request. `log.info("request", …)` at half of its price.

        The processors are the same; what is spared is structlog's copying of context,
        and a request has none.
        """
        fields["event"] = "request"
        self.writer.write(_encode(self._allow(None, "info", fields)))

    def ended(self, line: RequestLine) -> None:
        """The line of a request that had a stream.

        Where all of its words have been written before there is nothing to look at.
        """
        start = self._allow.start_of(line)
        if start is not None:
            self.writer.write(start + _encode(line)[1:])
        else:
            self.request(**msgspec.structs.asdict(line))

    def statistics(self) -> LogStatistics:
        """What became of the lines so far."""
        return LogStatistics(
            written=self.writer.written,
            dropped=self.writer.dropped,
            failed=self.writer.failed,
            unknown_fields=self._allow.unknown_fields,
            hidden_values=self._allow.hidden_values,
        )

    def take_over(self, logger: logging.Logger | None = None) -> None:
        """Send what libraries log through `logging` (the root, if none) here."""
        target = logger or logging.getLogger()
        target.handlers[:] = [LibraryHandler(self)]
        target.setLevel(max(self._level, logging.WARNING))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is buffered, for at most `timeout_s`."""
        self.writer.close(timeout_s)


def request_of(actor: str) -> str | None:
    """The request that an actor serves, by its name; None for all others."""
    parent, _, name = actor.rpartition("/")
    return name if parent in ("streams", "sessions") else None


class LibraryHandler(logging.Handler):
    """Where a library logged, and how badly. What it said may quote a request."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._log = logs.log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for the record, without its message."""
        report = getattr(record, "report", None)
        tripped = getattr(record, "tripped", None)
        if isinstance(report, CrashReport):
            self._log.error(
                "actor.crashed",
                actor=report.actor,
                epoch=report.incarnation,
                error_class=report.error,
                where=report.trace[-1] if report.trace else None,
                request_id=request_of(report.actor),
            )
            return
        if isinstance(tripped, Tripped):
            # Its text is for operators by contract, and by now without a cause.
            reason = _NO_WORD.sub("_", str(tripped))[:WORD_CHARS_MAX]
            actor = getattr(record, "actor", None)
            self._log.warning("actor.tripped", actor=actor, reason=reason)
            return
        self._log.log(
            record.levelno,
            "library",
            logger=record.name,
            where=record.funcName,
            line=record.lineno,
            exc_info=record.exc_info,
        )
