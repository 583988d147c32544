"""What the HTTP face needs of the rest: streams to open, callers, logs, metrics.

One object, made at the start and given to every route. A reload replaces what it
points at; routes hold nothing of their own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from actors.archivist.messages import Appended
from actors.archivist.ports import RecordBook
from actors.auditor.messages import RequestRecord
from actors.auditor.ports import AuditBook
from actors.auditor.veiling import PersonVeil
from actors.directory.ports import Directory
from actors.keeper.messages import Answered
from actors.keeper.ports import Shelf
from actors.ledger.messages import Alert
from actors.ledger.sharing import Sharing
from actors.provider.messages import ReportVitals, SetPaused, Vitals
from actors.router.tokens.counter import Counter
from actors.stream.hooks.placed import Hooks
from gateway.alerting import of_money
from gateway.gauging import gauges_of
from gateway.http.request import Request
from gateway.logs import Logs
from gateway.metrics import (
    Gauges,
    Mark,
    Metrics,
)
from gateway.people import NOBODY, Names, People, client_address
from gateway.request_line import RequestLine
from gateway.settings.config import Config
from gateway.sites import Caller, Sites
from gateway.tracing.entry import Tracing
from gateway.tracing.exporter import TraceStatistics
from gateway.workers.peers import Peers
from runtime import AskError, Ref

if TYPE_CHECKING:
    from actors.auditor.actor import Auditor
    from actors.granter.actor import Granter
    from actors.keeper.actor import Keeper
    from actors.ledger.actor import Ledger
    from actors.provider.actor import Provider
    from actors.router.actor import Router
    from actors.stream.session import Sessions
    from actors.tapes.actor import Tapes

    Lookup = Callable[[str], Ref[Any] | None]

TRACE_ID_CHARS: Final = 32  # What `RequestRecord.trace` begins with.

OPERATION: Final = "chat"  # OpenTelemetry's gen_ai.operation.name.

KEPT_DIALECT: Final = "openai_responses"  # The one whose clients fetch answers again.

# Of the outcomes of attempts: what counts as an error of the provider.
UPSTREAM_ERRORS: Final = frozenset({"slow", "failed", "throttled", "key"})


class Gate:
    """The routes' view of the gateway."""

    streams: Ref[Sessions]
    router: Ref[Router]
    ledger: Ref[Ledger]
    auditor: Ref[Auditor]
    granter: Ref[Granter]
    keeper: Ref[Keeper]
    tapes: Ref[Tapes]

    def __init__(
        self,
        config: Config,
        logs: Logs,
        metrics: Metrics,
        wall: Callable[[], float] = time.time,
        peers: Peers | None = None,
    ) -> None:
        self.config = config
        self.wall = wall
        self.counter: Counter | None = None
        self.book: AuditBook | None = None
        self.records: RecordBook | None = None  # None: no database has them.
        self.sharing: Sharing | None = None
        self.directory: Directory | None = None  # None: there is only the file.
        self.sites = Sites(config, wall)
        self.peers = peers  # The other workers of this gateway, if there are any.
        # What each process says of itself, where one answers for all (workers/).
        self.reports: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.shelf: Shelf | None = None  # What this process keeps itself.
        self.hooks = Hooks()
        self.people: People | None = None
        self.veil: PersonVeil | None = None
        self.tracing: Tracing | None = None  # None: nothing is traced.
        self.connections = 0  # Of clients; their listener writes it.
        self.traces: Callable[[], TraceStatistics] | None = None
        self.logs = logs
        self.metrics = metrics
        self.stopping = trio.Event()
        self._gauges = Gauges()
        self._bound = 0
        self._bound_more = trio.Event()
        self._lookup: Lookup = lambda _: None
        self._request = logs.request
        metrics.watch(self.gauges)

    def __repr__(self) -> str:
        """What it leads to."""
        return f"<Gate {self.sites!r} draining={self.draining}>"

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken any more; `stopping` can be waited for."""
        return self.stopping.is_set()

    def lookup(self, name: str) -> Ref[Any] | None:
        """An actor, if it lives."""
        return self._lookup(name)

    def attach(self, lookup: Lookup) -> None:
        """Find the actors, once they run. Refs survive restarts, so once is enough."""
        self._lookup = lookup
        for name in (
            "streams",
            "router",
            "ledger",
            "auditor",
            "granter",
            "keeper",
            "tapes",
        ):
            ref = lookup(name)
            assert ref is not None, f"the tree has no {name}"
            setattr(self, name, ref)

    def appended(self) -> None:
        """The journal has more: whoever copies it may look."""
        archivist = self._lookup("archivist")
        if archivist is not None:
            archivist.offer(Appended())

    def unix_s(self) -> int:
        """The time as answers tell it."""
        return int(self.wall())

    @property
    def body_bytes_max(self) -> int:
        """The largest request body."""
        return self.config.server.limits.body_bytes_max

    def bound(self) -> None:
        """One more listener accepts connections."""
        self._bound += 1
        self._bound_more.set()

    async def until_bound(self, count: int) -> None:
        """Wait for that many listeners."""
        while self._bound < count:
            self._bound_more = trio.Event()
            await self._bound_more.wait()

    def people_of(self, request: Request, caller: Caller, user: str | None) -> Names:
        """Whom a request is from, as its record may name them."""
        kinds = caller.access.people
        if not kinds or self.people is None:
            return NOBODY
        tenant = self.sites.home_of(caller.site)[0]
        return self.people.names(kinds, tenant, user, self.address_of(request))

    def address_of(self, request: Request) -> str:
        """Where a request came from; empty where a socket has no address."""
        peer = request.scope.get("client")
        if peer is None:
            return ""
        return client_address(
            peer[0],
            request.headers.get("x-forwarded-for", ""),
            self.config.server.trusted_proxies,
        )

    def actor_of(self, principal: str) -> str:
        """Who acts, as records may name them: as the audit log does."""
        if self.veil is None:
            return principal
        return self.veil.actor(principal, int(self.wall() * 1000))

    # -- what is said of requests ----------------------------------------------

    def ended(self, record: RequestRecord) -> None:
        """A stream has ended: its log line and its metrics."""
        attempts = record.attempts
        last = attempts[-1] if attempts else None
        provider = last.provider if last is not None else ""
        upstream_model = last.model if last is not None else ""
        outcome = record.code or record.outcome
        kept = record.dialect == KEPT_DIALECT and not record.aside
        if last is not None and kept:
            # Before the stream's channel ends: its reader finishes the recording.
            self.keeper.offer(Answered(record.request_id, last.provider))
        fallbacks = retries = 0
        if len(attempts) > 1:
            fallbacks = len({(a.provider, a.model) for a in attempts}) - 1
            retries = len(attempts) - 1 - fallbacks
        first_ms = record.first_content_ms
        counted = outcome if record.outcome != "ok" else "ok"
        if record.aside:
            self.metrics.aside(record.aside, counted)
            counted = ""
        if attempts:
            self.metrics.traffic(
                record.site,
                record.model,
                record.aside or OPERATION,
                provider,
                upstream_model,
            ).record(
                counted,
                record.duration_ms / 1000,
                first_content_s=first_ms / 1000 if first_ms else None,
                tokens_in=record.prompt_tokens,
                tokens_out=record.output_tokens,
                tokens_cached=record.cached_tokens,
                spend_nanousd=record.cost_nanousd,
                retries=retries,
                fallbacks=fallbacks,
                mark=Mark(
                    record.request_id,
                    record.trace[:TRACE_ID_CHARS]
                    if record.trace.endswith("-1")
                    else "",
                    (record.opened_at_ms + record.duration_ms) / 1000,
                ),
            )
            if len(attempts) > 1 or record.outcome != "ok":
                for attempt in attempts:
                    if attempt.outcome in UPSTREAM_ERRORS:
                        self.metrics.upstream_error(attempt.provider, attempt.outcome)
        elif not record.aside:
            self.metrics.refusal(record.site, outcome)
        if record.degraded:
            self.metrics.degraded(record.site, record.degraded)
        self.logs.ended(
            RequestLine(
                request_id=record.request_id,
                site=record.site,
                model=record.model,
                provider=provider or None,
                upstream_model=upstream_model or None,
                dialect=record.dialect,
                status=record.status,
                outcome=record.outcome,
                error_code=record.code or None,
                finish=record.finish or None,
                stream=record.streamed,
                attempts=len(attempts),
                tokens_in=record.prompt_tokens,
                tokens_out=record.output_tokens,
                estimated=record.usage_estimated or None,
                spend_nanousd=record.cost_nanousd,
                first_content_ms=first_ms or None,
                duration_ms=record.duration_ms,
                degraded=record.degraded or None,
                aside=record.aside or None,
                trace_id=record.trace[:TRACE_ID_CHARS] or None,
            )
        )
        if self.tracing is not None and record.trace:
            self.tracing.ended(record)

    def refused(
        self,
        request_id: str,
        *,
        site: str | None,
        dialect: str,
        status: int,
        code: str,
        fields: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """A request got no stream: it was malformed, unknown, or came too late.

        `fields` are its header's, with its place in a trace.
        """
        self.metrics.refusal(site or "none", code)
        traced: dict[str, str] = {}
        if self.tracing is not None:
            at_ms = int(self.wall() * 1000)
            facts = RequestRecord(
                request_id, site or "", "", dialect, "", at_ms, "error", status,
                streamed=False, code=code,
            )  # fmt: skip
            known = site is not None
            traced["trace_id"] = self.tracing.refused(fields, facts, known=known)
        self._request(
            **traced,
            request_id=request_id,
            site=site,
            dialect=dialect,
            status=status,
            outcome="refused",
            error_code=code,
        )

    def failed(self, error: Exception) -> None:
        """Giving one answer failed, in a way that nobody thought of."""
        self.logs.log.error("answer.failed", error_class=type(error).__name__)

    def alert(self, alert: Alert) -> None:
        """A cap was reached, or a call cost more than its hold: log and count it."""
        self.metrics.alert(alert.cap, alert.kind)
        self.logs.log.warning(
            "money.alert",
            reason=alert.kind,
            setting=alert.cap or None,
            where=alert.subject or None,
            spend_nanousd=alert.nanousd,
        )
        herald = self._lookup("herald")
        if herald is not None:
            herald.offer(of_money(alert, self.config))

    def pause(self, provider: str, reason: str) -> None:
        """Take a provider out of use here (with a reason), or put it back."""
        ref = self._lookup(f"providers/{provider}")
        if ref is not None:
            ref.offer(SetPaused(reason))

    # -- how the gateway is ----------------------------------------------------

    def readiness(self) -> dict[str, Any]:
        """The same as `/readyz` tells it."""
        reasons = self.unready()
        status = "unready" if reasons else "ready"
        return {"status": status, "reasons": reasons}

    def unready(self) -> list[str]:
        """Why a request would not be served now; empty when it would."""
        reasons: list[str] = []
        if self.draining:
            reasons.append("the gateway is stopping")
        for name in ("auditor", "ledger", "vault", "router", "streams"):
            ref = self._lookup(name)
            if ref is None or ref.state != "running":
                reasons.append(f"{name} is not running")
        if self.book is not None:
            reasons += _of_book(self.book, self.config.server.state_dir)
        if self.sharing is not None and self.sharing.is_starved:
            reasons.append(self.sharing.trouble)
        providers = [p.name for p in self.config.providers]
        if providers and not any(self._is_up(name) for name in providers):
            reasons.append("no provider is in use: all have failed")
        return reasons

    def _is_up(self, name: str) -> bool:
        ref = self._lookup(f"providers/{name}")
        return ref is not None and ref.state == "running"

    async def vitals(self) -> dict[str, Vitals | str]:
        """Each provider's own report, or the runtime's word for one that is down."""
        found: dict[str, Vitals | str] = {}
        for provider in self.config.providers:
            ref: Ref[Provider] | None = self._lookup(f"providers/{provider.name}")
            if ref is None:
                continue
            try:
                found[provider.name] = await ref.ask(ReportVitals())
            except AskError:
                found[provider.name] = ref.state
        return found

    def gauges(self) -> Gauges:
        """For a scrape: what `render_metrics` has just asked for."""
        return self._gauges

    async def render_metrics(self, accept: str) -> tuple[str, bytes]:
        """Ask everybody how they are, then render."""
        self._gauges = await gauges_of(self)
        return await self.metrics.scrape(accept)


def _of_book(book: AuditBook, state_dir: Path) -> list[str]:
    """Why nothing can be recorded, and what to do about it."""
    reasons: list[str] = []
    if book.disowned:
        reasons.append(f"the audit log is refused: {book.disowned}")
    todo = f"make room, or mend the disk, at {state_dir}; service resumes by itself"
    if book.trouble:
        reasons.append(f"the audit log cannot be written: {book.trouble}; {todo}")
    if book.journal_trouble:
        reasons.append(f"records cannot be written: {book.journal_trouble}; {todo}")
    return reasons
