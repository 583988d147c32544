"""OpenAI Responses from a client: whole bodies into a `ChatRequest`.

Neighbouring items of the assistant (reasoning, message, calls) become one turn; each
tool output becomes a tool message. Whoever stores answers resolves
`previous_response_id` first (`expand`); a request that still holds one cannot be
translated.

Values are never repeated in errors: they are prompts. Pure.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from wire import checks
from wire.dialect import ClientError
from wire.jsontext import (
    NULL,
    decode_any,
    decode_client,
    decode_fields,
    encode,
    given,
    mapping,
    text,
)
from wire.openai_chat_parse import split_data_url
from wire.openai_responses_body import (
    InBody,
    InItem,
    InKind,
    InPart,
    InText,
    InTool,
)
from wire.openai_responses_items import uncarry
from wire.openai_responses_schema import SOURCE
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    ReasoningWish,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from wire.toolids import unpack

_body = msgspec.json.Decoder(InBody)
_item = msgspec.json.Decoder(InItem)
_kind = msgspec.json.Decoder(InKind)
_tool = msgspec.json.Decoder(InTool)

_READ = frozenset(
    {
        *("message", "reasoning", "item_reference"),
        *("function_call", "custom_tool_call"),
        *("function_call_output", "custom_tool_call_output"),
    }
)
"""Item types with a word in the vocabulary."""

_WORDED = frozenset(f.name for f in msgspec.structs.fields(InBody)) - {
    # Echoed in the answer as they came.
    *("instructions", "tools", "tool_choice", "previous_response_id"),
}


def expand(body: bytes, earlier: Sequence[bytes]) -> bytes:
    """The body with earlier items before its input, and no `previous_response_id`.

    `earlier` are the input and output items of the stored answers, oldest first.
    """
    fields: dict[str, Any] = dict(decode_fields(body))
    fields.pop("previous_response_id", None)
    own = decode_any(fields.get("input", NULL))
    items: list[Any] = [Raw(item) for item in earlier]
    if isinstance(own, str):
        items.append({"role": "user", "content": own})
    elif own:
        items += own
    fields["input"] = items
    return encode(fields)


def parse(body: bytes) -> ChatRequest:
    """Read and check a whole request. Raises ClientError."""
    read = decode_client(_body, body)
    checks.model(read.model)
    fields = decode_fields(body)
    for name, set_ in (
        ("background", bool(read.background)),
        ("conversation", read.conversation != NULL),
        ("prompt", read.prompt != NULL),
    ):
        if set_:
            raise checks.unsupported(
                name, "is not supported by the provider of this model."
            )
    if read.previous_response_id is not None:
        raise ClientError(
            "The previous response is not known here, or was not stored.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    include = read.include or []
    wish = read.reasoning
    tools = read.tools or []
    return ChatRequest(
        model=read.model,
        messages=tuple(_messages(read)),
        source=SOURCE,
        tools=tuple(_read_tool(raw, f"tools[{at}]") for at, raw in enumerate(tools)),
        tool_choice=_tool_choice(read.tool_choice),
        parallel_tool_calls=read.parallel_tool_calls,
        response_format=_format(read.text),
        temperature=checks.decimal(read.temperature, "temperature", 0, 2),
        top_p=checks.decimal(read.top_p, "top_p", 0, 1),
        max_output_tokens=(
            None
            if read.max_output_tokens is None
            else checks.integer(
                read.max_output_tokens, "max_output_tokens", 1, checks.TOKENS_MAX
            )
        ),
        reasoning=(
            None
            if wish is None or not (wish.effort or wish.summary)
            else ReasoningWish(
                wish.effort,
                enabled=False if wish.effort == "none" else None,
                summary=wish.summary or wish.generate_summary,
            )
        ),
        logprobs=True if "message.output_text.logprobs" in include else None,
        top_logprobs=read.top_logprobs or None,
        user=read.user,
        metadata=read.metadata,
        service_tier=read.service_tier,
        verbosity=read.text.verbosity if read.text else None,
        cache_key=read.prompt_cache_key,
        stream=bool(read.stream),
        include_usage=True,
        extra={
            name: bytes(raw)
            for name, raw in fields.items()
            if name not in _WORDED and raw != NULL
        },
    )


def _messages(read: InBody) -> list[Message]:
    messages: list[Message] = []
    if isinstance(read.instructions, str):
        messages.append(Message("system", (Text(read.instructions),)))
    elif read.instructions:
        _items(read.instructions, "instructions", messages)
    if isinstance(read.input, str):
        messages.append(Message("user", (Text(read.input),)))
    elif read.input:
        _items(read.input, "input", messages)
    if not any(message.role != "system" for message in messages):
        raise checks.missing("input") if not read.input else checks.empty("input")
    return messages


def _items(raws: list[Raw], name: str, messages: list[Message]) -> None:
    turn: list[Part] = []  # what the assistant said, over neighbouring items
    names: dict[str, str] = {}
    for position, raw in enumerate(raws):
        path = f"{name}[{position}]"
        kind = decode_client(_kind, raw, prefix=path)
        if kind.type not in _READ:
            # What ran at the provider: only its own dialect understands it.
            turn.append(OpaquePart(SOURCE, kind.type, bytes(raw)))
            continue
        item = decode_client(_item, raw, prefix=path)
        said = _said(item, path, names)
        if said is not None:
            turn += said
            continue
        if turn:
            messages.append(Message("assistant", tuple(turn)))
            turn = []
        messages.append(_turn(item, path, names))
    if turn:
        messages.append(Message("assistant", tuple(turn)))


def _said(item: InItem, path: str, names: dict[str, str]) -> list[Part] | None:
    """The parts of an item of the assistant; None for one of the client."""
    match item.type:
        case "message":
            if item.role != "assistant":
                return None
            return _parts(item.content, f"{path}.content")
        case "function_call" | "custom_tool_call":
            return [_call(item, path, names)]
        case "reasoning":
            told = [*(item.summary or ()), *_listed(item.content)]
            words = "\n\n".join(part.text or "" for part in told)
            secret = item.encrypted_content
            state = uncarry(secret, item.id or "") if secret else None
            return [Reasoning(words, state, bool(item.summary))]
        case "item_reference":
            raise ClientError(
                f"'{path}' refers to an item that is not known here.",
                param=f"{path}.id",
                code="item_not_found",
            )
        case _:
            return None


def _listed(content: str | list[InPart] | None) -> list[InPart]:
    return content if isinstance(content, list) else []


def _call(item: InItem, path: str, names: dict[str, str]) -> ToolUse:
    if not item.call_id:
        raise checks.missing(f"{path}.call_id")
    if not item.name:
        raise checks.missing(f"{path}.name")
    names[item.call_id] = item.name
    call_id, state = unpack(item.call_id)
    if item.type == "custom_tool_call":
        return ToolUse(call_id, item.name, item.input or "", True, state)
    return ToolUse(call_id, item.name, item.arguments or "{}", state=state)


_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user"}


def _turn(item: InItem, path: str, names: dict[str, str]) -> Message:
    """A message of the client, or a tool's output."""
    if item.type == "message":
        role = _ROLES.get(item.role or "")
        if role is None:
            raise ClientError(
                f"Invalid value for '{path}.role'. Supported values are 'assistant', "
                "'system', 'developer' and 'user'.",
                param=f"{path}.role",
                code="invalid_value",
            )
        if item.content is None:
            raise checks.missing(f"{path}.content")
        return Message(role, tuple(_parts(item.content, f"{path}.content")))
    if not item.call_id:
        raise checks.missing(f"{path}.call_id")
    if item.call_id not in names:
        raise ClientError(
            f"No tool call found for the output in '{path}'.",
            param=f"{path}.call_id",
            code="invalid_value",
        )
    call_id, _ = unpack(item.call_id)
    parts = tuple(_parts(item.output, f"{path}.output"))
    return Message("tool", (ToolResult(call_id, parts, name=names[item.call_id]),))


