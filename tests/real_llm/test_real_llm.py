"""The official OpenAI client and a real model: every test directly and through us.

``direct`` is the control: what fails there is the model server's doing. Nothing here
looks at what a model of this size says, only at what happens to its tokens.
"""

from __future__ import annotations

import asyncio
import json
import time

import openai
import pytest
import trio
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.real_llm.servers import Endpoint, ModelServer

pytestmark = pytest.mark.real_llm

ASKED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Write one sentence about the sea."}
]
LONG: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Write a very long story about a ship, in ten parts."}
]
TOKENS = 32
NOTICED_MAX_S = 20.0  # far above what it takes; the machine may be busy

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "population": {"type": "integer", "minimum": 0, "maximum": 99_999_999},
    },
    "required": ["city", "population"],
    "additionalProperties": False,
}


def sync_client(endpoint: Endpoint, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=endpoint.base_url,
        api_key=key or endpoint.key,
        max_retries=0,  # a retry would hide what we look for
        timeout=60.0,
    )


def async_client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=60.0
    )


def text_of(answer: ChatCompletion) -> str:
    text = answer.choices[0].message.content
    assert text
    return text


async def streamed(client: openai.AsyncOpenAI, model: str) -> list[str]:
    stream = await client.chat.completions.create(
        model=model,
        messages=ASKED,
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
    )
    return [
        chunk.choices[0].delta.content
        async for chunk in stream
        if chunk.choices and chunk.choices[0].delta.content
    ]


def test_a_completion_arrives_whole(endpoint: Endpoint) -> None:
    with sync_client(endpoint) as client:
        answer = client.chat.completions.create(
            model=endpoint.model, messages=ASKED, max_tokens=TOKENS, temperature=0
        )
    assert text_of(answer).strip()
    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= TOKENS
    tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.total_tokens == tokens


def test_a_stream_arrives_delta_by_delta_and_ends_once(endpoint: Endpoint) -> None:
    pieces: list[str] = []
    finished: list[str] = []
    with sync_client(endpoint) as client:
        stream = client.chat.completions.create(
            model=endpoint.model,
            messages=ASKED,
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
        )
        for chunk in stream:
            assert chunk.object == "chat.completion.chunk"
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finished += [choice.finish_reason] if choice.finish_reason else []
    assert sum(map(bool, pieces)) > 3
    assert len(finished) == 1


def test_usage_is_streamed_when_it_is_asked_for(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    """llama-cpp-python ignores the wish; then no usage must be made up."""
    with sync_client(endpoint) as client:
        stream = client.chat.completions.create(
            model=endpoint.model,
            messages=ASKED,
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        usages = [chunk.usage for chunk in stream if chunk.usage is not None]
    if model_server.mode == "llama-cpp-python":
        assert usages == []
        return
    assert 0 < usages[-1].completion_tokens <= TOKENS


def test_json_schema_output_fits_the_schema(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    wish = {
        "llama-server": {
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": SCHEMA, "strict": True},
        },
        "llama-cpp-python": {"type": "json_object", "schema": SCHEMA},
    }[model_server.mode]
    with sync_client(endpoint) as client:
        answer = client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "user", "content": "Describe a city as JSON."}],
            max_tokens=96,
            extra_body={"response_format": wish},  # the second is not in its types
        )
    city = json.loads(text_of(answer))
    assert city.keys() == {"city", "population"}
    assert isinstance(city["population"], int)


def test_asyncio_clients_stream_side_by_side(endpoint: Endpoint) -> None:
    async def both() -> tuple[list[str], list[str]]:
        async with async_client(endpoint) as client:
            return await asyncio.gather(
                streamed(client, endpoint.model), streamed(client, endpoint.model)
            )

    for pieces in asyncio.run(both()):
        assert len(pieces) > 3


# The client leaves its generators to the collector at the end of a stream.
@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx):ResourceWarning")
async def test_the_async_client_works_on_trio(endpoint: Endpoint) -> None:
    with trio.fail_after(60):
        async with async_client(endpoint) as client:
            answer = await client.chat.completions.create(
                model=endpoint.model, messages=ASKED, max_tokens=TOKENS
            )
            pieces = await streamed(client, endpoint.model)
    assert text_of(answer)
    assert len(pieces) > 3


def test_a_client_that_leaves_stops_the_model(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    """The model server's own log says so; its slot is free for the next request."""
    before = model_server.cancels()
    with sync_client(endpoint) as client:
        stream = client.chat.completions.create(
            model=endpoint.model, messages=LONG, max_tokens=2_000, stream=True
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()
        until_s = time.monotonic() + NOTICED_MAX_S
        while model_server.cancels() == before:
            assert time.monotonic() < until_s, model_server.process.log_tail()
            time.sleep(0.05)
        answer = client.chat.completions.create(
            model=endpoint.model, messages=ASKED, max_tokens=4
        )
    assert text_of(answer)
    assert model_server.cancels() == before + 1


def test_a_wrong_key_is_an_authentication_error(endpoint: Endpoint) -> None:
    with (
        sync_client(endpoint, key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.chat.completions.create(model=endpoint.model, messages=ASKED)
    assert refused.value.status_code == 401
    assert "sk-wrong" not in str(refused.value)


def test_the_model_is_listed(endpoint: Endpoint) -> None:
    with sync_client(endpoint) as client:
        assert endpoint.model in [model.id for model in client.models.list()]


@pytest.mark.parametrize("endpoint", ["gateway"], indirect=True)
def test_a_model_nobody_serves_is_not_found(endpoint: Endpoint) -> None:
    """The model server itself takes any name."""
    with (
        sync_client(endpoint) as client,
        pytest.raises(openai.NotFoundError) as refused,
    ):
        client.chat.completions.create(model="no-such-model", messages=ASKED)
    assert refused.value.code == "model_not_found"
