"""The Console's main tasks in a real Chromium, on a real gateway."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from actors.auditor.merkle import check_inclusion, leaf_hash
from actors.auditor.notes import Verifier, open_checkpoint
from gateway.cli import OK
from gateway.cli import main as cli
from tests.console.support_console import (
    OWNER,
    PHONE,
    SHOP_KEY,
    WIDE,
    Stage,
    log_in,
    seriously_wrong,
    set_up,
    staged,
    visitor,
)
from tests.support_browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES: Final = (
    "", "/requests", "/requests/{request}", "/providers", "/providers/main",
    "/providers/faraway", "/actors", "/audit", "/audit/1/0", "/playground",
    "/settings", "/settings/me", "/settings/people", "/nowhere",
)  # fmt: skip


@attrs.frozen
class House:
    """A gateway where something happened, a browser, and a login that lasts."""

    stage: Stage
    browser: Browser
    session: Any = attrs.field(repr=False)
    request: str

    def visitor(self, **how: Any) -> Any:
        """Somebody who is logged in as the owner."""
        return visitor(self.browser, storage_state=self.session, **how)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[House]:
    """Ann sets it up; two sites have called, and one provider is not there."""
    folder: Path = tmp_path_factory.mktemp("console")
    with staged(folder) as stage, chromium() as browser:
        for _ in range(60):
            stage.call()
        request = stage.call(SHOP_KEY, "thorough", stream=True)
        stage.until("/records?limit=100", lambda found: len(found["items"]) >= 61)
        with visitor(browser) as page:
            set_up(page, stage, stage.link, OWNER)
            session = page.context.storage_state()
        yield House(stage, browser, session, request)


def wait_text(page: Page, text: str, inside: str = "main") -> None:
    page.locator(inside).get_by_text(text).first.wait_for()


def test_the_link_of_the_first_start_works_once(house: House) -> None:
    with visitor(house.browser) as page:
        page.goto(house.stage.link)
        page.get_by_label("Name or e-mail").fill("mallory")
        page.get_by_label("Password", exact=True).fill("another long password")
        page.get_by_label("Once more").fill("another long password")
        page.get_by_role("button", name="Begin").click()
        wait_text(page, "This link works no more")
        page.goto(house.stage.console)
        assert page.url.endswith("/console/login")


def test_ann_logs_in_and_out_and_her_cookie_is_then_worth_nothing(
    house: House,
) -> None:
    with visitor(house.browser) as page:
        log_in(page, house.stage)
        before = page.context.storage_state()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(re.compile("/login"))
    with visitor(house.browser, storage_state=before) as page:
        page.goto(f"{house.stage.console}/requests")
        assert "/console/login?next=" in page.url


def test_the_overview_counts_requests_as_they_come(house: House) -> None:
    with house.visitor() as page:
        page.goto(house.stage.console)
        wait_text(page, "live")
        shown = page.locator("[data-figure=requests] [data-now]")
        before = int(shown.inner_text())
        assert before >= 61
        assert page.locator("[data-plot] canvas").count() == 6
        house.stage.call()
        page.wait_for_function(
            "n => +document.querySelector('[data-figure=requests] [data-now]')"
            ".textContent > n",
            arg=before,
        )


def test_the_overview_narrows_to_a_site(house: House) -> None:
    with house.visitor() as page:
        page.goto(house.stage.console)
        page.get_by_role("link", name="florist-shop").click()
        page.wait_for_url(re.compile("site=florist-shop"))
        shown = page.locator("[data-figure=requests] [data-now]")
        assert int(shown.inner_text()) < 61


def test_requests_are_searched_and_paged(house: House) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/requests")
        rows = page.locator("#rows tr:not(.more)")
        assert rows.count() == 50
        page.get_by_role("button", name="Older ones").click()
        page.wait_for_function(
            "() => document.querySelectorAll('#rows tr:not(.more)').length > 60"
        )
        page.get_by_label("Site").fill("florist-shop")
        page.get_by_label("Model").fill("thorough")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url(re.compile("site=florist-shop"))
        assert rows.count() == 1
        assert "thorough" in rows.first.inner_text()


def test_a_request_is_found_by_its_id_and_opens_as_a_waterfall(house: House) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/requests")
        page.keyboard.press("/")
        page.keyboard.type(house.request)
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(house.request))
        told = page.locator("main").inner_text()
        steps = page.locator(".waterfall tbody th").all_inner_texts()

    assert "Plan" in steps[0]
    assert any("faraway/big" in one for one in steps)
    assert any("main/large" in one for one in steps)
    assert "First content" in steps
    assert "Stream" in steps
    assert "By part" in told.replace("BY PART", "By part")
    assert "Hello" not in told  # What the client said.
    assert "simulated model" not in told  # What it was answered.


def test_a_provider_that_fails_is_seen_failing_and_is_paused_and_resumed(
    house: House,
) -> None:
    stage = house.stage
    with house.visitor() as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{stage.console}/providers")
        row = page.locator("tr", has=page.get_by_role("link", name="faraway"))
        for _ in range(8):
            stage.call(SHOP_KEY, "lost")
        # Nothing is loaded anew: the page looks again by itself.
        row.locator(".tag", has_text=re.compile("^(out|on probation)$")).wait_for()

        page.get_by_role("link", name="main", exact=True).click()
        page.get_by_label("Why").fill("its bill is odd")
        page.get_by_role("button", name="Pause").click()
        wait_text(page, "Paused: its bill is odd")
        served = stage.call()
        stage.until(
            "/records?provider=spare",
            lambda found: any(one["id"] == served for one in found["items"]),
        )
        page.get_by_role("button", name="Put back into use").click()
        wait_text(page, "Back in use.")
        page.get_by_role("button", name="Ask it").click()
        wait_text(page, "It answered in")


def test_a_test_call_that_fails_says_so_and_is_no_error_of_the_console(
    house: House,
) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/providers/faraway")
        page.get_by_role("button", name="Ask it").click()
        wait_text(page, "It did not answer well")


def test_the_tree_of_actors_goes_on_by_itself(house: House) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/actors")
        auditor = page.locator("#tree tr", has_text="Auditor").locator("td").nth(6)
        before = auditor.inner_text()
        for _ in range(3):
            house.stage.call()
        page.wait_for_function(
            "before => [...document.querySelectorAll('#tree tr')]"
            ".find(tr => tr.textContent.includes('Auditor'))"
            ".children[6].textContent !== before",
            arg=before,
        )


def test_what_was_done_is_in_the_audit_log_with_a_proof_that_holds(
    house: House,
) -> None:
    stage = house.stage
    stage.admin("POST", "/providers/spare/pause", {"reason": "for a look"})
    stage.admin("POST", "/providers/spare/resume")
    stage.until(
        "/audit/entries?act=provider.resume&provider=spare",
        lambda found: found["items"],
    )
    with house.visitor() as page:
        page.goto(f"{stage.console}/audit")
        assert "records.kept" not in page.locator("#rows").inner_text()
        page.get_by_label("Act").fill("provider")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(re.compile("act=provider"))
        row = page.locator("#rows tr", has_text="provider.pause").first
        assert "spare" in row.inner_text()
        assert "token:root" in row.inner_text()
        row.get_by_role("link").click()
        leaf = page.get_by_label("The entry").inner_text()
        vkey = page.locator("dt:text-is('Key') + dd").inner_text()
        with page.expect_download() as coming:
            page.get_by_role("link", name="Download its proof").click()
        proof = coming.value.path().read_text()

    head, _, note = proof.partition("\n\n")
    hashes = [decoded(line) for line in head.splitlines()[2:]]
    index = int(head.splitlines()[1].removeprefix("index "))
    shown = open_checkpoint(note.encode(), Verifier.parse(vkey.replace("\n", "")))
    check_inclusion(leaf_hash(leaf.encode()), index, shown.size, hashes, shown.root)


def decoded(line: str) -> bytes:
    import base64  # noqa: PLC0415 - of one test

    return base64.b64decode(line)


def test_everything_is_verified_at_a_click(house: House) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/audit")
        page.get_by_role("button", name="Verify now").click()
        wait_text(page, "Everything is as it was signed")
        wait_text(page, "batches of records unchanged")


def test_all_logs_are_downloaded_and_verify_elsewhere(
    house: House, tmp_path: Path
) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/audit")
        page.get_by_text("Its public key").click()
        vkey = page.locator("#vkey1").inner_text().replace("\n", "")
        with page.expect_download() as coming:
            page.get_by_role("link", name="Download all logs").click()
        assert coming.value.suggested_filename.startswith("stagedoor-audit-")
        with zipfile.ZipFile(coming.value.path()) as archive:
            archive.extractall(tmp_path)

    assert cli(["audit", "verify", str(tmp_path / "audit"), "--vkey", vkey]) == OK


def test_the_playground_asks_two_routes_and_tells_time_and_tokens(
    house: House,
) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/playground")
        page.get_by_label("Tokens at most").fill("8")
        page.get_by_label("Prompt", exact=True).fill("A secret of the test")
        page.get_by_role("button", name="Ask both").click()
        for side in ("left", "right"):
            box = page.locator(f"[data-side={side}]")
            box.get_by_text("This is").wait_for()
            page.wait_for_function(
                "side => document.querySelector(`[data-side=${side}] [data-tokens]`)"
                ".textContent !== '\u2013'",
                arg=side,
            )
            assert "ms" in box.locator("[data-first]").inner_text()
    records = house.stage.admin("GET", "/records?feature=playground")["items"]
    assert len(records) == 2
    assert all("secret" not in str(one) for one in records)


def test_a_phone_has_a_menu_and_folded_filters(house: House) -> None:
    with house.visitor(viewport=PHONE) as page:
        page.goto(f"{house.stage.console}/requests")
        assert not page.get_by_label("Site").is_visible()
        page.get_by_text("Filter", exact=True).click()
        assert page.get_by_label("Site").is_visible()
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("link", name="Providers").click()
        page.wait_for_url(re.compile("/providers"))


def test_every_page_can_be_used_without_scripts(house: House) -> None:
    with house.visitor(java_script_enabled=False) as page:
        for path in PAGES:
            page.goto(house.stage.console + path.format(request=house.request))
            assert page.locator("h1").count() == 1, path
        page.goto(f"{house.stage.console}/providers/spare")
        page.get_by_label("Why").fill("no scripts")
        page.get_by_role("button", name="Pause").click()
        wait_text(page, "Paused: no scripts")
        page.get_by_role("button", name="Put back into use").click()
        wait_text(page, "Back in use.")


def test_the_keyboard_reaches_the_page_at_once(house: House) -> None:
    with house.visitor() as page:
        page.goto(f"{house.stage.console}/requests")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains("
                             "document.activeElement)")  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_has_a_serious_fault_of_access_or_runs_over_its_edge(
    house: House, size: Any, theme: str
) -> None:
    """By axe-core; colours, names, roles, order, targets."""
    wrong: dict[str, Any] = {}
    with house.visitor(viewport=size, color_scheme=theme) as page:
        for path in PAGES:
            page.goto(house.stage.console + path.format(request=house.request))
            found = seriously_wrong(page)
            over: int = page.evaluate(
                "document.documentElement.scrollWidth - innerWidth"
            )
            if found or over > 0:
                wrong[path] = (found, over)
    assert wrong == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_before_a_login_have_no_serious_fault_of_access(
    house: House, theme: str
) -> None:
    with visitor(house.browser, color_scheme=theme) as page:
        for path in ("/login", "/welcome"):
            page.goto(house.stage.console + path)
            assert seriously_wrong(page) == [], path
