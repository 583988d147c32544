"""Every hook at work, in the example plugin that the documentation shows."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.wordpress.chatting import Visitor
from tests.wordpress.conftest import CHAT, Stage
from tests.wordpress.upstream import say

pytestmark = pytest.mark.wordpress

EXAMPLE = Path(__file__).parent / "addon" / "stagedoor-example"


@pytest.fixture
def addon(stage: Stage) -> Generator[Stage, None, None]:
    """The site with the example plugin."""
    target = stage.site.path / "wp-content/plugins/stagedoor-example"
    shutil.copytree(EXAMPLE, target, dirs_exist_ok=True)
    stage.site.wp("plugin", "activate", "stagedoor-example")
    yield stage
    stage.site.wp("plugin", "deactivate", "stagedoor-example")


def test_hooks_in_the_browser_see_and_change_a_streamed_answer(
    addon: Stage, page: Page
) -> None:
    visitor = Visitor(page).open(addon.page_url)

    answer = visitor.ask(say(deltas=["Wait", " -- it", " comes"], gap_ms=120)).answer()

    assert answer == "Wait \u2013 it comes"
    diary = page.evaluate("exampleDiary")
    assert diary[0] == "start direct"
    assert [line for line in diary if line.startswith("text")][-1] == "text 15"
    assert len([line for line in diary if line.startswith("text")]) >= 3
    assert set(diary[-2:]) == {"end complete", "event complete"}
    assert page.locator(".example-frame .stagedoor-chat").count() == 1


def test_a_hook_renders_the_partial_answer_itself(addon: Stage, page: Page) -> None:
    visitor = Visitor(page).open(addon.page_url)

    visitor.ask(say(deltas=["SHOWS: Hamlet;", " <b>Faust</b>;", " Carmen"])).ended()

    cards = page.locator(".example-cards li")
    assert cards.all_inner_texts() == ["Hamlet", "<b>Faust</b>", "Carmen"]


def test_hooks_on_the_server_change_what_is_asked_and_told(
    addon: Stage, page: Page
) -> None:
    addon.site.settings(transport="relay", system_prompt="Be kind.")
    visitor = Visitor(page).open(addon.page_url)

    answer = visitor.ask(say(deltas=["Not Rival House", "."])).answer()

    assert answer == "Not another house."
    asked = addon.upstream.asked[0]
    assert asked.system == "Be kind.\nThe visitor reads: Chat"
    assert asked.body["temperature"] == 0.9
    diary = addon.site.wp("option", "get", "example_diary", "--format=json")
    assert diary == '["complete relay server 2"]'


def test_an_answer_that_passed_php_by_is_in_the_diary_too(
    addon: Stage, page: Page
) -> None:
    Visitor(page).open(addon.page_url).ask("Hi").answer()

    def diary() -> str:
        return addon.site.wp(
            "option", "get", "example_diary", "--format=json", check=False
        )

    addon.upstream.until("the browser has told", lambda: "browser" in diary())
    assert '"complete direct browser 8"' in diary()


def test_a_hook_says_who_may_not_ask_and_why(addon: Stage, page: Page) -> None:
    url = addon.site.page("Closed", CHAT)

    failure = Visitor(page).open(url).ask("Hi").failure()

    assert failure == "The box office is closed."
    assert addon.upstream.asked == []
