"""What no page of the Console sends: told as what it is, and no crash in the log."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from gateway.console.forms import names_in, rows_of
from gateway.console.visit import QUERY_FIELDS_MAX
from tests.console.support_memory import OWN, PASSWORD, house, seen, text_of
from tests.console.test_first_link import made

LINK = {"name": "mallory", "password": PASSWORD, "again": PASSWORD}


@pytest.mark.parametrize("path", ["", "/live", "/requests", "/login"])
async def test_an_address_with_too_many_fields_is_refused(
    autojump_clock: MockClock, path: str
) -> None:
    async with house() as at:
        who = await at.person("ann", "owner")
        most = "&".join(f"a{number}=1" for number in range(QUERY_FIELDS_MAX))
        if path != "/live":
            assert (await who.get(f"{path}?{most}")).status in {200, 303}

        answer = await who.get(f"{path}?{most}&one=1")

        assert answer.status == 400
        assert "more than any page takes" in seen(answer)


@pytest.mark.parametrize("origin", ["http://[", "https://[::1", "null", ""])
async def test_an_origin_that_is_none_is_another_site(
    autojump_clock: MockClock, origin: str
) -> None:
    async with house() as at:
        who = await at.person("ann", "owner")

        answer = await who.post("/providers/main/pause", headers={"origin": origin})

        assert answer.status == 403
        assert "from another site" in seen(answer)


def test_rows_are_short_numbers_and_each_is_one_row() -> None:
    form = {"name-2": "", "name-10": "", "name-02": "", "name-": "", "name-x": ""}
    hostile = {
        f"name-{'9' * 5000}": "",
        "name-\u0663": "",
        "name--1": "",
        "names-1": "",
    }

    assert rows_of("name", {**form, **hostile}) == [2, 10]


@pytest.mark.parametrize(
    ("typed", "names"),
    [("", []), ("a", ["a"]), ("a, b c,", ["a", "b", "c"]), (",", [","])],
)
def test_names_are_apart_by_commas_or_spaces(typed: str, names: list[str]) -> None:
    assert names_in(typed) == names


@pytest.mark.parametrize("path", ["/settings/people", "/settings/tokens"])
async def test_a_slip_in_the_tenants_does_not_hand_out_the_whole_gateway(
    autojump_clock: MockClock, path: str
) -> None:
    """Nothing at all means every tenant; a comma alone does not."""
    async with house() as at:
        who = await at.person("ann", "owner")

        answer = await who.post(path, {"name": "bob", "role": "admin", "tenants": ","})

        assert answer.status == 422
        assert "tenants" in seen(answer)


async def test_a_link_opens_for_who_is_logged_in_too(autojump_clock: MockClock) -> None:
    """Somebody who invites, and tries the link in the same browser."""
    async with house() as at:
        secret = await made(at)
        who = await at.person("ann", "owner")
        page = await who.get("/welcome")
        assert "You are logged in as ann" in seen(page)
        assert who.visitor.csrf in text_of(page)

        forged = await at.ask(
            "POST", "/welcome", {"link": secret, **LINK}, {"cookie": who.cookie, **OWN}
        )
        assert forged.status == 403
        answer = await who.post("/welcome", {"link": secret, **LINK})

        assert answer.status == 303


async def test_destroying_what_is_not_there_is_not_told_as_done(
    autojump_clock: MockClock,
) -> None:
    """A name with a slip in it: its owner must not believe that all is gone."""
    async with house() as at:
        who = await at.person("ann", "owner")
        typed = {"tenant": "nobody", "environment": "prod", "confirm": "nobody/prod"}

        answer = await who.post("/vault/shred", typed)

        assert answer.status == 404
        assert "Nothing was destroyed" in seen(answer)


async def test_what_is_in_use_says_who_needs_it_when_it_is_to_go(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("ann", "owner")
        spare = {"name": "spare", "kind": "simulated", "models": "one"}
        assert (await who.post("/providers/+new", spare)).status == 303
        wanted = {"name": "quick", "route": "spare/one"}
        assert (await who.post("/models", wanted)).status == 303

        answer = await who.post("/providers/spare/remove", {"version": "*"})

        assert answer.status == 409
        told = seen(answer)
        assert "provider spare is needed by models.quick.route[0]" in told
        assert (await who.post("/models/quick/remove", {"version": "*"})).status == 303
        gone = await who.post("/providers/spare/remove", {"version": "*"})
        assert gone.status == 303
