"""The policy: deny by default, and rules that cannot be misread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.vault.policy import BadRule, Wish, decide, default_rules, parse

WHERE = "tenant=acme env=prod provider=openai name=*"
WISH = Wish("lease", "site:acme", "acme", "prod", "openai", "default", "chat")


def allowed(*rules: str, wish: Wish = WISH) -> bool:
    return decide([parse(rule) for rule in rules], wish).allowed


def test_nothing_is_allowed_by_default() -> None:
    assert not allowed()
    assert decide((), WISH).rule == "no rule allows it"


def test_a_rule_allows_what_it_says_and_nothing_beside_it() -> None:
    rule = f"allow lease principal=site:acme {WHERE} ttl<=30s uses<=1"
    assert allowed(rule)
    verdict = decide([parse(rule)], WISH)
    assert (verdict.ttl_s, verdict.uses) == (30, 1)
    for other in (
        Wish("rotate", "site:acme", "acme", "prod", "openai", "default"),
        Wish("lease", "site:acme2", "acme", "prod", "openai", "default", "chat"),
        Wish("lease", "site:acme", "other", "prod", "openai", "default", "chat"),
        Wish("lease", "site:acme", "acme", "dev", "openai", "default", "chat"),
        Wish("lease", "site:acme", "acme", "prod", "azure", "default", "chat"),
    ):
        assert not allowed(rule, wish=other)


def test_a_deny_wins_wherever_it_stands() -> None:
    yes = f"allow lease principal=site:* {WHERE}"
    no = "deny lease principal=site:acme tenant=* env=* provider=* name=*"
    assert not allowed(yes, no)
    assert not allowed(no, yes)


def test_the_first_allow_sets_the_bounds() -> None:
    rules = [
        parse(f"allow lease principal=site:* {WHERE} ttl<=5s"),
        parse(f"allow lease principal=site:* {WHERE} ttl<=2m uses<=9"),
    ]
    assert decide(rules, WISH).ttl_s == 5


def test_routes_narrow_leases() -> None:
    rule = f"allow lease principal=site:acme {WHERE} when route in [chat, fast-*]"
    assert allowed(rule)
    for route, fits in (("fast-1", True), ("fast", False), ("", False)):
        wish = Wish("lease", "site:acme", "acme", "prod", "openai", "default", route)
        assert allowed(rule, wish=wish) == fits


@pytest.mark.parametrize("tenant", ["*", "a*", "acm?", "acm[e]"])
def test_no_pattern_of_tenants_may_borrow(tenant: str) -> None:
    with pytest.raises(BadRule, match=r"names its tenant|is no name"):
        parse(f"allow lease principal=* tenant={tenant} env=* provider=* name=*")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"allow read principal=* {WHERE}", "plaintext is never given out"),
        (f"permit lease principal=* {WHERE}", "begins with"),
        ("allow lease", "principal= is missing"),
        (f"allow lease {WHERE}", "principal= is missing"),
        (f"allow lease principal=a principal=b {WHERE}", "twice"),
        (f"allow lease principal=* {WHERE} ttl<=30", "write ttl"),
        (f"allow lease principal=* {WHERE} uses<=1s", "write ttl"),
        (f"allow lease principal=* {WHERE} uses<=0", "write ttl"),
        (f"allow lease principal=* {WHERE} ttl<30s", "no part of a rule"),
        (f"allow lease principal=* {WHERE} when route in []", "matches nothing"),
        (f"allow lease principal=* {WHERE} or else", "no part of a rule"),
        ("allow " + "x" * 3000, "characters"),
    ],
)
def test_a_rule_that_could_be_misread_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadRule, match=why):
        parse(text)


@given(st.text(max_size=100))
def test_noise_is_no_rule(text: str) -> None:
    with pytest.raises(BadRule):
        parse(text)


def test_the_default_lends_to_sites_and_lets_only_the_control_socket_change() -> None:
    rules = default_rules("acme", "prod")
    assert decide(rules, WISH).allowed
    other = Wish("lease", "site:acme", "other", "prod", "openai", "default", "chat")
    assert not decide(rules, other).allowed
    for principal, fits in (("operator:control", True), ("site:acme", False)):
        wish = Wish("revoke", principal, "acme", "prod", "openai", "default")
        assert decide(rules, wish).allowed == fits
