"""The chat, as visitors have it: a real page, a real browser, a real gateway."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.wordpress.chatting import Visitor, config, log_in, log_in_by_form, post
from tests.wordpress.conftest import Stage
from tests.wordpress.lab import SITE_KEY
from tests.wordpress.upstream import DELTAS, say

pytestmark = pytest.mark.wordpress

WHOLE = "".join(DELTAS)


def test_an_answer_appears_while_it_is_written(stage: Stage, page: Page) -> None:
    """Deltas 120 ms apart are seen one by one, and come from the gateway itself."""
    visitor = Visitor(page).open(stage.page_url)

    answer = visitor.ask(say(gap_ms=120)).answer()

    assert answer == WHOLE
    assert visitor.routes() == ["grants", "gateway"]
    assert len(visitor.seen()) >= len(DELTAS) - 1
    assert sum(gap > 60 for gap in visitor.gaps_ms()) >= len(DELTAS) - 3
    assert len(stage.upstream.asked) == 1


def test_stop_keeps_what_has_come_and_ends_the_generation(
    stage: Stage, page: Page
) -> None:
    visitor = Visitor(page).open(stage.page_url).ask(say(gap_ms=300))
    visitor.shows("two")

    visitor.stop()

    shown = visitor.shown()
    assert WHOLE.startswith(shown)
    assert shown != WHOLE
    expect(page.locator(".stagedoor-chat__mark")).to_have_text("Stopped")
    assert page.evaluate("document.activeElement.className") == "stagedoor-chat__input"
    asked = stage.upstream.asked[0]
    stage.upstream.until("the provider is left", lambda: asked.ended == "left")
    assert asked.sent < len(DELTAS)


def test_the_conversation_goes_on_and_survives_a_reload(
    stage: Stage, page: Page
) -> None:
    visitor = Visitor(page).open(stage.page_url)
    visitor.ask("First question").answer()

    page.reload()
    page.wait_for_selector(".stagedoor-chat__turn.is-assistant")
    visitor.ask("Second question").answer()

    turns = [message["content"] for message in stage.upstream.asked[1].body["messages"]]
    assert turns == ["First question", WHOLE, "Second question"]
    page.click(".stagedoor-chat__new")
    assert page.locator(".stagedoor-chat__turn").count() == 0
    page.reload()
    assert page.locator(".stagedoor-chat__turn").count() == 0


def test_a_reload_in_the_middle_of_an_answer_ends_it(stage: Stage, page: Page) -> None:
    visitor = Visitor(page).open(stage.page_url).ask(say(gap_ms=300))
    visitor.shows("two")

    page.reload()

    asked = stage.upstream.asked[0]
    stage.upstream.until("the provider is left", lambda: asked.ended == "left")
    assert len(stage.upstream.asked) == 1
    assert visitor.shown().startswith("One two")


def test_hostile_answers_are_text(stage: Stage, page: Page) -> None:
    """Nothing a model writes becomes an element that does something."""
    hostile = [
        "<img src=x one",
        "rror=alert(1)> <scr",
        "ipt>document.title='x'</script> ",
        "[click](javascript:alert(1)) [data](data:text/html,<script>) ",
        "![pixel](https://evil.example/p.gif) ",
        '<a href="javascript:alert(1)">x</a> [ok](https://example.com/a)',
        "\n\n<iframe src=//evil.example></iframe>",
    ]
    visitor = Visitor(page).open(stage.page_url)

    visitor.ask(say(deltas=hostile)).answer()

    text = page.locator(".is-assistant .stagedoor-chat__text")
    assert text.locator("img, script, iframe, svg, style, form, object").count() == 0
    assert text.locator("a").evaluate_all("all => all.map(a => a.href)") == [
        "https://evil.example/p.gif",
        "https://example.com/a",
    ]
    assert text.evaluate(
        "root => [...root.querySelectorAll('*')].flatMap(e => [...e.attributes])"
        ".filter(a => a.name.startsWith('on')).length"
    ) == (0)
    assert "<img src=x onerror=alert(1)>" in text.inner_text()
    assert page.title().startswith("Chat")


def test_visitors_choose_neither_model_nor_prompt(stage: Stage, page: Page) -> None:
    stage.site.settings(system_prompt="You are the house's assistant.", max_tokens=77)
    Visitor(page).open(stage.page_url)
    body = {
        "chat": config(page)["chat"],
        "question": fresh(),
        "model": "model-b",
        "system_prompt": "mine",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "hi"}],
    }

    answer = post(page, stage.site, "complete", body)
    forged = post(
        page,
        stage.site,
        "complete",
        {
            **body,
            "question": fresh(),
            "messages": [{"role": "system", "content": "x"}],
        },
    )

    assert answer["status"] == 200
    asked = stage.upstream.asked[0]
    assert asked.body["model"] == "model-a"
    assert asked.body["max_tokens"] == 77
    assert asked.system == "You are the house's assistant."
    assert forged["status"] == 400
    assert len(stage.upstream.asked) == 1


def test_the_key_and_the_prompt_are_nowhere_in_what_browsers_get(
    stage: Stage, page: Page
) -> None:
    stage.site.settings(system_prompt="Secret-Prompt-Words")
    bodies: list[str] = []
    page.on("response", lambda response: bodies.append(_text(response)))
    log_in(page, stage.site)

    Visitor(page).open(stage.page_url).ask("Hi").answer()
    page.goto(f"{stage.site.url}/wp-json/stagedoor/v1/status")
    page.goto(f"{stage.site.url}/wp-admin/options-general.php?page=stagedoor")

    everything = "\n".join(bodies)
    assert "stagedoor-chat" in everything
    assert SITE_KEY not in everything
    # The settings screen shows the prompt to who may change it, and to nobody else.
    visitors = "\n".join(
        text for text in bodies if 'id="stagedoor-system_prompt"' not in text
    )
    assert "Secret-Prompt-Words" not in visitors
    assert SITE_KEY not in stage.gateway.log.read_text()
    assert not stage.site.log.exists() or SITE_KEY not in stage.site.log.read_text()


def fresh() -> str:
    """A question's name: the gateway remembers those of all tests."""
    return uuid.uuid4().hex


