"""The admin API: who may, what happens once, who changed it first, what is told."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.auditor.entries import read
from gateway.admin import paging
from gateway.admin.principal import Principal
from gateway.admin.problems import TABLE, Problem
from gateway.admin.throttle import FAILURES_MAX, REFILL_S, Throttle
from gateway.pausing import LOOK_S
from gateway.settings.prices import PriceConfig
from storage.audit_memory import entries_of
from tests.gateway.admin.support_admin import a_site, desk, header
from tests.gateway.gateways import config, provider

VIEWER = Principal("token:v", "viewer")
T1 = Principal("token:t1", "admin", frozenset({"t1"}))
T2 = Principal("token:t2", "owner", frozenset({"t2"}))
CHEAP = PriceConfig(input_nanousd_per_mtok=1_000_000, output_nanousd_per_mtok=1_000_000)
CHEAPEST = {"prefer": "cheapest"}
PATCH = {"settings": {"spend_usd_max": 5}}


async def test_nobody_is_told_anything_but_the_document(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        assert (await at.ask("GET", "/sites", who=None)).status == 401
        assert (await at.ask("GET", "/nothing", who=None)).status == 404
        assert (await at.ask("GET", "/admin/openapi.json", who=None)).status == 200


async def test_a_role_is_the_least_that_may(autojump_clock: MockClock) -> None:
    async with desk() as at:
        assert (await at.ask("GET", "/sites", who=VIEWER)).status == 200
        denied = await at.ask(
            "POST", "/sites", {"name": "x", "settings": {}}, who=VIEWER
        )
        assert (denied.status, denied.json()["code"]) == (403, "forbidden")
        assert (await at.ask("GET", "/tokens", who=T1)).status == 403
        assert (await at.ask("GET", "/tree", who=T2)).status == 403


async def test_a_key_serves_until_it_is_revoked_and_is_shown_once(
    autojump_clock: MockClock,
) -> None:
    """From the API to the client and back: the tenancy, end to end."""
    async with desk() as at:
        await a_site(at)
        made = await at.made("/sites/blog/keys", {"terms": {"label": "wp"}})
        await trio.sleep(1)
        request_id = await at.called(made["secret"])

        record = (await at.ask("GET", f"/records/{request_id}")).json()["record"]
        assert (record["tenant"], record["site"]) == ("t1", "blog")
        assert record["key_id"] == f"blog:{made['key']['id']}"
        assert (
            made["secret"].encode()
            not in (await at.ask("GET", "/sites/blog/keys")).body
        )
        key_id = made["key"]["id"]
        await at.ask("POST", f"/sites/blog/keys/{key_id}/revoke")
        await trio.sleep(1)
        answer = await at.gateway.post(
            "/v1/chat/completions", {"model": "fast"}, key=made["secret"]
        )
        assert answer.status == 401


async def test_a_write_that_is_sent_twice_happens_once(
    autojump_clock: MockClock,
) -> None:
    """And its answer, a key that is shown once, can be had again by who asked."""
    async with desk() as at:
        await a_site(at)
        again = {"idempotency-key": "k" * 16}
        first = await at.ask("POST", "/sites/blog/keys", {}, headers=again)
        second = await at.ask("POST", "/sites/blog/keys", {}, headers=again)

        assert (second.status, second.body) == (first.status, first.body)
        assert header(second, "idempotency-replayed") == "true"
        assert header(second, "etag") == header(first, "etag")
        other = {"terms": {"label": "x"}}
        reused = await at.ask("POST", "/sites/blog/keys", other, headers=again)
        assert (reused.status, reused.json()["code"]) == (422, "key-reused")
        elses = await at.ask(
            "POST", "/sites/blog/keys", {}, headers=again, who=Principal("x", "owner")
        )
        assert elses.body != first.body
        keys = (await at.ask("GET", "/sites/blog/keys")).json()["items"]
        assert len(keys) == 2


async def test_a_refused_write_leaves_its_key_free(autojump_clock: MockClock) -> None:
    async with desk() as at:
        again = {"idempotency-key": "k" * 16}
        bad = {"name": "blog", "settings": {"nope": 1}}
        assert (await at.ask("POST", "/sites", bad, headers=again)).status == 422
        good = {"name": "blog", "settings": {}}
        assert (await at.ask("POST", "/sites", good, headers=again)).status == 201


async def test_what_is_remembered_shows_no_secret_to_who_reads_the_database(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        made = await at.ask(
            "POST", "/sites/blog/keys", {}, headers={"idempotency-key": "k" * 16}
        )
        secret = made.json()["secret"].encode()
        database = at.gateway.gateway.database
        assert database is not None
        for table in ("admin_repeat", "site_key", "key_secret", "declared"):
            rows = await database.read(f"SELECT * FROM {table}")  # noqa: S608 - ours
            assert secret not in repr(rows).encode(), table
            assert not any(secret in one for row in rows for one in row
                           if isinstance(one, bytes))  # fmt: skip


async def test_two_admins_who_edit_at_once_cannot_both_win(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        seen = header(await at.ask("GET", "/sites/blog"), "etag")
        first = await at.ask("PATCH", "/sites/blog", PATCH, headers={"if-match": seen})
        second = await at.ask("PATCH", "/sites/blog", PATCH, headers={"if-match": seen})

        assert (first.status, second.status) == (200, 412)
        fresh = header(first, "etag")
        third = await at.ask("PATCH", "/sites/blog", PATCH, headers={"if-match": fresh})
        assert third.status == 200
        assert (await at.ask("PATCH", "/sites/blog", PATCH)).status == 428


async def test_a_patch_changes_what_it_names_and_null_takes_away(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        any_version = {"if-match": "*"}
        change = {"settings": {"spend_usd_max": 1.25, "each_key": {"in_flight_max": 2}}}
        await at.ask("PATCH", "/sites/blog", change, headers=any_version)
        change = {"settings": {"spend_usd_max": None}}
        changed = await at.ask("PATCH", "/sites/blog", change, headers=any_version)

        assert changed.json()["settings"] == {
            "tenant": "t1", "each_key": {"in_flight_max": 2},
        }  # fmt: skip


async def test_what_the_file_holds_is_shown_and_not_changed(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        shown = (await at.ask("GET", "/sites/acme")).json()
        assert (shown["origin"], shown["version"]) == ("file", 0)
        refused = await at.ask("DELETE", "/sites/acme", headers={"if-match": "*"})
        assert (refused.status, refused.json()["code"]) == (409, "read-only")


async def test_settings_are_checked_by_the_words_of_the_file(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        bad = {"name": "blog", "settings": {"spend_usd_max": "much", "modles": []}}
        refused = await at.ask("POST", "/sites", bad)

        assert refused.status == 422
        told = {one["path"]: one["message"] for one in refused.json()["errors"]}
        assert "is no setting; did you mean models?" in told["$.settings.modles"]
        assert "dollars" in told["$.settings.spend_usd_max"]


async def test_every_change_is_in_the_log_before_it_happens_and_so_is_its_failure(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        await at.ask("PATCH", "/sites/blog", {"settings": {"nope": 1}},
                     headers={"if-match": "*"}, who=T1)  # fmt: skip
        await trio.sleep(5)  # Refusals are folded before they are written.
        book = at.gateway.gateway.gate.book
        assert book is not None
        entries = [read(leaf) for leaf in entries_of(book, book.store)]
        told = [
            (one["act"], one.get("actor"), one.get("name"), one["out"])
            for one in entries
            if str(one["act"]).startswith(("site.", "tenant."))
        ]
        assert told == [
            ("tenant.create", "operator:control", "t1", "ok"),
            ("site.create", "operator:control", "blog", "ok"),
            ("site.change", "token:t1", "blog", "ok"),
            ("site.change", "token:t1", "blog", "invalid"),
        ]


async def test_a_tenants_admin_sees_and_makes_what_is_the_tenants(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        await a_site(at, "shop", "t2")
        listed = (await at.ask("GET", "/sites", who=T1)).json()["items"]
        assert [one["name"] for one in listed] == ["blog"]
        made = await at.ask("POST", "/sites", {"name": "new", "settings": {}}, who=T1)
        assert made.json()["tenant"] == "t1"
        stolen = {"name": "s", "settings": {"tenant": "t2"}}
        assert (await at.ask("POST", "/sites", stolen, who=T1)).status == 422
        moved = await at.ask(
            "PATCH", "/sites/blog", {"settings": {"tenant": "t2"}},
            who=T1, headers={"if-match": "*"},
        )  # fmt: skip
        assert moved.status == 422


async def test_a_list_has_everything_once_whatever_the_size_of_its_pages(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        names = [f"s{number:02}" for number in range(13)]
        for name in names:
            await a_site(at, name)
        for limit in (1, 4, 13, 14, 500):
            seen: list[str] = []
            cursor = ""
            while True:
                query = f"/sites?limit={limit}&cursor={cursor}"
                page = (await at.ask("GET", query)).json()
                assert len(page["items"]) <= limit
                seen += [one["name"] for one in page["items"]]
                cursor = page["next_cursor"]
                if not cursor:
                    break
            assert seen == ["acme", *names]


async def test_a_cursor_of_another_list_is_refused(autojump_clock: MockClock) -> None:
    async with desk() as at:
        for cursor in ("x", "e30", paging.encode("keys", ("a",))):
            told = await at.ask("GET", f"/sites?cursor={cursor}")
            assert (told.status, told.json()["code"]) == (400, "bad-request")


async def test_a_paused_provider_takes_no_calls_until_it_is_resumed(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        paused = await at.ask("POST", "/providers/main/pause", {"reason": "key leaked"})
        assert paused.json()["state"] == "paused"
        assert paused.json()["paused_for"] == "key leaked"
        answer = await at.gateway.post(
            "/v1/chat/completions",
            {"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
            key="sk-acme-dev-0001",
        )
        assert answer.status == 503
        assert b"key leaked" not in answer.body
        tried = await at.ask("POST", "/providers/main/test", {})
        assert not tried.json()["ok"]
        await at.ask("POST", "/providers/main/resume")
        tried = await at.ask("POST", "/providers/main/test", {})
        assert tried.json()["ok"], tried.body


async def test_usage_and_a_search_agree_with_what_clients_did(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        for feature in ("summary", "summary", "chat"):
            answer = await at.gateway.request(
                "POST", "/v1/chat/completions",
                {"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
                key="sk-acme-dev-0001", headers={"x-stagedoor-feature": feature},
            )  # fmt: skip
            assert answer.status == 200
        await at.gateway.archived()

        usage = (await at.ask("GET", "/usage?by=feature")).json()
        assert {row["group"]["feature"]: row["sums"]["requests"]
                for row in usage["rows"]} == {"chat": 1, "summary": 2}  # fmt: skip
        records = (await at.ask("GET", "/records?feature=summary")).json()["items"]
        assert len(records) == 2
        assert usage["total"]["cost_nanousd"] == 3 * records[0]["cost_nanousd"] > 0
        whole = (await at.ask("GET", f"/records/{records[0]['id']}")).json()
        assert whole["record"]["plan"][0]["provider"] == "main"
        exported = await at.ask("GET", "/records/export?format=csv")
        assert exported.body.count(b"\r\n") == 4
        lines = await at.ask("GET", "/records/export")
        assert lines.body.count(b"\n") == 3


async def test_a_cell_that_a_spreadsheet_would_run_is_text(
    autojump_clock: MockClock,
) -> None:
    """Clients choose the names of models that they ask for."""
    async with desk() as at:
        await at.gateway.post(
            "/v1/chat/completions",
            {"model": "=HYPERLINK(1)", "messages": [{"role": "user", "content": "hi"}]},
            key="sk-acme-dev-0001",
        )
        await at.gateway.archived()
        exported = await at.ask("GET", "/records/export?format=csv")
        assert b"'=HYPERLINK(1)" in exported.body


async def test_a_token_of_the_api_opens_it_over_http_until_it_is_revoked(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        made = await at.made("/tokens", {"name": "ci", "role": "viewer"})

        async def whoami(token: str) -> int:
            answer = await at.gateway.request(
                "GET", "/admin/v1/whoami",
                headers={"authorization": f"Bearer {token}"},
            )  # fmt: skip
            return answer.status

        assert await whoami(made["secret"]) == 200
        assert await whoami(made["secret"][:-1] + "x") == 401
        await at.ask("POST", f"/tokens/{made['token']['id']}/revoke")
        assert await whoami(made["secret"]) == 401
        # A site's key is none of ours, and the other way round.
        assert await whoami("sk-acme-dev-0001") == 401


async def test_whoever_guesses_tokens_is_slowed_down(autojump_clock: MockClock) -> None:
    async with desk() as at:
        statuses = [
            (
                await at.gateway.request(
                    "GET", "/admin/v1/whoami",
                    headers={"authorization": f"Bearer guess-{number}"},
                )
            ).status
            for number in range(FAILURES_MAX + 2)
        ]  # fmt: skip
        assert statuses == [401] * FAILURES_MAX + [429, 429]


def test_a_throttled_address_may_try_again_after_a_while() -> None:
    throttle = Throttle()
    for _ in range(FAILURES_MAX):
        assert throttle.wait_s("a", 0) == 0
        throttle.failed("a", 0)

    assert 0 < throttle.wait_s("a", 0) <= REFILL_S
    assert throttle.wait_s("b", 0) == 0
    assert throttle.wait_s("a", REFILL_S) == 0


@given(st.lists(st.one_of(st.text(), st.integers(-(2**53), 2**53)), max_size=4))
def test_a_cursor_comes_back_as_it_went(place: list[str | int]) -> None:
    clean = [one for one in place if not isinstance(one, str) or one.isprintable()]

    assert paging.decode("x", paging.encode("x", tuple(clean))) == tuple(clean)


@given(st.text())
def test_no_text_makes_a_cursor_crash(text: str) -> None:
    with suppress(Problem):
        paging.decode("x", text)


@pytest.mark.parametrize("code", TABLE)
async def test_every_problem_is_explained_where_it_says(
    code: str, autojump_clock: MockClock
) -> None:
    async with desk() as at:
        told = await at.ask("GET", f"/admin/problems/{code}", who=None)
        assert told.json()["status"] == TABLE[code][0]


async def test_no_database_is_a_clear_answer(autojump_clock: MockClock) -> None:
    """Without one the API shows what the file says, and says why no more."""
    async with desk() as at:
        assert at.gateway.admin is not None
        books = at.gateway.admin.office.books
        books.records = books.directory = books.tokens = books.repeats = None
        for path in ("/usage", "/records", "/tokens"):
            assert (await at.ask("GET", path)).status == 503
        assert (await at.ask("GET", "/sites")).status == 200
        made = await at.ask("POST", "/sites", {"name": "x", "settings": {}})
        assert made.status == 503


async def test_a_pause_holds_in_processes_that_start_later(
    autojump_clock: MockClock,
) -> None:
    """It is in the database, and a provider that is made anew is told again."""
    async with desk() as at:
        await at.ask("POST", "/providers/main/pause", {"reason": "key leaked"})
        gate = at.gateway.gateway.gate
        gate.pause("main", "")  # As a process that knows nothing of it.
        state = (await at.ask("GET", "/providers/main/state")).json()
        assert state["state"] == "closed"
        await trio.sleep(LOOK_S + 1)
        state = (await at.ask("GET", "/providers/main/state")).json()
        assert (state["state"], state["paused_for"]) == ("paused", "key leaked")
        await at.ask("POST", "/providers/main/resume")
        await trio.sleep(LOOK_S + 1)
        state = (await at.ask("GET", "/providers/main/state")).json()
        assert state["state"] == "closed"


async def test_a_preview_says_where_requests_would_go_and_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    """Denying the model refuses all; choosing by price leaves the dearer provider."""
    made = config([provider("dear"), provider("cheap", prices={"m": CHEAP})])
    async with desk(made) as at:
        for _ in range(3):
            await at.called()
        await at.made("/sites", {"name": "new", "settings": {"models": ["fast"]}})
        shown = await at.ask(
            "POST", "/sites/acme/preview", {"settings": {"routing": CHEAPEST}}
        )
        told = shown.json()
        assert told["requests"] == told["moved"] == 3
        assert told["deployments"] == [
            {"deployment": "cheap/m", "recorded": 0, "before": 0, "after": 3},
            {"deployment": "dear/m", "recorded": 3, "before": 3, "after": 0},
        ]
        assert told["after"]["cost_nanousd"] < told["before"]["cost_nanousd"]
        refused = await at.ask(
            "POST", "/sites/acme/preview", {"settings": {"models_denied": ["fast"]}}
        )
        assert refused.json()["after"]["refused"] == 3
        again = await at.ask("POST", "/sites/acme/preview", {"settings": {}})
        assert again.json()["moved"] == 0
        bad = await at.ask("POST", "/sites/acme/preview", {"settings": {"nope": 1}})
        assert bad.status == 422
        assert bad.json()["errors"][0]["path"] == "$.settings.nope"
