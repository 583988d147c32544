"""Official clients on every transport: they stream, abort and recover.

An abort is seen upstream while nothing flows: before the next delta, which is seconds
away; so it is the leaving itself that got there, and no write that failed. Then the
same client reads another answer to its end, and the gateway holds nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.e2e.client_matrix import DOC, ROWS, page
from tests.e2e.stage import KEY, Stage, staged
from tests.recorded.test_node_clients import CLIENTS, installed
from tests.support_browser import evaluate, pages

# The client opens its socket as `websockets` deprecates it: that is its affair.
pytestmark = pytest.mark.filterwarnings(
    "ignore:connect.. must be used as a context manager:DeprecationWarning"
)

GAP_S: Final = 2
SLOW: Final = f"bench tag=slow deltas=9 gap_us={GAP_S * 1_000_000}"
QUICK: Final = "bench tag=quick deltas=5 gap_us=0"
RUN_MAX_S: Final = 60

PAGE: Final = """
async ({url, source}) => {
  if (source) return new Promise((resolve) => {
    const seen = [], events = new EventSource(url);
    events.onmessage = (event) => {
      seen.push(event.data);
      if (source === "abort" || event.data === "[DONE]") {
        events.close(); resolve(seen);
      }
    };
    events.onerror = () => { events.close(); resolve(seen); };
  });
  const leave = new AbortController(), seen = [];
  const answer = await fetch(url.url, {signal: leave.signal});
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return seen;
    seen.push(decoder.decode(value, {stream: true}));
    if (url.abort) { leave.abort(); return seen; }
  }
}
"""
SOCKET: Final = """
async ({url, token, abort}) => new Promise((resolve) => {
  const seen = [];
  const socket = new WebSocket(url, ["stagedoor", `stagedoor-grant.${token}`]);
  socket.onclose = () => resolve(seen);
  socket.onmessage = (message) => {
    seen.push(message.data);
    if (abort) { socket.close(); resolve(seen); }
  };
})
"""


@pytest.fixture(scope="module")
def shop() -> Generator[str, None, None]:
    with pages({"/": "<title>shop</title>"}) as origin:
        yield origin


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, shop: str
) -> Generator[Stage, None, None]:
    folder = tmp_path_factory.mktemp("clients")
    with staged(folder, site=f'allowed_origins = ["{shop}"]') as made:
        yield made


def tried(stage: Stage, abort: Callable[[], object], whole: Callable[[], str]) -> None:
    """Leave one answer, see it left upstream, read another."""
    before = stage.seen()
    abort()
    stage.until("upstream was left", lambda: stage.seen().aborted > before.aborted)
    left = stage.seen()
    assert left.aborted == before.aborted + 1
    assert left.deltas == before.deltas + 1, "it took a write to notice"
    stage.until("all is back", stage.is_idle)

    text = whole()

    for number in range(5):
        assert f"quickw{number}@" in text, text
    after = stage.seen()
    assert after.finished == before.finished + 1
    assert after.requests == before.requests + 2, "no client asked again by itself"
    stage.until("all is back", stage.is_idle)


def test_the_page_tells_what_is_tried() -> None:
    text = DOC.read_text()
    assert page(text) == text, "run python -m tests.e2e.client_matrix"
    tests = {name for name in globals() if name.startswith("test_")}
    named = {row.name for row in ROWS}
    assert named == set(PYTHON) | set(NODE) | {"curl"} | set(PAGES)
    assert "test_curl_streams_aborts_and_recovers" in tests


# -- Python ------------------------------------------------------------------------


def python_chat(stage: Stage, words: str, *, leave: bool) -> str:
    with (
        openai.OpenAI(api_key=KEY, base_url=stage.base_url, max_retries=0) as client,
        client.chat.completions.create(
            model="bench", stream=True, messages=[{"role": "user", "content": words}]
        ) as stream,
    ):
        if leave:
            next(iter(stream))
            return ""
        return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def python_responses(stage: Stage, words: str, *, leave: bool) -> str:
    with (
        openai.OpenAI(api_key=KEY, base_url=stage.base_url, max_retries=0) as client,
        client.responses.create(model="bench", stream=True, input=words) as stream,
    ):
        if leave:
            next(iter(stream))
            return ""
        return "".join(
            e.delta for e in stream if e.type == "response.output_text.delta"
        )


def python_socket(stage: Stage, words: str, *, leave: bool) -> str:
    with (
        openai.OpenAI(api_key=KEY, base_url=stage.base_url, max_retries=0) as client,
        client.responses.connect() as socket,
    ):
        socket.response.create(model="bench", input=words)
        text = ""
        for event in socket:
            if event.type == "response.output_text.delta":
                text += event.delta
                if leave:
                    break
            if event.type == "response.completed":
                break
        return text


def python_messages(stage: Stage, words: str, *, leave: bool) -> str:
    with (
        anthropic.Anthropic(
            api_key=KEY, base_url=stage.base_url.removesuffix("/v1"), max_retries=0
        ) as client,
        client.messages.stream(
            model="bench", max_tokens=99, messages=[{"role": "user", "content": words}]
        ) as stream,
    ):
        if leave:
            next(iter(stream))
            return ""
        return stream.get_final_text()


PYTHON: Final = {
    "python-chat": python_chat,
    "python-responses": python_responses,
    "python-socket": python_socket,
    "python-messages": python_messages,
}


@pytest.mark.parametrize("name", PYTHON)
def test_a_python_client_streams_aborts_and_recovers(stage: Stage, name: str) -> None:
    ask = PYTHON[name]
    tried(
        stage,
        lambda: ask(stage, SLOW, leave=True),
        lambda: ask(stage, QUICK, leave=False),
    )


# -- JavaScript ----------------------------------------------------------------------

NODE: Final = {
    "node-chat": ("openai.mjs", "chat"),
    "node-responses": ("openai.mjs", "responses"),
    "node-messages": ("anthropic.mjs", "messages"),
    "node-ai": ("ai.mjs", "chat"),
}


def node(stage: Stage, name: str, words: str, *, abort: bool) -> str:
    script, client = NODE[name]
    one = {"id": "1", "client": client, "model": "bench", "stream": True}
    done = subprocess.run(
        ["node", str(CLIENTS / script)],
        input=json.dumps({**one, "abort": abort}) + "\n",
        cwd=CLIENTS,
        env={
            **os.environ,
            "GATEWAY_URL": stage.base_url.removesuffix("/v1"),
            "GATEWAY_KEY": KEY,
            "GATEWAY_PROMPT": words,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_MAX_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = json.loads(done.stdout)
    assert ("aborted" if abort else "held") in line, line
    return done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", NODE)
def test_a_javascript_client_streams_aborts_and_recovers(
    stage: Stage, name: str
) -> None:
    installed()
    tried(
        stage,
        lambda: node(stage, name, SLOW, abort=True),
        lambda: node(stage, name, QUICK, abort=False),
    )


# -- curl ------------------------------------------------------------------------------


def test_curl_streams_aborts_and_recovers(stage: Stage) -> None:
    def curl(words: str) -> subprocess.Popen[str]:
        body = {
            "model": "bench",
            "stream": True,
            "messages": [{"role": "user", "content": words}],
        }
        fields = [f"authorization: Bearer {KEY}", "content-type: application/json"]
        command = ["curl", "-sSN", "-d", json.dumps(body)]
        command += [word for field in fields for word in ("-H", field)]
        return subprocess.Popen(
            [*command, f"{stage.base_url}/chat/completions"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def abort() -> None:
        with curl(SLOW) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("data: ")
            process.kill()

    def whole() -> str:
        return curl(QUICK).communicate(timeout=RUN_MAX_S)[0]

    tried(stage, abort, whole)


# -- a page ----------------------------------------------------------------------------


def granted(stage: Stage, shop: str, words: str, endpoint: str) -> dict[str, Any]:
    request: dict[str, Any] = {"model": "bench", "stream": True}
    if endpoint.endswith("responses"):
        request["input"] = words
    else:
        request["messages"] = [{"role": "user", "content": words}]
    asked = {"origin": shop, "endpoint": endpoint, "request": request}
    status, _, raw = stage.ask("POST", "/v1/stream_grants", asked)
    assert status == 201, raw
    found: dict[str, Any] = json.loads(raw)
    return found


def page_fetch(stage: Stage, shop: str, words: str, *, abort: bool) -> str:
    grant = granted(stage, shop, words, "/v1/chat/completions")
    url = {"url": grant["url"], "abort": abort}
    return "".join(evaluate(f"{shop}/", PAGE, {"url": url, "source": ""}))


def page_source(stage: Stage, shop: str, words: str, *, abort: bool) -> str:
    grant = granted(stage, shop, words, "/v1/chat/completions")
    asked = {"url": grant["url"], "source": "abort" if abort else "read"}
    return "".join(evaluate(f"{shop}/", PAGE, asked))


def page_socket(stage: Stage, shop: str, words: str, *, abort: bool) -> str:
    grant = granted(stage, shop, words, "/v1/responses")
    url = f"ws://127.0.0.1:{stage.port}/v1/responses"
    asked = {"url": url, "token": grant["token"], "abort": abort}
    return "".join(evaluate(f"{shop}/", SOCKET, asked))


PAGES: Final = {
    "page-fetch": page_fetch,
    "page-source": page_source,
    "page-socket": page_socket,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_streams_aborts_and_recovers(stage: Stage, shop: str, name: str) -> None:
    ask = PAGES[name]
    tried(
        stage,
        lambda: ask(stage, shop, SLOW, abort=True),
        lambda: ask(stage, shop, QUICK, abort=False),
    )
