"""What breaks a chat from outside: add-ons that throw, authors who tamper, tabs and tables.

Each test is an attack, or an accident that looks like one.
"""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.wordpress.chatting import Visitor, log_in
from tests.wordpress.conftest import CHAT, Stage
from tests.wordpress.lab import SITE_KEY
from tests.wordpress.upstream import DELTAS, say

pytestmark = pytest.mark.wordpress

WHOLE = "".join(DELTAS)
CHATS = "document.querySelectorAll('.stagedoor-chat')"


def test_add_ons_that_throw_are_reported_and_the_answer_goes_on(
    stage: Stage, context: BrowserContext
) -> None:
    """Whatever hook fails, the answer is shown, kept, and asked for once."""
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error.message))
    visitor = Visitor(page).open(stage.page_url)
    page.evaluate(
        """() => {
          for (const name of ['requestBody', 'delta', 'renderPartial']) {
            wp.hooks.addFilter('stagedoor.' + name, 'broken/' + name, () => { throw new Error('broken ' + name); });
          }
          for (const name of ['streamStart', 'partialRendered', 'streamEnd']) {
            wp.hooks.addAction('stagedoor.' + name, 'broken/' + name, () => { throw new Error('broken ' + name); });
          }
        }"""
    )

    assert visitor.ask("First").answer() == WHOLE
    assert visitor.ask("Second").answer() == WHOLE

    assert page.locator(".stagedoor-chat__failure").count() == 0
    assert [len(asked.body["messages"]) for asked in stage.upstream.asked] == [1, 3]
    broken = {error.removeprefix("Error: ") for error in errors}
    names = "requestBody delta renderPartial streamStart partialRendered streamEnd"
    assert broken == {f"broken {name}" for name in names.split()}


def test_half_a_character_that_was_kept_does_not_end_the_conversation(
    stage: Stage, page: Page
) -> None:
    """PHP reads no JSON with a half in it; stopped answers and add-ons may leave one."""
    visitor = Visitor(page).open(stage.page_url)
    page.evaluate(
        "wp.hooks.addFilter('stagedoor.delta', 'half/emoji', text => text + '\\ud83d')"
    )

    visitor.ask("First").ended()
    visitor.ask("Second").ended()
    visitor.ask("Third").ended()

    assert page.locator(".stagedoor-chat__failure").count() == 0
    turns = [message["content"] for message in stage.upstream.asked[2].body["messages"]]
    assert turns == ["First", WHOLE, "Second", WHOLE, "Third"]


