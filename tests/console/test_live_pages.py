"""What happens while somebody looks: keys rotated under load, a cap that is reached.

In a real Chromium, on a real gateway, with clients that go on asking.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
import pytest

from tests.console.support_console import (
    CONFIG,
    OWNER,
    START_S,
    Stage,
    log_in,
    set_up,
    staged,
    visitor,
)
from tests.support_browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BEN: Final = "ben@bakery.example"
OLD: Final = "sk-upstream-old-canary"
NEW: Final = "sk-upstream-new-canary"
PRICED: Final = (
    CONFIG.replace(
        'models = ["small", "large"]',
        'models = ["small", "large"]\n[providers.prices.small]\n'
        "input_usd_per_mtok = 1\noutput_usd_per_mtok = 10",
    )
    + '\n[[models]]\nname = "priced"\nroute = ["main/small"]\n'
)

ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Yes."},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@attrs.define
class Upstream:
    """A provider on this machine: what keys it was called with, in which order."""

    url: str
    keys: list[str] = attrs.field(factory=list[str])


@contextmanager
def upstream() -> Generator[Upstream]:
    found = Upstream("")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.keys.append(self.headers["authorization"].removeprefix("Bearer "))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@attrs.define
class Clients:
    """Some that ask one after another, each with the key it is given."""

    stage: Stage
    keys: list[str]
    model: str
    statuses: list[int] = attrs.field(factory=list[int])
    over: threading.Event = attrs.field(factory=threading.Event)

    def run(self, number: int) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.over.is_set():
                answer = client.post(
                    f"{self.stage.url}/v1/chat/completions",
                    headers={"authorization": f"Bearer {self.keys[number]}"},
                    json={
                        "model": self.model,
                        "messages": [{"role": "user", "content": "Hello"}],
                        "max_tokens": 4,
                    },
                )
                self.statuses.append(answer.status_code)

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted, until = len(self.statuses) + count, time.monotonic() + START_S
        while len(self.statuses) < wanted:
            assert time.monotonic() < until, self.statuses[-5:]
            time.sleep(0.02)


@contextmanager
def asking(stage: Stage, keys: list[str], model: str) -> Generator[Clients]:
    """Two clients around the body."""
    clients = Clients(stage, keys, model)
    threads = [threading.Thread(target=clients.run, args=(n,)) for n in range(2)]
    for one in threads:
        one.start()
    try:
        clients.more(4)
        yield clients
    finally:
        clients.over.set()
        for one in threads:
            one.join()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), PRICED) as running:
        for name in ("shop", "corner"):
            running.admin("POST", "/sites", {"name": name, "settings": {}})
        yield running


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Generator[Browser]:
    with chromium() as running:
        with visitor(running) as page:
            set_up(page, stage, stage.link, OWNER)
        yield running


def key_of(page: Page, stage: Stage, site: str) -> str:
    """A key that is made in the page."""
    page.goto(f"{stage.console}/sites/{site}/keys")
    page.get_by_role("button", name="Make it").click()
    secret = page.locator("#secret").inner_text()
    stage.until(
        "/whoami",
        lambda _: (
            httpx.get(
                f"{stage.url}/v1/models", headers={"authorization": f"Bearer {secret}"}
            ).status_code
            == 200
        ),
    )
    return secret


def test_a_providers_key_is_replaced_under_load_and_no_request_fails(
    stage: Stage, browser: Browser
) -> None:
    """The form makes the provider with its key; its page tells which version it is."""
    with upstream() as far, visitor(browser) as page:
        log_in(page, stage)
        page.goto(f"{stage.console}/providers")
        page.get_by_role("link", name="Add a provider").click()
        page.get_by_role("textbox", name="Name In routes").fill("near")
        page.get_by_label("Speaks").select_option("openai-compatible")
        page.get_by_role("textbox", name="Address Empty").fill(far.url)
        page.get_by_role("textbox", name="Models By its own names").fill("m")
        page.locator("[data-key]").fill(OLD)
        page.get_by_text("Prices", exact=True).click()
        for name, value in (
            ("price_model", "m"),
            ("input_usd_per_mtok", "1"),
            ("output_usd_per_mtok", "1"),
        ):
            page.locator(f"[name={name}-0]").fill(value)
        page.get_by_role("button", name="Save, then ask it").click()
        page.get_by_text("It answered in").wait_for()
        assert far.keys == [OLD]
        page.get_by_text("version 1, active").wait_for()
        page.goto(f"{stage.console}/models")
        page.get_by_role("textbox", name="Name", exact=True).fill("close")
        page.get_by_role("textbox", name="Route").fill("near/m")
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/console/models?done=added")
        with asking(stage, [key_of(page, stage, "shop")] * 2, "close") as clients:
            clients.more(10)
            page.goto(f"{stage.console}/providers/near/settings")
            page.locator("[data-key]").fill(NEW)
            page.get_by_role("button", name="Save", exact=True).click()
            page.wait_for_url("**/providers/near?done=saved")
            page.get_by_text("version 2, active").wait_for()
            clients.more(20)
            assert far.keys[-1] == NEW
            page.goto(f"{stage.console}/vault")
            rows = page.locator("tbody tr", has_text="near").all_inner_texts()
            assert NEW not in page.content()

    assert set(clients.statuses) == {200}
    assert OLD in far.keys
    first_new = far.keys.index(NEW)
    # Calls that were under way had the old one; after them nobody has it.
    assert OLD not in far.keys[first_new + 4 :]
    assert len(rows) >= 2


def test_a_sites_key_is_rotated_under_load_and_no_request_fails(
    stage: Stage, browser: Browser
) -> None:
    """Clients change over one after the other, within the overlap."""
    with visitor(browser) as page:
        log_in(page, stage)
        keys = [key_of(page, stage, "corner")] * 2
        with asking(stage, keys, "fast") as clients:
            page.goto(f"{stage.console}/sites/corner/keys")
            page.locator("tbody a.mono").first.click()
            secrets = page.locator("table", has_text="the newest").locator("tbody tr")
            assert secrets.count() == 1
            key = page.url
            page.get_by_label("Earlier secrets end").select_option("3600")
            page.get_by_role("button", name="New secret").click()
            fresh = page.locator("#secret").inner_text()
            assert fresh != keys[0]
            clients.more(6)
            keys[0] = fresh
            clients.more(6)
            keys[1] = fresh
            clients.more(6)
            page.goto(key)
            assert secrets.count() == 2
            assert "earlier" in secrets.first.inner_text()
            assert fresh not in page.content()

    assert set(clients.statuses) == {200}


def test_a_cap_is_seen_filling_and_reached_without_loading_the_page_anew(
    stage: Stage, browser: Browser
) -> None:
    stage.admin(
        "POST", "/sites", {"name": "thin", "settings": {"spend_usd_max": 0.002}}
    )
    with visitor(browser) as page:
        log_in(page, stage)
        key = key_of(page, stage, "thin")
        page.goto(f"{stage.console}/sites/thin")
        page.evaluate("window.stayed = true")
        box = page.locator("#spending")
        assert "$0" in box.inner_text()
        statuses = [_status(stage, key) for _ in range(5)]
        assert statuses == [200] * 5
        page.wait_for_function(
            "() => !document.querySelector('#spending .figure b').textContent"
            ".match(/^\\$0$/)"
        )
        until = time.monotonic() + START_S
        while _status(stage, key) != 429:
            assert time.monotonic() < until
        box.get_by_text("used up", exact=True).wait_for()
        box.get_by_text("Requests are refused since").wait_for()
        assert page.evaluate("window.stayed")


FORBIDDEN: Final = (
    "/providers", "/providers/main", "/providers/+new", "/models", "/vault",
    "/vault/add", "/vault/shred", "/audit", "/audit/1/0", "/audit/export", "/actors",
    "/caps", "/playground", "/settings/people", "/settings/tokens",
    "/settings/configuration", "/sites/florist-shop", "/sites/florist-shop/keys",
    "/tenants/florist",
)  # fmt: skip


def test_a_viewer_of_one_tenant_sees_its_own_and_is_refused_all_else(
    stage: Stage, browser: Browser
) -> None:
    """Invited in the page; every forbidden page by its address, every form by hand."""
    with visitor(browser) as page:
        log_in(page, stage)
        page.goto(f"{stage.console}/settings/people")
        page.get_by_label("E-mail or name").fill(BEN)
        page.get_by_label("Tenants").fill("bakery")
        page.get_by_role("button", name="Invite").click()
        link = page.locator("#link").inner_text()
    with visitor(browser) as page:
        set_up(page, stage, stage.url + link, BEN)
        shown = page.get_by_role("navigation", name="Console").inner_text()
        assert not re.search("Providers|Vault|Audit|Actors|Playground", shown)
        page.goto(f"{stage.console}/sites")
        assert "bakery-blog" in page.locator("main").inner_text()
        assert "florist" not in page.content()
        for path in FORBIDDEN:
            answer = page.goto(stage.console + path)
            assert answer is not None
            assert answer.status in {403, 404}, path
            told = page.locator("main").inner_text()
            assert re.search("not yours|no such", told), (path, told)
        # The page has no button for these; a form that is made by hand is refused.
        page.goto(f"{stage.console}/sites/bakery-blog/keys")
        assert page.get_by_role("button", name="Make it").count() == 0
        for path in (
            "/sites/bakery-blog/keys", "/sites/bakery-blog/settings/limits",
            "/providers/main/pause", "/vault/revoke", "/settings/people",
        ):  # fmt: skip
            status = page.evaluate(
                """async ([path, csrf]) => (await fetch(path, {
                    method: "POST", body: new URLSearchParams({ csrf }),
                })).status""",
                [
                    f"/console{path}",
                    page.locator("body").get_attribute("data-csrf"),
                ],
            )
            assert status == 403, path


def _status(stage: Stage, key: str) -> int:
    return httpx.post(
        f"{stage.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json={
            "model": "priced",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 20,
        },
        timeout=30,
    ).status_code
