"""OpenAI chat from a client: whole bodies into a `ChatRequest`, the translation's way.

Errors are OpenAI-shaped and name the path of the fault (`messages[2].content[0].type`).
Values are never repeated in them: they are prompts.

Pure.
"""

from typing import Any

import msgspec
from msgspec import Raw

from wire import checks
from wire.dialect import ClientError
from wire.events import ProviderState
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
from wire.openai_chat_body import (
    InAudioPart,
    InBody,
    InCacheControl,
    InCall,
    InFilePart,
    InFormat,
    InImagePart,
    InImageUrl,
    InMessage,
    InPart,
    InRefusalPart,
    InTextPart,
    InTool,
)
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
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

SOURCE = "openai_chat"

_body = msgspec.json.Decoder(InBody)
_tool = msgspec.json.Decoder(InTool)
_KNOWN = frozenset(f.name for f in msgspec.structs.fields(InBody))


def parse(body: bytes) -> ChatRequest:
    """Read and check a whole request. Raises ClientError."""
    read = decode_client(_body, body)
    checks.model(read.model)
    if not read.messages:
        raise checks.empty("messages")
    if read.functions != NULL or read.function_call != NULL:
        raise ClientError(
            "'functions' and 'function_call' are not supported by the provider of this "
            "model. Use 'tools' and 'tool_choice' instead.",
            param="functions",
            code="unsupported_parameter",
        )
    fields = decode_fields(body)
    names: dict[str, str] = {}
    messages = [
        _message(message, f"messages[{position}]", names)
        for position, message in enumerate(read.messages)
    ]
    return ChatRequest(
        model=read.model,
        messages=tuple(messages),
        source=SOURCE,
        tools=tuple(
            _read_tool(raw, f"tools[{at}]") for at, raw in enumerate(read.tools or ())
        ),
        tool_choice=_tool_choice(read.tool_choice),
        parallel_tool_calls=read.parallel_tool_calls,
        response_format=_format(read.response_format),
        stop=checks.stops(read.stop),
        temperature=checks.decimal(read.temperature, "temperature", 0, 2),
        top_p=checks.decimal(read.top_p, "top_p", 0, 1),
        top_k=read.top_k,
        presence_penalty=checks.decimal(
            read.presence_penalty, "presence_penalty", -2, 2
        ),
        frequency_penalty=checks.decimal(
            read.frequency_penalty, "frequency_penalty", -2, 2
        ),
        max_output_tokens=checks.bound(read.max_completion_tokens, read.max_tokens),
        reasoning=_wish(read),
        seed=read.seed,
        logprobs=read.logprobs,
        top_logprobs=(
            None
            if read.top_logprobs is None
            else checks.integer(read.top_logprobs, "top_logprobs", 0, 20)
        ),
        n=1 if read.n is None else checks.integer(read.n, "n", 1, checks.N_MAX),
        user=read.user,
        metadata=read.metadata,
        service_tier=read.service_tier,
        verbosity=read.verbosity,
        modalities=tuple(read.modalities or ()),
        cache_key=read.prompt_cache_key,
        stream=bool(read.stream),
        include_usage=bool(read.stream_options and read.stream_options.include_usage),
        extra={
            name: bytes(raw)
            for name, raw in fields.items()
            if name not in _KNOWN and bytes(raw) != b"null"
        },
    )


def _message(message: InMessage, path: str, names: dict[str, str]) -> Message:
    """One message; `names` remembers the tool of each call, for results without one."""
    match message.role:
        case "tool":
            return _tool_message(message, path, names)
        case "function":
            raise ClientError(
                "Role 'function' is not supported by the provider of this model. "
                "Use role 'tool'.",
                param=f"{path}.role",
                code="unsupported_value",
            )
        case "assistant":
            return Message("assistant", _assistant(message, path, names), message.name)
        case "system" | "developer" | "user":
            if message.content is None:
                raise ClientError(
                    f"Invalid value for '{path}.content': expected a string or an "
                    "array of parts, got null.",
                    param=f"{path}.content",
                    code="invalid_type",
                )
            role: Role = message.role
            return Message(role, _parts(message.content, path), message.name)


