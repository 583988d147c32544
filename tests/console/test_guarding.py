"""Who may do what at the Console, and what other sites cannot make a browser do.

Generated from the table of pages: a new page is tried as soon as it is there.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock

from gateway.admin.principal import RANK
from gateway.admin.throttle import FAILURES_MAX
from gateway.console.guard import CSP
from gateway.console.passwords import Passwords
from gateway.console.sessions import COOKIE
from tests.console.support_memory import (
    OWN,
    PASSWORD,
    House,
    filled,
    house,
    seen,
    text_of,
)
from tests.gateway.admin.test_idor import MARK, things

SCRIPT = re.compile(
    r"<script(?![^>]* (src|type=\"application/json\"))|\son[a-z]+=", re.IGNORECASE
)
STYLE = re.compile(r"<style|\sstyle=", re.IGNORECASE)


async def named(at: House) -> dict[str, str]:
    """Something of t2 for each parameter that a page has."""
    return {
        **await things(at.desk),
        "person": "p_somebody",
        "section": "limits",
        "log": "a",
    }


def fits(path: str) -> bool:
    """Live views go on for ever; they are tried by themselves."""
    return path != "/live"


async def test_nobody_reaches_a_page_without_a_login(autojump_clock: MockClock) -> None:
    async with house() as at:
        names = await named(at)
        for page in at.pages:
            if page.anyone:
                continue
            answer = await at.ask(
                page.method, filled(page.path, names), headers={**OWN}
            )
            assert answer.status == 303, page
            assert answer.headers["location"].startswith("/console/login"), page


@pytest.mark.parametrize("role", ["viewer", "admin"])
async def test_a_lower_role_is_refused_what_a_higher_one_may(
    autojump_clock: MockClock, role: str
) -> None:
    """Pages and forms alike, whatever the form holds."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", role)
        tried = 0
        for page in at.pages:
            if page.anyone or RANK[page.role] <= RANK[role]:  # type: ignore[index]
                continue
            path = filled(page.path, names)
            ask = who.get if page.method == "GET" else who.post
            answer = await ask(path)
            assert answer.status == 403, page
            assert f"needs the role {page.role}" in seen(answer)
            tried += 1
        assert tried > (30 if role == "viewer" else 8)


async def test_a_tenants_people_reach_nothing_of_the_whole_gateway(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner", ("t1",))
        operators = [page for page in at.pages if page.operator]
        assert len(operators) > 20
        for page in operators:
            ask = who.get if page.method == "GET" else who.post
            answer = await ask(filled(page.path, names))
            assert answer.status == 403, page


async def test_a_tenants_people_see_and_change_nothing_of_another(
    autojump_clock: MockClock,
) -> None:
    """Every page, with the names of t2's things, as the highest role of t1."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner", ("t1",))
        before = (await at.desk.ask("GET", f"/sites/{names['site']}")).body
        for page in at.pages:
            if page.anyone or not fits(page.path) or page.path == "/logout":
                continue
            form = {
                "name": "x",
                "typed": names["site"],
                "version": "*",
                "site": names["site"],
            }
            path = filled(page.path, names)
            answer = await (
                who.get(f"{path}?site={names['site']}&tenant=t2")
                if page.method == "GET"
                else who.post(path, form)
            )
            assert answer.status != 500, page
            if "{" in page.path:
                # 202: no such record yet, as for one that nobody ever made.
                assert answer.status in {202, 400, 403, 404, 409}, page
                continue
            # What they typed may be said back to them; nothing else of it is there.
            told = text_of(answer).replace(names["site"], "")
            assert MARK not in told, page
        assert (await at.desk.ask("GET", f"/sites/{names['site']}")).body == before


async def test_a_form_without_its_token_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    """No token, another person's, or one of an earlier login."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner")
        other = await at.person("other", "owner")
        for page in at.pages:
            if page.method == "GET" or page.anyone:
                continue
            path = filled(page.path, names)
            for token in ("", other.visitor.csrf):
                answer = await who.post(path, csrf=token)
                assert answer.status == 403, page


async def test_a_form_of_another_site_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    """Even with the token: what browsers tell of where it comes from counts."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner")
        for page in at.pages:
            if page.method == "GET":
                continue
            path = filled(page.path, names)
            for foreign in (
                {"sec-fetch-site": "cross-site"},
                {"sec-fetch-site": "same-site"},
                {"origin": "https://evil.example"},
                {"origin": "null"},
            ):
                answer = await who.post(path, headers=foreign)
                assert answer.status == 403, (page, foreign)


async def test_every_page_forbids_frames_and_scripts_of_others(
    autojump_clock: MockClock,
) -> None:
    """And holds none of its own: the policy needs no exception."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner")
        for page in at.pages:
            if page.method != "GET" or not fits(page.path):
                continue
            answer = await who.get(filled(page.path, names))
            assert answer.status != 500, page
            assert answer.headers["content-security-policy"] == CSP
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            if answer.headers.get("content-type", "").startswith("text/html"):
                assert SCRIPT.search(text_of(answer)) is None, page
                assert STYLE.search(text_of(answer)) is None, page
    assert "frame-ancestors 'none'" in CSP
    assert "unsafe" not in CSP


