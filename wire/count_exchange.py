"""Counting tokens as an `Exchange`: one more question, served like any other. Sans-io.

A client with a count endpoint asks in its own dialect; a provider that counts answers
in its own. Where no candidate of the plan counts, the caller is told so with
ClientError: a guess would be taken for a count.
"""

from typing import Final, Protocol, runtime_checkable

from wire.counting import CountClient, CountProvider
from wire.dialect import (
    ClientError,
    Headers,
    ProviderDialect,
    Reader,
    Reading,
    Target,
    UpstreamRequest,
)
from wire.events import Fault, Usage
from wire.exchange import Exchange
from wire.registry import Speech


@runtime_checkable
class _Counts(CountProvider, Protocol):
    """To ask an object whether it counts."""


@runtime_checkable
class _Asks(CountClient, Protocol):
    """To ask an object whether it may ask for a count."""


def can_count(provider: ProviderDialect) -> bool:
    """Whether this provider has a count endpoint: the router's gate for a count."""
    return isinstance(provider, _Counts)


# Of OpenAI's own shape, who really has its count endpoint beside the answers'.
_COUNT_FLAVOURS: Final = frozenset({"openai", "azure"})


def counter_of(speech: Speech) -> ProviderDialect | None:
    """The dialect in which this kind of provider counts; None where it does not."""
    if can_count(speech.primary):
        return speech.primary
    if speech.flavour in _COUNT_FLAVOURS:
        return next((d for d in speech.natives.values() if can_count(d)), None)
    return None


def open_count_at(
    client: object, speech: Speech, *, body: bytes, headers: Headers, target: Target
) -> Exchange:
    """Ask a provider of this kind. Raises ClientError where one side has no count."""
    if not isinstance(client, _Asks):
        raise ClientError("This dialect has no counts.", status=404)
    provider = counter_of(speech) or speech.primary
    return open_count(client, provider, body=body, headers=headers, target=target)


def open_count(
    client: CountClient,
    provider: ProviderDialect,
    *,
    body: bytes,
    headers: Headers,
    target: Target,
) -> Exchange:
    """Ask this target for the length of a prompt. Raises ClientError."""
    if not isinstance(provider, _Counts):
        raise ClientError(
            f"No count of tokens is to be had from {provider.name}.",
            status=404,
            code="count_not_available",
            type="not_found_error",
        )
    request = client.parse_count(body, headers)
    return Counted(client, provider, provider.build_count(request, target), target)


class Counted:
    """One question at one target; its answer never streams."""

    def __init__(
        self,
        client: CountClient,
        provider: CountProvider,
        upstream: UpstreamRequest,
        target: Target,
    ) -> None:
        self.upstream = upstream
        self._client = client
        self._provider = provider
        self._target = target

    def __repr__(self) -> str:
        return f"<Counted {self._target.model!r}>"

    def reader(self) -> Reader:
        """See `Exchange`."""
        raise AssertionError("a count comes whole")

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """See `Exchange`. A count is content: nothing can replace it once it is out."""
        answer = self._provider.read_count(status, headers, body, self._target)
        if isinstance(answer, Fault):
            return Reading(fault=answer)
        out = self._client.render_count(answer)
        # A count costs nothing, and says so: no usage at all would be estimated.
        return Reading(out=out, content=True, usage=Usage(), done=True, events=1)
