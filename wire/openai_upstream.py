"""What OpenAI's servers are sent, whatever the operation: top level, path, headers.

The rows of `wire.flavours` say how each kind of server differs. Pure.
"""

from typing import Any
from urllib.parse import quote

from msgspec import Raw

from wire.dialect import Head, Headers, Target, UpstreamRequest
from wire.flavours import Flavour
from wire.jsontext import NULL, decode_any, mapping

_FORWARDED = ("openai-beta",)
"""Headers of the client that its provider must see. Never credentials, never ids."""


def edit(fields: dict[str, Any], head: Head, row: Flavour, target: Target) -> None:
    """Change the top level for this server; what is not named here keeps its bytes."""
    fields["model"] = target.model
    for name in row.refused & fields.keys():
        del fields[name]
    for name, theirs in row.renamed:
        if name in fields:
            fields[theirs] = fields.pop(name)
    legacy = {"max_tokens", "max_completion_tokens"} - {row.max_tokens}
    for name in legacy & fields.keys():
        value = fields.pop(name)
        if row.max_tokens in fields and head.max_output_tokens is not None:
            # Two bounds, or one and a null: the one that money was held for counts.
            fields[row.max_tokens] = head.max_output_tokens
        else:
            fields.setdefault(row.max_tokens, value)
    choice = fields.get("tool_choice")
    if isinstance(choice, Raw) and bytes(choice) == b'"required"':
        fields["tool_choice"] = row.tool_choice_required
    if not row.stream_options:
        fields.pop("stream_options", None)
    elif head.stream and not head.include_usage:
        options = fields.get("stream_options", NULL)
        given = dict(mapping(decode_any(options)))
        fields["stream_options"] = {**given, "include_usage": True}
    if target.max_output_tokens is not None:
        own = head.max_output_tokens
        if own is None or own > target.max_output_tokens:
            fields[row.max_tokens] = target.max_output_tokens


def clamp(body: dict[str, Any], row: Flavour, target: Target) -> None:
    """Bound the answer of a built request at the target's clamp."""
    if target.max_output_tokens is not None:
        own = body.get(row.max_tokens)
        if own is None or own > target.max_output_tokens:
            body[row.max_tokens] = target.max_output_tokens


def upstream(
    path: str, body: bytes, row: Flavour, target: Target, headers: Headers
) -> UpstreamRequest:
    """Path and headers of any of OpenAI's operations."""
    sent = [("content-type", "application/json")]
    sent += [(name, headers[name]) for name in _FORWARDED if name in headers]
    if row.name == "azure":
        version = target.options.get("api_version", "")
        deployment = target.options.get("deployment") or target.model
        if version:
            path = (
                f"/openai/deployments/{quote(deployment, safe='')}{path}"
                f"?api-version={quote(version, safe='')}"
            )
        else:
            path = f"/openai/v1{path}"
    return UpstreamRequest("POST", path, tuple(sent), body, row.auth)
