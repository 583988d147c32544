"""The line that the log has of each request, by its fields.

Here numbers are numbers by their types, which the checkers hold everybody to; the words
are still looked at one by one by the allow-list (`logs.py`) before they are written.
"""

from __future__ import annotations

from msgspec import Struct


class RequestLine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is told of a request that had a stream. None: there is nothing to tell."""

    request_id: str
    site: str
    model: str
    provider: str | None = None
    upstream_model: str | None = None
    dialect: str
    status: int
    outcome: str
    error_code: str | None = None
    finish: str | None = None
    stream: bool
    attempts: int
    tokens_in: int
    tokens_out: int
    estimated: bool | None = None
    spend_nanousd: int
    first_content_ms: int | None = None
    duration_ms: int
    degraded: str | None = None
    aside: str | None = None
    trace_id: str | None = None  # Read by `trace_context`: 32 hexadecimal digits.

    @property
    def words(self) -> tuple[str | None, ...]:
        """What comes from a configuration, a provider or a client's choice."""
        return (
            self.site, self.model, self.provider, self.upstream_model, self.dialect,
            self.outcome, self.error_code, self.finish, self.degraded, self.aside,
        )  # fmt: skip
