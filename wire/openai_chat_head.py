"""The top level of an OpenAI chat request: what router, ledger and relay need of it.

Messages stay bytes; nothing below them is parsed. Pure.
"""

import re

import msgspec
from msgspec import Raw, Struct

from wire import checks
from wire.dialect import Head, Need
from wire.jsontext import NULL, decode_client, given
from wire.openai_chat_body import InStreamOptions

PREFIX_BYTES_MAX = 4096
"""Enough of the prompt to tell conversations apart for cache affinity."""

_MEDIA = re.compile(rb'"(?:image_url|file|data)"').search
_BASE64 = re.compile(rb'(?:;base64,|"(?:data|file_data)"\s*:\s*")([A-Za-z0-9+/=]{64,})')


class _Top(Struct):
    """The top level as the relay's way needs it; the rest stays bytes."""

    model: str
    messages: list[Raw]
    stream: bool | None = None
    stream_options: InStreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: Raw = NULL
    functions: Raw = NULL
    response_format: Raw = NULL
    reasoning_effort: str | None = None
    reasoning: Raw = NULL
    thinking: Raw = NULL
    modalities: list[str] | None = None
    user: str | None = None
    service_tier: str | None = None


_top = msgspec.json.Decoder(_Top)


def read_head(body: bytes) -> Head:
    """Look at the top level. Raises ClientError."""
    top = decode_client(_top, body)
    checks.model(top.model)
    if not top.messages:
        raise checks.empty("messages")
    bound = checks.bound(top.max_completion_tokens, top.max_tokens)
    n = 1 if top.n is None else checks.integer(top.n, "n", 1, checks.N_MAX)
    tools = given(top.tools) or given(top.functions)
    schema = given(top.response_format)
    messages = [bytes(message) for message in top.messages]
    media = [one for one in messages if _MEDIA(one)]
    return Head(
        model=top.model,
        stream=bool(top.stream),
        include_usage=bool(top.stream_options and top.stream_options.include_usage),
        max_output_tokens=bound,
        n=n,
        prompt_bytes=sum(map(len, messages)) + len(tools) + len(schema),
        media_bytes=sum(map(media_sizes, media)),
        prefix=b"".join((tools, *messages[:2]))[:PREFIX_BYTES_MAX],
        needs=_needs(top, tools, schema, media),
        user=top.user,
        service_tier=top.service_tier,
    )


def media_sizes(raw: bytes) -> int:
    """How many bytes of this JSON are base64 of pictures, files and sound."""
    return sum(map(len, _BASE64.findall(raw)))


def _needs(
    top: _Top, tools: bytes, schema: bytes, media: list[bytes]
) -> frozenset[Need]:
    needs: set[Need] = set()
    if len(tools) > 2:  # "[]" is none.
        needs.add("tools")
    if b'"json_schema"' in schema:
        needs.add("json_schema")
    if top.reasoning_effort not in {None, "none"}:
        needs.add("reasoning")
    for message in media:
        if b'"image_url"' in message:
            needs.add("images")
        if b'"file"' in message:
            needs.add("files")
        if b'"input_audio"' in message:
            needs.add("audio")
    if top.modalities and "audio" in top.modalities:
        needs.add("audio")
    return frozenset(needs)
