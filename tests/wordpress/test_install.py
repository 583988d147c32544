"""From the zip to an answer and back to nothing, as an administrator does it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.wordpress import lab
from tests.wordpress.chatting import Visitor, log_in_by_form
from tests.wordpress.lab import SITE_KEY, Gateway, Site
from tests.wordpress.upstream import DELTAS
from tools.wp_plugin import build

pytestmark = pytest.mark.wordpress

LEFT = (
    "SELECT option_name FROM wp_options WHERE option_name LIKE '%stagedoor%'"
    " OR option_value LIKE '%stagedoor_daily%'"
)
# Who has seen the editor's welcome is not shown it again.
GUIDED = (
    '{"core/edit-post":{"welcomeGuide":false},"_modified":"2024-01-01T00:00:00.000Z"}'
)
TABLES = "SELECT name FROM sqlite_master WHERE name LIKE '%stagedoor%'"


@pytest.fixture(scope="module", params=["7.1", "6.5"])
def bare(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Site, Gateway], None, None]:
    """A site without the plugin, and a gateway."""
    tmp = tmp_path_factory.mktemp("bare")
    with (
        lab.site(request.param, install_plugin=False) as site,
        lab.gateway(tmp / "gateway", [site.url]) as gateway,
    ):
        yield site, gateway


def test_install_set_up_ask_and_delete(
    bare: tuple[Site, Gateway], context: BrowserContext, tmp_path: Path
) -> None:
    site, gateway = bare
    admin = context.new_page()
    log_in_by_form(admin, site)

    _upload(admin, site, build(tmp_path))
    _set_up(admin, site, gateway)
    url = _publish_a_post(admin, site)

    guest = Visitor(context.new_page())
    context.clear_cookies()
    guest.open(url)
    assert guest.page.locator(".stagedoor-chat__title").inner_text() == "Ask us"
    assert guest.ask("Hi").answer() == "".join(DELTAS)
    assert guest.routes() == ["grants", "gateway"]
    assert gateway.upstream.asked[-1].body["model"] == "model-b"
    assert site.complaints() == []

    log_in_by_form(admin, site)
    _delete(admin, site)
    assert site.sql(LEFT) == []
    assert site.sql(TABLES) == []
    assert not (site.path / "wp-content/plugins/stagedoor").exists()


def _upload(admin: Page, site: Site, zip_file: Path) -> None:
    admin.goto(f"{site.url}/wp-admin/plugin-install.php?tab=upload")
    admin.set_input_files("#pluginzip", zip_file)
    admin.click("#install-plugin-submit")
    admin.get_by_role("link", name="Activate Plugin").click()
    admin.wait_for_url("**/plugins.php**")
    row = admin.locator("tr[data-slug=stagedoor]")
    expect(row.get_by_role("link", name="Settings")).to_be_visible()


def _set_up(admin: Page, site: Site, gateway: Gateway) -> None:
    admin.goto(f"{site.url}/wp-admin/plugins.php")
    admin.locator("tr[data-slug=stagedoor]").get_by_role(
        "link", name="Settings"
    ).click()
    admin.fill("#stagedoor-base_url", f"{gateway.url}/v1/")
    admin.fill("#stagedoor-api_key", SITE_KEY)
    admin.click("#submit")
    admin.wait_for_selector("#setting-error-settings_updated")

    assert admin.input_value("#stagedoor-base_url") == gateway.url
    assert admin.input_value("#stagedoor-api_key") == ""
    assert SITE_KEY not in admin.content()
    admin.click("[data-stagedoor-test=status]")
    admin.get_by_role("button", name="model-b").click()
    admin.click("#submit")
    admin.wait_for_selector("#setting-error-settings_updated")
    assert admin.input_value("#stagedoor-model") == "model-b"


def _publish_a_post(admin: Page, site: Site) -> str:
    site.wp(
        "user",
        "meta",
        "update",
        "1",
        "wp_persisted_preferences",
        GUIDED,
        "--format=json",
    )
    admin.goto(f"{site.url}/wp-admin/post-new.php")
    admin.get_by_role("button", name="Block Inserter").or_(
        admin.get_by_role("button", name="Toggle block inserter")
    ).first.click()
    admin.get_by_placeholder("Search").first.fill("Stagedoor")
    admin.get_by_role("option", name="Stagedoor chat").click()
    admin.evaluate(
        "wp.data.dispatch('core/editor').editPost({title: 'Help', status: 'publish'})"
    )
    admin.evaluate(
        """() => {
          const block = wp.data.select('core/block-editor').getBlocks().find(b => b.name === 'stagedoor/chat');
          wp.data.dispatch('core/block-editor').selectBlock(block.clientId);
          wp.data.dispatch('core/edit-post').openGeneralSidebar('edit-post/block');
        }"""
    )
    admin.get_by_label("Title", exact=True).fill("Ask us")
    admin.evaluate("wp.data.dispatch('core/editor').savePost()")
    admin.wait_for_function(
        "wp.data.select('core/editor').getCurrentPost().status === 'publish'"
        " && !wp.data.select('core/editor').isSavingPost()"
    )
    url: str = admin.evaluate("wp.data.select('core/editor').getPermalink()")
    return url


def _delete(admin: Page, site: Site) -> None:
    admin.on("dialog", lambda dialog: dialog.accept())
    admin.goto(f"{site.url}/wp-admin/plugins.php")
    admin.locator("tr[data-slug=stagedoor]").get_by_role(
        "link", name="Deactivate"
    ).click()
    admin.wait_for_selector("tr[data-slug=stagedoor].inactive")
    admin.locator("tr[data-slug=stagedoor]").get_by_role("link", name="Delete").click()
    admin.wait_for_selector("tr[data-slug=stagedoor].deleted", state="attached")
