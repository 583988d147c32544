"""Web origins: how they are written, and which of them a list allows. Pure.

An origin is a scheme, a host and a port, compared as browsers send it: in lower case,
without a default port, names in their ASCII form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from gateway.settings.errors import Unfit
from gateway.settings.values import Reader

ORIGIN_CHARS_MAX: Final = 300  # A name of DNS has 253.
ANY: Final = "*"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
# Extensions and apps have schemes of their own, and origins all the same.
_FORM: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://"
    r"(?P<host>(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,252}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\])"
    r"(?P<port>:[0-9]{1,5})?"
)
_FORM_TOLD: Final = "write https://www.example.org, without a path or a slash"


def _read_origin(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit(f"is not a string; {_FORM_TOLD}")
    if value == ANY:
        return ANY
    found = normal(value)
    if found is None:
        raise Unfit(f"is no origin; {_FORM_TOLD}")
    return found


ORIGIN: Final = Reader("web origin", _read_origin)


def normal(text: str) -> str | None:
    """An origin as browsers send it; None for what is none."""
    if len(text) > ORIGIN_CHARS_MAX:
        return None
    match = _FORM.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match["scheme"], match["host"], match["port"] or ""
    if port == _DEFAULT_PORTS.get(scheme):
        port = ""
    return f"{scheme}://{host}{port}"


@attrs.frozen
class Origins:
    """A list of allowed origins, ready to be asked."""

    exact: frozenset[str] = frozenset()
    below: tuple[tuple[str, str], ...] = ()
    all: bool = False

    @classmethod
    def of(cls, written: Iterable[str]) -> Origins:
        """From origins as the settings hold them."""
        given = frozenset(written)
        below = tuple(
            (scheme, host[1:])
            for scheme, _, host in (one.partition("://") for one in sorted(given))
            if host.startswith("*.")
        )
        return cls(given, below, ANY in given)

    def __bool__(self) -> bool:
        return bool(self.exact)

    def allow(self, origin: str) -> bool:
        """Whether a page of this origin may; it is compared as browsers send it.

        `null` is what sandboxed frames and files are called: nobody's, so never.
        """
        if origin in self.exact:
            return "*" not in origin
        if self.all:
            return normal(origin) is not None
        scheme, _, host = origin.partition("://")
        return any(
            scheme == known and host.endswith(suffix) and len(host) > len(suffix)
            for known, suffix in self.below
        )

    def joined(self, other: Origins) -> Origins:
        """What either allows."""
        return Origins(
            self.exact | other.exact,
            tuple(dict.fromkeys((*self.below, *other.below))),
            self.all or other.all,
        )


NOBODY: Final = Origins()
