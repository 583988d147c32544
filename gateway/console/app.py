"""The Console over HTTP: which page a request is for, and whether it may be answered.

    request ─> static file
            ─> page that anybody may see: set-up, login, a link of an invitation
            ─> who is it (cookie) ─> may they (role) ─> is it their own form ─> page

Owns: the order of these checks, the headers of every answer, one live view for all.
Pages are in pages/; what they change, they change through the admin API.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import attrs
import httpx
import trio

from actors.archivist.ports import Unavailable
from actors.people import PeopleBook
from gateway.admin.api import AdminApi
from gateway.admin.office import Office
from gateway.admin.principal import RANK
from gateway.admin.problems import Problem
from gateway.admin.throttle import Throttle
from gateway.console import guard, render
from gateway.console.live import Live
from gateway.console.passwords import Passwords
from gateway.console.sessions import Sessions
from gateway.console.visit import (
    FORM_BYTES_MAX,
    QUERY_FIELDS_MAX,
    Refused,
    Shown,
    Visit,
    form_of,
)
from gateway.http.replies import reply
from gateway.http.request import Request, TooLarge
from gateway.logs import new_request_id
from gateway.settings.config import Config

BASE: Final = "/console"
STATIC: Final = f"{BASE}/static/"
ONCE_BYTES: Final = 16
FORM_MS: Final = 10 * 60_000  # What somebody needs to fill in a long one.
IN_FORCE_S: Final = 2.5  # The directory is looked at each second.
IN_FORCE_LOOK_S: Final = 0.05

Handler = Callable[[Visit], Awaitable[Shown]]


@attrs.frozen
class Page:
    """What one method does at one path.

    Args:
        path: below `/console`; `{name}` is one part, unquoted.
        role: the least role that may.
        operator: whether it is about the whole gateway.
        sure: whether they must have proved who they are a short time ago.
        anyone: needs no login.
    """

    method: str
    path: str
    handler: Handler = attrs.field(repr=False)
    role: str = "viewer"
    operator: bool = False
    sure: bool = False
    anyone: bool = False


class Console:
    """Handles everything at `/console`.

    Args:
        api: the admin API; every read and change of pages goes through it.
        office: clocks, configuration, neighbours.
        people: where people are kept; None until the database is open.
        pages: makes the pages, given this.
        oidc_transport: how an OpenID provider is reached.
    """

    def __init__(
        self,
        api: AdminApi,
        office: Office,
        people: Callable[[], PeopleBook | None],
        pages: Callable[[Console], Sequence[Page]],
        *,
        now: Callable[[], float],
        passwords: Passwords | None = None,
        oidc_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.api = api
        self.office = office
        self._people = people
        self.now = now
        self.throttle = Throttle()
        self.passwords = passwords or Passwords()
        self.live = Live()
        self.oidc_transport = oidc_transport
        self._pages = [(_parts(page.path), page) for page in pages(self)]

    def __repr__(self) -> str:
        return f"<Console {len(self._pages)} pages>"

    @property
    def people(self) -> PeopleBook:
        """Raises Unavailable while there is no database."""
        book = self._people()
        if book is None:
            raise Unavailable("the database is not open")
        return book

    @property
    def sessions(self) -> Sessions:
        """Over the people's book."""
        return Sessions(self.people)

    def context(self, visit: Visit) -> dict[str, Any]:
        """What every template is given."""
        visitor = visit.visitor
        return {
            "visit": visit,
            "me": None if visitor is None else visitor.person,
            "csrf": "" if visitor is None else visitor.csrf,
            "once": secrets.token_hex(ONCE_BYTES),
            "path": visit.request.path,
            "now_ms": visit.now_ms,
            "done": DONE.get(visit.query.get("done", ""), ""),
            "version": self.office.version,
            "has_oidc": bool(self.office.config.console.oidc.issuer),
            "may": lambda role: (
                visitor is not None and RANK[visitor.person.role] >= RANK[role]
            ),
            "operator": visitor is not None and visitor.person.tenants is None,
        }

    async def in_force(self, before: Config) -> None:
        """Wait until what was just stored is in force here, for a moment at most.

        A change that comes to the same configuration puts none in force.
        """
        with trio.move_on_after(IN_FORCE_S):
            while self.office.config is before:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(IN_FORCE_LOOK_S)

    # -- one request -------------------------------------------------------------

    async def answer(self, request: Request) -> None:
        """Answer it; nothing that goes wrong passes this place."""
        request_id = new_request_id()
        if request.path.startswith(STATIC):
            await self._static(request)
            return
        try:
            shown = await self._serve(request, request_id)
        except Exception as error:
            # The allow-listed log takes the exception's class and place, not its words.
            self.office.gate.logs.log.error(  # noqa: TRY400
                "console.crashed", request_id=request_id, exc_info=error
            )
            shown = _plain(500, "Something broke. It is in the log, with this request.")
        headers = (
            *(() if _has_type(shown) else (("content-type", HTML),)),
            *shown.headers,
            *guard.HEADERS,
            *guard.PRIVATE,
            ("x-request-id", request_id),
        )
        if shown.stream is not None:
            await _send_stream(request, shown, headers)
            return
        body = shown.body if request.method != "HEAD" else b""
        await reply(request.send, shown.status, body, headers)

    async def _static(self, request: Request) -> None:
        found = render.asset_at(request.path[len(STATIC) :])
        if found is None or request.method not in {"GET", "HEAD"}:
            await reply(request.send, 404, b"", guard.HEADERS)
            return
        kind, body = found
        headers = (("content-type", kind), *guard.HEADERS, *guard.FOR_EVER)
        await reply(request.send, 200, body, headers)

    async def _serve(self, request: Request, request_id: str) -> Shown:
        if request.target[1].count("&") >= QUERY_FIELDS_MAX:
            return _plain(400, "This address asks for more than any page takes.")
        page, params = self._find(request)
        visit = Visit(self, request, params, None, request_id)
        try:
            visit.visitor = await self.sessions.find(request.headers, visit.now_ms)
            if page is None:
                return visit.show("error.html", 404, title="There is no such page")
            refused = self._refuses(visit, page) or await self._reads(visit, page)
            if refused is not None:
                return refused
            return await page.handler(visit)
        except Refused as refused_by_api:
            return self._refused(visit, refused_by_api)
        except (Unavailable, Problem) as error:
            return visit.show(
                "error.html",
                503,
                title="The Console cannot answer now",
                told=f"{error}. Requests are served all the same; try again shortly.",
            )

    def _refuses(self, visit: Visit, page: Page) -> Shown | None:
        """Whether this visitor may not see this page."""
        visitor = visit.visitor
        if page.anyone:
            return None
        if visitor is None:
            path = visit.request.path
            back = f"?next={quote(path)}" if path != BASE else ""
            return visit.go(f"{BASE}/login{back}")
        person = visitor.person
        if RANK[person.role] < RANK[page.role]:  # type: ignore[index] # a Page's own word
            return visit.show(
                "error.html", 403, title="That is not yours to do",
                told=f"It needs the role {page.role}; yours is {person.role}.",
            )  # fmt: skip
        if page.operator and person.tenants is not None:
            return visit.show(
                "error.html", 403, title="That is not yours to see",
                told="It concerns the whole gateway, and you look after some tenants.",
            )  # fmt: skip
        # A form that is to be filled in needs time until it is sent.
        ahead_ms = FORM_MS if page.method == "GET" else 0
        if page.sure and not visitor.is_sure(visit.now_ms + ahead_ms):
            return visit.go(f"{BASE}/confirm?next={quote(_way_back(visit))}")
        return None

    async def _reads(self, visit: Visit, page: Page) -> Shown | None:
        """Read a form, and check that it is one of ours."""
        request = visit.request
        if page.method == "GET":
            return None
        if not guard.is_own(request.headers):
            return _plain(403, "This form was sent from another site.")
        try:
            body = await request.read()
        except TooLarge:
            body = b" " * (FORM_BYTES_MAX + 1)
        if len(body) > FORM_BYTES_MAX:
            return _plain(413, "That is too much for a form.")
        try:
            visit.form = form_of(body)
        except ValueError:
            return _plain(400, "The form cannot be read.")
        token = request.headers.get("x-csrf", "") or visit.field("csrf")
        if visit.visitor is not None and not visit.visitor.is_own_form(token):
            return _plain(
                403, "This form is of an earlier login. Go back, reload, and try again."
            )
        return None

    def _refused(self, visit: Visit, refused: Refused) -> Shown:
        if visit.is_part:
            return visit.show("_refused.html", refused.status, refused=refused)
        return visit.show(
            "error.html",
            refused.status,
            title=refused.title,
            told=refused.detail,
            back=_way_back(visit) if visit.request.method == "POST" else "",
        )

    def _find(self, request: Request) -> tuple[Page | None, dict[str, str]]:
        raw = request.target[0]
        parts = [unquote(part) for part in raw[len(BASE) :].strip("/").split("/")]
        method = "GET" if request.method == "HEAD" else request.method
        for names, page in self._pages:
            if page.method == method and len(names) == len(parts):
                params = _fit(names, parts)
                if params is not None:
                    return page, params
        return None, {}


