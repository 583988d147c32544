"""One request to the Console as its pages see it, and what they answer.

Owns: asking the admin API as whoever is logged in, forms, and the words of refusals.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import attrs
import msgspec

from gateway.admin.api import AdminApi, AdminRequest
from gateway.console import render
from gateway.console.sessions import Visitor
from gateway.http.request import Request

if TYPE_CHECKING:
    from gateway.console.app import Console

QUERY_FIELDS_MAX: Final = 64  # No page has half as many filters.
FORM_FIELDS_MAX: Final = 200
FORM_BYTES_MAX: Final = 256 * 1024  # A policy or a sealed key; files go to the API.


# What happens to forms and not to programs, in words for people.
FORMS: Final = {
    "key-reused": (
        "This form was sent before, with something else in it.",
        "That was done. What you sent now was not: look it over, and send it again.",
    ),
    "in-flight": (
        "The same form is being worked on already.",
        "Wait a moment, and look again.",
    ),
}


@attrs.frozen
class Shown:
    """An answer: a page, a way to another one, or something that goes on."""

    status: int
    body: bytes = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncGenerator[bytes] | None = attrs.field(default=None, repr=False)


class Refused(Exception):
    """The admin API refused; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("title", "refused"))
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's code, the end of its type."""
        return str(self.problem.get("type", "")).rpartition("/")[2]

    @property
    def shows_stored(self) -> bool:
        """Whether what is stored now belongs beside what was typed.

        Somebody else, or this very form a moment ago, has put it there.
        """
        return self.code in {"stale", "key-reused"}

    @property
    def told(self) -> str:
        """What to show: the title, and what exactly."""
        if self.code in FORMS:
            return " ".join(FORMS[self.code])
        return f"{self.title}: {self.detail}" if self.detail else self.title

    @property
    def title(self) -> str:
        """What happened, for people."""
        if self.code in FORMS:
            return FORMS[self.code][0].rstrip(".")
        return str(self.problem.get("title", "It was refused"))

    @property
    def detail(self) -> str:
        """What exactly."""
        if self.code in FORMS:
            return FORMS[self.code][1]
        return str(self.problem.get("detail", ""))


@attrs.define
class Visit:
    """A request, who sent it, and the means to answer."""

    console: Console
    request: Request
    params: dict[str, str]
    visitor: Visitor | None
    request_id: str
    form: dict[str, list[str]] = attrs.field(factory=dict[str, list[str]], repr=False)

    @property
    def who(self) -> Visitor:
        """Who is logged in: pages that are reached without are not given a Visit."""
        assert self.visitor is not None
        return self.visitor

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; the last one of a name counts.

        There are QUERY_FIELDS_MAX at most: a request with more meets no page.
        """
        text = self.request.target[1]
        return dict(parse_qsl(text, keep_blank_values=True))

    @property
    def is_part(self) -> bool:
        """Whether a script asks for a part of the page."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def now_ms(self) -> int:
        """Unix time."""
        return self.console.office.now_ms()

    def field(self, name: str, default: str = "") -> str:
        """A field of the form, trimmed."""
        return self.form.get(name, [default])[-1].strip()

    def fields(self, name: str) -> list[str]:
        """All of a name: check boxes, lists; without empty ones."""
        return [one.strip() for one in self.form.get(name, []) if one.strip()]

    def once_for(self, part: str) -> str:
        """The form's own token for one of several things that it does."""
        once = self.field("once")
        return f"{once}-{part}" if once else ""

    # -- the admin API -----------------------------------------------------------

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        if_match: str = "",
        once: str = "",
    ) -> Any:
        """One operation as whoever is logged in. Raises Refused.

        `path` is below `/admin/v1`; its parts must be quoted (`at`). A change is given
        `once`, the form's own token, so that a click that comes twice happens once.
        """
        value, _ = await self.ask_versioned(
            method, path, body=body, query=query, if_match=if_match, once=once
        )
        return value

    async def ask_versioned(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        if_match: str = "",
        once: str = "",
    ) -> tuple[Any, str]:
        """As `ask`, with the answer's ETag."""
        headers = {"content-type": "application/json"}
        if if_match:
            headers["if-match"] = if_match
        if once:
            headers["idempotency-key"] = once
        given = {k: v for k, v in (query or {}).items() if v not in {None, ""}}
        asked = AdminRequest(
            method,
            path,
            urlencode(given),
            headers,
            b"" if body is None else msgspec.json.encode(body),
        )
        api: AdminApi = self.console.api
        reply = await api.handle(asked, self.who.principal, self.request_id)
        value = reply.json()
        if reply.status >= 400:
            raise Refused(reply.status, value or {})
        etag = next((v for k, v in reply.headers if k == "etag"), "")
        return value, etag

    async def file(self, path: str, query: Mapping[str, Any] | None = None) -> Shown:
        """A file that the admin API makes as it is read. Raises Refused."""
        given = {k: v for k, v in (query or {}).items() if v not in {None, ""}}
        asked = AdminRequest("GET", path, urlencode(given), {}, b"")
        api: AdminApi = self.console.api
        reply = await api.handle(asked, self.who.principal, self.request_id)
        if reply.status >= 400 or reply.stream is None:
            raise Refused(reply.status, reply.json() or {})
        return Shown(reply.status, b"", tuple(reply.headers), _pieces(reply.stream))

    async def every(
        self, path: str, query: Mapping[str, Any] | None = None, *, most: int = 1000
    ) -> list[Any]:
        """All items of a list that pages, up to `most`. Raises Refused."""
        found: list[Any] = []
        cursor = ""
        while len(found) < most:
            given = {**(query or {}), "limit": 200, "cursor": cursor}
            page = await self.ask("GET", path, query=given)
            found.extend(page["items"])
            cursor = page.get("next_cursor") or ""
            if not cursor:
                break
        return found[:most]

    # -- answers -----------------------------------------------------------------

    def show(self, template: str, /, status: int = 200, **context: Any) -> Shown:
        """A page, or with `is_part` whatever the template says is its part."""
        return Shown(
            status, render.page(template, {**self.console.context(self), **context})
        )

    def go(self, path: str, *, done: str = "") -> Shown:
        """To another page, saying what was done (a key of `DONE`)."""
        where = f"{path}{'&' if '?' in path else '?'}done={done}" if done else path
        header = "hx-redirect" if self.is_part else "location"
        return Shown(200 if self.is_part else 303, b"", ((header, where),))


def at(*parts: str) -> str:
    """A path of the admin API; each part is quoted whole."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    try:
        async for piece in stream:
            yield piece
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def form_of(body: bytes) -> dict[str, list[str]]:
    """An urlencoded form. Raises ValueError."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(
        body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX
    ):
        found.setdefault(name, []).append(value)
    return found
