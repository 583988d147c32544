"""The client of the admin API: over the control socket, or `--url` with a token.

Owns: one call, the paging of a list, what is said when it is refused, and tables. A
token is never an argument (`ps` shows those), nor sent in the clear beyond loopback.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import attrs

from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, complain
from gateway.cli.control import (
    ControlError,
    UnixConnection,
    add_gateway,
    control_socket,
    plain,
)
from gateway.settings.values import is_loopback, show_usd

TOKEN_VARIABLE: Final = "STAGEDOOR_ADMIN_TOKEN"  # noqa: S105 - its name
BASE: Final = "/admin/v1"
ANSWER_S: Final = 90.0  # A drain is waited for.
ANSWER_BYTES_MAX: Final = 64 * 2**20
PAGE: Final = 500
NANO: Final = 1_000_000_000


class Denied(Exception):
    """The gateway understood and says no."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = problem.get("detail") or problem.get("title") or f"status {status}"
        super().__init__(plain(detail))
        self.status = status
        self.code = str(problem.get("code", ""))


@attrs.frozen
class Reply:
    """An answer."""

    value: Any
    etag: str
    body: bytes = attrs.field(repr=False)


class Remote:
    """One gateway's admin API."""

    def __init__(
        self, connect: Callable[[], http.client.HTTPConnection], prefix: str, token: str
    ) -> None:
        self._connect = connect
        self._prefix = prefix
        self._token = token

    def __repr__(self) -> str:
        return "<Remote>"

    def get(self, path: str, **query: Any) -> Any:
        """What GET answers."""
        return self.call("GET", path, query=query).value

    def every(self, path: str, **query: Any) -> Iterator[Any]:
        """Every entry of a list, page by page."""
        cursor = ""
        while True:
            page = self.get(path, **query, limit=PAGE, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def post(self, path: str, body: Any = None) -> Any:
        """What POST answers; sent again after a lost answer, it happens once."""
        return self.call("POST", path, body).value

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        etag: str = "",
    ) -> Reply:
        """One call. Raises Denied, ControlError."""
        given = {
            name: one for name, one in (query or {}).items() if one not in (None, "")
        }
        target = f"{self._prefix}{BASE}{path}"
        if given:
            target += f"?{urlencode(given)}"
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if etag:
            headers["If-Match"] = etag
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, default=_number).encode()
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        return self._exchange(method, target, data, headers)

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        connection = self._connect()
        try:
            connection.request(method, target, body=data, headers=dict(headers))
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES_MAX + 1)
        except (FileNotFoundError, ConnectionRefusedError):
            raise ControlError("no gateway answers there; is it running?") from None
        except TimeoutError:
            raise ControlError(f"no answer within {ANSWER_S:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(str(error)) from None
        finally:
            connection.close()
        if len(body) > ANSWER_BYTES_MAX:
            raise ControlError("the answer is too long; narrow it down, or export")
        kind = response.headers.get("content-type", "")
        try:
            value = json.loads(body, parse_float=Decimal) if "json" in kind else None
        except ValueError:
            value = None
        if response.status >= 400:
            raise Denied(response.status, value if isinstance(value, dict) else {})
        return Reply(value, response.headers.get("etag", ""), body)


def add_remote(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which gateway is meant."""
    add_gateway(parser)
    parser.add_argument(
        "--url",
        metavar="URL",
        help="a gateway's address; its token is in the environment variable "
        f"{TOKEN_VARIABLE}, or in --token-file",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a file with that token alone"
    )


def remote(args: argparse.Namespace) -> Remote | int:
    """The gateway that is meant, or an exit code after saying why not."""
    if not args.url:
        path = control_socket(args)
        if isinstance(path, int):
            return path
        return Remote(lambda: UnixConnection(path, ANSWER_S), "", "")
    parts = urlsplit(args.url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        complain("--url takes https://HOST or http://127.0.0.1:PORT")
        return USAGE
    if parts.scheme == "http" and not is_loopback(host):
        complain("a token is not sent unencrypted to another machine; use https://")
        return USAGE
    try:
        token = (
            args.token_file.read_text("utf-8").strip()
            if args.token_file
            else os.environ.get(TOKEN_VARIABLE, "")
        )
    except OSError as error:
        complain(f"{args.token_file}: {error.strerror}")
        return USAGE
    if not token:
        complain(f"no token: set {TOKEN_VARIABLE}, or name a --token-file")
        return USAGE

    def connect() -> http.client.HTTPConnection:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, parts.port, timeout=ANSWER_S, context=context
            )
        return http.client.HTTPConnection(host, parts.port, timeout=ANSWER_S)

    return Remote(connect, parts.path.rstrip("/"), token)


def run_with(
    args: argparse.Namespace, do: Callable[[argparse.Namespace, Remote], int]
) -> int:
    """Do it with the gateway that is meant; every failure has an exit code."""
    found = remote(args)
    if isinstance(found, int):
        return found
    try:
        return do(args, found)
    except Denied as denied:
        complain(denied)
        return REFUSED
    except ControlError as error:
        complain(error)
        return UNREACHABLE


def part(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def show(args: argparse.Namespace, value: Any, lines: Iterator[str] | str) -> int:
    """Print an answer: for programs, or for people."""
    if args.json:
        print(json.dumps(value, indent=2, default=_number))
    elif isinstance(lines, str):
        print(lines)
    else:
        for line in lines:
            print(line)
    return OK


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows in columns; numbers to the right. Nothing in it moves a cursor."""
    cells = [[plain(one) for one in row] for row in rows]
    widths = [
        max(len(title), *(len(row[at]) for row in cells)) if cells else len(title)
        for at, title in enumerate(head)
    ]
    right = [
        bool(rows) and all(isinstance(row[at], int | Decimal) for row in rows)
        for at in range(len(head))
    ]
    for row in ([title.upper() for title in head], *cells):
        yield "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()


def usd(nanousd: int) -> str:
    """Money for people."""
    sign = "-" if nanousd < 0 else ""
    return f"{sign}${show_usd(abs(nanousd))}"


def _number(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)
