"""Counting tokens as an `Exchange`: one more question, served like any other. Sans-io.

A client with a count endpoint asks in its own dialect; a provider that counts answers
in its own. Where no candidate of the plan counts, the caller is told so with
ClientError: a guess would be taken for a count.
"""

from typing import Protocol, runtime_checkable

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
from wire.events import Fault
from wire.exchange import Exchange


@runtime_checkable
class _Counts(CountProvider, Protocol):
    """To ask an object whether it counts."""


def can_count(provider: ProviderDialect) -> bool:
    """Whether this provider has a count endpoint: the router's gate for a count."""
    return isinstance(provider, _Counts)


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
        return Reading(out=out, content=True, done=True, events=1)
