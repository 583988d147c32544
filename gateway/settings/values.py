"""Readers: one per type of value, from what TOML holds to what the gateway uses.

Owns: the value types that Python lacks (`Bind`, money as integer nano-dollars) and
their parsing. Every reader is total: it returns a value or raises `Unfit`.
Never: does I/O, reads the clock, or computes money in floats.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from gateway.settings.errors import Unfit, echo
from gateway.settings.keys import KEY_CHARS_MAX, KEY_CHARS_MIN, SiteKey

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NANOUSD_PER_USD: Final = 10**9
USD_MAX: Final = 10**9  # Keeps every sum of amounts far inside 64 bits in SQL.
SECONDS_MAX: Final = 86_400  # A longer deadline is a typo (milliseconds, mostly).
LIST_ITEMS_MAX: Final = 10_000  # More belongs in the database, not in a file.

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class Reader(Generic[T_co]):
    """How values of one type are read, and written back for the reference.

    `read` takes what TOML holds. `parse` turns the text of an environment variable
    or a flag into that first.
    """

    name: str
    read: Callable[[object], T_co]
    parse: Callable[[str], object] = str
    show: Callable[[Any], str] = echo


@attrs.frozen
class Bind:
    """An address to listen on: a host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _number(text: str) -> object:
    """The number a flag's text spells, else the text (the reader will refuse it)."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Unfit(f"is not a string; write {what}")
    return value


def text(what: str, pattern: str, *, hidden: bool = False) -> Reader[str]:
    """A string of one form. `hidden`: people paste keys here, so never echo it."""
    form = re.compile(pattern)

    def read(value: object) -> str:
        found = _string(value, f"a {what}")
        if not form.fullmatch(found):
            raise Unfit(f"is not a {what}", hidden=hidden)
        return found

    return Reader(what, read)


def integer(low: int, high: int) -> Reader[int]:
    """A whole number within bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unfit(f"is not a whole number; write {low} to {high}")
        if not low <= value <= high:
            raise Unfit(f"is out of range; write {low} to {high}")
        return value

    return Reader(f"whole number, {low} to {high}", read, _number)


def _read_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unfit("is not a number of seconds; write 30 or 0.5")
    try:
        seconds = float(value)  # Before the comparison: Decimal's NaN raises in it.
    except (ValueError, OverflowError):  # A signalling NaN; an integer of 400 digits.
        seconds = 0.0
    if not 0 < seconds <= SECONDS_MAX:
        raise Unfit(f"is out of range; write more than 0, at most {SECONDS_MAX}")
    return seconds


def _show_number(value: float) -> str:
    return f"{value:g}"


SECONDS: Final = Reader("seconds", _read_seconds, _number, _show_number)


def _read_money(value: object) -> int:
    """An amount in dollars, as integer nano-dollars."""
    amount: Decimal
    match value:
        case bool():
            raise Unfit("is not an amount; write 25 or 0.05")
        case int() | Decimal():
            amount = Decimal(value)
        case str() if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
            amount = Decimal(value)
        case _:
            raise Unfit('is not an amount in US dollars; write 25, 0.05 or "0.05"')
    if not amount.is_finite() or not 0 <= amount <= USD_MAX:
        raise Unfit(f"is out of range; write 0 to {USD_MAX} US dollars")
    nanousd = amount * NANOUSD_PER_USD
    if nanousd != nanousd.to_integral_value():
        raise Unfit("is finer than a nano-dollar; write at most 9 decimal places")
    return int(nanousd)


def show_usd(nanousd: int) -> str:
    """Nano-dollars as the dollars that a person would write."""
    whole, rest = divmod(nanousd, NANOUSD_PER_USD)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


MONEY: Final = Reader("US dollars", _read_money, str, show_usd)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit("is not true or false")
    return value


def _parse_flag(text: str) -> object:
    return {"true": True, "false": False}.get(text.lower(), text)


BOOLEAN: Final = Reader(
    "true or false", _read_flag, _parse_flag, lambda value: str(value).lower()
)


def choice(*names: T) -> Reader[T]:
    """One of a few words."""

    def read(value: object) -> T:
        for name in names:
            if value == name:
                return name
        raise Unfit(f"is none of {', '.join(map(str, names))}")

    return Reader(" or ".join(echo(name) for name in names), read)


