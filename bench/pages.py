"""A WordPress front page on two PHP workers, beside six open chats and without any.

    python -m bench.pages [--rounds 5] [--pages 40] [--markdown]

Brings up the tests' site (tests/wordpress/setup.sh) and a gateway, and asks for the
front page one after the other: with nothing else, beside six answers that browsers get
from the gateway by grants, beside six that want to go through PHP where one may at once
(and the others ask again, as the plugin's script does), and where as many may as there
are workers. The four take turns round by round, each with the same number of pages. A
page that does not come within its bound is counted, not waited for.
"""

from __future__ import annotations

import argparse
import html
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.lib.procs import machine
from tests.wordpress import lab
from tests.wordpress.lab import Gateway, Site
from tests.wordpress.upstream import say

CHATS: Final = 6
WORKERS: Final = 2
GAP_MS: Final = 50  # Twenty pieces a second, as a quick model writes.
PIECES: Final = 500  # 25 s: what a question has room for, and more than a round takes.
PAGE_S_MAX: Final = 4.0
AGAIN_S: Final = 1.0  # What the plugin's script waits before it asks for a place again.


def request(
    url: str, body: Any = None, timeout_s: float = 30.0, origin: str = ""
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """One request, its connection left open."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "Origin": origin}
    payload = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, payload, headers)
    return connection, connection.getresponse()


def page_ms(url: str) -> float | None:
    """How long a page took; None when it did not come in time."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PAGE_S_MAX)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == http.HTTPStatus.OK
    except TimeoutError:
        return None
    finally:
        connection.close()
    return (time.perf_counter() - began) * 1000


@contextmanager
def chats(
    site: Site, gateway: Gateway, chat: str, transport: str, open_now: int
) -> Generator[None, None, None]:
    """Six visitors, so many of whom are being answered when the block begins."""
    gateway.upstream.reset()
    left = threading.Event()
    rest = f"{site.url}/wp-json/stagedoor/v1"

    def visit() -> None:
        text = say(gap_ms=GAP_MS, deltas=["x"] * PIECES)
        while not left.is_set():
            ask = {
                "chat": chat,
                "question": uuid.uuid4().hex,
                "messages": [{"role": "user", "content": text}],
            }
            if transport == "direct":
                connection, answer = request(f"{rest}/grants", ask, origin=site.url)
                grant = json.loads(answer.read())
                connection.close()
                connection, answer = request(grant["url"], origin=site.url)
            else:
                connection, answer = request(f"{rest}/stream", ask, origin=site.url)
            while answer.status == http.HTTPStatus.OK and not left.is_set():
                assert answer.readline()
            connection.close()
            left.wait(AGAIN_S)

    visitors = [threading.Thread(target=visit, daemon=True) for _ in range(CHATS)]
    for visitor in visitors:
        visitor.start()
    gateway.upstream.until(
        "the chats are open",
        lambda: sum(a.ended == "running" for a in gateway.upstream.asked) >= open_now,
    )
    try:
        yield
    finally:
        left.set()
        for visitor in visitors:
            visitor.join(30)
        gateway.upstream.until(
            "nothing is generated",
            lambda: all(a.ended != "running" for a in gateway.upstream.asked),
            30,
        )


SITUATIONS: Final = {
    "no chat": None,
    "6 by grants": ("direct", 2, CHATS),
    "6 through PHP, 1 at once": ("relay", 1, 1),
    "6 through PHP, 2 at once": ("relay", 2, 2),
}


def measure(rounds: int, pages: int) -> dict[str, list[list[float | None]]]:
    """Each situation's rounds of pages."""
    took: dict[str, list[list[float | None]]] = {name: [] for name in SITUATIONS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(lab.site(workers=WORKERS))
        gateway = stack.enter_context(lab.gateway(folder / "gateway", [site.url]))
        lab.connect(site, gateway, limit_guest=0)
        connection, answer = request(site.page("Chat", "<!-- wp:stagedoor/chat /-->"))
        found = re.search(r'data-stagedoor="([^"]*)"', answer.read().decode())
        connection.close()
        assert found is not None
        chat = json.loads(html.unescape(found[1]))["chat"]
        for _ in range(5):
            page_ms(site.url)
        for _ in range(rounds):
            for name, situation in SITUATIONS.items():
                with ExitStack() as beside:
                    if situation is not None:
                        transport, relays, open_now = situation
                        site.settings(relay_max=relays)
                        beside.enter_context(
                            chats(site, gateway, chat, transport, open_now)
                        )
                    # Where no worker is left, three pages show it as well as forty.
                    count = 3 if name.endswith("2 at once") else pages
                    took[name].append([page_ms(site.url) for _ in range(count)])
    return took


def lines(took: dict[str, list[list[float | None]]]) -> list[str]:
    """The table."""
    base = middle(took["no chat"])
    rows = [
        "| beside | front page p50, ms | = without | slowest, ms | did not come |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in took.items():
        came = [ms for one in rounds for ms in one if ms is not None]
        lost = sum(ms is None for one in rounds for ms in one)
        of = sum(len(one) for one in rounds)
        p50 = middle(rounds)
        rows.append(
            f"| {name} | {'' if p50 is None else f'{p50:.0f}'} "
            f"| {'' if p50 is None or base is None else f'{p50 / base:.2f}x'} "
            f"| {f'{max(came):.0f}' if came else ''} | {lost} of {of} |"
        )
    return rows


def middle(rounds: list[list[float | None]]) -> float | None:
    """The median over rounds of a round's median, of the pages that came."""
    medians = [
        statistics.median(came)
        for one in rounds
        if (came := [ms for ms in one if ms is not None])
    ]
    return statistics.median(medians) if medians else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    assert not lab.missing(), f"install first: tests/wordpress/setup.sh {lab.missing()}"
    took = measure(given.rounds, given.pages)
    print("\n".join(lines(took)))
    print(f"\n{WORKERS} PHP workers, {given.rounds} interleaved rounds. {machine()}")


if __name__ == "__main__":
    main()
