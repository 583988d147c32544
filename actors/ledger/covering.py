"""Whose money counts in which sum of a cap. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from actors.ledger.messages import Cap


class Who(NamedTuple):
    """Who spends, on what. An empty part is unknown."""

    site: str
    key_id: str
    asked: str
    provider: str


def subject_of(cap: Cap, who: Who) -> str | None:
    """Whose sum of this cap the money counts in; None: the cap does not cover it."""
    if not (
        _matches(cap.sites, who.site)
        and _matches(cap.keys, who.key_id)
        and _matches(cap.models, who.asked)
        and _matches(cap.providers, who.provider)
    ):
        return None
    match cap.per:
        case "all":
            return ""
        case "site":
            return who.site
        case "key":
            return who.key_id
        case "model":
            return who.asked
        case "provider":
            return who.provider


def needs_provider(cap: Cap) -> bool:
    """Whether it only says something once the provider is known."""
    return bool(cap.providers) or cap.per == "provider"


def is_of_site(cap: Cap, site: str) -> bool:
    """Whether all that it sums up is this site's, so that it may know the amounts."""
    return cap.per in ("site", "key") or cap.sites == (site,)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
