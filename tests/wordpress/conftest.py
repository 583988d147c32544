"""A site, a gateway and a browser for all of this folder's tests.

Starting them takes seconds, so they are shared; each test begins with the database, the
settings and the provider's memory as they were.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attrs
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.wordpress import lab
from tests.wordpress.lab import Gateway, Server, Site
from tests.wordpress.upstream import Upstream

CHROMIUM = (
    "/usr/bin/chromium",
    "--no-sandbox",
    # Pages of WordPress name other hosts (avatars); nothing here leaves the machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
CHAT = "<!-- wp:stagedoor/chat /-->"


@pytest.fixture(scope="session", autouse=True)
def kit() -> None:
    """Everything setup.sh brings; a laptop without it hears what was left out."""
    if lacks := lab.missing():
        why = f"left out, tests/wordpress/setup.sh could not install: {lacks}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


@attrs.define
class Stage:
    """A site with the plugin, connected to a gateway, and a page with a chat."""

    site: Site
    gateway: Gateway
    page_url: str

    @property
    def upstream(self) -> Upstream:
        """The scripted provider."""
        return self.gateway.upstream


def staged(
    tmp: Path, version: str = "7.1", server: Server = "nginx", **more: Any
) -> Generator[Stage, None, None]:
    """One of each; end both."""
    with (
        lab.site(version, server, **more) as site,
        lab.gateway(tmp / "gateway", [site.url]) as gateway,
    ):
        lab.connect(site, gateway)
        stage = Stage(site, gateway, site.page("Chat", CHAT))
        site.wp("user", "create", "sub", "sub@example.com", "--user_pass=sub")
        site.keep()
        yield stage


@pytest.fixture(scope="session")
def nginx_stage(
    kit: None, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Stage, None, None]:
    """WordPress 7.1 on nginx and PHP-FPM."""
    yield from staged(tmp_path_factory.mktemp("nginx"))


@pytest.fixture(scope="session")
def apache_stage(
    kit: None, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Stage, None, None]:
    """WordPress 7.1 on stock Apache with mod_proxy_fcgi."""
    yield from staged(tmp_path_factory.mktemp("apache"), server="apache")


@pytest.fixture
def stage(nginx_stage: Stage) -> Generator[Stage, None, None]:
    """The nginx site as it was; at its end nobody complained about the plugin."""
    yield from fresh(nginx_stage)


@pytest.fixture
def apache(apache_stage: Stage) -> Generator[Stage, None, None]:
    """The Apache site as it was."""
    yield from fresh(apache_stage)


def fresh(stage: Stage) -> Generator[Stage, None, None]:
    """As it was, and then without a complaint."""
    stage.site.restore()
    stage.upstream.reset()
    yield stage
    assert stage.site.complaints() == []


@pytest.fixture(scope="session")
def browser(kit: None) -> Generator[Browser, None, None]:
    """A real Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM[0], args=CHROMIUM[1:]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext, None, None]:
    """A visitor whom nobody knows."""
    one = browser.new_context(viewport={"width": 1000, "height": 900})
    one.set_default_timeout(30_000)
    yield one
    one.close()


@pytest.fixture
def page(context: BrowserContext) -> Generator[Page, None, None]:
    """A tab of theirs; no script of ours fails in it."""
    errors: list[str] = []
    one = context.new_page()
    # Core's own scripts fail where a test leaves their page in a hurry.
    one.on(
        "pageerror",
        lambda error: (
            errors.append(str(error.stack)) if "stagedoor" in str(error.stack) else None
        ),
    )
    yield one
    assert errors == []