_BIND_HELP = "write host:port, [v6 address]:port or unix:/path"


def _read_bind(value: object) -> Bind:
    found = _string(value, '"127.0.0.1:8080"')
    if found.startswith("unix:"):
        path = found.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > UNIX_PATH_BYTES_MAX:
            raise Unfit(
                "is not a usable socket path; write unix:/path of at most "
                f"{UNIX_PATH_BYTES_MAX} bytes"
            )
        return Bind(path=path)
    host, colon, digits = found.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit():
        raise Unfit(f"names no port; {_BIND_HELP}")
    port = int(digits)
    if port > 65535:
        raise Unfit("names a port over 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise Unfit(f"has brackets around no IPv6 address; {_BIND_HELP}")
    elif ":" in host:
        raise Unfit(f"is ambiguous; {_BIND_HELP}")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise Unfit(f"is no IPv6 address; {_BIND_HELP}") from None
    elif not _HOST.fullmatch(host):
        raise Unfit(f"names no host; {_BIND_HELP}")
    return Bind(host, port)


UNIX_PATH_BYTES_MAX: Final = 107  # sun_path of Linux, less its terminating zero.
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")

BIND: Final = Reader("address", _read_bind, str, lambda value: echo(str(value)))


def _read_url(value: object) -> str:
    found = _string(value, "https://host/path")
    # Judged before anything may echo it: people paste credentials into URLs.
    if "@" in found or "?" in found or "#" in found:
        raise Unfit(
            "may hold no user, query or fragment; write https://host/path and name "
            "the key's variable in key_env",
            hidden=True,
        )
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise Unfit("is not a URL; write https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Unfit("is not an http(s) URL; write https://host/path")
    if re.search(r"[\x00-\x20\x7f-\uffff]", found):
        raise Unfit("holds characters that a URL may not; write https://host/path")
    return found.rstrip("/")


URL: Final = Reader("http(s) URL", _read_url)
URL_OR_NONE: Final = Reader(
    "http(s) URL", lambda value: "" if value == "" else _read_url(value)
)


def _read_path(value: object) -> Path:
    found = _string(value, "a path")
    if not found or "\0" in found:
        raise Unfit("is not a path")
    return Path(found).expanduser()


PATH: Final = Reader("path", _read_path, str, lambda value: echo(str(value)))


def _read_network(value: object) -> Network:
    found = _string(value, '"10.0.0.0/8"')
    try:
        return ipaddress.ip_network(found)
    except ValueError:
        raise Unfit("is no network; write 10.0.0.0/8 or one address") from None


NETWORK: Final = Reader("network", _read_network, str, lambda value: echo(str(value)))


def _read_site_key(value: object) -> SiteKey:
    found = _string(value, "a key")
    if not re.fullmatch(r"[\x21-\x7e]+", found):
        raise Unfit("holds spaces or characters that no header can carry")
    if not KEY_CHARS_MIN <= len(found) <= KEY_CHARS_MAX:
        raise Unfit(f"must have {KEY_CHARS_MIN} to {KEY_CHARS_MAX} characters")
    return SiteKey.of(found)


SITE_KEY: Final = Reader("key", _read_site_key)


def many(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of values; in a variable or flag, separated by commas."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Unfit(f'is not a list; write ["…"] (each a {reader.name})')
        entries = cast("list[object]", value)
        if len(entries) > LIST_ITEMS_MAX:
            raise Unfit(f"has more than {LIST_ITEMS_MAX} entries")
        found: list[T] = []
        for index, entry in enumerate(entries):
            try:
                found.append(reader.read(entry))
            except Unfit as unfit:
                raise UnfitEntry(index, entry, unfit) from None
        return tuple(found)

    def parse(words: str) -> object:
        return [reader.parse(word.strip()) for word in words.split(",") if word.strip()]

    def show(values: tuple[T, ...]) -> str:
        return f"[{', '.join(map(reader.show, values))}]"

    return Reader(f"list, each {reader.name}", read, parse, show)


class UnfitEntry(Unfit):
    """An unfit entry of a list: the message names its index, and echoes only it."""

    def __init__(self, index: int, entry: object, unfit: Unfit) -> None:
        super().__init__(unfit.why, hidden=unfit.hidden)
        self.index = index
        self.entry = entry
