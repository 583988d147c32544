"""An Anthropic client's request into the neutral vocabulary.

Owns: reading /v1/messages and /v1/messages/count_tokens bodies, their checks, and the
errors that name the field at fault as Anthropic does ("messages.0.content"). Never
quotes a value of the request in an error. Pure.

Blocks that have no word in `wire.request` (server tools, search results, compaction)
become `OpaquePart`, fields without one go to `extra`; `anthropic_build` writes both out
again. Two headers ride in `extra` as well, as "header:<name>".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from wire.anthropic_carry import uncarry
from wire.anthropic_schema import (
    REQUEST_FIELDS,
    SOURCE,
    CacheControl,
    HeadRequest,
    InMessage,
    InOutputConfig,
    InRequest,
    InThinking,
    InTool,
    InToolChoice,
)
from wire.dialect import ClientError, Head, Headers, Need
from wire.events import ProviderState
from wire.jsontext import JSON_ERRORS
from wire.request import (
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    ReasoningWish,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from wire.toolids import unpack

KEPT_HEADERS: Final = ("anthropic-version", "anthropic-beta")
"""Headers that decide what the body may say, so they travel with it."""

PREFIX_BYTES_MAX: Final = 4096
"""Caches begin at about a thousand tokens: enough to tell conversations apart."""

TOKENS_MAX: Final = 2**31 - 1
"""No model answers longer; above it is a mistake that would overflow a price."""

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",  # In mid-conversation, from Opus 4.8 on.
}

_AT = re.compile(r" - at `\$\.?(.*)`$")
_IMAGE = re.compile(rb'"type"\s*:\s*"image"')
_DOCUMENT = re.compile(rb'"type"\s*:\s*"document"')
_BASE64 = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/=]{64,})"')

T = TypeVar("T")


class _Source(Struct):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class _Kind(Struct):
    type: str


class _Text(Struct):
    text: str
    cache_control: CacheControl | None = None
    citations: Raw = Raw(b"")


class _Image(Struct):
    source: _Source
    cache_control: CacheControl | None = None


class _DocumentOptions(Struct, omit_defaults=True):
    context: str | None = None
    citations: Raw = Raw(b"")


class _Document(_DocumentOptions):
    source: _Source = msgspec.field(default_factory=_Source)
    title: str | None = None
    cache_control: CacheControl | None = None


class _ToolUse(Struct):
    id: str
    name: str
    input: Raw
    caller: Raw = Raw(b"")
    cache_control: CacheControl | None = None


class _ToolResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class _Thinking(Struct):
    thinking: str
    signature: str = ""


class _Redacted(Struct):
    data: str


def decode(raw: bytes | Raw, kind: type[T], where: str = "") -> T:
    """Decode a client's JSON. Raises ClientError with the path, never the value."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as wrong:
        text = str(wrong)
        at = _AT.search(text)
        path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", at.group(1) if at else "")
        param = ".".join(filter(None, (where, path)))
        reason = text[: at.start()] if at else text
        missing = re.fullmatch(r"Object missing required field `(\w+)`", reason)
        if missing:
            param = ".".join(filter(None, (param, missing.group(1))))
            reason = "Field required"
        message = f"{param}: {reason}" if param else reason
        raise ClientError(message, param=param or None) from None
    except JSON_ERRORS:
        raise ClientError("The request body is not valid JSON.") from None


