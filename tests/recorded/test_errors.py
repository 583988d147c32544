"""Every recorded error through the whole gateway, raised by the official clients.

Each client raises its own class with a status and a code that its users branch on. A
provider's refusal of the gateway's own key never reaches a client as the client's.
"""

from __future__ import annotations

import anthropic
import openai
import pytest
from google.genai import errors as google_errors

from tests.recorded.bridge import KEY, replayed
from tests.recorded.official import Ask, Raised, ask
from tests.recorded.places import Pair, pairs
from tests.recordings_reader import read

ERRORS = pairs(ok=False)
BROKEN = [pair for pair in pairs(ok=True) if read(pair.case).error]

# By the kind that the second reader gives an error. A key is ours to mend: 502.
STATUS = {"key": {502}, "throttle": {429, 503, 529}, "transient": set(range(500, 600))}
OPENAI = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
ANTHROPIC = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
}
GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
}


def class_of(client: str, status: int) -> type[Exception]:
    """The class that each client has for a status."""
    if client == "gemini":
        small = status < 500
        return google_errors.ClientError if small else google_errors.ServerError
    if client == "messages":
        return ANTHROPIC.get(status, anthropic.InternalServerError)
    return OPENAI.get(status, openai.InternalServerError)


@pytest.mark.parametrize("pair", ERRORS, ids=str)
async def test_an_official_client_raises_its_own_error(pair: Pair) -> None:
    """Class, status and code; no 401 or 403 of a provider's, no word of a key."""
    streamed = pair.case.streamed or "stream" in pair.case.operation
    how = Ask(stream=streamed and pair.client != "embeddings")
    async with replayed(pair) as (stage, _):
        raised = await stage.run(lambda http: ask(pair.client, how, http))
        [record] = await stage.gateway.records()

    assert isinstance(raised, Raised), raised
    error = read(pair.case).error
    assert error is not None
    assert raised.status == record.status
    assert raised.status in STATUS.get(error.kind, {pair.case.status})
    assert raised.type is class_of(pair.client, raised.status)
    assert record.outcome == "error"
    assert KEY not in raised.message
    if error.kind == "key":
        assert error.message not in raised.message
    if error.kind == "context" and pair.client in {"chat", "responses"}:
        assert raised.code == "context_length_exceeded"
    if pair.client == "gemini":
        assert raised.code == GOOGLE_STATUS.get(raised.status, "INTERNAL")
    wait_s = raised.headers.get("retry-after")
    assert wait_s is None or 0 < int(wait_s) <= 60


@pytest.mark.parametrize("pair", BROKEN, ids=str)
async def test_an_error_in_mid_stream_is_raised_in_the_clients_class(
    pair: Pair,
) -> None:
    """A stream that fails never looks complete, and keeps the provider's own code."""
    async with replayed(pair) as (stage, _):
        raised = await stage.run(lambda http: ask(pair.client, Ask(True), http))
        [record] = await stage.gateway.records()

    assert isinstance(raised, Raised), raised
    kind = {
        "gemini": google_errors.APIError,
        "messages": anthropic.APIStatusError,
    }.get(pair.client, openai.APIError)
    assert issubclass(raised.type, kind)
    assert record.outcome == "error"


def test_the_errors_are_there() -> None:
    """An empty set would pass in silence."""
    assert len(ERRORS) >= 120
    assert len(BROKEN) >= 4