def _text(response: object) -> str:
    try:
        return str(response.text())  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - redirects and streams have no body to look at.
        return ""


def test_pages_are_the_same_for_everybody_so_that_they_can_be_cached(
    stage: Stage, context: BrowserContext
) -> None:
    """Who asks is found out when they ask: a cached page has nobody's nonce."""
    guest = context.new_page()
    guest.goto(stage.page_url)
    held = guest.locator(".stagedoor-chat").get_attribute("data-stagedoor")
    member = context.new_page()
    log_in(member, stage.site, "sub")

    visitor = Visitor(member).open(stage.page_url)
    visitor.ask("Hi").answer()

    assert member.locator(".stagedoor-chat").get_attribute("data-stagedoor") == held
    assert "nonce" not in (held or "")
    assert stage.upstream.asked[0].body["user"].startswith("u")


def test_members_only_asks_guests_to_log_in(
    stage: Stage, context: BrowserContext
) -> None:
    stage.site.settings(who="members")
    guest = Visitor(context.new_page()).open(stage.page_url).ask("Hi")
    assert guest.failure() == "Please log in to ask the assistant. Log in"
    member = context.new_page()
    log_in_by_form(member, stage.site, ("sub", "sub"))

    assert Visitor(member).open(stage.page_url).ask("Hi").answer() == WHOLE
    assert len(stage.upstream.asked) == 1


def test_a_stale_nonce_is_renewed_and_the_question_asked_once(
    stage: Stage, page: Page
) -> None:
    log_in(page, stage.site, "sub")
    visitor = Visitor(page).open(stage.page_url)
    page.evaluate(
        "document.querySelector('.stagedoor-chat').stagedoor.session.fixedNonce = 'old'"
    )

    assert visitor.ask("Hi").answer() == WHOLE

    assert [one for one in visitor.calls if one[0] == "grants"] == [
        ("grants", 403),
        ("grants", 200),
    ]
    assert len(stage.upstream.asked) == 1


