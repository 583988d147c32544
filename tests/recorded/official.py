"""What the official clients make of an answer, in the readers' normal form.

Each `ask_…` calls an official client as its users do and gives back what it holds. That
is put into the client's own JSON again and read by the second reader
(tests/recordings_reader.py), which also reads the recording: so one normal form holds
for both, and it is the one stated there. What a dialect cannot say is in `expected`,
the only place with exceptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import anthropic
import attrs
import httpx2
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from tests.recorded.bridge import KEY, MODEL
from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read

BASE_URL: Final = "http://gateway.test"
OUTPUT_TOKENS_MAX: Final = 16_000  # More than any recorded answer has.
PROMPT: Final = "What is the weather in Paris?"

# The families of recordings_reader.READERS, by client.
FAMILY_OF: Final = {
    "chat": "chat",
    "completions": "completions",
    "responses": "responses",
    "messages": "anthropic",
    "gemini": "gemini",
    "embeddings": "embeddings",
}


@attrs.frozen
class Told:
    """An answer as the client holds it."""

    reading: Reading
    held: Any


@attrs.frozen
class Raised:
    """An error as the client raised it."""

    type: type[BaseException]
    status: int | None
    code: str | None
    message: str
    headers: dict[str, str]


@attrs.frozen
class Ask:
    """What a user asks for, whatever the client."""

    stream: bool
    base_url: str = BASE_URL
    model: str = MODEL


def ask(client: str, how: Ask, http: httpx2.Client) -> Told | Raised:
    """Call the official client of a dialect; its errors are answers too."""
    try:
        return ASKS[client](how, http)
    except openai.APIError as error:
        status = getattr(error, "status_code", None)
        return _raised(error, status, error.code, _headers(error))
    except anthropic.APIStatusError as error:
        return _raised(error, error.status_code, error.type, _headers(error))
    except google_errors.APIError as error:
        return _raised(error, error.code, error.status, {})


def reading_of(family: str, held: Any) -> Reading:
    """Read what a client holds, as a recording of its dialect is read."""
    if isinstance(held, list):
        body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in held)
        return reading_of_body(family, body, streamed=True)
    return reading_of_body(family, json.dumps(held).encode(), streamed=False)


def reading_of_body(family: str, body: bytes, streamed: bool) -> Reading:
    """Read an answer of the gateway's as a recording of its dialect is read."""
    return read(
        Case(
            name="told/by-a-client",
            provider="told",
            operation="told",
            family=family,
            method="POST",
            url=None,
            status=200,
            body=body,
            response_file="response.sse" if streamed else "response.json",
            request=None,
            request_headers={},
            response_headers={},
            features=frozenset(),
        )
    )


def openai_client(how: Ask, http: httpx2.Client) -> openai.OpenAI:
    """OpenAI's."""
    base_url = f"{how.base_url}/v1"
    return openai.OpenAI(
        api_key=KEY, base_url=base_url, http_client=http, max_retries=0
    )


def ask_chat(how: Ask, http: httpx2.Client) -> Told:
    """Chat completions."""
    create = openai_client(how, http).chat.completions.create
    asked: dict[str, Any] = {
        "model": how.model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_completion_tokens": OUTPUT_TOKENS_MAX,
    }
    if not how.stream:
        return _told("chat", create(**asked).to_dict(mode="json", warnings=False))
    chunks = create(**asked, stream=True, stream_options={"include_usage": True})
    return _told(
        "chat", [chunk.to_dict(mode="json", warnings=False) for chunk in chunks]
    )


def ask_completions(how: Ask, http: httpx2.Client) -> Told:
    """Completions."""
    create = openai_client(how, http).completions.create
    asked: dict[str, Any] = {
        "model": how.model,
        "prompt": PROMPT,
        "max_tokens": OUTPUT_TOKENS_MAX,
    }
    if not how.stream:
        return _told(
            "completions", create(**asked).to_dict(mode="json", warnings=False)
        )
    chunks = create(**asked, stream=True, stream_options={"include_usage": True})
    return _told(
        "completions", [chunk.to_dict(mode="json", warnings=False) for chunk in chunks]
    )


def ask_responses(how: Ask, http: httpx2.Client) -> Told:
    """Responses. A failed one is an answer to the client's code, and no exception."""
    create = openai_client(how, http).responses.create
    asked: dict[str, Any] = {
        "model": how.model,
        "input": PROMPT,
        "max_output_tokens": OUTPUT_TOKENS_MAX,
    }
    if not how.stream:
        return _told("responses", create(**asked).to_dict(mode="json", warnings=False))
    events = [
        event.to_dict(mode="json", warnings=False)
        for event in create(**asked, stream=True)
    ]
    told = _told("responses", events)
    said = "".join(
        str(event["delta"])
        for event in events
        if event["type"] == "response.output_text.delta"
    )
    assert said == told.reading.text  # Deltas and the final snapshot agree.
    return told


def ask_messages(how: Ask, http: httpx2.Client) -> Told:
    """Anthropic's messages; streams through its accumulating helper."""
    with anthropic.Anthropic(
        api_key=KEY, base_url=how.base_url, http_client=http, max_retries=0
    ) as client:
        asked: dict[str, Any] = {
            "model": how.model,
            "max_tokens": OUTPUT_TOKENS_MAX,
            "messages": [{"role": "user", "content": PROMPT}],
        }
        if not how.stream:
            asked["timeout"] = 60  # Its guess for so many tokens is a refusal.
            return _told(
                "messages",
                client.messages.create(**asked).to_dict(mode="json", warnings=False),
            )
        with client.messages.stream(**asked) as stream:
            return _told(
                "messages",
                stream.get_final_message().to_dict(mode="json", warnings=False),
            )


def ask_gemini(how: Ask, http: httpx2.Client) -> Told:
    """Google's."""
    options = types.HttpOptions(
        base_url=how.base_url,
        httpx_client=http,
    )
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    try:
        asked: dict[str, Any] = {
            "model": how.model,
            "contents": PROMPT,
            "config": {"max_output_tokens": OUTPUT_TOKENS_MAX},
        }
        if how.stream:
            chunks = client.models.generate_content_stream(**asked)
            return _told("gemini", [_google(chunk) for chunk in chunks])
        return _told("gemini", _google(client.models.generate_content(**asked)))
    finally:
        client.close()


def ask_embeddings(how: Ask, http: httpx2.Client) -> Told:
    """OpenAI's embeddings; the client asks for base64 and decodes it itself."""
    answer = openai_client(how, http).embeddings.create(model=how.model, input=PROMPT)
    return _told("embeddings", answer.to_dict(mode="json", warnings=False))


ASKS: Final[dict[str, Callable[[Ask, httpx2.Client], Told]]] = {
    "chat": ask_chat,
    "completions": ask_completions,
    "responses": ask_responses,
    "messages": ask_messages,
    "gemini": ask_gemini,
    "embeddings": ask_embeddings,
}


def _told(client: str, held: Any) -> Told:
    return Told(reading_of(FAMILY_OF[client], held), held)


def _google(answer: types.GenerateContentResponse) -> Any:
    return answer.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response"}
    )


def _raised(
    error: Exception, status: int | None, code: str | None, headers: dict[str, str]
) -> Raised:
    return Raised(type(error), status, code, str(error), headers)


def _headers(error: Any) -> dict[str, str]:
    response = getattr(error, "response", None)
    return {} if response is None else dict(response.headers)