def _tool_message(message: InMessage, path: str, names: dict[str, str]) -> Message:
    if not message.tool_call_id:
        raise checks.missing(f"{path}.tool_call_id")
    if message.tool_call_id not in names:
        raise ClientError(
            f"Invalid parameter: '{path}' with role 'tool' must answer a preceding "
            "message with 'tool_calls'.",
            param=f"{path}.tool_call_id",
            code="invalid_value",
        )
    call_id, _ = unpack(message.tool_call_id)
    result = ToolResult(
        tool_use_id=call_id,
        parts=_parts(message.content or "", path),
        name=names[message.tool_call_id],
    )
    return Message("tool", (result,))


def _assistant(
    message: InMessage, path: str, names: dict[str, str]
) -> tuple[Part, ...]:
    parts: list[Part] = _thoughts(message)
    if message.content:
        parts += _parts(message.content, path)
    if message.refusal:
        parts.append(Refusal(message.refusal))
    if message.audio is not None:
        parts.append(Audio(id=message.audio.id))
    for position, call in enumerate(message.tool_calls or ()):
        parts.append(_call(call, f"{path}.tool_calls[{position}]", names))
    return tuple(parts)


def _call(call: InCall, path: str, names: dict[str, str]) -> ToolUse:
    call_id, state = unpack(call.id)
    if state is None and call.extra_content != NULL:
        google = mapping(mapping(decode_any(call.extra_content)).get("google"))
        signature = text(google.get("thought_signature"))
        if signature:
            state = ProviderState("gemini", "thought_signature", signature)
    if call.type == "custom" and call.custom is not None:
        names[call.id] = call.custom.name
        return ToolUse(call_id, call.custom.name, call.custom.input, True, state)
    if call.function is None:
        raise checks.missing(f"{path}.function")
    names[call.id] = call.function.name
    arguments = call.function.arguments or "{}"
    return ToolUse(call_id, call.function.name, arguments, state=state)


def _thoughts(message: InMessage) -> list[Part]:
    """Earlier thoughts: ours carry their proof, OpenRouter's theirs, others text."""
    told = message.reasoning_content or message.reasoning or ""
    details = decode_any(message.reasoning_details)
    ours: list[Part] = []
    theirs: list[Any] = []
    for detail in details if isinstance(details, list) else []:
        one = mapping(detail)
        source, colon, kind = text(one.get("format")).partition(":")
        state = text(one.get("signature")) or text(one.get("data"))
        if colon and source and state:
            proof = ProviderState(source, kind, state, text(one.get("id")))
            ours.append(Reasoning(text(one.get("text")), proof))
        else:
            theirs.append(detail)
    if ours:
        return ours
    if theirs:
        data = encode(theirs).decode()
        return [Reasoning(told, ProviderState("openrouter", "reasoning_details", data))]
    return [Reasoning(told)] if told else []


