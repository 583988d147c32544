"""A real gateway with its Console, what happened in it, and people who look at it."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 60.0  # On a busy machine; it takes two.
WAIT_MS: Final = 15_000  # For what a page shows by itself.
OWNER: Final = "ann@agency.example"
PASSWORD: Final = "correct horse battery"
TOKEN: Final = "sk-test-owner-0123456789abcdef"
KEY: Final = "sk-blog-dev-0001"
SHOP_KEY: Final = "sk-shop-dev-0001"
LINK: Final = re.compile(rb"(http://[^ ]*)/console/welcome#([0-9a-f]{64})")
WIDE: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 390, "height": 844}

AXE: Final = gzip.decompress(
    (Path(__file__).parent / "axe/axe.min.js.gz").read_bytes()
).decode()

CONFIG: Final = """
[server]
bind = "127.0.0.1:0"
state_dir = "{state}"
[[admin.tokens]]
name = "root"
keys = ["{token}"]
role = "owner"
[[tenants]]
name = "bakery"
[[tenants]]
name = "florist"
[[sites]]
name = "bakery-blog"
tenant = "bakery"
keys = ["{key}"]
spend_usd_max = 25
[[sites]]
name = "florist-shop"
tenant = "florist"
keys = ["{shop_key}"]
[[providers]]
name = "main"
kind = "simulated"
models = ["small", "large"]
[[providers]]
name = "spare"
kind = "simulated"
models = ["small"]
[[providers]]
name = "faraway"
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
models = ["big"]
[[models]]
name = "fast"
route = ["main/small", "spare/small"]
[[models]]
name = "thorough"
route = ["faraway/big", "main/large"]
[[models]]
name = "lost"
route = ["faraway/big"]
"""


@attrs.frozen
class Stage:
    """A running gateway, and the link that its first owner was sent by."""

    url: str
    link: str = attrs.field(repr=False)
    state: Path

    @property
    def console(self) -> str:
        """Where its pages are."""
        return f"{self.url}/console"

    def call(self, key: str = KEY, model: str = "fast", **more: Any) -> str:
        """One request by a client; its id."""
        answer = httpx.post(
            f"{self.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={
                "model": model,
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 4,
                **more,
            },
            timeout=30,
        )
        return answer.headers["x-request-id"]

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The admin API as its owner."""
        answer = httpx.request(
            method,
            f"{self.url}/admin/v1{path}",
            headers={"authorization": f"Bearer {TOKEN}"},
            json=body,
            timeout=60,
        )
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def until(self, path: str, ready: Any) -> Any:
        """What the admin API says, once it is so; records come a moment later."""
        until = time.monotonic() + START_S
        found: Any = None
        while time.monotonic() < until:
            if ready(found := self.admin("GET", path)):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{path}: {found}")


@contextmanager
def staged(folder: Path, config: str = CONFIG) -> Generator[Stage]:
    """Run it around the body; ended by its process id."""
    state = folder / "state"
    file = folder / "stagedoor.toml"
    file.write_text(config.format(state=state, token=TOKEN, key=KEY, shop_key=SHOP_KEY))
    told = folder / "log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        url, link = _told(process, told)
        yield Stage(url, link, state)
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        if found := LINK.search(log.read_bytes()):
            return found[1].decode(), found[0].decode()
        time.sleep(0.05)
    raise AssertionError(f"it did not start: {log.read_text()[-2000:]}")


@contextmanager
def visitor(browser: Browser, **how: Any) -> Generator[Page]:
    """A page of somebody new, who must meet no error that a script or a policy tells.

    A response that is no success is the page's business; it is no such error.
    """
    made: dict[str, Any] = {"viewport": WIDE, **how}
    context: BrowserContext = browser.new_context(**made)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda said: (
            errors.append(said.text)
            if said.type == "error" and "Failed to load resource" not in said.text
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
            else errors.append(f"it asked {asked.url}")
        ),
    )
    try:
        yield page
        assert errors == []
    finally:
        context.close()


def seriously_wrong(page: Page) -> list[str]:
    """What axe-core calls serious or critical about a page, each with an example."""
    page.evaluate(AXE)
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


def log_in(
    page: Page, stage: Stage, name: str = OWNER, password: str = PASSWORD
) -> None:
    """By name and password."""
    page.goto(f"{stage.console}/login")
    page.get_by_label("Name or e-mail").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(re.compile(r"/console(?!/login)"))


def set_up(page: Page, stage: Stage, link: str, name: str) -> None:
    """Follow a link, and choose a name and a password."""
    page.goto(link)
    page.get_by_label("Name or e-mail").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url(re.compile(r"/console(?!/welcome)"))
