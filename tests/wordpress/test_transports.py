"""How answers travel, and what servers, proxies and gateways do to them.

Each of the traps of streaming through WordPress has its test here: servers that collect
output, workers that run out, visitors that leave, silence, and above all that no question
is ever answered twice.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.wordpress import lab
from tests.wordpress.chatting import Visitor, config, log_in
from tests.wordpress.conftest import CHAT, Stage
from tests.wordpress.upstream import DELTAS, say
from tests.wordpress.workers import Workers, workers

pytestmark = pytest.mark.wordpress

WHOLE = "".join(DELTAS)


@contextmanager
def raw_stream(
    stage: Stage, chat: str, question: str, text: str, timeout_s: float = 30
) -> Generator[http.client.HTTPResponse, None, None]:
    """A relay's answer as bytes, without a browser."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", stage.site.port, timeout=timeout_s
    )
    body = {
        "chat": chat,
        "question": question,
        "messages": [{"role": "user", "content": text}],
    }
    headers = {"Content-Type": "application/json", "Origin": stage.site.url}
    try:
        connection.request(
            "POST", "/wp-json/stagedoor/v1/stream", json.dumps(body), headers
        )
        yield connection.getresponse()
    finally:
        connection.close()


def fresh() -> str:
    """A question's name: the gateway remembers those of all tests."""
    return uuid.uuid4().hex


def frames(response: http.client.HTTPResponse) -> list[tuple[float, str]]:
    """Each data line, with when it came."""
    found: list[tuple[float, str]] = []
    while line := response.readline():
        if line.startswith(b"data: "):
            found.append((time.monotonic(), line[6:].decode().strip()))
    return found


def spread(found: list[tuple[float, str]]) -> float:
    """The share of frames that came at a time of their own, 30 ms after the one before."""
    gaps = [b[0] - a[0] for a, b in pairwise(found)]
    return sum(gap > 0.03 for gap in gaps) / max(1, len(gaps))


def chat_of(page: Page, stage: Stage) -> str:
    """The reference of the page's chat."""
    page.goto(stage.page_url)
    reference: str = config(page)["chat"]
    return reference


# -- each transport, on each server --------------------------------------------------


@pytest.mark.parametrize("server", ["stage", "apache"])
@pytest.mark.parametrize(
    ("transport", "routes"),
    [
        ("direct", ["grants", "gateway"]),
        ("relay", ["stream"]),
        ("buffered", ["complete"]),
    ],
)
def test_each_transport_brings_the_same_answer_once(
    request: pytest.FixtureRequest,
    page: Page,
    server: str,
    transport: str,
    routes: list[str],
) -> None:
    stage: Stage = request.getfixturevalue(server)
    stage.site.settings(transport=transport)
    visitor = Visitor(page).open(stage.page_url)

    answer = visitor.ask(say(gap_ms=100)).answer()

    assert answer == WHOLE
    assert visitor.routes() == routes
    assert len(stage.upstream.asked) == 1
    if transport != "buffered":
        assert len(visitor.seen()) >= len(DELTAS) // 2


def test_a_relay_streams_through_nginx_with_compression_on(
    stage: Stage, page: Page
) -> None:
    chat = chat_of(page, stage)

    with raw_stream(stage, chat, fresh(), say(gap_ms=100)) as response:
        found = frames(response)

    assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert response.getheader("access-control-allow-origin") in {None, stage.site.url}
    assert spread(found) > 0.6
    assert found[-1][1] == "[DONE]"


@pytest.mark.parametrize(("padding", "streams"), [("auto", True), ("off", False)])
def test_stock_apache_hands_on_only_what_is_filled_up(
    apache: Stage, page: Page, padding: str, streams: bool
) -> None:
    """Without padding it collects everything: late, but whole."""
    apache.site.settings(padding=padding)
    chat = chat_of(page, apache)

    with raw_stream(apache, chat, fresh(), say(gap_ms=150)) as response:
        found = frames(response)

    deltas = [json.loads(data) for _, data in found if data != "[DONE]"]
    text = "".join(
        d["choices"][0]["delta"].get("content", "") for d in deltas if d["choices"]
    )
    assert text == WHOLE
    assert (spread(found) > 0.6) == streams


# -- falling back --------------------------------------------------------------------


def test_a_page_whose_policy_forbids_the_gateway_gets_the_same_grant_through_php(
    stage: Stage, page: Page
) -> None:
    """The probe fails before a grant is made, and the next question goes straight there."""
    page.route(
        stage.page_url,
        lambda route: _with_policy(route, f"connect-src 'self' {stage.site.url}"),
    )
    visitor = Visitor(page).open(stage.page_url)

    assert visitor.ask("Hi").answer() == WHOLE
    assert visitor.ask("Again").answer() == WHOLE

    assert visitor.routes() == ["stream", "stream"]
    assert len(stage.upstream.asked) == 2


