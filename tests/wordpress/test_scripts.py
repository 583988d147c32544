"""The scripts by themselves, in a real browser: what is shown of text nobody checked."""

from __future__ import annotations

import random
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.wordpress.lab import PLUGIN

pytestmark = pytest.mark.wordpress

ASSETS = PLUGIN / "assets"
SCRIPTS = ("sse.js", "session.js", "transports.js", "stream.js", "markdown.js", "rendering.js", "view.js")  # fmt: skip
STUB = "window.wp = {i18n: {__: t => t, sprintf: t => t}, hooks: {applyFilters: (n, v) => v, doAction() {}}};"

RENDER = """text => {
  const box = document.createElement('div');
  box.append(stagedoor.markdown(text));
  return box.innerHTML;
}"""

# Renders a text that grows by pieces, as a stream does, and then at once.
GROW = """pieces => {
  const [grown, whole] = [document.createElement('div'), document.createElement('div')];
  const one = new stagedoor.Rendering(grown, 'markdown');
  let text = '', kept = 0;
  for (const piece of pieces) {
    text += piece;
    const before = grown.firstChild;
    one.show(text, {});
    kept += before !== null && before === grown.firstChild;
  }
  new stagedoor.Rendering(whole, 'markdown').show(text, {});
  return {grown: grown.innerHTML, whole: whole.innerHTML, kept};
}"""

# Every element and attribute that rendering may make.
AUDIT = """text => {
  const box = document.createElement('div');
  box.append(stagedoor.markdown(text));
  const names = new Set(), attributes = new Set(), links = [];
  for (const node of box.querySelectorAll('*')) {
    names.add(node.localName);
    for (const attribute of node.attributes) attributes.add(node.localName + '.' + attribute.name);
    if (node.localName === 'a') links.push(node.protocol);
  }
  return {names: [...names], attributes: [...attributes], links};
}"""

NAMES = {"p", "br", "strong", "em", "del", "code", "pre", "a", "h4", "h5", "h6", "hr"} | {
    "blockquote", "ul", "ol", "li", "div", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"a.href", "a.rel", "a.target", "ol.start", "div.class"}


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Generator[Page, None, None]:
    """A blank page with the plugin's scripts."""
    page = browser.new_page()
    page.evaluate(STUB)
    for name in SCRIPTS:
        page.add_script_tag(path=ASSETS / name)
    yield page
    page.close()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello", "<p>Hello</p>"),
        (
            "**a** *b* ~~c~~ `d`",
            "<p><strong>a</strong> <em>b</em> <del>c</del> <code>d</code></p>",
        ),
        ("***a***", "<p><strong><em>a</em></strong></p>"),
        ("snake_case_name 2*3*4", "<p>snake_case_name 2<em>3</em>4</p>"),
        ("a\nb", "<p>a<br>b</p>"),
        ("# T", "<h4>T</h4>"),
        ("###### T ##", "<h6>T</h6>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> a\n> b", "<blockquote><p>a<br>b</p></blockquote>"),
        ("---", "<hr>"),
        ("```js\nif (a < b) {}\n```", "<pre><code>if (a &lt; b) {}</code></pre>"),
        ("```\nopen", "<pre><code>open</code></pre>"),
        ("\\*a\\*", "<p>*a*</p>"),
        ("<b>a</b> &amp;", "<p>&lt;b&gt;a&lt;/b&gt; &amp;amp;</p>"),
        ("**open", "<p>**open</p>"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        ("[a]( java\nscript:x)", "<p>[a]( java<br>script:x)</p>"),
        ("[a](//evil.example)", "<p>[a](//evil.example)</p>"),
    ],
)
def test_markdown_as_nodes(scripts: Page, text: str, html: str) -> None:
    assert scripts.evaluate(RENDER, text) == html


def test_links_lead_out_and_take_nothing_along(scripts: Page) -> None:
    found = scripts.evaluate(
        RENDER,
        "[a](https://x.example/a_(b)?c) https://y.example/z. ![i](http://z.example/i.png)",
    )

    assert found.count('rel="nofollow noopener noreferrer ugc" target="_blank"') == 3
    assert 'href="https://x.example/a_(b)?c"' in found
    assert ">https://y.example/z</a>." in found
    assert "<img" not in found


PIECES = [
    "<script>", "</script>", "<img src=x onerror=alert(1)>", "javascript:", "data:text/html,",
    "[", "](", ")", "![", "`", "```\n", "*", "**", "_", "~~", "|", "|--|--|\n", "\n", "\n\n",
    "# ", "> ", "- ", "1. ", "  ", "\t", "https://", "<https://x.example>", "&#x6A;", "&lt;",
    "vbscript:x", "\\", "a", "word ", "\u202e", "😀", "\x00", "\ufeff", "<a href='", "'>", "style=",
]  # fmt: skip