def _parts(content: str | list[InPart], path: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    return tuple(
        _part(part, f"{path}.content[{position}]")
        for position, part in enumerate(content)
    )


def _part(part: InPart, path: str) -> Part:
    match part:
        case InTextPart():
            marked = part.prompt_cache_breakpoint != NULL
            return Text(part.text, CacheMark() if marked else _mark(part.cache_control))
        case InImagePart(image_url=InImageUrl(url, detail)):
            return _image(url, detail, _mark(part.cache_control), path)
        case InImagePart(image_url=str(url)):
            return _image(url, None, _mark(part.cache_control), path)
        case InAudioPart():
            sound = part.input_audio
            return Audio(sound.data, sound.format, cache=_mark(part.cache_control))
        case InFilePart():
            return _file(part, path)
        case InRefusalPart():
            return Refusal(part.refusal)
        case _:
            raise AssertionError


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL; None for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64"), data


def _image(url: str, detail: str | None, cache: CacheMark | None, path: str) -> Image:
    if url.startswith("data:"):
        split = split_data_url(url)
        if split is None:
            raise ClientError(
                f"Invalid '{path}.image_url.url': expected a base64-encoded data URL "
                "with an image MIME type (data:image/png;base64,…).",
                param=f"{path}.image_url.url",
                code="invalid_value",
            )
        return Image(data=split[1], media_type=split[0], detail=detail, cache=cache)
    return Image(url=url, detail=detail, cache=cache)


def _file(part: InFilePart, path: str) -> File:
    given = part.file
    cache = _mark(part.cache_control)
    name = given.filename or ""
    if given.file_id:
        return File(file_id=given.file_id, name=name, cache=cache)
    data = given.file_data or ""
    split = split_data_url(data)
    if split is not None:
        return File(data=split[1], media_type=split[0], name=name, cache=cache)
    if data.startswith(("http://", "https://")):
        return File(url=data, name=name, cache=cache)
    if data:
        media_type = "application/pdf" if name.lower().endswith(".pdf") else ""
        return File(data=data, media_type=media_type, name=name, cache=cache)
    raise checks.missing(f"{path}.file.file_data")


def _mark(control: InCacheControl | None) -> CacheMark | None:
    return None if control is None else CacheMark(control.ttl)


def _read_tool(raw: Raw, path: str) -> Tool:
    tool = decode_client(_tool, raw, prefix=path)
    if tool.type == "function":
        if tool.function is None:
            raise checks.missing(f"{path}.function")
        return Tool(
            name=tool.function.name,
            description=tool.function.description,
            parameters=given(tool.function.parameters),
            strict=tool.function.strict,
            source=SOURCE,
            cache=_mark(tool.cache_control),
        )
    if tool.type == "custom" and tool.custom is not None:
        return Tool(
            name=tool.custom.name,
            description=tool.custom.description,
            kind="custom",
            source=SOURCE,
            data=given(tool.custom.format),
        )
    return Tool(name=tool.type, kind="server", source=SOURCE, data=bytes(raw))


def _tool_choice(raw: Raw) -> ToolChoice | None:
    choice = decode_any(raw)
    match choice:
        case None:
            return None
        case "auto":
            return ToolChoice("auto")
        case "none":
            return ToolChoice("none")
        case "required" | "any":  # Mistral's word, which its users bring along.
            return ToolChoice("required")
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("tool", name)
        case {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice("tool", name)
        case {
            "type": "allowed_tools",
            "allowed_tools": {"tools": list(tools)} as allow,
        }:
            functions = [mapping(mapping(tool).get("function")) for tool in tools]
            allowed = tuple(filter(None, (text(f.get("name")) for f in functions)))
            forced = allow.get("mode") == "required"
            return ToolChoice("required" if forced else "auto", allowed=allowed)
        case _:
            raise ClientError(
                "Invalid value for 'tool_choice'. Supported values are 'none', 'auto', "
                "'required' and an object naming a tool.",
                param="tool_choice",
                code="invalid_value",
            )


def _format(wanted: InFormat | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        return ResponseFormat(wanted.type)
    schema = wanted.json_schema
    if schema is None or schema.schema == NULL:
        raise checks.missing("response_format.json_schema.schema")
    return ResponseFormat(
        "json_schema",
        name=schema.name,
        schema=bytes(schema.schema),
        strict=schema.strict,
        description=schema.description,
    )


def _wish(read: InBody) -> ReasoningWish | None:
    """OpenAI's effort, OpenRouter's object or DeepSeek's switch, whichever is there."""
    given, thinking = read.reasoning, read.thinking
    effort = read.reasoning_effort or (given.effort if given else None)
    budget = given.max_tokens if given else None
    enabled = given.enabled if given else None
    if thinking is not None:
        budget = budget if budget is not None else thinking.budget_tokens
        enabled = thinking.type != "disabled"
    if effort == "none":
        enabled = False
    if effort is None and budget is None and enabled is None:
        return None
    return ReasoningWish(effort, budget, enabled)
