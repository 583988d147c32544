"""The thread that tells a collector: records in, OTLP over HTTP out.

Owns: the bounded queue, the counts of what was told and what was lost, and all that
needs `stagedoor[otel]`, which is imported here and nowhere else, when there is a
collector to tell. Never: holds up the loop; a full queue drops, and counts.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from actors.auditor.messages import RequestRecord
from gateway.settings.config import Config
from gateway.settings.tracing import TracingConfig
from gateway.tracing.spans import Place, Span, spans_of

FLUSH_S: Final = 1.0  # Collectors batch as well; nobody looks sooner.
BATCH_MAX: Final = 256  # Requests, of two or three spans each: as the SDK's own.
EXPORT_S: Final = 10.0  # One batch, retries included; the SDK's own default.
CLOSE_S: Final = 3.0  # How long a stop waits for the last batch.

NOWHERE: Final = Place("")


class OtelMissing(Exception):
    """Spans are wanted and the packages for them are not there."""


@attrs.frozen
class TraceStatistics:
    """What became of the traces so far, in requests."""

    told: int
    dropped: int
    failed: int
    waiting: int


class SpanExporter:
    """Records in, from the loop; spans out, from a thread."""

    def __init__(
        self,
        settings: TracingConfig,
        post: Callable[[Sequence[Span]], bool],
        config: Callable[[], Config],
        *,
        flush_s: float = FLUSH_S,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.told = self.dropped = self.failed = 0
        self._post = post
        self._config = config
        self._close_post = close
        self._queue_max = settings.queue_max
        self._flush_s = flush_s
        self._records: deque[RequestRecord] = deque()
        self._stop = threading.Event()
        # A daemon: a collector that takes nothing must not hold up the exit.
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return (
            f"<SpanExporter waiting={len(self._records)}/{self._queue_max} "
            f"told={self.told} dropped={self.dropped} failed={self.failed}>"
        )

    def offer(self, record: RequestRecord) -> None:
        """Take one request's record; drop and count it if there is no room."""
        if len(self._records) >= self._queue_max:
            self.dropped += 1
            return
        self._records.append(record)

    def offer_refusal(self, record: RequestRecord) -> None:
        """The same for one that was turned away: they may take half of the room."""
        if len(self._records) >= self._queue_max // 2:
            self.dropped += 1
            return
        self._records.append(record)

    def statistics(self) -> TraceStatistics:
        """What became of them so far."""
        return TraceStatistics(self.told, self.dropped, self.failed, len(self._records))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Tell what waits, for at most `timeout_s`; then give up on the rest."""
        self._stop.set()
        self._thread.join(timeout_s)
        self._close_post()  # Wakes a thread that waits to try again.

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            self._tell_all()
        self._tell_all()

    def _tell_all(self) -> None:
        places: dict[str, Place] | None = None
        while self._records:
            batch = [
                self._records.popleft()
                for _ in range(min(BATCH_MAX, len(self._records)))
            ]
            if places is None:
                places = places_of(self._config())
            if self._tell(batch, places):
                self.told += len(batch)
            else:
                self.failed += len(batch)

    def _tell(
        self, batch: Sequence[RequestRecord], places: Mapping[str, Place]
    ) -> bool:
        def place_of(name: str) -> Place:
            return places.get(name, NOWHERE)

        try:
            return self._post(
                [span for record in batch for span in spans_of(record, place_of)]
            )
        except Exception:  # noqa: BLE001 - the thread outlives whatever a library raises
            return False


def places_of(config: Config) -> dict[str, Place]:
    """Each provider's kind and host."""
    return {
        one.name: Place(
            one.kind,
            urlsplit(one.base_url or "").hostname or "",
            keyed=bool(one.key or one.key_env),
        )
        for one in config.providers
    }


def open_exporter(
    settings: TracingConfig, config: Callable[[], Config], *, version: str, worker: int
) -> SpanExporter:
    """The thread, and the collector's client. Raises OtelMissing."""
    try:
        post, close = _otlp(settings.endpoint, version, worker)
    except ImportError as error:
        raise OtelMissing(
            f"tracing.endpoint is set and {error.name or error} is not installed; "
            "install stagedoor[otel]"
        ) from None
    return SpanExporter(settings, post, config, close=close)


def _otlp(
    endpoint: str, version: str, worker: int
) -> tuple[Callable[[Sequence[Span]], bool], Callable[[], None]]:
    """What posts spans, and what ends it. Raises ImportError.

    Of the SDK the data model and the exporter are used, with its retries and its
    variables; not its tracer, which would do on the loop what is done here.
    """
    # By name: the packages are an extra, and their types are no part of ours.
    http: Any = importlib.import_module(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    )
    compression: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http")
    resources: Any = importlib.import_module("opentelemetry.sdk.resources")
    convert = _converter(
        resources.Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "stagedoor"),
                "service.version": version,
                "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
                **({"stagedoor.worker": worker} if worker else {}),
            }
        ),
        version,
    )
    exporter: Any = http.OTLPSpanExporter(
        endpoint=endpoint, timeout=EXPORT_S, compression=compression.Compression.Gzip
    )
    done: Any = importlib.import_module(
        "opentelemetry.sdk.trace.export"
    ).SpanExportResult.SUCCESS

    def post(spans: Sequence[Span]) -> bool:
        return bool(exporter.export([convert(span) for span in spans]) is done)

    return post, exporter.shutdown


def _converter(resource: Any, version: str) -> Callable[[Span], Any]:
    """Our spans as the SDK's."""
    api: Any = importlib.import_module("opentelemetry.trace")
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    scope: Any = importlib.import_module(
        "opentelemetry.sdk.util.instrumentation"
    ).InstrumentationScope("stagedoor", version)
    kinds = {"server": api.SpanKind.SERVER, "client": api.SpanKind.CLIENT}
    sampled = api.TraceFlags(api.TraceFlags.SAMPLED)

    def context(trace_id: str, span_id: str, *, remote: bool) -> Any:
        return api.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=sampled
        )

    def convert(span: Span) -> Any:
        code = api.StatusCode.ERROR if span.error else api.StatusCode.UNSET
        remote = span.kind == "server"
        return sdk.ReadableSpan(
            span.name,
            context(span.trace_id, span.span_id, remote=False),
            context(span.trace_id, span.parent_id, remote=remote)
            if span.parent_id
            else None,
            resource,
            span.attributes,
            [sdk.Event(one.name, one.attributes, one.at_ns) for one in span.events],
            kind=kinds[span.kind],
            status=api.Status(code, span.error or None),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=scope,
        )

    return convert
