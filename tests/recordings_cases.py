"""Recorded exchanges as plain values, and plain ways to take their bodies apart.

Owns: `Case` (what is on disk), `Reading` (what a case says, filled in by
recordings_reader.py), and simple whole-body parsers of SSE and AWS event streams.
Never: imports `wire`. What tests compare `wire` with must not be made of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.eventstream import EventStreamBuffer

ROOT = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Case:
    """One recorded exchange on disk."""

    name: str  # provider/case
    provider: str
    operation: str
    family: str  # whose grammar the response body follows; see FAMILIES
    method: str
    url: str | None
    status: int
    body: bytes
    response_file: str
    request: Any
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    features: frozenset[str]

    @property
    def streamed(self) -> bool:
        """Whether the provider sent a stream (also the JSON array kind)."""
        return (
            not self.response_file.endswith(".json")
            or self.operation == "streamGenerateContent"
        )

    def __repr__(self) -> str:
        return f"<Case {self.name} {self.status} {len(self.body)} bytes>"


@dataclass(frozen=True)
class Call:
    """One tool call for the client to run; `arguments` is parsed where it parses."""

    name: str
    arguments: Any
    id: str | None = None


@dataclass(frozen=True)
class Tokens:
    """Usage in one meaning for all providers; see recordings_reader.py."""

    prompt: int = 0
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Error:
    """An error as the provider said it, plus whose fault it is."""

    status: int | None
    code: str | None
    message: str
    kind: str  # client | context | key | throttle | transient


@dataclass
class Choice:
    """One alternative answer (`n` > 1 gives several)."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[Call] = field(default_factory=list)
    finish: str | None = None
    finish_raw: str | None = None


@dataclass
class Reading:
    """All that a codec must find in one recording."""

    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Tokens | None = None
    error: Error | None = None
    model: str | None = None
    id: str | None = None
    signatures: list[str] = field(default_factory=list)
    vectors: int = 0
    input_tokens: int | None = None  # count-token operations

    def choice(self, index: int = 0) -> Choice:
        return self.choices.setdefault(index, Choice())

    @property
    def text(self) -> str:
        return self.choice().text

    @property
    def reasoning(self) -> str:
        return self.choice().reasoning

    @property
    def refusal(self) -> str:
        return self.choice().refusal

    @property
    def tool_calls(self) -> list[Call]:
        return self.choice().tool_calls

    @property
    def finish(self) -> str | None:
        return self.choice().finish


def load(folder: Path) -> Case:
    """Read one case folder."""
    meta = json.loads((folder / "meta.json").read_text())
    request_file = folder / "request.json"
    provider = folder.parent.name
    body = (folder / meta["response_file"]).read_bytes()
    return Case(
        name=f"{provider}/{folder.name}",
        provider=provider,
        operation=meta["operation"],
        family=family_of(provider, meta["operation"], folder.name, body),
        method=meta["method"],
        url=meta["url"],
        status=meta["status"],
        body=body,
        response_file=meta["response_file"],
        request=json.loads(request_file.read_text()) if request_file.exists() else None,
        request_headers=dict(meta["request_headers"] or []),
        response_headers=dict(meta["response_headers"] or []),
        features=frozenset(meta["features"]),
    )


def all_cases(root: Path = ROOT) -> list[Case]:
    """Every case, in the order of its name."""
    return [load(meta.parent) for meta in sorted(root.glob("*/*/meta.json"))]


FAMILIES = {
    "messages": "anthropic",
    "count-tokens": "count",
    "countTokens": "count",
    "responses-input_tokens": "count",
    "generateContent": "gemini",
    "streamGenerateContent": "gemini",
    "converse": "converse",
    "converse-stream": "converse",
    "invoke": "invoke",
    "invoke-with-response-stream": "invoke",
    "completions": "completions",
    "responses": "responses",
    "responses-get": "responses",
    "embeddings": "embeddings",
    "embed": "embeddings",
    "realtime-websocket": "realtime",
    "batches": "other",
    "files": "other",
    "models": "other",
}


def family_of(provider: str, operation: str, name: str, body: bytes) -> str:
    """Whose grammar a response body follows."""
    if operation == "generate" or provider == "ollama-native":
        return "ollama"
    if operation in FAMILIES:
        return FAMILIES[operation]
    if operation == "chat":
        return "cohere" if provider == "cohere" else "chat"
    assert operation == "fixture", f"{provider}/{name}: unknown operation {operation}"
    if provider in {"anthropic", "gemini", "cohere"}:
        return provider
    return "responses" if b'"response.created"' in body else "chat"


def sse(body: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Split an event stream into (event, data) pairs and lines that are no field.

    A last event without its blank line is dropped, as the standard says.
    """
    events: list[tuple[str, str]] = []
    stray: list[str] = []
    name, data = "", []
    for line in re.split("\r\n|\r|\n", body.decode("utf-8").removeprefix("\ufeff")):
        key, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
        elif key == "data" and colon:
            data.append(value)
        elif key == "event" and colon:
            name = value
        elif key not in {"", "id", "retry", "data", "event"}:
            stray.append(line)
    return events, stray


def sse_json(body: bytes) -> list[dict[str, Any]]:
    """Return the JSON payloads of an event stream, `[DONE]` left out."""
    return [json.loads(data) for _, data in sse(body)[0] if data.strip() != "[DONE]"]


def aws_frames(body: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Read an AWS event stream with botocore's own parser."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return [(message.headers, message.payload) for message in buffer]


def parsed(arguments: Any) -> Any:
    """Parse tool arguments; an empty string means none, a broken one stays a string."""
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments
