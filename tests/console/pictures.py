"""Pictures of the Console for the docs.

    python -m tests.console.pictures docs/console

A real gateway, two sites' traffic, one provider that is not there. Each page is shown
on a wide screen and on a phone, light and dark; `--all` takes every combination, to be
looked at, the default is what the docs show.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from tests.console.support_console import (
    CONFIG,
    KEY,
    OWNER,
    PHONE,
    SHOP_KEY,
    WIDE,
    Stage,
    set_up,
    staged,
    visitor,
)
from tests.support_browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

PRICED: Final = CONFIG.replace(
    'models = ["small", "large"]',
    'models = ["small", "large"]\n'
    "[providers.prices.small]\ninput_usd_per_mtok = 0.15\noutput_usd_per_mtok = 0.6\n"
    "[providers.prices.large]\ninput_usd_per_mtok = 2.5\noutput_usd_per_mtok = 10",
)
PAGES: Final = {
    "overview": "",
    "requests": "/requests",
    "request": "/requests/{request}",
    "providers": "/providers",
    "provider": "/providers/main",
    "provider-new": "/providers/+new",
    "provider-settings": "/providers/oven/settings",
    "models": "/models",
    "model": "/models/house-blend",
    "vault": "/vault",
    "vault-shred": "/vault/shred?tenant=default&environment=default",
    "sites": "/sites",
    "site": "/sites/corner-cafe",
    "site-settings": "/sites/corner-cafe/settings",
    "keys": "/sites/corner-cafe/keys",
    "audit": "/audit",
    "entry": "/audit/1/0",
    "actors": "/actors",
    "playground": "/playground",
    "settings": "/settings",
    "people": "/settings/people",
    "tokens": "/settings/tokens",
    "webhooks": "/settings/webhooks",
    "configuration": "/settings/configuration",
    "caps": "/caps",
    "tenants": "/tenants",
    "me": "/settings/me",
}
SHOWN: Final = frozenset(
    {
        "overview-wide-light", "overview-wide-dark", "overview-phone-light",
        "overview-phone-dark", "requests-wide-light", "request-wide-dark",
        "request-phone-light", "providers-wide-light", "providers-phone-light",
        "provider-wide-light", "provider-new-wide-light", "models-wide-light",
        "site-wide-light", "vault-wide-light", "audit-wide-light", "audit-phone-dark",
        "actors-wide-dark", "playground-wide-light",
    }
)  # fmt: skip


def declare(stage: Stage) -> None:
    """What an operator has added: a provider, models, a site with a cap, a ladder."""
    oven = {
        "kind": "openai-compatible",
        "base_url": "https://llm.oven.example/v1",
        "models": ["dough-7b-instruct", "dough-70b-instruct-2026-10-01"],
        "key": "vault:main",
        "data_region": "eu",
        "prices": {
            "dough-7b-instruct": {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4}
        },
    }
    stage.admin("POST", "/providers", {"name": "oven", "settings": oven})
    blend = {
        "route": ["main/large", "oven/dough-70b-instruct-2026-10-01", "spare/small"],
        "aliases": ["gpt-4o-mini"],
        "canary": ["5% oven/dough-7b-instruct"],
        "routing": {"prefer": "balanced"},
    }
    stage.admin("POST", "/models", {"name": "house-blend", "settings": blend})
    cafe = {
        "tenant": "bakery",
        "spend_usd_max": 0.02,
        "ladder": [{"name": "thrifty", "from_percent": 80, "prefer_cheap": True}],
    }
    stage.admin("POST", "/sites", {"name": "corner-cafe", "settings": cafe})
    key = stage.admin("POST", "/sites/corner-cafe/keys", {"terms": {"label": "till"}})
    stage.until("/providers/oven/state", lambda found: found)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda _: stage.call(key["secret"], "thorough", max_tokens=40),
                range(30),
            )
        )


def seal(page: Page, stage: Stage) -> None:
    """The key of the provider that was added, as a person hands it over."""
    page.goto(f"{stage.console}/vault/add?provider=oven&name=main")
    page.get_by_label("The key").fill("sk-oven-of-the-pictures")
    page.get_by_role("button", name="Seal and hand over").click()
    page.wait_for_url("**/console/vault?done=added")


def happen(stage: Stage) -> str:
    """Some minutes of two sites, in seconds; the id of a request with a fallback."""
    rng = Random(3)
    words = "Tell me about sourdough, and what to do with yesterday's bread. "

    def call(_: int) -> str:
        shop = rng.random() < 0.4
        return stage.call(
            SHOP_KEY if shop else KEY,
            rng.choices(["fast", "thorough"], [3, 1])[0],
            stream=rng.random() < 0.5,
            max_tokens=rng.randrange(5, 60),
            messages=[
                {
                    "role": "user",
                    "content": words * rng.choice([1, 3, 20, 90, 400]),
                }
            ],
        )

    declare(stage)
    request = stage.call(SHOP_KEY, "thorough", stream=True, max_tokens=30)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(160)))
        list(pool.map(lambda _: stage.call(SHOP_KEY, "lost"), range(6)))
    stage.admin("POST", "/providers/spare/pause", {"reason": "its bill is odd"})
    made = stage.admin("POST", "/sites/florist-shop/keys", {"terms": {"label": "wp"}})
    stage.admin("POST", f"/sites/florist-shop/keys/{made['key']['id']}/rotate", {})
    stage.admin("POST", "/providers/main/test", {"model": "small"})
    stage.until("/records?limit=500", lambda found: len(found["items"]) >= 168)
    return request


def take(page: Page, stage: Stage, name: str, path: str) -> None:
    """Open a page as it is shown."""
    page.goto(stage.console + path)
    if name == "playground":
        page.get_by_label("Tokens at most").fill("48")
        page.get_by_label("Prompt", exact=True).fill("What is a sourdough starter?")
        page.get_by_role("button", name="Ask both").click()
        for side in ("left", "right"):
            page.wait_for_function(
                "side => document.querySelector(`[data-side=${side}] [data-tokens]`)"
                ".textContent !== '\u2013'",
                arg=side,
            )
    page.wait_for_timeout(400)


def main() -> None:
    """Take them."""
    into = Path(next(one for one in sys.argv[1:] if not one.startswith("-")))
    into.mkdir(parents=True, exist_ok=True)
    everything = "--all" in sys.argv
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(Path(folder), PRICED) as stage,
        chromium() as browser,
    ):
        request = happen(stage)
        with visitor(browser) as page:
            set_up(page, stage, stage.link, OWNER)
            seal(page, stage)
            session = page.context.storage_state()
        for size, view in (("wide", WIDE), ("phone", PHONE)):
            for theme in ("light", "dark"):
                with visitor(
                    browser, viewport=view, color_scheme=theme, storage_state=session
                ) as page:
                    for name, path in PAGES.items():
                        shot = f"{name}-{size}-{theme}"
                        if everything or shot in SHOWN:
                            take(page, stage, name, path.format(request=request))
                            page.screenshot(
                                path=into / f"{shot}.png", full_page=everything
                            )


if __name__ == "__main__":
    main()