def test_no_text_becomes_anything_but_the_elements_that_are_listed(
    scripts: Page,
) -> None:
    """Two thousand texts made of the parts that attacks are made of."""
    chance = random.Random(20261124)
    for _ in range(2000):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 24)))

        found: dict[str, Any] = scripts.evaluate(AUDIT, text)

        assert set(found["names"]) <= NAMES, repr(text)
        assert set(found["attributes"]) <= ATTRIBUTES, repr(text)
        assert set(found["links"]) <= {"https:", "http:", "mailto:"}, repr(text)


def test_growing_ends_as_the_whole_does_and_leaves_what_is_complete_alone(
    scripts: Page,
) -> None:
    chance = random.Random(117)
    for _ in range(150):
        text = "".join(chance.choices(PIECES, k=30))
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]

        found = scripts.evaluate(GROW, pieces)

        assert found["grown"] == found["whole"], repr(text)
    long = scripts.evaluate(GROW, ["First paragraph.\n\n", *(["word "] * 50)])
    assert long["kept"] >= 49  # Once its end is known, a paragraph is not touched.


def test_half_an_emoji_waits_for_its_other_half(scripts: Page) -> None:
    shown = scripts.evaluate(
        """() => {
          const seen = [], box = document.createElement('div');
          for (const format of ['text', 'markdown']) {
            const rendering = new stagedoor.Rendering(box, format);
            for (const text of ['Hi \\ud83d', 'Hi \\ud83d\\ude00', 'Hi \\ud83d\\ude00 \\ud83c']) {
              rendering.show(text, {});
              seen.push(box.textContent);
            }
          }
          return seen;
        }"""
    )

    assert [text.strip() for text in shown] == ["Hi", "Hi 😀", "Hi 😀"] * 2


def test_a_very_long_hostile_text_is_rendered_in_time(scripts: Page) -> None:
    """No text takes more than a moment: what costs is bounded, not hoped for."""
    units = ("[", "*", "_a", "`", "![](", "> ", "- ", "|", "[a](", "<", "\\", " *a")
    lines = ("# a {}x", "# {}x", "a|b\n|--{}x", "```{}`", "- {}x", "a{}x")
    texts = [unit * 20000 for unit in units]
    texts += [line.format(unit * 20000) for line in lines for unit in " #`|-"]
    for text in texts:
        took = scripts.evaluate(
            "text => { const t = performance.now(); stagedoor.markdown(text); stagedoor.blocks(text); return performance.now() - t; }",
            text,
        )
        assert took < 5000, text[:20]


def test_what_takes_long_to_paint_is_painted_less_often(scripts: Page) -> None:
    """A page with a long list in it stays as quick as its visitor: a fifth of the time at most."""
    painted = scripts.evaluate(
        """() => {
          const real = [performance.now, setTimeout, clearTimeout, requestAnimationFrame];
          let now = 0, due = [];
          performance.now = () => now;
          window.setTimeout = (call, ms) => due.push([now + ms, call]);
          window.requestAnimationFrame = call => due.push([now + 16, call]);
          const at = [];
          const painter = new stagedoor.Painter(() => { at.push(now); now += 50; });
          while (now < 2000) {
            now += 10;
            painter.soon();
            const [calls, later] = [due.filter(one => one[0] <= now), due.filter(one => one[0] > now)];
            due = later;
            calls.forEach(one => one[1]());
          }
          [performance.now, window.setTimeout, window.clearTimeout, window.requestAnimationFrame] = real;
          return at;
        }"""
    )

    gaps = [after - before for before, after in pairwise(painted)]
    assert len(painted) >= 6
    assert min(gaps) >= 250


def test_events_read_the_same_however_they_are_cut(scripts: Page) -> None:
    stream = '\ufeff: hi\r\n\r\ndata: {"a":1}\n\nevent: x\ndata:b\ndata: c\r\rdata: [DONE]\n\ndata: unfinished\n'

    found = scripts.evaluate(
        """stream => {
          const all = [];
          for (let size = 1; size <= stream.length; size++) {
            const events = [];
            const reader = new stagedoor.SseReader(data => events.push(data));
            for (let at = 0; at < stream.length; at += size) reader.feed(stream.slice(at, at + size));
            reader.end();
            all.push(JSON.stringify(events));
          }
          return [...new Set(all)];
        }""",
        stream,
    )

    assert found == ['["{\\"a\\":1}","b\\nc","[DONE]"]']