async def test_a_login_is_a_new_session_whatever_cookie_was_there(
    autojump_clock: MockClock,
) -> None:
    """Who plants a cookie does not get the session; logging out ends it."""
    async with house() as at:
        await at.person("somebody", "viewer")
        planted = "ab" * 32
        form = {"name": "somebody", "password": PASSWORD}
        answer = await at.ask(
            "POST", "/login", form, {**OWN, "cookie": f"{COOKIE}={planted}"}
        )
        assert answer.status == 303
        made = answer.headers["set-cookie"]
        assert planted not in made
        assert "HttpOnly" in made
        assert "SameSite=Lax" in made
        fresh = made.partition(";")[0]
        assert (await at.ask("GET", "", headers={"cookie": fresh})).status == 200
        stale = await at.ask("GET", "", headers={"cookie": f"{COOKIE}={planted}"})
        assert stale.status == 303


async def test_logging_out_ends_the_session_for_whoever_has_its_cookie(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("somebody", "viewer")

        await who.post("/logout")

        assert (await who.get("")).status == 303


async def test_who_is_shut_out_is_logged_out(autojump_clock: MockClock) -> None:
    async with house() as at:
        owner = await at.person("owner", "owner")
        who = await at.person("somebody", "viewer")
        person = "/settings/people/p_somebody"
        version = re.search(
            r'name="version" value="([^"]+)"', text_of(await owner.get(person))
        )
        assert version is not None
        form = {
            "role": "viewer",
            "disabled": "on",
            "version": version[1].replace("&#34;", '"'),
        }

        assert (await owner.post(person, form)).status == 303

        assert (await who.get("")).status == 303


async def test_wrong_logins_are_told_alike_and_take_the_same_work(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash each, whether there is such a name or not, or it is shut out."""
    async with house() as at:
        await at.person("somebody", "viewer")
        hashed: list[str] = []
        verified = Passwords._verified

        def counted(self: Passwords, stored: str, password: str) -> bool:
            hashed.append(stored.split("$")[3])
            return verified(self, stored, password)

        monkeypatch.setattr(Passwords, "_verified", counted)
        answers = [
            await at.ask("POST", "/login", {"name": name, "password": "wrong"}, OWN)
            for name in ("somebody", "nobody", "a b <c>", "")
        ]

    assert [one.status for one in answers] == [401] * 4
    assert len({seen(one).split("Name or e-mail")[0] for one in answers}) == 1
    assert len(hashed) == 4
    assert len(set(hashed)) == 1  # At the same cost.


async def test_logins_are_throttled_by_name_and_a_right_one_waits_too(
    autojump_clock: MockClock,
) -> None:
    """Tries come back with time."""
    async with house() as at:
        await at.person("somebody", "viewer")
        wrong = {"name": "somebody", "password": "wrong"}
        # While a thread hashes, no time may pass: it would give tries back.
        autojump_clock.autojump_threshold = math.inf
        for _ in range(FAILURES_MAX):
            assert (await at.ask("POST", "/login", wrong, OWN)).status == 401

        right = {"name": "somebody", "password": PASSWORD}
        held = await at.ask("POST", "/login", right, OWN)
        assert held.status == 429
        autojump_clock.autojump_threshold = 0
        await trio.sleep(int(held.headers["retry-after"]))
        assert (await at.ask("POST", "/login", right, OWN)).status == 303


async def test_what_can_do_harm_asks_for_the_password_again(
    autojump_clock: MockClock,
) -> None:
    """A quarter of an hour after a login; until then not."""
    async with house() as at:
        names = await named(at)
        who = await at.person("somebody", "owner")
        await trio.sleep(16 * 60)
        for page in at.pages:
            if not page.sure:
                continue
            path = filled(page.path, names)
            if page.method == "GET":
                answer, back = await who.get(path), f"/console{quote(path)}"
            else:
                back = "/console/vault"
                from_there = {"referer": f"http://stagedoor.test{back}"}
                answer = await who.post(path, headers=from_there)
            assert answer.status == 303, page
            assert answer.headers["location"] == f"/console/confirm?next={back}"


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example",
        "//evil.example",
        "/console/../../evil",
        "/console/%2E%2e/evil",
        "/console//evil.example",
        "javascript:alert(1)",
        "/\\evil.example",
    ],
)
async def test_a_login_leads_nowhere_else(
    autojump_clock: MockClock, following: str
) -> None:
    async with house() as at:
        await at.person("somebody", "viewer")
        form = {"name": "somebody", "password": PASSWORD, "next": following}

        answer = await at.ask("POST", "/login", form, OWN)

        where = answer.headers["location"]
        assert where.startswith("/console")
        assert "evil" not in where
        assert ".." not in where
