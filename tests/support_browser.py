"""A real Chromium for tests: Debian's, headless, in a process of its own.

    evaluate(url, "async () => ...")            what a page's script returns
    with chromium() as browser: ...             Playwright's own API, for longer visits

Playwright brings an event loop along, so `evaluate` runs it in another process, which
is ended with the call. Nothing is downloaded: `tests/browser/setup.sh` installs the
browser, and every request that is not for this machine is refused by the flags below.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")
VISIT_S: Final = 60.0  # A busy machine starts a browser in ten.
FLAGS: Final = (
    "--no-sandbox",  # CI runs as root, where Chromium has no other way.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


@contextmanager
def chromium(**launch: Any) -> Generator[Browser, None, None]:
    """A browser, closed with the block. Not inside an event loop."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a heavy import

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *launch.pop("args", ())], **launch
        )
        try:
            yield browser
        finally:
            browser.close()


def evaluate(url: str, script: str, argument: Any = None) -> Any:
    """Open a page and run a function of JavaScript in it; what it returns, as JSON.

    Raises AssertionError with the page's own error when it throws.
    """
    asked = json.dumps({"url": url, "script": script, "argument": argument})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support_browser"],
        input=asked.encode(),
        capture_output=True,
        cwd=Path(__file__).parents[1],
        timeout=VISIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@contextmanager
def pages(files: Mapping[str, str]) -> Generator[str, None, None]:
    """Serve pages from an origin of their own, at a port of the system's choice."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = files.get(self.path)
            body = (text or "").encode()
            self.send_response(404 if text is None else 200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _visit() -> None:
    asked = json.loads(sys.stdin.read())
    with chromium() as browser:
        page = browser.new_page()
        page.goto(asked["url"])
        found = page.evaluate(asked["script"], asked["argument"])
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _visit()
