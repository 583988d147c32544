"""OpenAI Responses to a provider: a `ChatRequest` into a body of input items.

The gateway keeps no state at the provider: `store` is false, and reasoning comes back
encrypted so that the next turn can send it along.

Pure.
"""

import re
from typing import Any

from msgspec import Raw

from wire.jsontext import encode
from wire.openai_chat_build import MODEL_RULES, effort_of
from wire.openai_responses_items import carry
from wire.openai_responses_schema import SOURCE
from wire.request import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

_REASONS = re.compile(r"^(?:o\d|gpt-5|grok-[4-9]|gpt-oss)")
"""Models that reason. Others answer 400 when asked for encrypted reasoning."""

MAX_OUTPUT_TOKENS_MIN = 16
"""OpenAI answers 400 to a lower bound here."""


def build(request: ChatRequest, model: str, flavour: str) -> dict[str, Any]:
    """The body, except for what depends on the target's clamp."""
    rules = [r for r in MODEL_RULES if flavour in r.flavours and r.models.match(model)]
    refused = frozenset(name for rule in rules for name in rule.refused)
    items: list[Any] = []
    for message in request.messages:
        _message(message, items)
    wish = request.reasoning
    reasons = _REASONS.match(model) is not None
    include = ["reasoning.encrypted_content"] if reasons else []
    if request.logprobs:
        include.append("message.output_text.logprobs")
    bound = request.max_output_tokens
    fields: dict[str, Any] = {
        "tools": [_tool(t) for t in request.tools if _speaks(t)] or None,
        "tool_choice": _tool_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "text": _text(request),
        "reasoning": (
            {
                name: value
                for name, value in (
                    ("effort", effort_of(wish)),
                    ("summary", wish.summary or "auto"),
                )
                if value is not None
            }
            if wish is not None and reasons
            else None
        ),
        "max_output_tokens": None
        if bound is None
        else max(bound, MAX_OUTPUT_TOKENS_MIN),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs,
        "include": include or None,
        "user": request.user,
        "metadata": request.metadata,
        "service_tier": request.service_tier,
        "prompt_cache_key": request.cache_key,
        "store": False,
        "stream": True if request.stream else None,
    }
    return {"model": model, "input": items} | {
        name: value
        for name, value in fields.items()
        if value is not None and name not in refused
    }


def _speaks(tool: Tool) -> bool:
    """Server tools of other dialects have no meaning here."""
    return tool.kind != "server" or tool.source == SOURCE


def _message(message: Message, items: list[Any]) -> None:
    match message.role:
        case "tool":
            items += [_result(p) for p in message.parts if isinstance(p, ToolResult)]
        case "assistant":
            _assistant(message, items)
        case _:
            parts = [shown for p in message.parts if (shown := _part(p)) is not None]
            items.append({"type": "message", "role": message.role, "content": parts})


def _assistant(message: Message, items: list[Any]) -> None:
    """The turn's parts as items, in their order."""
    texts: list[Any] = []

    def flush() -> None:
        if texts:
            item = {"type": "message", "role": "assistant", "content": list(texts)}
            items.append(item)
            texts.clear()

    for part in message.parts:
        match part:
            case Text():
                texts.append({"type": "output_text", "text": part.text})
                continue
            case Refusal():
                texts.append({"type": "refusal", "refusal": part.text})
                continue
            case _:
                flush()
        match part:
            case Reasoning():
                if part.state is not None and part.state.source == SOURCE:
                    items.append(_reasoning(part))
            case ToolUse():
                items.append(_call(part))
            case OpaquePart() if part.source == SOURCE:
                items.append(Raw(part.data))
            case _:
                pass
    flush()


def _reasoning(part: Reasoning) -> dict[str, Any]:
    """Only its own reasoning is taken back, and only encrypted."""
    assert part.state is not None
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    item: dict[str, Any] = {"type": "reasoning", "summary": summary}
    if part.state.id:
        item["id"] = part.state.id
    return {**item, "encrypted_content": carry(part.state)}


def _call(part: ToolUse) -> dict[str, Any]:
    kind = "custom_tool_call" if part.custom else "function_call"
    word = "input" if part.custom else "arguments"
    return {
        "type": kind,
        "call_id": part.id,
        "name": part.name,
        word: part.arguments,
    }


def _result(part: ToolResult) -> dict[str, Any]:
    shown = [found for p in part.parts if (found := _part(p)) is not None]
    only_text = all(found["type"] == "input_text" for found in shown)
    output: Any = "\n".join(found["text"] for found in shown) if only_text else shown
    item = {"type": "function_call_output", "call_id": part.tool_use_id}
    return {**item, "output": output}


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text() | Refusal():
            return {"type": "input_text", "text": part.text}
        case Image():
            shown: dict[str, Any] = {"type": "input_image"}
            if part.file_id:
                shown["file_id"] = part.file_id
            else:
                url = part.url or f"data:{part.media_type};base64,{part.data}"
                shown["image_url"] = url
            return shown | ({"detail": part.detail} if part.detail else {})
        case File():
            return _file(part)
        case Audio():
            sound = {"data": part.data, "format": part.format or "wav"}
            return {"type": "input_audio", "input_audio": sound}
        case _:
            return None  # A part of another dialect's own: it means nothing here.


def _file(part: File) -> dict[str, Any]:
    if part.text:
        name = f"{part.name}:\n" if part.name else ""
        return {"type": "input_text", "text": f"{name}{part.text}"}
    if part.file_id:
        return {"type": "input_file", "file_id": part.file_id}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    media_type = part.media_type or "application/pdf"
    name = part.name or f"file.{media_type.rpartition('/')[2]}"
    data = f"data:{media_type};base64,{part.data}"
    return {"type": "input_file", "filename": name, "file_data": data}


def _tool(tool: Tool) -> Any:
    if tool.kind == "server":
        return Raw(tool.data)
    shown: dict[str, Any] = {"type": tool.kind, "name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    if tool.kind == "custom":
        if tool.data:
            shown["format"] = Raw(tool.data)
        return shown
    shown["parameters"] = Raw(tool.parameters) if tool.parameters else None
    # Absent means strict here, and not strict in every other dialect.
    shown["strict"] = bool(tool.strict)
    return shown


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    if choice.mode == "tool":
        return {"type": "function", "name": choice.name}
    if choice.allowed:
        tools = [{"type": "function", "name": name} for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
    return choice.mode


def _text(request: ChatRequest) -> dict[str, Any] | None:
    text: dict[str, Any] = {}
    if request.response_format is not None:
        text["format"] = _format(request.response_format)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    return text or None


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    shown: dict[str, Any] = {
        "type": "json_schema",
        "name": wanted.name or "response",
        "schema": Raw(wanted.schema),
        "strict": bool(wanted.strict),
    }
    if wanted.description is not None:
        shown["description"] = wanted.description
    return shown


def body_bytes(body: dict[str, Any]) -> bytes:
    """The body as sent."""
    return encode(body)