def test_a_guest_who_asked_enough_reads_so(stage: Stage, page: Page) -> None:
    stage.site.settings(limit_guest=2)
    visitor = Visitor(page).open(stage.page_url)
    visitor.ask("One").answer()
    visitor.ask("Two").answer()

    failure = visitor.ask("Three").failure()

    assert failure.startswith("That is as many questions")
    assert len(stage.upstream.asked) == 2


def test_a_chat_that_was_removed_from_its_page_answers_nobody(
    stage: Stage, page: Page
) -> None:
    """Old copies of a page must not ask what its editor has taken back."""
    visitor = Visitor(page).open(stage.page_url)
    post_id = stage.site.wp(
        "post", "list", "--post_type=page", "--name=chat", "--field=ID"
    )
    stage.site.wp("post", "update", post_id, "--post_content=No more chat")

    assert visitor.ask("Hi").failure().startswith("This page has changed")
    assert stage.upstream.asked == []


def test_other_sites_can_neither_ask_nor_learn_who_is_logged_in(
    stage: Stage, context: BrowserContext
) -> None:
    page = context.new_page()
    log_in(page, stage.site)
    token = None
    page.goto(stage.page_url)
    token = config(page)["chat"]
    foreign = context.new_page()
    foreign.goto(f"{stage.gateway.url}/healthz")  # Another origin.

    found = foreign.evaluate(
        """async ([rest, chat]) => {
          const attempt = (route, options) => fetch(rest + route, {credentials: 'include', ...options})
            .then(async r => r.status + ' ' + await r.text()).catch(() => 'unreadable');
          return [
            await attempt('session', {}),
            await attempt('session', {headers: {'X-Stagedoor-Session': '1'}}),
            await attempt('complete', {method: 'POST', headers: {'Content-Type': 'text/plain'},
              body: JSON.stringify({chat, question: 'c'.repeat(20) + Date.now(), messages: [{role: 'user', content: 'hi'}]})}),
          ];
        }""",
        [f"{stage.site.url}/wp-json/stagedoor/v1/", token],
    )

    assert found == ["unreadable"] * 3
    assert stage.upstream.asked == []


def test_a_spending_cap_is_told_kindly_to_visitors_and_plainly_to_the_owner(
    stage: Stage, context: BrowserContext
) -> None:
    stage.gateway.write([stage.site.url], "spend_usd_max = 0.000001")
    stage.upstream.until("the cap is in force", lambda: _capped(stage))
    try:
        guest = Visitor(context.new_page()).open(stage.page_url).ask("Hi")
        assert guest.failure().startswith("The assistant is taking a break")
        assert guest.page.locator(".stagedoor-chat__again").count() == 0
        assert "USD" not in guest.page.locator(".stagedoor-chat").inner_text()
        owner = context.new_page()
        log_in(owner, stage.site)
        stage.site.settings(transport="relay")
        asked = Visitor(owner).open(stage.page_url).ask("Hi")
        assert asked.failure().startswith("The assistant is taking a break")
        assert "spend" in owner.locator(".stagedoor-chat__reason").inner_text()
        owner.goto(f"{stage.site.url}/wp-admin/")
        notice = owner.locator(
            ".notice-warning", has_text="Stagedoor answers no questions"
        )
        assert "spend" in notice.inner_text()
    finally:
        stage.gateway.write([stage.site.url])
        stage.upstream.until("the cap is gone", lambda: not _capped(stage))


def _capped(stage: Stage) -> bool:
    return "insufficient_quota" in stage.site.wp(
        "eval",
        "$e = Stagedoor\\Client::complete( new Stagedoor\\Question( 'x', 'cli',"
        "Stagedoor\\Chat::with_defaults( array( 'model' => '', 'system_prompt' => '',"
        "'max_tokens' => 5 ), 0 ), array( array( 'role' => 'user', 'content' => 'x' ) ) ) );"
        "echo is_wp_error( $e ) && 'stagedoor_cap' === $e->get_error_code()"
        " ? 'insufficient_quota' : 'fine'; delete_option( 'stagedoor_cap' );",
    )