def _with_policy(route: object, policy: str) -> None:
    response = route.fetch()  # type: ignore[attr-defined]
    headers = {**response.headers, "content-security-policy": policy}
    route.fulfill(response=response, headers=headers)  # type: ignore[attr-defined]


def test_a_grant_that_the_browser_cannot_pick_up_is_picked_up_by_php(
    stage: Stage, page: Page
) -> None:
    """The gateway answers the probe, then not: one grant, one generation."""
    visitor = Visitor(page)
    page.route("**/v1/stream_grants/**", lambda route: route.abort("connectionrefused"))
    visitor.open(stage.page_url)

    assert visitor.ask("Hi").answer() == WHOLE

    assert visitor.routes() == ["grants", "stream"]
    assert len(stage.upstream.asked) == 1


def test_a_grant_that_was_used_already_is_not_generated_again(
    stage: Stage, page: Page
) -> None:
    """The browser lost the answer after the gateway began: it says so, and asks nobody."""
    visitor = Visitor(page)

    def lose(route: object) -> None:
        route.fetch()  # type: ignore[attr-defined]
        route.abort("connectionreset")  # type: ignore[attr-defined]

    page.route("**/v1/stream_grants/**", lose)
    visitor.open(stage.page_url).ask("Hi")

    assert visitor.failure().startswith("The connection was lost while")
    assert visitor.routes() == ["grants", "stream"]
    assert len(stage.upstream.asked) == 1


def test_a_gateway_that_gives_this_site_no_grants_is_asked_through_php(
    stage: Stage, page: Page
) -> None:
    stage.gateway.write([])
    stage.upstream.until("no grants are given", lambda: _grants(stage) == "none")
    try:
        visitor = Visitor(page).open(stage.page_url)
        assert visitor.ask("Hi").answer() == WHOLE
        assert visitor.routes() == ["grants", "stream"]
        assert len(stage.upstream.asked) == 1
        health = stage.site.php(
            "echo wp_json_encode( Stagedoor\\Site_Health::streaming() );"
        )
        assert "allowed_origins" in health
    finally:
        stage.gateway.write([stage.site.url])
        stage.upstream.until("grants are given", lambda: _grants(stage) == "given")


def _grants(stage: Stage) -> str:
    return stage.site.php(
        "delete_transient( 'stagedoor_no_grants' ); $g = Stagedoor\\Client::grant("
        "new Stagedoor\\Question( 'x', 'cli', Stagedoor\\Chat::with_defaults( array("
        "'model' => '', 'system_prompt' => '', 'max_tokens' => 5 ), 0 ),"
        "array( array( 'role' => 'user', 'content' => 'x' ) ) ) );"
        "echo null === $g ? 'none' : 'given'; delete_transient( 'stagedoor_no_grants' );"
    )


def test_where_streams_are_not_let_through_the_answer_comes_in_one_piece(
    stage: Stage, page: Page
) -> None:
    """A firewall that answers 405 to the relay started nothing."""
    stage.site.settings(transport="auto")
    page.route("**/healthz", lambda route: route.abort("blockedbyclient"))
    page.route(
        "**/stagedoor/v1/stream", lambda route: route.fulfill(status=405, body="no")
    )
    visitor = Visitor(page).open(stage.page_url)

    assert visitor.ask("Hi").answer() == WHOLE

    assert visitor.routes() == ["stream", "complete"]
    assert len(stage.upstream.asked) == 1


def test_an_answer_that_breaks_off_stays_and_is_not_asked_for_again(
    stage: Stage, page: Page
) -> None:
    visitor = Visitor(page).open(stage.page_url)

    visitor.ask(say(cut_before=3, gap_ms=60))

    assert visitor.failure() == "The answer was interrupted."
    assert visitor.shown() == "One two three"
    assert len(stage.upstream.asked) == 1


def test_the_same_question_is_not_served_twice(stage: Stage, page: Page) -> None:
    """Also when something between browser and PHP sends it again."""
    chat, question = chat_of(page, stage), fresh()

    with raw_stream(stage, chat, question, "Hi") as response:
        first = frames(response)
    with raw_stream(stage, chat, question, "Hi") as response:
        again = json.loads(response.read())

    assert first[-1][1] == "[DONE]"
    assert (response.status, again["code"]) == (409, "stagedoor_started")
    assert len(stage.upstream.asked) == 1


def test_an_answer_that_the_gateway_keeps_is_picked_up_where_it_broke_off(
    stage: Stage, page: Page
) -> None:
    """A network that drops twice costs a moment, and no second generation."""
    with keeping(stage), cutting_proxy(stage.gateway.port) as (port, cut):
        stage.site.settings(public_url=f"http://127.0.0.1:{port}")
        visitor = Visitor(page).open(stage.page_url).ask(say(gap_ms=250))
        visitor.shows("two")
        cut()
        visitor.shows("five")
        cut()

        assert visitor.answer() == WHOLE
        assert len(stage.upstream.asked) == 1


