"""The content of a raw body, without parsing what is no prompt.

OpenAI's chat and Anthropic's messages have typed structs: one pass of msgspec, which
skips what is not named here and leaves pictures as the bytes they are. Other dialects
go through their parser. A body of another shape than its dialect's answers None, and
its length has to do: it is the provider's right to refuse it, not ours here. Pure.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from actors.router.tokens import images
from actors.router.tokens.content import BASE64_DEN, BASE64_NUM, Content
from actors.router.tokens.images import HEADER_CHARS_MAX, Picture
from wire.jsontext import JSON_ERRORS, NULL

_DATA_URL: Final = re.compile(rb'"data:image/[a-z0-9.+-]{1,20};base64,')
_DATA: Final = re.compile(rb'"data"\s*:\s*"')
_DETAIL: Final = re.compile(rb'"detail"\s*:\s*"([a-z]{1,16})"')
# A tool of another type is run by the provider; without one it is the client's.
OWN_TOOLS: Final = frozenset({None, "function", "custom"})
_DETAIL_NEAR: Final = 256  # `detail` stands beside the URL, not within it.


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Custom(Struct, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(Struct, gc=False):
    function: _Function | None = None
    custom: _Custom | None = None


class _Part(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: Raw = NULL
    input_audio: Raw = NULL
    file: Raw = NULL


class _Message(Struct, gc=False):
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Chat(Struct, gc=False):
    messages: list[_Message]
    tools: Raw = NULL
    functions: Raw = NULL
    response_format: Raw = NULL


class _Source(Struct, gc=False):
    type: str = ""
    data: str | None = None
    content: str | list[_Block] | None = None


class _Block(Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    title: str | None = None
    context: str | None = None
    input: Raw = NULL
    source: Raw = NULL
    content: Raw = NULL
    data: Raw = NULL


class _Turn(Struct, gc=False):
    content: str | list[_Block]


class _Messages(Struct, gc=False):
    messages: list[_Turn]
    system: str | list[_Block] | None = None
    tools: Raw = NULL
    output_config: Raw = NULL
    mcp_servers: list[Raw] | None = None


class _Tool(Struct, gc=False):
    type: str | None = None


class _Embed(Struct, gc=False):
    input: str | list[str | int | list[int]]


_chat: Final = msgspec.json.Decoder(_Chat)
_messages: Final = msgspec.json.Decoder(_Messages)
_embed: Final = msgspec.json.Decoder(_Embed)
_blocks: Final = msgspec.json.Decoder(str | list[_Block])
_tools: Final = msgspec.json.Decoder(list[_Tool])
_source: Final = msgspec.json.Decoder(_Source)


QUICK: Final = frozenset({"openai_chat", "anthropic", "openai_embeddings"})


def of_body(dialect: str, body: bytes) -> Content | None:
    """The content of a body in this dialect; None where it has no quick way."""
    try:
        match dialect:
            case "openai_chat":
                return _of_chat(_chat.decode(body))
            case "anthropic":
                return _of_messages(_messages.decode(body))
            case "openai_embeddings":
                return _of_embed(_embed.decode(body))
            case _:
                return None
    except JSON_ERRORS:
        return None


def _of_chat(chat: _Chat) -> Content:
    content = Content(messages=len(chat.messages))
    texts = content.texts
    for message in chat.messages:
        inside = message.content
        if isinstance(inside, str):
            texts.append(inside)
        elif inside is not None:
            for part in inside:
                if part.text is not None:
                    texts.append(part.text)
                else:
                    _add_part(content, part)
        if message.name is not None:
            content.names += 1
            texts.append(message.name)
        if message.refusal is not None:
            texts.append(message.refusal)
        if message.reasoning_content is not None:
            texts.append(message.reasoning_content)
        if message.function_call is not None:
            _add_call(content, message.function_call)
        for call in message.tool_calls or ():
            if call.function is not None:
                _add_call(content, call.function)
            if call.custom is not None:
                content.tool_calls += 1
                texts.append(f"{call.custom.name or ''} {call.custom.input or ''}")
    _add_tools(content, chat.tools)
    _add_tools(content, chat.functions)
    schema = bytes(chat.response_format)
    if b'"json_schema"' in schema:
        content.tools.append(_compact(schema))
    return content


def _add_part(content: Content, part: _Part) -> None:
    if part.refusal is not None:
        content.texts.append(part.refusal)
    if part.image_url != NULL:
        content.pictures.append(_picture(bytes(part.image_url), _DATA_URL))
    if part.input_audio != NULL:
        content.audio_bytes += _decoded(part.input_audio)
    if part.file != NULL:
        content.files += 1
        content.file_bytes += _decoded(part.file)


def _add_call(content: Content, call: _Function) -> None:
    content.tool_calls += 1
    content.texts.append(f"{call.name or ''} {call.arguments or ''}")


def _of_messages(request: _Messages) -> Content:
    content = Content(messages=len(request.messages))
    if request.system is not None:
        content.messages += 1
        _add_blocks(content, request.system)
    for turn in request.messages:
        _add_blocks(content, turn.content)
    _add_tools(content, request.tools)
    content.servers += len(request.mcp_servers or ())
    output = bytes(request.output_config)
    if b'"schema"' in output:
        content.tools.append(_compact(output))
    return content


def _add_blocks(content: Content, blocks: str | list[_Block]) -> None:
    if isinstance(blocks, str):
        content.texts.append(blocks)
        return
    for block in blocks:
        if block.type == "text" and block.text is not None:
            content.texts.append(block.text)
        else:
            _add_block(content, block)


def _add_block(content: Content, block: _Block) -> None:
    match block.type:
        case "image":
            content.pictures.append(_picture(bytes(block.source), _DATA))
        case "document":
            content.texts.append(f"{block.title or ''} {block.context or ''}")
            _add_document(content, block.source)
        case "thinking":
            content.texts.append(block.thinking or "")
        case "redacted_thinking":
            content.opaque_bytes += len(bytes(block.data))
        case "tool_use":
            content.tool_calls += 1
            content.texts.append(block.name or "")
            content.texts.append(_compact(bytes(block.input)))
        case "tool_result":
            if block.content != NULL:
                _add_blocks(content, _blocks.decode(block.content))
        case _:
            # Blocks of the provider's own tools: as they are, near enough.
            content.texts.append(block.text or "")
            for raw in (block.content, block.input, block.source):
                if raw != NULL:
                    content.opaque_bytes += len(bytes(raw))


def _add_document(content: Content, source: Raw) -> None:
    if source == NULL:
        return
    found = _source.decode(source)
    if found.type == "text":
        content.texts.append(found.data or "")
    elif found.content is not None:
        _add_blocks(content, found.content)
    else:
        content.files += 1
        content.file_bytes += len(found.data or "") * BASE64_NUM // BASE64_DEN


def _of_embed(request: _Embed) -> Content:
    inside = request.input
    if isinstance(inside, str):
        return Content(texts=[inside])
    content = Content()
    for one in inside:
        if isinstance(one, str):
            content.texts.append(one)
        else:  # Token numbers: four bytes each is what `opaque` counts as one.
            count = 1 if isinstance(one, int) else len(one)
            content.opaque_bytes += count * 4
    return content


def _add_tools(content: Content, raw: Raw) -> None:
    tools = bytes(raw)
    if len(tools) <= len(b"null"):
        return
    kinds = [tool.type for tool in _tools.decode(tools)]
    own = sum(kind in OWN_TOOLS for kind in kinds)
    content.servers += len(kinds) - own
    if own:
        content.tools.append(_compact(tools))
    else:
        content.opaque_bytes += len(tools)


def _compact(raw: bytes) -> str:
    """JSON without its blanks, as providers see it."""
    return msgspec.json.format(raw, indent=-1).decode("utf-8", "replace")


def _picture(raw: bytes, start: re.Pattern[bytes]) -> Picture:
    near = raw[:_DETAIL_NEAR] + raw[-_DETAIL_NEAR:]
    found = _DETAIL.search(near)
    detail = found[1].decode("ascii") if found else ""
    begin = start.search(raw[:_DETAIL_NEAR])
    if begin is None:
        return Picture(detail=detail)
    data = raw[begin.end() : begin.end() + HEADER_CHARS_MAX]
    return images.of_base64(data.partition(b'"')[0], detail)


def _decoded(raw: Raw) -> int:
    """About how many bytes the base64 in this JSON stands for."""
    return len(bytes(raw)) * BASE64_NUM // BASE64_DEN