def test_an_author_cannot_send_what_visitors_ask_to_somebody_else(
    stage: Stage, page: Page
) -> None:
    """Authors may write elements and data attributes; where to ask is not in those."""
    evil = stage.gateway.url
    held = json.dumps(
        {"chat": "x" * 64, "rest": f"{evil}/", "probe": f"{evil}/", "order": ["relay"]}
        | {"format": "text", "sentences": {}, "login": "javascript:alert(1)"}
    ).replace('"', "&quot;")
    fake = (
        f'<!-- wp:html --><div class="stagedoor-chat" data-stagedoor="{held}">'
        '<div class="stagedoor-chat__log"></div><p class="stagedoor-chat__status"></p>'
        '<textarea class="stagedoor-chat__input"></textarea>'
        '<button class="stagedoor-chat__send">Send</button>'
        '<button class="stagedoor-chat__stop">Stop</button>'
        '<button class="stagedoor-chat__new">New</button><!-- /wp:html -->'
        '<!-- wp:search {"label":"","className":"stagedoor-chat__form"} /-->'
        "<!-- wp:html --></div><!-- /wp:html -->"
    )
    stage.site.wp("user", "create", "author", "a@example.com", "--role=author")
    made = stage.site.wp(
        "eval",
        "echo get_permalink( wp_insert_post( wp_slash( array( 'post_status' => 'publish',"
        "'post_title' => 'Tampered', 'post_content' => file_get_contents( 'php://stdin' ) ) ) ) );",
        "--user=author",
        stdin=fake + CHAT,
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(made)
    assert page.evaluate(f"{CHATS}.length") == 2

    page.locator(".stagedoor-chat__input").first.fill("my secret")
    page.evaluate(
        f"() => {{ const fake = {CHATS}[0].stagedoor; if (fake) fake.ask('my secret'); }}"
    )
    page.evaluate(f"() => {{ {CHATS}[1].stagedoor.ask('Hi'); }}")
    expect(page.locator(".is-assistant").last).to_contain_text(WHOLE)

    told = [url for url in asked if url.startswith(evil)]
    assert [
        url for url in told if not re.search("/healthz$|/stream_grants/", url)
    ] == []


def test_a_broken_copy_of_a_chat_leaves_the_pages_other_chats_alone(
    stage: Stage, context: BrowserContext
) -> None:
    broken = (
        '<!-- wp:html --><div class="stagedoor-chat" data-stagedoor="{">'
        "</div><!-- /wp:html -->"
    )
    page = context.new_page()
    page.goto(stage.site.page("Broken", broken + CHAT))

    page.evaluate(f"() => {{ {CHATS}[1].stagedoor.ask('Hi'); }}")

    expect(page.locator(".is-assistant").last).to_contain_text(WHOLE)


def test_a_conversation_that_was_cleared_gets_no_late_answer(
    stage: Stage, page: Page
) -> None:
    visitor = Visitor(page).open(stage.page_url).ask(say(gap_ms=300))
    visitor.shows("two")

    page.evaluate(f"() => {{ {CHATS}[0].stagedoor.clear(); }}")
    asked = stage.upstream.asked[0]
    stage.upstream.until("the provider is left", lambda: asked.ended == "left")
    visitor.ask("Anew").answer()

    turns = [message["content"] for message in stage.upstream.asked[1].body["messages"]]
    assert turns == ["Anew"]
    assert page.locator(".stagedoor-chat__turn").count() == 2


def test_of_a_long_conversation_only_what_the_server_reads_is_sent(
    stage: Stage, page: Page
) -> None:
    """Web servers refuse long requests before anybody could cut them."""
    visitor = Visitor(page).open(stage.page_url)
    page.evaluate(
        f"""() => {{
          const chat = {CHATS}[0].stagedoor;
          for (let turn = 0; turn < 10; turn++) {{
            chat.turns.push({{role: turn % 2 ? 'assistant' : 'user', content: String(turn).repeat(15000)}});
          }}
        }}"""
    )
    sent: list[int] = []
    page.on("request", lambda one: sent.append(len(one.post_data or "")))

    assert visitor.ask("And now?").answer() == WHOLE

    assert 40_000 < max(sent) < 70_000
    roles = [message["role"] for message in stage.upstream.asked[0].body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_trying_again_takes_away_only_what_failed(stage: Stage, page: Page) -> None:
    """An earlier answer may have the very words of the one that broke off."""
    visitor = Visitor(page).open(stage.page_url)
    visitor.ask(say(deltas=["One"])).answer()
    visitor.ask(say(deltas=["One", " two"], cut_before=1, gap_ms=80)).failure()

    page.click(".stagedoor-chat__again")
    visitor.ended()

    roles = [message["role"] for message in stage.upstream.asked[2].body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_enter_and_a_double_click_while_an_answer_comes_ask_once(
    stage: Stage, page: Page
) -> None:
    url = stage.site.page(
        "Suggests",
        '<!-- wp:stagedoor/chat {"suggestions":["When do doors open?"]} /-->',
    )
    visitor = Visitor(page).open(url)

    page.dblclick(".stagedoor-chat__suggestion")
    page.fill(".stagedoor-chat__input", "next")
    page.press(".stagedoor-chat__input", "Enter")

    assert visitor.answer() == WHOLE
    assert page.input_value(".stagedoor-chat__input") == "next"
    assert len(stage.upstream.asked) == 1


def test_who_logs_in_elsewhere_may_ask_without_loading_the_page_anew(
    stage: Stage, context: BrowserContext
) -> None:
    stage.site.settings(who="members")
    page = context.new_page()
    visitor = Visitor(page).open(stage.page_url).ask("Hi")
    assert visitor.failure().startswith("Please log in to ask the assistant.")
    href = page.locator(".stagedoor-chat__failure a").get_attribute("href")
    assert href is not None
    assert href.startswith(f"{stage.site.url}/wp-login.php?redirect_to=http")

    log_in(page, stage.site, "sub")

    assert visitor.ask("Hi").answer() == WHOLE


def test_who_logs_out_leaves_no_conversation_for_who_sits_there_next(
    stage: Stage, page: Page
) -> None:
    log_in(page, stage.site, "sub")
    visitor = Visitor(page).open(stage.page_url)
    visitor.ask("Something of my own").answer()
    page.reload()
    assert page.locator(".stagedoor-chat__turn").count() == 2

    page.goto(f"{stage.site.url}/wp-login.php?action=logout")
    page.get_by_role("link", name="log out").click()
    page.wait_for_url("**loggedout=true**")

    page.goto(stage.page_url)
    assert page.locator(".stagedoor-chat__turn").count() == 0


def test_a_site_that_lost_our_tables_makes_them_again(stage: Stage, page: Page) -> None:
    """Tools that move sites know core's tables only."""
    stage.site.php('global $wpdb; $wpdb->query( "DROP TABLE wp_stagedoor_counts" );')

    assert Visitor(page).open(stage.page_url).ask("Hi").answer() == WHOLE

    counted = "SELECT hits FROM wp_stagedoor_counts WHERE name LIKE 'guest:%'"
    assert stage.site.sql(counted) == [(1,)]


def test_a_site_without_permalinks_answers_too(stage: Stage, page: Page) -> None:
    stage.site.wp("rewrite", "structure", "")
    page_id = stage.site.wp(
        "post", "list", "--post_type=page", "--name=chat", "--field=ID"
    )
    visitor = Visitor(page).open(f"{stage.site.url}/?page_id={page_id}")

    assert visitor.ask("Hi").answer() == WHOLE


CLASSIC = {
    "style.css": "/* Theme Name: Classic */",
    "functions.php": "<?php add_action( 'widgets_init', function () { register_sidebar( array( 'id' => 'side', 'name' => 'Side' ) ); } );",
    "index.php": """<!DOCTYPE html><html><head><?php wp_head(); ?></head><body <?php body_class(); ?>><main>
<?php while ( have_posts() ) { the_post(); the_content(); } ?></main>
<aside><?php dynamic_sidebar( 'side' ); ?></aside><?php wp_footer(); ?></body></html>""",
}


def test_a_sidebar_of_a_classic_theme_answers_on_every_page(
    stage: Stage, page: Page
) -> None:
    """Beside a list of posts, a page that is not there, and one that wants a password."""
    theme = stage.site.path / "wp-content/themes/classic"
    theme.mkdir(exist_ok=True)
    for name, text in CLASSIC.items():
        (theme / name).write_text(text)
    stage.site.wp("theme", "activate", "classic")
    stage.site.wp("widget", "reset", "--all")
    stage.site.wp("widget", "add", "block", "side", "--content=" + CHAT)
    locked = stage.site.wp(
        "eval",
        "echo get_permalink( wp_insert_post( array( 'post_status' => 'publish',"
        "'post_type' => 'page', 'post_title' => 'Locked', 'post_password' => 'pw', 'post_content' => 'x' ) ) );",
    )

    for url in (f"{stage.site.url}/", f"{stage.site.url}/not-there/", locked):
        assert Visitor(page).open(url).ask("Hi").answer() == WHOLE
        page.click(".stagedoor-chat__new")


def test_a_grant_is_of_no_use_to_another_sites_page(
    stage: Stage, context: BrowserContext
) -> None:
    """Nor does an attempt use it up: the visitor it was made for still gets the answer."""
    page = context.new_page()
    caught: list[str] = []

    def steal(route: object) -> None:
        url: str = route.request.url  # type: ignore[attr-defined]
        if not caught:
            caught.append(url)
            foreign = context.new_page()
            foreign.goto(f"{stage.gateway.url}/healthz")
            caught.append(foreign.evaluate(FETCH, url))
        route.continue_()  # type: ignore[attr-defined]

    page.route("**/v1/stream_grants/**", steal)
    visitor = Visitor(page).open(stage.page_url)

    assert visitor.ask("Hi").answer() == WHOLE
    assert "grant_origin_mismatch" in caught[1]
    assert len(stage.upstream.asked) == 1
    page.unroute_all()
    again = page.evaluate(FETCH, caught[0])
    assert "grant_used" in again
    assert len(stage.upstream.asked) == 1


FETCH = "url => fetch(url).then(async r => r.status + ' ' + await r.text(), () => 'unreadable')"


def test_a_key_with_a_line_end_is_sent_without_it(stage: Stage) -> None:
    """Secrets that are mounted as files end with one."""
    said = stage.site.wp(
        "eval",
        f"define( 'STAGEDOOR_API_KEY', \"{SITE_KEY}\\n\" ); delete_option( 'connectors_ai_stagedoor_api_key' );"
        "echo wp_json_encode( Stagedoor\\Client::models( true ) );",
    )

    assert json.loads(said) == ["model-a", "model-b"]
