"""Takes the pictures of docs/wordpress.md: `python -m tests.wordpress.pictures [FOLDER]`.

From a real site and a real browser, so that they show what there is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

from tests.wordpress import lab
from tests.wordpress.chatting import log_in
from tests.wordpress.conftest import CHROMIUM
from tests.wordpress.lab import ROOT, Gateway, Site
from tests.wordpress.test_editor import act, paragraphs
from tests.wordpress.upstream import say

FIRST: Final = [
    "Three things help:\n\n",
    "1. **Book early**: the front rows go first.\n",
    "2. Bring the *ticket*, on paper or on your phone.\n\n",
    "| Day | Doors |\n|---|---|\n| Friday | 18:30 |\n| Saturday | 17:00 |\n\n",
    "[The seating plan](https://example.com/plan) shows what is free.\n",
]
SECOND: Final = [
    "The hall has a roof, ",
    "so nothing changes. ",
    "Umbrellas go to the ",
    "cloakroom.",
]
BETTER: Final = [
    "The stage door opens an hour before the curtain,", " and whoever knows the", " porter"
]  # fmt: skip


def ask(page: Page, shown: str, script: str) -> None:
    """Ask by a script, and show a question that a visitor would ask."""
    page.evaluate(
        """([shown, script]) => {
          document.querySelector('.stagedoor-chat').stagedoor.ask(script);
          const asked = document.querySelectorAll('.is-user .stagedoor-chat__text');
          asked[asked.length - 1].textContent = shown;
        }""",
        [shown, script],
    )


def chat(browser: Browser, url: str, target: Path, **look: object) -> None:
    """A conversation, the second answer of which is being written."""
    context = browser.new_context(**look)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    ask(page, "How do I get a good seat?", say(deltas=FIRST, gap_ms=1, tokens=412_000))
    page.wait_for_function("document.querySelector('.stagedoor-chat__stop').hidden")
    ask(page, "And when it rains?", say(deltas=SECOND, gap_ms=2500))
    page.get_by_text("so nothing changes").wait_for()
    page.locator(".stagedoor-chat").screenshot(path=target)
    context.close()


def admin(browser: Browser, site: Site, target: Path) -> None:
    """Settings, usage and the editor."""
    context = browser.new_context(viewport={"width": 900, "height": 640})
    page = context.new_page()
    log_in(page, site)
    page.goto(f"{site.url}/wp-admin/")
    page.locator("#stagedoor_usage").get_by_text("Begins anew").wait_for()
    page.locator("#stagedoor_usage").screenshot(path=target / "wordpress-usage.png")
    page.goto(f"{site.url}/wp-admin/options-general.php?page=stagedoor")
    page.click("[data-stagedoor-test=streaming]")
    page.locator(".stagedoor-tests__result").get_by_text("Answers travel").wait_for()
    page.screenshot(path=target / "wordpress-settings.png")
    post_id = site.wp(
        "post", "create", "--post_title=Behind the scenes", "--porcelain",
        f"--post_content={paragraphs('The stage door opens early. ' + say(deltas=BETTER, gap_ms=1500))}",
    )  # fmt: skip
    page.goto(f"{site.url}/wp-admin/post.php?post={post_id}&action=edit")
    page.wait_for_function(
        "wp.data.select('core/block-editor').getBlocks().length === 1"
    )
    page.evaluate(
        """() => {
          wp.data.dispatch('core/preferences').set('core/edit-post', 'welcomeGuide', false);
          wp.data.dispatch('core/edit-post').closeGeneralSidebar();
          const [block] = wp.data.select('core/block-editor').getBlocks();
          wp.data.dispatch('core/block-editor').selectBlock(block.clientId);
        }"""
    )
    act(page, "Rewrite")
    page.wait_for_function(
        "String(wp.data.select('core/block-editor').getBlocks()[0].attributes.content).includes('whoever')"
    )
    page.wait_for_timeout(300)  # Until it is painted.
    page.screenshot(
        path=target / "wordpress-editor.png",
        clip={"x": 0, "y": 0, "width": 900, "height": 420},
    )
    context.close()


def fill_usage(site: Site, gateway: Gateway) -> None:
    """Something to show in the widget."""
    for feature, tokens in (
        ("cli", 9000),
        ("editor", 230_000),
        ("ai-client:hello-dolly", 120_000),
    ):
        script = say(tokens=tokens)
        site.php(
            "$q = new Stagedoor\\Question( wp_generate_uuid4(), "
            f"'{feature}', Stagedoor\\Chat::with_defaults( array( 'model' => '', 'system_prompt' => '', 'max_tokens' => 500 ), 0 ),"
            f"array( array( 'role' => 'user', 'content' => '{script}' ) ) ); Stagedoor\\Client::complete( $q );"
        )
    gateway.upstream.until(
        "usage is told",
        lambda: (
            '"Command line"'
            in site.php("echo wp_json_encode( Stagedoor\\Usage::view( true ) );")
        ),
    )


def main() -> None:
    """All of them."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        lab.site() as site,
        lab.gateway(Path(folder), [site.url], "spend_usd_max = 20") as gateway,
        sync_playwright() as playwright,
    ):
        lab.connect(site, gateway)
        url = site.page("Help", '<!-- wp:stagedoor/chat {"title":"Box office"} /-->')
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM[0], args=CHROMIUM[1:]
        )
        wide = {"viewport": {"width": 720, "height": 800}}
        phone = {"viewport": {"width": 375, "height": 700}, "color_scheme": "dark"}
        chat(browser, url, target / "wordpress-chat-light.png", **wide)
        chat(browser, url, target / "wordpress-chat-dark.png", **phone)
        fill_usage(site, gateway)
        admin(browser, site, target)
        browser.close()


if __name__ == "__main__":
    main()