HTML: Final = "text/html; charset=utf-8"
# What a page may say was done, by the key in its address: nobody else's words.
DONE: Final = {
    "saved": "Saved.",
    "added": "Added.",
    "removed": "Removed.",
    "revoked": "Revoked. It opens nothing from now on.",
    "paused": "Paused. New requests go elsewhere.",
    "resumed": "Back in use.",
    "rotated": "Rotated.",
    "rewrapped": "Sealed under a new key. Nothing else has changed.",
    "shredded": "Destroyed. Nothing of it opens again.",
    "welcome": "You are set up.",
    "logged-out": "You are logged out.",
    "sent": "Sent.",
}


async def _send_stream(
    request: Request, shown: Shown, headers: Sequence[tuple[str, str]]
) -> None:
    """Until it ends, or the browser leaves."""
    assert shown.stream is not None
    send = request.send
    fields = [(k.encode("ascii"), v.encode("latin-1")) for k, v in headers]
    await send(
        {"type": "http.response.start", "status": shown.status, "headers": fields}
    )
    with trio.CancelScope() as scope:
        request.when_gone(scope.cancel)
        async with aclosing(shown.stream) as pieces:
            async for piece in pieces:
                await send(
                    {"type": "http.response.body", "body": piece, "more_body": True}
                )
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _way_back(visit: Visit) -> str:
    """Where to go once they have proved it: a form is to be filled in anew."""
    if visit.request.method == "GET":
        return visit.request.path
    try:
        return urlsplit(visit.request.headers.get("referer", "")).path or BASE
    except ValueError:
        return BASE


def _plain(status: int, text: str) -> Shown:
    return Shown(status, render.page("plain.html", {"status": status, "text": text}))


def _has_type(shown: Shown) -> bool:
    return any(name == "content-type" for name, _ in shown.headers)


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _fit(names: list[str], parts: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for name, part in zip(names, parts, strict=True):
        if name.startswith("{"):
            if not part:
                return None
            params[name[1:-1]] = part
        elif name != part:
            return None
    return params
