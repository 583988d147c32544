"""The provider's side of each conversation: recorded where a recording exists.

`scene_of` looks, in this order, for

1. a recording of that provider, of this kind of conversation: "recorded";
2. a recording of the same grammar by another provider, or of the same provider in
   another conversation where the answer's shape does not depend on it: "belief";
3. a body written from a provider's documents, here: "belief".

None means that a provider has no such thing to say ("not expressible").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final, Literal

import attrs

from tests.recorded.places import kind_of, reason_left_out
from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read
from tests.support_recordings import case as case_of
from tests.support_recordings import cases
from wire.eventstream import exception

Source = Literal["recorded", "belief"]
Test = Callable[[Case, Reading], bool]


@attrs.frozen
class Scene:
    """What a provider answers, and how we know."""

    case: Case
    source: Source


def _plain(case: Case, reading: Reading) -> bool:
    return bool(reading.error is None and reading.text and reading.finish == "stop")


def _asked(*features: str) -> Test:
    """A plain answer to a request that had one of these."""

    def test(case: Case, reading: Reading) -> bool:
        return bool(
            reading.error is None
            and (reading.text or reading.tool_calls)
            and case.features & set(features)
        )

    return test


def _failed(kind: str) -> Test:
    def test(case: Case, reading: Reading) -> bool:
        error = reading.error
        return error is not None and error.kind == kind and case.status >= 400

    return test


TESTS: Final[dict[str, Test]] = {
    "plain": _plain,
    "system": _asked("req.role=system", "req.system", "req.systemInstruction",
                     "req.instructions", "req.role=developer"),
    "multi-turn": _asked("req.multiturn", "req.role=assistant", "req.role=model"),
    "parallel tools": lambda case, reading: bool(
        len(reading.tool_calls) > 1
        or _asked("req.role=tool", "req.part=tool_result", "req.part=toolResult",
                  "req.part=functionResponse", "req.part=function_response",
                  "req.role=function_call_output")(case, reading)
    ),
    "image": _asked("req.part=image", "req.part=image_url", "req.part=inlineData",
                    "req.part=input_image"),
    "JSON schema": _asked("req.response_format=json_schema", "type=json_schema",
                          "req.cfg.responseSchema", "req.cfg.responseJsonSchema",
                          "req.cfg.response_schema", "req.outputConfig",
                          "req.output_config", "req.format"),
    "reasoning": lambda _, reading: bool(reading.error is None and reading.reasoning),
    "stop": _asked("req.stop_sequences", "req.cfg.stopSequences", "req.stop=list",
                   "req.stop=stop", "req.stop=."),
    "length": lambda _, reading: reading.finish == "length" and reading.error is None,
    "refusal": lambda _, reading: bool(
        reading.error is None
        and (reading.refusal or reading.finish == "content_filter")
    ),
    "context overflow": _failed("context"),
    "throttled": _failed("throttle"),
    "mid-stream error": lambda case, reading: bool(
        reading.error is not None and case.status < 400
    ),
    "truncated": lambda case, reading: _plain(case, reading) and case.streamed,
}  # fmt: skip
# What is asked here does not change the shape of the answer.
ANY_ANSWER: Final = frozenset(
    {"system", "multi-turn", "parallel tools", "image", "JSON schema", "stop"}
)


@cache
def _readings() -> tuple[tuple[Case, Reading], ...]:
    return tuple(
        (case, read(case))
        for case in cases()
        if reason_left_out(case) is None
        and case.family not in {"embeddings", "completions"}
        # A body that was asked for in another framing, see places.clients_of.
        and not (
            case.operation == "streamGenerateContent" and b"data:" not in case.body
        )
    )


@cache
def scene_of(kind: str, family: str, name: str) -> Scene | None:
    """The upstream side of conversation `name` with this kind of provider."""
    found = _find(name, family, lambda case: kind_of(case) == kind)
    if found is not None:
        return Scene(_played(name, found), "recorded")
    if name in ANY_ANSWER:
        found = _find("plain", family, lambda case: kind_of(case) == kind)
    elsewhere = name not in WRITTEN.get(family, {})
    if found is None and elsewhere:
        found = _find(name, family, lambda case: True)
    if found is None and name in ANY_ANSWER:
        found = _find("plain", family, lambda case: True)
    if found is not None:
        return Scene(_played(name, found), "belief")
    written = WRITTEN.get(family, {}).get(name)
    return Scene(written(), "belief") if written is not None else None


def _find(name: str, family: str, where: Callable[[Case], bool]) -> Case | None:
    test = TESTS[name]
    for case, reading in _readings():
        if case.family == family and where(case) and test(case, reading):
            return case
    if name in {"context overflow", "throttled"} and family == "responses":
        # One provider's errors are alike at all of its endpoints.
        return _find(name, "chat", where)
    return None


def _played(name: str, case: Case) -> Case:
    if name != "truncated":
        return case
    return replace(case, body=case.body[: len(case.body) // 2])


# -- written from belief -------------------------------------------------------------


def _patched(name: str, change: Callable[[Any], None]) -> Case:
    """A whole recorded answer with something else in it."""
    case = case_of(name)
    body = json.loads(case.body)
    change(body)
    return replace(case, body=json.dumps(body).encode())


def _refused(like: str, status: int, body: Any, **headers: str) -> Case:
    """An error body of a provider that none was recorded of."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(
        case_of(like),
        status=status,
        body=json.dumps(body).encode(),
        response_file="response.json",
        response_headers={"content-type": "application/json", **headers},
    )


