"""Every recorded count of tokens through the whole gateway, asked by official clients.

A site that wants exact counts gets the provider's own, whichever dialect it asks in;
where the provider refuses to count, it gets an estimate that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anthropic
import attrs
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from gateway.settings.config import Config
from gateway.settings.kinds import GOOGLES
from tests.recorded.bridge import KEY, MODEL, config_for, staged
from tests.recorded.places import Place, kind_of, model_of
from tests.recorded.upstream import RecordedUpstream
from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases

COUNTS: Final = [case for case in cases() if case.family == "count"]
QUESTION: Final = "What is the capital of France?"
HOST: Final = "http://gateway.example"


def by_anthropic(http: httpx2.Client) -> tuple[int, str]:
    """The number, and how it came about."""
    client = anthropic.Anthropic(
        api_key=KEY, base_url=HOST, http_client=http, max_retries=0
    )
    answer = client.messages.with_raw_response.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": QUESTION}]
    )
    return answer.parse().input_tokens, answer.headers["x-stagedoor-count"]


def by_openai(http: httpx2.Client) -> tuple[int, str]:
    """The same, in OpenAI's words."""
    client = openai.OpenAI(
        api_key=KEY, base_url=f"{HOST}/v1", http_client=http, max_retries=0
    )
    answer = client.responses.input_tokens.with_raw_response.count(
        model=MODEL, input=QUESTION
    )
    return answer.parse().input_tokens, answer.headers["x-stagedoor-count"]


def by_google(http: httpx2.Client) -> tuple[int, str]:
    """The same, in Google's."""
    options = types.HttpOptions(base_url=HOST, httpx_client=http)
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    answer = client.models.count_tokens(model=MODEL, contents=QUESTION)
    told = answer.sdk_http_response
    headers = (told.headers if told is not None else None) or {}
    lowered = {name.lower(): value for name, value in headers.items()}
    return answer.total_tokens or 0, lowered.get("x-stagedoor-count", "")


CLIENTS: Final[list[Callable[[httpx2.Client], tuple[int, str]]]] = [
    by_anthropic,
    by_openai,
    by_google,
]


def exact(case: Case) -> Config:
    """A site that wants the provider's own count."""
    kind = kind_of(case)
    project = "example-project" if kind in GOOGLES else ""
    made = config_for(Place(kind, model_of(case), project=project))
    site = attrs.evolve(made.sites[0], count_tokens="exact")  # type: ignore[misc]
    return attrs.evolve(made, sites=(site,))  # type: ignore[misc]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("case", COUNTS, ids=lambda case: case.name)
async def test_a_count_is_the_providers_or_says_that_it_is_none(
    case: Case, client: Callable[[httpx2.Client], tuple[int, str]]
) -> None:
    upstream = RecordedUpstream(case)
    async with staged(exact(case), {"main": upstream}) as stage:
        tokens, how = await stage.run(client)

    assert len(upstream.served) == 1
    if case.status == 200:
        assert (tokens, how) == (read(case).input_tokens, "exact")
    else:
        assert how == "estimate"
        assert tokens > 0


def test_the_counts_are_there() -> None:
    """An empty set would pass in silence."""
    assert len(COUNTS) == 8
