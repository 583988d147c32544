"""The admin API without HTTP: a request and a principal in, a reply out.

Owns: which operation is meant, that its caller may, that what it takes is what it says,
that a write happens once and is in the audit log before it happens. The HTTP adapter
(http.py), the control socket and the Console all come through `AdminApi.handle`.
Talks to: the auditor; handlers talk to whom they need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote

import attrs
import msgspec

from actors.adminbooks import Claimed, Done, IdempotencyBook, Running
from actors.auditor.messages import AuditEvent, Receipt
from gateway.admin import idempotency, operation, problems
from gateway.admin.idempotency import Kept, Repeat
from gateway.admin.operation import JSON, PARAMETERS, Answer, Call, Operation
from gateway.admin.principal import Principal
from gateway.admin.problems import Problem
from runtime import AskError, DomainError

BASE: Final = "/admin/v1"
BODY_BYTES_MAX: Final = 1 << 20  # A configuration to import; a sealed key is 16 kB.
QUERY_FIELDS_MAX: Final = 32
RETRY_RUNNING_S: Final = 1

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@attrs.frozen
class AdminRequest:
    """What was asked. `path` is still percent-encoded, below `BASE`."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class AdminReply:
    """What is answered: a body, or a stream of one."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = attrs.field(default=b"", repr=False)
    stream: AsyncIterator[bytes] | None = attrs.field(default=None, repr=False)

    def json(self) -> Any:
        """The body as a value."""
        return msgspec.json.decode(self.body) if self.body else None


@attrs.frozen
class Recorder:
    """How a change gets into the audit log before it happens."""

    attest: Callable[[AuditEvent], Awaitable[Receipt]]
    note: Callable[[AuditEvent], None]


_Node: TypeAlias = "dict[str, Any]"


class Routes:
    """Finds an operation by method and path: a tree of path segments."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = tuple(operations)
        self._root: _Node = {}
        ids: set[str] = set()
        for one in operations:
            assert one.id not in ids, f"two operations are called {one.id}"
            ids.add(one.id)
            node = self._root
            for segment in one.path.strip("/").split("/"):
                name = "{}" if segment.startswith("{") else segment
                node = node.setdefault(name, {})
            methods = node.setdefault("", {})
            assert one.method not in methods, f"{one.method} {one.path} is there twice"
            methods[one.method] = one

    def __repr__(self) -> str:
        return f"<Routes {len(self.operations)} operations>"

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation and its path parameters. Raises Problem."""
        found: list[str] = []
        node = self._root
        for raw in path.strip("/").split("/"):
            below = node.get(raw) if raw else None
            if below is None:
                below = node.get("{}")
                if below is None or not raw:
                    raise Problem("not-found", "there is nothing at this path")
                found.append(unquote(raw, errors="replace"))
            node = below
        methods: dict[str, Operation] | None = node.get("")
        if methods is None:
            raise Problem("not-found", "there is nothing at this path")
        one = methods.get("GET" if method == "HEAD" else method)
        if one is None:
            allowed = ", ".join(sorted(methods))
            raise Problem("method-not-allowed", allowed, headers=(("allow", allowed),))
        return one, dict(zip(one.parameters, found, strict=True))


class AdminApi:
    """Handles requests.

    Args:
        routes: what there is.
        recorder: the audit log.
        book: what is remembered of writes; None (no database) remembers nothing, and
            an Idempotency-Key is then refused rather than ignored.
        wall: Unix time.
        crashed: hears of a handler's bug, with its request's id.
    """

    def __init__(
        self,
        routes: Routes,
        recorder: Recorder,
        *,
        book: Callable[[], IdempotencyBook | None],
        wall: Callable[[], float],
        crashed: Callable[[str, Exception], None],
    ) -> None:
        self.routes = routes
        self._recorder = recorder
        self._book = book
        self._wall = wall
        self._crashed = crashed

    def __repr__(self) -> str:
        return f"<AdminApi {self.routes!r}>"

    async def handle(
        self, request: AdminRequest, principal: Principal | None, request_id: str
    ) -> AdminReply:
        """Answer one request; every failure is a problem, none an exception."""
        try:
            found, params = self.routes.find(request.method, request.path)
            return await self._serve(found, params, request, principal, request_id)
        except Problem as problem:
            return refusal(problem, request_id)
        except (AskError, DomainError) as error:
            return refusal(Problem("unavailable", str(error)), request_id)
        except Exception as error:  # noqa: BLE001 - the edge: nothing passes it
            self._crashed(request_id, error)
            return refusal(Problem("internal"), request_id)

    async def _serve(
        self,
        found: Operation,
        params: dict[str, str],
        request: AdminRequest,
        principal: Principal | None,
        request_id: str,
    ) -> AdminReply:
        if principal is None:
            if not found.anyone:
                raise Problem("unauthenticated")
            principal = NOBODY
        else:
            principal.check_role(found.role)
            if found.reach == "operator":
                principal.check_operator()
        _check_params(found, params)
        if "tenant" in params:
            principal.check_tenant(params["tenant"], f"tenant {params['tenant']}")
        call = _Recorded(
            operation=found,
            principal=principal,
            params=params,
            query=_query(found, request.query),
            body=_body(found, request),
            if_match=request.headers.get("if-match", ""),
            request_id=request_id,
            record=_unset,
            note=_unset,
        )
        call.record = self._record_of(call)
        call.note = self._note_of(call)
        given = request.headers.get(idempotency.HEADER) if found.writes else None
        if given is not None:
            idempotency.check(given)
        if found.needs_version:
            call.expected()  # Malformed or missing: before anything is looked at.
        if given is not None:
            return await self._once(call, request, given)
        return _reply(found, await self._run(call))

    async def _once(
        self, call: _Recorded, request: AdminRequest, given: str
    ) -> AdminReply:
        """A write under an Idempotency-Key."""
        book = self._book()
        if book is None:
            raise Problem("unavailable", "repeats are not remembered: no database")
        asked = (
            f"{request.method} {request.path}?{request.query}\n{call.if_match}\n"
        ).encode() + request.body
        repeat = Repeat(call.principal, given, asked)
        now_ms = self._now_ms()
        claim = await book.claim(
            repeat.key,
            repeat.fingerprint,
            now_ms,
            now_ms + int(idempotency.RUNNING_S * 1000),
        )
        if not isinstance(claim, Claimed) and claim.fingerprint != repeat.fingerprint:
            raise Problem("key-reused")
        match claim:
            case Running():
                retry = (("retry-after", str(RETRY_RUNNING_S)),)
                raise Problem("in-flight", headers=retry)
            case Done(sealed=sealed):
                kept = repeat.open(sealed)
                replayed = (*kept.headers, ("idempotency-replayed", "true"))
                return AdminReply(kept.status, replayed, kept.body)
            case Claimed():
                pass
        try:
            reply = _reply(call.operation, await self._run(call))
        except BaseException:
            if not call.recorded:
                await book.release(repeat.key)
            raise
        kept = Kept(reply.status, reply.headers, reply.body)
        until_ms = now_ms + int(idempotency.KEEP_S * 1000)
        await book.finish(repeat.key, repeat.seal(kept), until_ms)
        return reply

    async def _run(self, call: _Recorded) -> Any:
        try:
            answer = await call.operation.handler(call)
        except Problem as problem:
            self._failed(call, problem.code)
            raise
        except (AskError, DomainError):
            self._failed(call, "unavailable")
            raise
        except Exception:
            self._failed(call, "internal")
            raise
        assert call.recorded or not call.operation.act, call.operation.id
        return answer

    def _record_of(self, call: _Recorded) -> Callable[..., Awaitable[None]]:
        async def record(
            name: str = "",
            *,
            tenant: str = "",
            env: str = "",
            provider: str = "",
            act: str = "",
            **detail: str | int,
        ) -> None:
            """Have it in the log before it happens. Raises AuditUnavailable."""
            event = AuditEvent(
                act or call.operation.act,
                actor=call.principal.name,
                tenant=tenant,
                env=env,
                provider=provider,
                name=name,
                req=call.request_id,
                detail=tuple(detail.items()),
            )
            await self._recorder.attest(event)
            call.recorded.append(event)

        return record

    def _note_of(self, call: _Recorded) -> Callable[..., None]:
        def note(act: str, name: str = "", *, tenant: str = "") -> None:
            """Add to the log what was only known after it was done."""
            event = AuditEvent(
                act,
                actor=call.principal.name,
                tenant=tenant,
                name=name,
                req=call.request_id,
            )
            self._recorder.note(event)

        return note

    def _failed(self, call: _Recorded, code: str) -> None:
        """The log said that it would happen; say that it did not."""
        for event in call.recorded:
            self._recorder.note(msgspec.structs.replace(event, out=code))
        call.recorded.clear()

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


NOBODY: Final = Principal("nobody", "viewer", frozenset())


@attrs.define
class _Recorded(Call):
    """A call, with what of it is in the audit log."""

    recorded: list[AuditEvent] = attrs.field(factory=list[AuditEvent])


def _unset(*_: Any, **__: Any) -> Any:
    raise AssertionError("a call is complete before it is handled")


def refusal(problem: Problem, request_id: str) -> AdminReply:
    """A problem as it is sent."""
    headers = [("content-type", problems.MEDIA), *problem.headers]
    if problem.status == 401:
        headers.append(("www-authenticate", 'Bearer realm="stagedoor admin"'))
    return AdminReply(problem.status, tuple(headers), _encode(problem.body(request_id)))


def _reply(found: Operation, answer: Any) -> AdminReply:
    given = answer if isinstance(answer, Answer) else Answer(answer)
    status = given.status or found.status
    headers: list[tuple[str, str]] = [*given.headers]
    if given.etag:
        headers.append(("etag", given.etag))
    if given.stream is not None:
        return AdminReply(
            status, (("content-type", given.media), *headers), stream=given.stream
        )
    if status == 204:
        return AdminReply(status, tuple(headers))
    # Nothing of the admin's is to be found in a cache, least of all a key.
    headers += [("content-type", JSON), ("cache-control", "no-store")]
    return AdminReply(status, tuple(headers), _encode(given.value))


def _check_params(found: Operation, params: dict[str, str]) -> None:
    for name, value in params.items():
        if not operation.fits(name, value):
            shown = "".join(c for c in value[:64] if c.isprintable())
            raise Problem("not-found", f"there is no {name} {shown!r}")
    assert all(name in PARAMETERS for name in params), found.id


def _query(found: Operation, text: str) -> Any:
    kind = found.query
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except (ValueError, UnicodeDecodeError):
        raise Problem("bad-request", "the query cannot be read") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise Problem("bad-request", f"{_plain(name)}: is there twice")
        given[name] = value
    if kind is None:
        if given:
            raise Problem("bad-request", f"{_plain(min(given))}: is no parameter here")
        return None
    try:
        return msgspec.convert(given, type=kind, strict=False)
    except msgspec.ValidationError as error:
        problem = operation.invalid(str(error))
        raise Problem("bad-request", problem.detail, errors=problem.errors) from None


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:64])


def _body(found: Operation, request: AdminRequest) -> Any:
    if found.body is None:
        if request.body:
            raise Problem("bad-request", "this takes no body")
        return None
    media = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media != JSON:
        raise Problem("bad-media")
    return operation.parsed(request.body, found.body)
