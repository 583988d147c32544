"""Counting tokens before a request: what dialects that offer it implement.

A client asks how long its prompt is; a provider that can count answers exactly. What
the gateway does where no provider can (estimate, or refuse) is not decided here. Pure.
"""

from typing import Protocol

from msgspec import Struct

from wire.dialect import Headers, Target, UpstreamRequest
from wire.events import Fault
from wire.request import ChatRequest


class TokenCount(Struct, frozen=True):
    """The length of a prompt in the provider's own tokens."""

    tokens: int
    cached: int = 0  # Of these, how many a named cache already holds (Gemini).


class CountClient(Protocol):
    """A client dialect with a count endpoint."""

    def parse_count(self, body: bytes, headers: Headers) -> ChatRequest:
        """Parse the question. Raises ClientError; an output bound is not required."""
        ...

    def render_count(self, count: TokenCount) -> bytes:
        """The body of a 200."""
        ...


class CountProvider(Protocol):
    """A provider dialect with a count endpoint."""

    def build_count(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """The provider's question. Raises ClientError for what it cannot express."""
        ...

    def read_count(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> TokenCount | Fault:
        """The answer. Never raises."""
        ...