def _parts(content: str | list[InPart] | None, path: str) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    return [
        _part(part, f"{path}[{position}]")
        for position, part in enumerate(content or ())
    ]


def _part(part: InPart, path: str) -> Part:
    cache = CacheMark() if part.prompt_cache_breakpoint != NULL else None
    match part.type:
        case "input_text" | "output_text" | "text" | "summary_text":
            if part.text is None:
                raise checks.missing(f"{path}.text")
            return Text(part.text, cache)
        case "refusal":
            return Refusal(part.refusal or "")
        case "input_image":
            split = split_data_url(part.image_url or "")
            if split is not None:
                return Image(data=split[1], media_type=split[0], detail=part.detail)
            if not (part.image_url or part.file_id):
                raise checks.missing(f"{path}.image_url")
            return Image(
                url=part.image_url or "",
                file_id=part.file_id or "",
                detail=part.detail,
                cache=cache,
            )
        case "input_file":
            return _file(part, path, cache)
        case "input_audio":
            sound = mapping(decode_any(part.input_audio))
            return Audio(text(sound.get("data")), text(sound.get("format")))
        case _:
            raise ClientError(
                f"Unsupported value for '{path}.type'.",
                param=f"{path}.type",
                code="invalid_value",
            )


def _file(part: InPart, path: str, cache: CacheMark | None) -> File:
    name = part.filename or ""
    split = split_data_url(part.file_data or "")
    if split is not None:
        return File(data=split[1], media_type=split[0], name=name, cache=cache)
    if part.file_url:
        return File(url=part.file_url, name=name, cache=cache)
    if part.file_id:
        return File(file_id=part.file_id, name=name, cache=cache)
    raise checks.missing(f"{path}.file_data")


def _read_tool(raw: Raw, path: str) -> Tool:
    tool = decode_client(_tool, raw, prefix=path)
    if tool.type not in {"function", "custom"}:
        return Tool(name=tool.type, kind="server", source=SOURCE, data=bytes(raw))
    if not tool.name:
        raise checks.missing(f"{path}.name")
    if tool.type == "custom":
        return Tool(
            name=tool.name,
            description=tool.description,
            kind="custom",
            source=SOURCE,
            data=given(tool.format),
        )
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=given(tool.parameters),
        strict=tool.strict,
        source=SOURCE,
    )


def _tool_choice(raw: Raw) -> ToolChoice | None:
    match decode_any(raw):
        case None:
            return None
        case "auto":
            return ToolChoice("auto")
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case {"type": "function" | "custom", "name": str(name)}:
            return ToolChoice("tool", name)
        case {"type": "allowed_tools", "tools": list(tools)} as allow:
            allowed = tuple(filter(None, (text(mapping(t).get("name")) for t in tools)))
            forced = allow.get("mode") == "required"
            return ToolChoice("required" if forced else "auto", allowed=allowed)
        case _:
            raise ClientError(
                "Invalid value for 'tool_choice'. Supported values are 'none', 'auto', "
                "'required' and an object naming a tool.",
                param="tool_choice",
                code="invalid_value",
            )


def _format(wanted: InText | None) -> ResponseFormat | None:
    form = wanted.format if wanted is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return ResponseFormat("json_object")
    if form.schema == NULL:
        raise checks.missing("text.format.schema")
    return ResponseFormat(
        "json_schema",
        name=form.name,
        schema=bytes(form.schema),
        strict=form.strict,
        description=form.description,
    )
