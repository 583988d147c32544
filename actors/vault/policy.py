"""Who may do what with which key. Pure: no trio, no clock, no randomness.

    allow lease principal=site:acme tenant=acme env=prod provider=openai name=*
        ttl<=30s uses<=1 when route in [chat, fast-*]
    deny lease principal=* tenant=* env=prod provider=openai name=legacy
    allow rotate|describe principal=operator:* tenant=acme env=* provider=* name=*

    allow lease principal=site:* tenant=@own env=@own provider=* name=*

(one line each). Deny is the default; an explicit deny wins over every allow; among
allows the first that matches sets the bounds. There is no `read`: no rule can ask for
plaintext, because nothing gives it out. An allow of leases names its tenant, or says
`@own`, that of the site that asks: a pattern there would lend one tenant's keys to
another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from msgspec import Struct

Action = Literal["lease", "add", "rotate", "revoke", "describe"]
ACTIONS: Final[tuple[str, ...]] = get_args(Action)
RULES_MAX: Final = 1024  # Matched once a grant; a thousand take under a millisecond.
RULE_CHARS_MAX: Final = 2048
TTL_S_MAX: Final = 600  # A lease ends with its request's head; ten minutes is generous.
USES_MAX: Final = 100

OWN: Final = "@own"  # As a tenant or environment: that of the site itself.

_NAME: Final = re.compile(r"[A-Za-z0-9_.:@*?-]{1,128}")
_BOUND: Final = re.compile(r"(ttl|uses)<=(\d{1,6})(s|m)?")
_ROUTES: Final = re.compile(r"when route in \[([^\[\]]*)\]$")


class BadRule(ValueError):
    """The rule cannot be read; says where."""


class Rule(Struct, frozen=True):
    """One line of the policy. Patterns are shell-like."""

    allow: bool
    actions: frozenset[str]
    principal: str
    tenant: str
    environment: str
    provider: str
    name: str
    ttl_s: int = TTL_S_MAX
    uses: int = 1
    routes: tuple[str, ...] = ("*",)
    text: str = ""


class Wish(Struct, frozen=True):
    """What somebody wants to do."""

    action: Action
    principal: str
    tenant: str
    environment: str
    provider: str
    name: str
    route: str = ""
    home: tuple[str, str] = ("", "")  # The site's own tenant and environment.


class Verdict(Struct, frozen=True):
    """Whether it may be, within which bounds, and which rule said so."""

    allowed: bool
    rule: str
    ttl_s: int = 0
    uses: int = 0


def decide(rules: Sequence[Rule], wish: Wish) -> Verdict:
    """The verdict of all rules together."""
    found: Rule | None = None
    for rule in rules:
        if not _matches(rule, wish):
            continue
        if not rule.allow:
            return Verdict(allowed=False, rule=rule.text)
        found = found or rule
    if found is None:
        return Verdict(allowed=False, rule="no rule allows it")
    return Verdict(allowed=True, rule=found.text, ttl_s=found.ttl_s, uses=found.uses)


def parse(text: str) -> Rule:
    """Read one line. Raises BadRule."""
    line = " ".join(text.split())
    if len(line) > RULE_CHARS_MAX:
        raise BadRule(f"a rule has at most {RULE_CHARS_MAX} characters")
    routes: tuple[str, ...] = ("*",)
    found = _ROUTES.search(line)
    words = (line[: found.start()] if found else line).split()
    if found:
        routes = tuple(one.strip() for one in found[1].split(",") if one.strip())
        if not routes:
            raise BadRule("`when route in []` matches nothing; name a route")
    if len(words) < 2 or words[0] not in ("allow", "deny"):
        raise BadRule("a rule begins with `allow ACTION` or `deny ACTION`")
    actions = frozenset(words[1].split("|"))
    if wrong := sorted(actions - set(ACTIONS)):
        hint = "; plaintext is never given out" if "read" in wrong else ""
        raise BadRule(f"{wrong[0]!r} is no action of {', '.join(ACTIONS)}{hint}")
    fields, bounds = _fields(words[2:])
    rule = Rule(
        allow=words[0] == "allow",
        actions=actions,
        principal=fields["principal"],
        tenant=fields["tenant"],
        environment=fields["env"],
        provider=fields["provider"],
        name=fields["name"],
        ttl_s=min(bounds.get("ttl", TTL_S_MAX), TTL_S_MAX),
        uses=min(bounds.get("uses", 1), USES_MAX),
        routes=routes,
        text=line,
    )
    if rule.allow and "lease" in actions and set("*?[") & set(rule.tenant):
        raise BadRule(
            f"tenant={rule.tenant} would lend one tenant's keys to another; "
            "an allow of leases names its tenant"
        )
    return rule


def default_rules(tenant: str, environment: str) -> tuple[Rule, ...]:
    """What holds where the operator wrote no policy.

    Every site may use the shared keys (those of the tenant that is configured) and its
    own tenant's, for one request each; only whoever may open the control socket, and
    admins of the whole gateway at the Console (which has checked that they are), may
    change them.
    """
    where = f"tenant={tenant} env={environment} provider=* name=*"
    return (
        parse(f"allow lease principal=site:* {where} ttl<=600s uses<=1"),
        parse(
            f"allow lease principal=site:* tenant={OWN} env={OWN} provider=* name=* "
            "ttl<=600s uses<=1"
        ),
        parse(
            "allow add|rotate|revoke|describe principal=operator:control "
            "tenant=* env=* provider=* name=*"
        ),
        parse(
            "allow add|rotate|revoke|describe principal=user:* "
            "tenant=* env=* provider=* name=*"
        ),
        parse(
            f"allow lease principal=vault:rotation {where} ttl<=30s uses<=1 "
            "when route in [rotation]"
        ),
    )


def _fields(words: Sequence[str]) -> tuple[dict[str, str], dict[str, int]]:
    fields: dict[str, str] = {}
    bounds: dict[str, int] = {}
    for word in words:
        if bound := _BOUND.fullmatch(word):
            unit = bound[3] or ""
            if (bound[1] == "ttl") != bool(unit) or int(bound[2]) == 0:
                raise BadRule(f"{word!r}: write ttl<=30s or uses<=1")
            bounds[bound[1]] = int(bound[2]) * (60 if unit == "m" else 1)
            continue
        key, equals, value = word.partition("=")
        if key not in ("principal", "tenant", "env", "provider", "name") or not equals:
            raise BadRule(f"{word!r} is no part of a rule")
        if key in fields:
            raise BadRule(f"{key} is there twice")
        if not _NAME.fullmatch(value):
            raise BadRule(f"{word!r} is no name or pattern")
        fields[key] = value
    for key in ("principal", "tenant", "env", "provider", "name"):
        if key not in fields:
            raise BadRule(f"{key}= is missing; * stands for any")
    return fields, bounds


def _matches(rule: Rule, wish: Wish) -> bool:
    return (
        wish.action in rule.actions
        and fnmatchcase(wish.principal, rule.principal)
        and _is_in(wish.tenant, rule.tenant, wish.home[0])
        and _is_in(wish.environment, rule.environment, wish.home[1])
        and fnmatchcase(wish.provider, rule.provider)
        and fnmatchcase(wish.name, rule.name)
        and (
            wish.action != "lease"
            or any(fnmatchcase(wish.route, route) for route in rule.routes)
        )
    )


def _is_in(name: str, pattern: str, own: str) -> bool:
    if pattern == OWN:
        return bool(own) and name == own
    return fnmatchcase(name, pattern)
