"""Writing help in the block editor: the answer streams into the text."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.wordpress.chatting import log_in, post
from tests.wordpress.conftest import Stage
from tests.wordpress.upstream import say

pytestmark = pytest.mark.wordpress

CONTENTS = (
    "wp.data.select('core/block-editor').getBlocks()"
    ".map(block => String(block.attributes.content))"
)


def paragraphs(*texts: str) -> str:
    """A post's content."""
    return "".join(
        f"<!-- wp:paragraph --><p>{text}</p><!-- /wp:paragraph -->" for text in texts
    )


def write(stage: Stage, page: Page, *texts: str) -> None:
    """Open the editor on a post with these paragraphs, the last one selected."""
    post_id = stage.site.wp(
        "post",
        "create",
        "--post_status=draft",
        "--post_title=Draft",
        f"--post_content={paragraphs(*texts)}",
        "--porcelain",
    )
    log_in(page, stage.site)
    page.goto(f"{stage.site.url}/wp-admin/post.php?post={post_id}&action=edit")
    page.wait_for_function(f"{CONTENTS}.length === {len(texts)}")
    page.evaluate(
        """() => {
          wp.data.dispatch('core/preferences').set('core/edit-post', 'welcomeGuide', false);
          const blocks = wp.data.select('core/block-editor').getBlocks();
          wp.data.dispatch('core/block-editor').selectBlock(blocks[blocks.length - 1].clientId);
        }"""
    )


def act(page: Page, action: str) -> None:
    """Choose an action in the block's toolbar."""
    page.get_by_role("button", name="Write with Stagedoor").click()
    page.get_by_role("menuitem", name=action).click()


def contents(page: Page) -> list[str]:
    """The blocks' contents."""
    found: list[str] = page.evaluate(CONTENTS)
    return found


def test_a_rewrite_streams_into_the_paragraph_and_can_be_undone(
    stage: Stage, page: Page
) -> None:
    script = say(
        deltas=["Much", " better", " words", " &lt;b>here&lt;/b>."], gap_ms=150
    )
    write(stage, page, f"Poor words. {script}")
    before = contents(page)
    page.evaluate(
        f"""() => {{ window.seen = new Set();
          wp.data.subscribe(() => seen.add(JSON.stringify({CONTENTS}))); }}"""
    )

    act(page, "Rewrite")
    page.get_by_text("Done.", exact=True).first.wait_for()

    assert contents(page) == ["Much better words &lt;b>here&lt;/b>."]
    seen = {json.loads(one)[0] for one in page.evaluate("[...seen]")}
    assert len(seen & {"Much", "Much better", "Much better words"}) >= 2
    asked = stage.upstream.asked[0]
    assert asked.system.startswith("Rewrite the text")
    assert asked.last.startswith("<text>\nPoor words.")
    page.get_by_role("button", name="Undo").last.click()
    expect_contents(page, before)


def test_the_editors_own_undo_takes_an_answer_back_in_one_step(
    stage: Stage, page: Page
) -> None:
    write(stage, page, f"Poor words. {say(deltas=['New', ' words.'], gap_ms=120)}")
    before = contents(page)
    act(page, "Rewrite")
    page.get_by_text("Done.", exact=True).first.wait_for()

    page.evaluate("wp.data.dispatch('core/editor').undo()")

    expect_contents(page, before)


def test_going_on_adds_paragraphs_below_and_knows_what_came_before(
    stage: Stage, page: Page
) -> None:
    script = say(deltas=["And", " then.", "\n\n", "The end."], gap_ms=80)
    write(stage, page, "Once upon a time.", f"A dragon came. {script}")

    act(page, "Go on")
    page.get_by_text("Done.", exact=True).first.wait_for()

    assert contents(page)[2:] == ["And then.", "The end."]
    asked = stage.upstream.asked[0]
    assert asked.last.startswith("<before>\nOnce upon a time.\n</before>")


def test_stop_keeps_what_was_written_and_ends_the_generation(
    stage: Stage, page: Page
) -> None:
    write(stage, page, f"Words. {say(deltas=['x '] * 40, gap_ms=200)}")
    act(page, "Summarise")
    page.wait_for_function(f"{CONTENTS}.length === 2 && {CONTENTS}[1].length > 3")

    page.get_by_role("button", name="Stop writing").click()
    page.get_by_text("Stopped. What was written stays.").first.wait_for()

    asked = stage.upstream.asked[0]
    stage.upstream.until("the provider is left", lambda: asked.ended == "left")
    assert asked.sent < 40
    assert contents(page)[1].startswith("x x")


def test_a_failure_leaves_the_text_alone(stage: Stage, page: Page) -> None:
    write(stage, page, f"Words. {say(status=400, code='content_filter')}")
    before = contents(page)

    act(page, "Rewrite")

    expect(page.locator(".components-snackbar").first).to_contain_text("cannot answer")
    assert contents(page) == before


def test_who_may_not_edit_may_not_generate(
    stage: Stage, context: BrowserContext
) -> None:
    page = context.new_page()
    log_in(page, stage.site, "sub")
    page.goto(stage.page_url)
    nonce = page.evaluate(
        "() => fetch('/wp-json/stagedoor/v1/session', {headers: {'X-Stagedoor-Session': '1'}}).then(r => r.json()).then(s => s.nonce)"
    )
    body = {"question": "d" * 32, "action": "rewrite", "text": "Hi", "post": 0}

    guest = post(page, stage.site, "complete", body)
    member = page.evaluate(
        "([nonce, body]) => fetch('/wp-json/stagedoor/v1/complete', {method: 'POST', headers: {'Content-Type': 'application/json', 'X-WP-Nonce': nonce}, body}).then(r => r.status)",
        [nonce, json.dumps(body)],
    )

    assert (guest["status"], member) == (401, 403)
    assert stage.upstream.asked == []


def expect_contents(page: Page, wanted: list[str]) -> None:
    """Wait until the blocks hold that."""
    page.wait_for_function(
        f"wanted => JSON.stringify({CONTENTS}) === wanted",
        arg=json.dumps(wanted, separators=(",", ":"), ensure_ascii=False),
    )


def test_an_answer_goes_on_while_the_writer_is_in_another_block(
    stage: Stage, page: Page
) -> None:
    script = say(deltas=["a ", "b ", "c ", "d ", "e"], gap_ms=200)
    write(stage, page, "Another paragraph.", f"Words. {script}")
    act(page, "Rewrite")
    page.wait_for_function(f"{CONTENTS}[1].startsWith('a b')")

    page.evaluate(
        """() => {
          const [first] = wp.data.select('core/block-editor').getBlocks();
          wp.data.dispatch('core/block-editor').selectBlock(first.clientId);
        }"""
    )
    page.get_by_text("Done.", exact=True).first.wait_for()

    assert contents(page) == ["Another paragraph.", "a b c d e"]