def test_stop_ends_an_answer_that_would_go_on_without_readers(
    stage: Stage, page: Page
) -> None:
    with keeping(stage):
        visitor = Visitor(page).open(stage.page_url).ask(say(gap_ms=300))
        visitor.shows("two")

        visitor.stop()

        asked = stage.upstream.asked[0]
        stage.upstream.until("the provider is left", lambda: asked.ended == "left")
    assert asked.sent < len(DELTAS)


@contextmanager
def keeping(stage: Stage) -> Generator[None, None, None]:
    """The gateway keeps this site's answers, and goes on with them when readers leave."""
    stage.gateway.write([stage.site.url], 'resume = "detach"')
    stage.upstream.until("answers are kept", lambda: b"\nid: " in _raw(stage)[1])
    stage.upstream.reset()
    try:
        yield
    finally:
        stage.gateway.write([stage.site.url])
        stage.upstream.until("no more", lambda: b"\nid: " not in _raw(stage)[1])


@contextmanager
def cutting_proxy(to: int) -> Generator[tuple[int, Callable[[], None]], None, None]:
    """A network between browser and gateway, and how to cut all its connections."""
    pairs: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", to))
                pairs.extend((near, far))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def cut() -> None:
        for one in pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        pairs.clear()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1], cut
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            cut()


@pytest.mark.parametrize("transport", ["direct", "relay"])
def test_a_gateway_that_answers_this_site_in_one_piece_is_understood(
    stage: Stage, page: Page, transport: str
) -> None:
    stage.site.settings(transport=transport)
    stage.gateway.write([stage.site.url], "buffered = true")
    stage.upstream.until("the site is served whole", lambda: _buffered(stage))
    stage.upstream.reset()
    try:
        visitor = Visitor(page).open(stage.page_url)
        assert visitor.ask("Hi").answer() == WHOLE
        assert len(stage.upstream.asked) == 1
    finally:
        stage.gateway.write([stage.site.url])
        stage.upstream.until("it streams again", lambda: not _buffered(stage))


def _buffered(stage: Stage) -> bool:
    return _raw(stage)[0].getheader("x-stagedoor-buffered") == "site"


def _raw(stage: Stage) -> tuple[http.client.HTTPResponse, bytes]:
    """A stream as the gateway gives it to this site."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.gateway.port, timeout=30)
    body = {
        "model": "model-a",
        "stream": True,
        "messages": [{"role": "user", "content": say(gap_ms=0)}],
    }
    headers = {
        "Authorization": f"Bearer {lab.SITE_KEY}",
        "Content-Type": "application/json",
    }
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response, text


# -- what goes wrong on the way ------------------------------------------------------


def test_a_refusal_before_the_first_byte_keeps_its_status(
    stage: Stage, page: Page
) -> None:
    chat = chat_of(page, stage)

    with raw_stream(stage, chat, fresh(), say(status=429)) as response:
        body = json.loads(response.read())

    assert response.status == 429
    assert response.getheader("content-type", "").startswith("application/json")
    assert body["data"]["kind"] == "busy"
    assert stage.site.sql(
        "SELECT hits FROM wp_stagedoor_counts WHERE name LIKE 'guest:%'"
    ) == [(0,)]


def test_silence_longer_than_the_servers_patience_is_survived(
    stage: Stage, page: Page
) -> None:
    """Here nginx gives up on PHP after 5 s; the relay's signs of life keep it."""
    chat = chat_of(page, stage)

    with raw_stream(
        stage, chat, fresh(), say(pause_before=2, pause_ms=6500)
    ) as response:
        found = frames(response)

    assert response.status == 200
    assert found[-1][1] == "[DONE]"


@pytest.mark.parametrize("server", ["stage", "apache"])
@pytest.mark.parametrize(
    "script",
    [say(gap_ms=400, deltas=["x"] * 50), say(pause_before=1, pause_ms=20_000)],
    ids=["writing", "silent"],
)
def test_a_visitor_who_leaves_a_relay_ends_the_generation(
    request: pytest.FixtureRequest, page: Page, server: str, script: str
) -> None:
    """PHP looks whether somebody reads, also in silence, and closes its socket."""
    stage: Stage = request.getfixturevalue(server)
    chat = chat_of(page, stage)

    with raw_stream(stage, chat, fresh(), script) as response:
        assert response.readline()

    asked = stage.upstream.asked[0]
    places = "SELECT count(*) FROM wp_stagedoor_counts WHERE name LIKE 'relay:%'"
    stage.upstream.until("the place is free", lambda: stage.site.sql(places) == [(0,)])
    if "pause" not in script:
        stage.upstream.until("the provider is left", lambda: asked.ended == "left")
        assert asked.sent < 50


# -- workers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    """A site with two PHP workers."""
    tmp = tmp_path_factory.mktemp("small")
    with (
        lab.site(workers=2) as site,
        lab.gateway(tmp / "gateway", [site.url]) as gateway,
    ):
        lab.connect(site, gateway)
        yield Stage(site, gateway, site.page("Chat", CHAT))


PAGES = 20


def settled(stage: Stage, busy: int) -> Workers:
    """The workers, once so many are busy: who waits for a relay's place asks now and then."""
    seen: list[Workers] = []

    def look() -> bool:
        seen.append(workers(stage.site))
        return seen[-1].active == busy

    stage.upstream.until(f"{busy} workers are busy", look)
    return seen[-1]


@pytest.mark.parametrize(("transport", "held"), [("auto", 0), ("relay", 1)])
def test_six_open_chats_hold_no_workers_but_those_that_the_owner_gives_away(
    small: Stage, context: BrowserContext, transport: str, held: int
) -> None:
    """Of two workers, both are free beside six grants, and one beside the one relay.

    The answers stop half-way until the front page was served: had it waited for one, it
    would have waited for ever. How long it takes is measured in bench/pages.py.
    """
    small.upstream.reset()
    small.site.settings(transport=transport, relay_max=1, limit_guest=0)
    visitors = [Visitor(context.new_page()).open(small.page_url) for _ in range(6)]
    for visitor in visitors:
        visitor.ask(say(deltas=["Half", " an answer."], hold_before=1))
    for visitor in visitors if held == 0 else []:
        visitor.shows("Half")
    small.upstream.until(
        "the chats are open", lambda: len(small.upstream.asked) >= (held or 6)
    )

    before = settled(small, held)
    for _ in range(PAGES):
        assert lab.answers(f"{small.site.url}/")
    after = settled(small, held)

    assert all(asked.ended == "running" for asked in small.upstream.asked)
    assert (before.idle, after.idle) == (2 - held, 2 - held)
    if held == 0:
        assert after.accepted - before.accepted == PAGES  # And nothing for the chats.
    small.upstream.released.set()
    assert visitors[0].answer() == "Half an answer."
    for visitor in visitors:
        visitor.page.close()


def test_questions_beyond_the_places_wait_and_are_answered(
    small: Stage, context: BrowserContext
) -> None:
    small.upstream.reset()
    small.site.settings(transport="relay", relay_max=1, limit_guest=0)
    first = Visitor(context.new_page()).open(small.page_url)
    second = Visitor(context.new_page()).open(small.page_url)
    first.ask(say(gap_ms=200))
    first.shows("One")

    second.ask("Hi")

    assert second.answer() == WHOLE
    assert first.answer() == WHOLE
    assert second.calls.count(("stream", 503)) >= 1
    assert len(small.upstream.asked) == 2


def test_of_many_that_ask_at_once_no_more_than_the_limit_are_answered(
    stage: Stage, page: Page
) -> None:
    """Two requests never both win the last place."""
    stage.site.settings(limit_guest=3, relay_max=50)
    chat = chat_of(page, stage)

    def ask(_: int) -> int:
        with raw_stream(stage, chat, fresh(), "Hi") as response:
            response.read()
            return response.status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(8)))

    assert sorted(statuses) == [200] * 3 + [429] * 5
    assert len(stage.upstream.asked) == 3


# -- finding out ---------------------------------------------------------------------


def test_the_trial_finds_what_works_and_keeps_it(stage: Stage, page: Page) -> None:
    log_in(page, stage.site)
    page.goto(f"{stage.site.url}/wp-admin/options-general.php?page=stagedoor")

    page.click("[data-stagedoor-test=streaming]")
    result = page.locator(".stagedoor-tests__result")
    result.get_by_text("Answers travel:").wait_for()

    assert "lets pieces through one by one" in result.inner_text()
    assert "from the gateway itself" in result.inner_text()
    verdict = json.loads(
        stage.site.wp("option", "get", "stagedoor_verdict", "--format=json")
    )
    assert (verdict["direct"], verdict["relay"]) == ("ok", "ok")


def test_a_server_that_ignores_our_headers_is_found_out(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Then answers come from the gateway or in one piece, by no useless relay."""
    tmp = tmp_path_factory.mktemp("deaf")
    extra = "fastcgi_ignore_headers X-Accel-Buffering;"
    with (
        lab.site(nginx_extra=extra) as site,
        lab.gateway(tmp / "gateway", [site.url]) as gateway,
    ):
        lab.connect(site, gateway)
        said = site.wp("stagedoor", "test-stream", check=False)
        order = site.php("echo implode( ' ', Stagedoor\\Verdict::order() );")

    assert "arrive together" in said
    assert order == "direct buffered"
