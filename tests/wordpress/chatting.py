"""What visitors do with a chat, for tests to read like what they do."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import attrs
from playwright.sync_api import Page, Response, expect

from tests.wordpress.lab import ADMIN, Site

TURN = ".stagedoor-chat__turn"
WAIT_MS = 30_000

# Notes each text that the last answer showed, with when it did.
WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const turns = document.querySelectorAll('.stagedoor-chat__turn.is-assistant:not(.is-greeting) > .stagedoor-chat__text');
    const text = turns.length ? turns[turns.length - 1].textContent : '';
    if (text && (!seen.length || seen[seen.length - 1].text !== text)) {
      seen.push({text, at: performance.now()});
    }
  }).observe(document.querySelector('.stagedoor-chat__log'), {childList: true, subtree: true, characterData: true});
}"""


@attrs.define
class Visitor:
    """Somebody in front of a chat."""

    page: Page
    calls: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])
    bodies: list[str] = attrs.field(factory=list[str])

    def open(self, url: str) -> Visitor:
        """Go there, and watch."""
        self.page.on("response", lambda response: self._called(response))  # noqa: PLW0108 - playwright marks what it is given
        self.page.goto(url)
        self.page.evaluate(WATCH)
        return self

    def _called(self, response: Response) -> None:
        for part in ("stagedoor/v1/", "/v1/stream_grants/"):
            if part in response.url:
                name = response.url.split(part)[1].split("?")[0].split("&")[0]
                route = "gateway" if part.startswith("/v1") else name
                self.calls.append((route, response.status))

    def ask(self, text: str) -> Visitor:
        """Type and send."""
        self.page.fill(".stagedoor-chat__input", text)
        self.page.press(".stagedoor-chat__input", "Enter")
        return self

    def answer(self) -> str:
        """The answer, once it is complete."""
        self.ended()
        return self.shown()

    def ended(self) -> Visitor:
        """Wait until nothing comes any more."""
        self.page.wait_for_function(
            "!document.querySelector('.stagedoor-chat').classList.contains('is-busy')"
        )
        return self

    def shown(self) -> str:
        """The last answer as it is shown now."""
        texts = self.page.locator(f"{TURN}.is-assistant > .stagedoor-chat__text")
        return texts.last.inner_text() if texts.count() else ""

    def shows(self, text: str) -> Visitor:
        """Wait until it says so."""
        last = self.page.locator(f"{TURN}.is-assistant > .stagedoor-chat__text").last
        expect(last).to_contain_text(text, timeout=WAIT_MS)
        return self

    def stop(self) -> Visitor:
        """Press Stop."""
        self.page.click(".stagedoor-chat__stop")
        return self.ended()

    def failure(self) -> str:
        """What the chat says of why there is no answer."""
        note = self.page.locator(".stagedoor-chat__failure").last
        note.wait_for()
        return note.locator("p").first.inner_text()

    def seen(self) -> list[str]:
        """Each text that the last answer has shown."""
        seen: list[dict[str, Any]] = self.page.evaluate("seen")
        return [one["text"] for one in seen]

    def gaps_ms(self) -> list[float]:
        """How far apart they came."""
        at = [one["at"] for one in self.page.evaluate("seen")]
        return [after - before for before, after in pairwise(at)]

    def routes(self) -> list[str]:
        """What was called, without who is there and what was reported."""
        return [name for name, _ in self.calls if name not in {"session", "report"}]


def log_in_by_form(page: Page, site: Site, who: tuple[str, str] = ADMIN) -> None:
    """As people do."""
    page.goto(f"{site.url}/wp-login.php")
    page.fill("#user_login", who[0])
    page.fill("#user_pass", who[1])
    page.click("#wp-submit")
    page.wait_for_url("**/wp-admin/**", wait_until="commit")


COOKIES = """
$user = get_user_by( 'login', '%s' ); $until = time() + 3600;
$token = WP_Session_Tokens::get_instance( $user->ID )->create( $until );
echo wp_json_encode( array(
  LOGGED_IN_COOKIE => wp_generate_auth_cookie( $user->ID, $until, 'logged_in', $token ),
  AUTH_COOKIE => wp_generate_auth_cookie( $user->ID, $until, 'auth', $token ),
) );
"""


def log_in(page: Page, site: Site, who: str = ADMIN[0]) -> None:
    """Logged in, without the form: the cookies that it would have set."""
    cookies: dict[str, str] = json.loads(site.php(COOKIES % who))
    page.context.add_cookies(
        [
            {"name": name, "value": value, "url": site.url}
            for name, value in cookies.items()
        ]
    )


def post(page: Page, site: Site, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a script in the page would get."""
    answer: dict[str, Any] = page.evaluate(
        """async ([url, body]) => {
          const response = await fetch(url, {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
          return {status: response.status, text: await response.text()};
        }""",
        [f"{site.url}/wp-json/stagedoor/v1/{route}", json.dumps(body)],
    )
    return answer


def config(page: Page) -> dict[str, Any]:
    """What the chat's element carries."""
    held: dict[str, Any] = json.loads(
        page.locator(".stagedoor-chat").first.get_attribute("data-stagedoor") or "{}"
    )
    return held
