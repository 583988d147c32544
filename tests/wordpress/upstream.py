"""A model provider that does as it is told by the question.

A question that holds `@@{…}@@` is a script: the deltas to send, how far apart, what
goes wrong, and what waits until the test sets `released`. It keeps what it was asked and how each answer ended, so that tests can say
"it was generated once" and "it stopped when the visitor did".
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

SCRIPT = re.compile(r"@@(\{.*?\})@@", re.DOTALL)
DELTAS = ("One", " two", " three", " four", " five", " six", " seven", " eight.")
GAP_MS = 40
HOLD_S_MAX = 60  # A test that fails before it releases must not keep the thread.
MODELS = ("model-a", "model-b")


def words(content: str | list[dict[str, str]]) -> str:
    """A message's text, however it was written."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


@attrs.define
class Asked:
    """One request, and how far its answer came."""

    body: dict[str, Any]
    sent: int = 0
    ended: str = "running"

    @property
    def last(self) -> str:
        """The last thing that was said to the model."""
        return words(self.body["messages"][-1]["content"])

    @property
    def system(self) -> str:
        """The system prompt; '' where there was none."""
        first = self.body["messages"][0]
        return words(first["content"]) if first["role"] == "system" else ""


@attrs.define
class Upstream:
    """The provider."""

    port: int
    asked: list[Asked] = attrs.field(factory=list[Asked])
    released: threading.Event = attrs.field(factory=threading.Event)

    def reset(self) -> None:
        """Forget what was asked."""
        self.asked.clear()
        self.released.clear()

    def until(self, what: str, check: Any, wait_s: float = 15.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + wait_s
        while not check():
            assert time.monotonic() < end, f"not within {wait_s} s: {what}"
            time.sleep(0.02)


def script_of(body: dict[str, Any]) -> dict[str, Any]:
    """What the question tells to do."""
    for message in reversed(body["messages"]):
        if found := SCRIPT.search(str(message["content"])):
            script: dict[str, Any] = json.loads(found[1])
            return script
    return {}


def say(**script: Any) -> str:
    """A question with a script in it."""
    return f"@@{json.dumps(script)}@@"


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            data = [{"id": name, "object": "model"} for name in MODELS]
            self._json(200, {"object": "list", "data": data})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked = Asked(body)
            upstream.asked.append(asked)
            script = script_of(body)
            time.sleep(script.get("silent_ms", 0) / 1000)
            if "status" in script:
                asked.ended = "refused"
                error = {"message": "as the script says", "code": script.get("code")}
                self._json(script["status"], {"error": error})
                return
            deltas = script.get("deltas", DELTAS)
            try:
                if body.get("stream"):
                    self._stream(asked, body, script, deltas)
                else:
                    asked.sent = len(deltas)
                    tokens = script.get("tokens", len(deltas))
                    self._json(200, self._whole("".join(deltas), tokens))
                asked.ended = "complete"
            except (ConnectionError, TimeoutError):
                asked.ended = "left"
                self.close_connection = True

        def _stream(
            self,
            asked: Asked,
            body: dict[str, Any],
            script: dict[str, Any],
            deltas: list[str] | tuple[str, ...],
        ) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number, delta in enumerate(deltas):
                if number == script.get("pause_before"):
                    time.sleep(script["pause_ms"] / 1000)
                if number == script.get("hold_before"):
                    upstream.released.wait(HOLD_S_MAX)
                if number == script.get("cut_before"):
                    raise ConnectionAbortedError
                self._chunk({"delta": {"content": delta}, "index": 0})
                asked.sent += 1
                time.sleep(script.get("gap_ms", GAP_MS) / 1000)
            finish = script.get("finish", "stop")
            self._chunk({"delta": {}, "index": 0, "finish_reason": finish})
            if body.get("stream_options", {}).get("include_usage"):
                usage = self._usage(script.get("tokens", len(deltas)))
                self._event({"choices": [], "usage": usage})
            self._write(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, choice: dict[str, Any]) -> None:
            self._event({"choices": [choice]})

        def _event(self, more: dict[str, Any]) -> None:
            event = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "model-a",
                **more,
            }
            self._write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def _write(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _usage(self, tokens: int) -> dict[str, int]:
            return {
                "prompt_tokens": 10,
                "completion_tokens": tokens,
                "total_tokens": 10 + tokens,
            }

        def _whole(self, text: str, tokens: int) -> dict[str, Any]:
            message = {"role": "assistant", "content": text}
            return {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "model-a",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": self._usage(tokens),
            }

        def _json(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """Clients that leave are part of the tests."""


@contextmanager
def upstream() -> Generator[Upstream, None, None]:
    """Serve on a port of the system's choice; end with the block."""
    there = Upstream(0)
    server = _Server(("127.0.0.1", 0), _handler(there))
    there.port = server.server_address[1]
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}
    )
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