def _broken(name: str, event: bytes, events: Callable[[bytes], list[bytes]]) -> Case:
    """The first half of a recorded stream's events, then an error."""
    case = case_of(name)
    split = events(case.body)
    return replace(case, body=b"".join(split[: len(split) // 2]) + event)


def _sse_events(body: bytes) -> list[bytes]:
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    return [event + end for event in body.split(end) if event.strip()]


def _lines(body: bytes) -> list[bytes]:
    return body.splitlines(keepends=True)


def _frames(body: bytes) -> list[bytes]:
    frames = []
    while body:
        size = int.from_bytes(body[:4], "big")
        frames.append(body[:size])
        body = body[size:]
    return frames


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(body: Any) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = to

    return change


def _refusing(body: Any) -> None:
    message = next(item for item in body["output"] if item["type"] == "message")
    message["content"] = [{"type": "refusal", "refusal": "I cannot help with that."}]


CLAUDE: Final = "anthropic/messages--sampling-settings-reach-wire"
CLAUDE_STREAM: Final = "anthropic/messages-stream--simple-streaming-request"
GOOGLE_STREAM: Final = (
    "vertex/streamgeneratecontent-thinking--streams-thinking-content-when-available"
)
COHERE: Final = "cohere/chat-cached--have-conversation"
LLAMA: Final = "ollama-native/chat"
LLAMA_STREAM: Final = "ollama-native/chat-stream--streaming"
NOVA: Final = "bedrock/converse--have-conversation"
NOVA_STREAM: Final = "bedrock/converse-stream--converse-stream-prompt-caching"
RESPONSE: Final = "openai-responses/responses-reasoning--responses"

WRITTEN: Final[dict[str, dict[str, Callable[[], Case]]]] = {
    "responses": {"refusal": lambda: _patched(RESPONSE, _refusing)},
    "anthropic": {
        "throttled": lambda: _refused(
            CLAUDE,
            429,
            {
                "type": "error",
                "error": {"type": "rate_limit_error", "message": "Too many requests."},
            },
            retry_after="2",
        ),
        "mid-stream error": lambda: _broken(
            CLAUDE_STREAM,
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
            b'"message":"Overloaded"}}\n\n',
            _sse_events,
        ),
    },
    "gemini": {
        "mid-stream error": lambda: _broken(
            GOOGLE_STREAM,
            b'{"error":{"code":503,"message":"The model is overloaded.",'
            b'"status":"UNAVAILABLE"}}\r\n',
            _sse_events,
        ),
    },
    "converse": {
        "throttled": lambda: _refused(
            NOVA,
            429,
            {"message": "Too many requests, please wait before trying again."},
            x_amzn_errortype="ThrottlingException",
        ),
        "mid-stream error": lambda: _broken(
            NOVA_STREAM,
            exception("modelStreamErrorException", b'{"message":"It broke."}'),
            _frames,
        ),
    },
    "cohere": {
        "length": lambda: _patched(COHERE, _set("finish_reason", to="MAX_TOKENS")),
        "context overflow": lambda: _refused(
            COHERE, 400, {"id": "x", "message": "too many tokens: TOO_MANY_TOKENS"}
        ),
        "throttled": lambda: _refused(COHERE, 429, {"message": "Please wait."}),
    },
    "ollama": {
        "length": lambda: _patched(LLAMA, _set("done_reason", to="length")),
        "reasoning": lambda: _patched(LLAMA, _set("message", "thinking", to="Hm.")),
        "context overflow": lambda: _refused(
            LLAMA, 400, {"error": "prompt too long; exceeded max context length by 9"}
        ),
        "throttled": lambda: _refused(LLAMA, 429, {"error": "too many requests"}),
        "mid-stream error": lambda: _broken(
            LLAMA_STREAM, b'{"error":"the model runner has stopped"}\n', _lines
        ),
    },
}
"""Bodies that no recording holds, as the providers' documents have them.

Cohere ends no answer with a refusal and has no error event; Ollama refuses nothing.
"""
