"""In a real Chromium: a key that the page itself seals, and a site's main tasks."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.console.support_console import (
    OWNER,
    PHONE,
    Stage,
    log_in,
    seriously_wrong,
    set_up,
    staged,
    visitor,
)
from tests.support_browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SECRET = "sk-upstream-browser-canary"
PAGES = (
    "/sites", "/sites/corner", "/sites/corner/settings", "/sites/corner/keys",
    "/sites/corner/wordpress", "/sites/bakery-blog/settings", "/vault", "/vault/add",
    "/tenants", "/tenants/bakery", "/caps", "/settings", "/settings/tokens",
    "/settings/webhooks", "/settings/configuration", "/providers/+new",
    "/providers/main/settings", "/models", "/models/fast",
    "/vault/shred?tenant=default&environment=default",
)  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("stage")) as running:
        running.admin("POST", "/sites", {"name": "corner", "settings": {}})
        yield running


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Generator[Browser]:
    with chromium() as running:
        with visitor(running) as page:
            set_up(page, stage, stage.link, OWNER)
        yield running


def test_a_key_is_sealed_in_the_browser_and_leaves_it_no_other_way(
    stage: Stage, browser: Browser
) -> None:
    """WebCrypto's HPKE opens in the vault; no request of the page holds the key."""
    sent: list[str] = []

    def note(request: Any) -> None:
        sent.append(f"{request.url} {request.post_data or ''}")

    with visitor(browser) as page:
        log_in(page, stage)
        page.on("request", note)
        page.goto(f"{stage.console}/vault/add")
        page.get_by_label("Provider").fill("faraway")
        page.get_by_label("The key").fill(SECRET)
        page.get_by_role("button", name="Seal and hand over").click()
        page.wait_for_url("**/console/vault?done=added")
        row = page.locator("tbody tr", has_text="faraway").first
        assert "active" in row.inner_text()
        assert SECRET not in page.content()
    assert any("delivery=" in one for one in sent)
    assert not any(SECRET in one for one in sent)


def test_a_key_is_made_used_and_revoked(stage: Stage, browser: Browser) -> None:
    with visitor(browser) as page:
        log_in(page, stage)
        page.on("dialog", lambda asked: asked.accept())
        page.goto(f"{stage.console}/sites/corner/keys")
        page.get_by_label("Label").fill("till")
        page.get_by_role("button", name="Make it").click()
        secret = page.locator("#secret").inner_text()
        stage.until("/sites/corner/keys", lambda found: found["items"])
        models = {"authorization": f"Bearer {secret}"}
        stage.until("/whoami", lambda _: _status(stage, models) == 200)
        page.get_by_role("button", name="Revoke").click()
        page.get_by_text("It opens nothing from now on").wait_for()
        stage.until("/whoami", lambda _: _status(stage, models) == 401)


def test_settings_are_previewed_saved_and_kept_from_a_second_admin(
    stage: Stage, browser: Browser
) -> None:
    """Two browsers with one form open: the later is told, and keeps its text."""
    with visitor(browser) as ann, visitor(browser) as ben:
        for page in (ann, ben):
            log_in(page, stage)
            page.goto(f"{stage.console}/sites/corner/settings")
        limits = "#limits button.main"
        ann.locator("[name=spend_usd_max]").fill("20")
        ann.locator(limits).click()
        ann.wait_for_url("**/settings?done=saved")
        ben.locator("[name=spend_usd_max]").fill("30")
        ben.locator(limits).click()
        ben.get_by_text("Somebody was quicker").wait_for()
        assert ben.locator("[name=spend_usd_max]").input_value() == "30"
        assert ben.get_by_text("is now: 20").is_visible()
        ben.locator("#routing button[hx-post]").click()
        ben.get_by_text("no recorded requests yet").wait_for()


@pytest.mark.parametrize("how", [{}, {"viewport": PHONE, "color_scheme": "dark"}])
def test_pages_fit_and_axe_finds_nothing_serious(
    stage: Stage, browser: Browser, how: dict[str, Any]
) -> None:
    """Wide and light; on a phone in the dark."""
    wrong: dict[str, list[str]] = {}
    with visitor(browser, **how) as page:
        log_in(page, stage)
        for path in PAGES:
            page.goto(f"{stage.console}{path}")
            width = page.evaluate("document.documentElement.scrollWidth")
            found = seriously_wrong(page)
            if width > page.viewport_size["width"]:  # type: ignore[index]
                found.append(f"is {width} wide")
            if found:
                wrong[path] = found
    assert wrong == {}


def _status(stage: Stage, headers: dict[str, str]) -> int:
    answer = httpx.get(f"{stage.url}/v1/models", headers=headers)
    return answer.status_code


def test_a_tenants_key_is_renewed_and_then_destroyed_by_its_name(
    stage: Stage, browser: Browser
) -> None:
    """Another name destroys nothing, and what is typed is asked for each time."""
    with visitor(browser) as page:
        log_in(page, stage)
        page.on("dialog", lambda asked: asked.accept())
        page.goto(f"{stage.console}/vault")
        home = page.locator("tbody tr", has_text="Seal under a new key")
        assert "version 1" in home.inner_text()
        home.get_by_role("button", name="Seal under a new key").click()
        page.get_by_text("Sealed under a new key. Nothing else").wait_for()
        assert "version 2" in home.inner_text()
        home.get_by_role("link", name="Destroy…").click()
        page.get_by_text("faraway").wait_for()
        for typed in ("default/prod", "default/default"):
            page.get_by_label("To go on, type").fill(typed)
            page.get_by_role("button", name="Destroy it for good").click()
            if typed == "default/prod":
                page.get_by_text("must be default/default").wait_for()
        page.get_by_text("Nothing of it opens again").wait_for()
        row = page.locator("tbody tr", has_text="faraway").first
        assert "destroyed" in row.inner_text()
    stage.until("/audit/entries?act=kek.shred", lambda found: found["items"])


def test_the_sealed_key_is_nowhere_on_disk_as_it_was_typed(stage: Stage) -> None:
    """In no table, log or record."""
    for file in Path(stage.state).rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
