"""Templates to pages.

Owns: the one Jinja environment. Everything is escaped; a name that is not given is an
error, not an empty text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.console import words

STATIC: Final = files("gateway.console") / "static"
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _load_static() -> dict[str, tuple[str, bytes]]:
    found: dict[str, tuple[str, bytes]] = {}
    for entry in STATIC.iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in TYPES:
            found[entry.name] = (TYPES[suffix], entry.read_bytes())
    return found


FILES: Final = _load_static()
_TAGS: Final = {
    name: hashlib.sha256(body).hexdigest()[:12] for name, (_, body) in FILES.items()
}


def asset(name: str) -> str:
    """The address of a file: another content has another one."""
    return f"/console/static/{_TAGS[name]}/{name}"


def asset_at(path: str) -> tuple[str, bytes] | None:
    """The file at the rest of an address."""
    tag, _, name = path.partition("/")
    return FILES[name] if _TAGS.get(name) == tag else None


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("gateway.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Annotated: what checkers infer is what Jinja's own filters are.
    filters: dict[str, Any] = made.filters
    filters.update(
        usd=words.usd,
        count=words.count,
        span=words.span,
        percent=words.percent,
        exact=words.exact,
        iso=words.iso,
        ago=words.ago,
        change=words.change,
    )
    known: dict[str, Any] = made.globals
    known["asset"] = asset
    return made


_ENVIRONMENT: Final = _environment()


def page(template: str, context: Mapping[str, Any]) -> bytes:
    """A page or a part of one."""
    return _ENVIRONMENT.get_template(template).render(context).encode()