def _check_text(body: bytes) -> None:
    """UTF-8 throughout: what we keep raw is not looked at again."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise ClientError("The request body is not valid JSON.") from None


def _check_top(model: str, max_tokens: int | None) -> None:
    """What ledger and router rely on, whichever way the request takes."""
    if not model:
        raise ClientError("model: Field required", param="model")
    if max_tokens is not None and not 1 <= max_tokens <= TOKENS_MAX:
        message = f"max_tokens: Input should be between 1 and {TOKENS_MAX}"
        raise ClientError(message, param="max_tokens")


def decode_optional(raw: Raw, kind: type[T], where: str) -> T | None:
    """Decode a field that may be absent or null."""
    text = bytes(raw)
    return None if text in {b"", b"null"} else decode(text, kind, where)


def read_head(body: bytes) -> Head:
    """Look at the top level only. Raises ClientError."""
    top = decode(body, HeadRequest)
    _check_top(top.model, top.max_tokens)
    before = bytes(top.tools) + bytes(top.system)
    messages = bytes(top.messages)
    first = decode(messages, list[Raw], "messages")[:1]
    needs: set[Need] = set()
    media_bytes = 0
    schema = b""
    if len(bytes(top.tools)) > len(b"[]"):
        needs.add("tools")
    if _IMAGE.search(messages):
        needs.add("images")
    if _DOCUMENT.search(messages):
        needs.add("files")
    if needs & {"images", "files"}:
        media_bytes = sum(map(len, _BASE64.findall(messages)))
    output = decode_optional(top.output_config, InOutputConfig, "output_config")
    if output is not None and output.format is not None:
        needs.add("json_schema")
        schema = bytes(output.format.schema)
    thinking = decode_optional(top.thinking, InThinking, "thinking")
    if thinking is not None and thinking.type != "disabled":
        needs.add("reasoning")
    return Head(
        model=top.model,
        stream=bool(top.stream),
        include_usage=True,  # Every Anthropic stream has it.
        max_output_tokens=top.max_tokens,
        prompt_bytes=len(messages) + len(before) + len(schema),
        media_bytes=media_bytes,
        prefix=(before + b"".join(map(bytes, first)))[:PREFIX_BYTES_MAX],
        needs=frozenset(needs),
        user=None if top.metadata is None else top.metadata.user_id,
        service_tier=top.service_tier,
    )


def parse_request(
    body: bytes, headers: Headers, *, counting: bool = False
) -> ChatRequest:
    """Parse and check everything. Counting needs no bound on the answer."""
    _check_text(body)
    top = decode(body, InRequest)
    if top.max_tokens is None and not counting:
        raise ClientError("max_tokens: Field required", param="max_tokens")
    _check_top(top.model, top.max_tokens)
    if not top.messages:
        message = "messages: at least one message is required"
        raise ClientError(message, param="messages")
    every = decode(body, dict[str, Raw])
    extra = {name: bytes(every[name]) for name in every.keys() - REQUEST_FIELDS}
    for name in KEPT_HEADERS:
        if name in headers:
            extra[f"header:{name}"] = msgspec.json.encode(headers[name])
    output = decode_optional(top.output_config, InOutputConfig, "output_config")
    choice = top.tool_choice
    parallel = None
    if choice is not None and choice.disable_parallel_tool_use is not None:
        parallel = not choice.disable_parallel_tool_use
    return ChatRequest(
        model=top.model,
        messages=_messages(top),
        source=SOURCE,
        tools=tuple(_tool(raw, f"tools.{i}") for i, raw in enumerate(top.tools or ())),
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=parallel,
        response_format=_response_format(output),
        stop=tuple(top.stop_sequences or ()),
        temperature=top.temperature,
        top_p=top.top_p,
        top_k=top.top_k,
        max_output_tokens=top.max_tokens,
        reasoning=_reasoning(top.thinking, output, extra),
        user=None if top.metadata is None else top.metadata.user_id,
        service_tier={"standard_only": "default"}.get(
            top.service_tier or "", top.service_tier
        ),
        stream=bool(top.stream),
        include_usage=True,
        extra=extra,
    )


def _reasoning(
    raw: Raw, output: InOutputConfig | None, extra: dict[str, bytes]
) -> ReasoningWish | None:
    thinking = decode_optional(raw, InThinking, "thinking")
    effort = None if output is None else output.effort
    if thinking is None:
        return ReasoningWish(effort=effort) if effort else None
    if thinking.type not in {"enabled", "disabled", "adaptive"}:
        extra["thinking"] = bytes(raw)  # A kind we have no word for goes as it came.
    summary = {"summarized": "auto"}.get(thinking.display or "", thinking.display)
    return ReasoningWish(
        effort=effort,
        budget_tokens=thinking.budget_tokens,
        enabled=thinking.type != "disabled",
        summary=summary,
    )


def _response_format(output: InOutputConfig | None) -> ResponseFormat | None:
    if output is None or output.format is None:
        return None
    if output.format.type != "json_schema":
        message = "output_config.format.type: Input should be 'json_schema'"
        raise ClientError(message, param="output_config.format.type")
    schema = bytes(output.format.schema)
    return ResponseFormat("json_schema", name="answer", schema=schema, strict=True)


def _tool_choice(choice: InToolChoice | None) -> ToolChoice | None:
    if choice is None:
        return None
    match choice.type:
        case "auto":
            return ToolChoice("auto")
        case "any":
            return ToolChoice("required")
        case "none":
            return ToolChoice("none")
        case "tool" if choice.name:
            return ToolChoice("tool", name=choice.name)
        case "tool":
            message = "tool_choice.name: Field required"
            raise ClientError(message, param="tool_choice.name")
        case _:
            message = "tool_choice.type: Input should be auto, any, tool or none"
            raise ClientError(message, param="tool_choice.type")


_TOOL_FIELDS: Final = frozenset(InTool.__struct_fields__)


def _tool(raw: Raw, where: str) -> Tool:
    tool = decode(raw, InTool, where)
    if tool.type not in {None, "custom"}:
        return Tool(tool.name, kind="server", source=SOURCE, data=bytes(raw))
    if not tool.name:
        raise ClientError(f"{where}.name: Field required", param=f"{where}.name")
    if not tool.input_schema:
        param = f"{where}.input_schema"
        raise ClientError(f"{param}: Field required", param=param)
    keeps = decode(raw, dict[str, Raw], where).keys() - _TOOL_FIELDS
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=bytes(tool.input_schema),
        strict=tool.strict,
        source=SOURCE if keeps else "",
        data=bytes(raw) if keeps else b"",
        cache=_mark(tool.cache_control),
    )


def _mark(control: CacheControl | None) -> CacheMark | None:
    return None if control is None else CacheMark(control.ttl)


def _messages(top: InRequest) -> tuple[Message, ...]:
    messages: list[Message] = []
    if isinstance(top.system, str):
        messages.append(Message("system", (Text(top.system),)))
    elif top.system:
        parts = tuple(_parts(top.system, "system", {}))
        messages.append(Message("system", parts))
    names: dict[str, str] = {}
    for at, turn in enumerate(top.messages):
        messages.extend(_turn(turn, f"messages.{at}", names))
    return tuple(messages)


def _turn(turn: InMessage, where: str, names: dict[str, str]) -> Iterable[Message]:
    """One turn; tool results inside a user turn become `tool` messages of their own."""
    role = _ROLES.get(turn.role)
    if role is None:
        message = f"{where}.role: Input should be 'user' or 'assistant'"
        raise ClientError(message, param=f"{where}.role")
    if isinstance(turn.content, str):
        yield Message(role, (Text(turn.content),))
        return
    run: list[Part] = []
    run_role: Role = role
    for part in _parts(turn.content, f"{where}.content", names):
        if isinstance(part, ToolUse):
            names[part.id] = part.name
        part_role: Role = "tool" if isinstance(part, ToolResult) else role
        if run and part_role != run_role:
            yield Message(run_role, tuple(run))
            run = []
        run_role = part_role
        run.append(part)
    if run:
        yield Message(run_role, tuple(run))


def _parts(blocks: list[Raw], where: str, names: Mapping[str, str]) -> Iterable[Part]:
    for at, raw in enumerate(blocks):
        yield _part(raw, f"{where}.{at}", names)


def _part(raw: Raw, where: str, names: Mapping[str, str]) -> Part:
    kind = decode(raw, _Kind, where).type
    match kind:
        case "text":
            text = decode(raw, _Text, where)
            return Text(
                text.text,
                cache=_mark(text.cache_control),
                citations=_present(text.citations),
            )
        case "image":
            image = decode(raw, _Image, where)
            return Image(
                url=image.source.url,
                data=image.source.data,
                media_type=image.source.media_type,
                file_id=image.source.file_id,
                cache=_mark(image.cache_control),
            )
        case "document":
            return _document(raw, where)
        case "tool_use":
            use = decode(raw, _ToolUse, where)
            caller = bytes(use.caller).decode()
            if '"direct"' in caller:  # The usual case needs no telling.
                caller = ""
            own_id, state = unpack(use.id)
            if caller:
                state = ProviderState(SOURCE, "caller", caller)
            return ToolUse(
                id=own_id,
                name=use.name,
                arguments=bytes(use.input).decode(),
                state=state,
                cache=_mark(use.cache_control),
            )
        case "tool_result":
            return _tool_result(raw, where, names)
        case "thinking":
            thinking = decode(raw, _Thinking, where)
            return Reasoning(thinking.thinking, uncarry(thinking.signature))
        case "redacted_thinking":
            data = decode(raw, _Redacted, where).data
            return Reasoning(state=uncarry(data, kind="redacted"))
        case "search_result":
            return _search_result(raw, where)
        case _:
            return OpaquePart(SOURCE, kind, bytes(raw))


def _present(raw: Raw) -> bytes:
    """JSON that says something: b"" for absent, null and []."""
    text = bytes(raw)
    return b"" if text in {b"null", b"[]"} else text


def _document(raw: Raw, where: str) -> Part:
    document = decode(raw, _Document, where)
    source = document.source
    if source.type == "content":  # Blocks inside a document: only Anthropic has that.
        return OpaquePart(SOURCE, "document", bytes(raw))
    options = decode(raw, _DocumentOptions, where)
    keeps = options.context is not None or bool(options.citations)
    is_text = source.type == "text"
    return File(
        url=source.url,
        data="" if is_text else source.data,
        text=source.data if is_text else "",
        media_type=source.media_type,
        file_id=source.file_id,
        name=document.title or "",
        cache=_mark(document.cache_control),
        options=msgspec.json.encode(options) if keeps else b"",
    )


class _Found(Struct):
    source: str = ""
    title: str = ""
    content: list[_Text] = []
    cache_control: CacheControl | None = None


def _search_result(raw: Raw, where: str) -> File:
    """A search result is a text with a source; the whole block goes back as it came."""
    found = decode(raw, _Found, where)
    return File(
        text="\n".join(text.text for text in found.content),
        media_type="text/plain",
        name=found.title or found.source,
        cache=_mark(found.cache_control),
        options=b'{"search_result":' + bytes(raw) + b"}",
    )


def _tool_result(raw: Raw, where: str, names: Mapping[str, str]) -> ToolResult:
    result = decode(raw, _ToolResult, where)
    if isinstance(result.content, str):
        parts: tuple[Part, ...] = (Text(result.content),)
    else:
        parts = tuple(_parts(result.content or [], f"{where}.content", names))
    own_id, _ = unpack(result.tool_use_id)
    return ToolResult(
        tool_use_id=own_id,
        parts=parts,
        is_error=bool(result.is_error),
        name=names.get(own_id, ""),
        cache=_mark(result.cache_control),
    )
