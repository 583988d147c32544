"""OpenAI chat to a provider: a `ChatRequest` into a body that its server takes.

What a server lacks is left out without a word (`Flavour.refused`, `MODEL_RULES`): the
caller chose a model by name and gets the nearest thing it can do. Two things are never
dropped, they change the meaning of the answer: tools, and a JSON schema, which becomes
an instruction where the server only knows `json_object`.

Pure.
"""

import re
from typing import Any

from msgspec import Raw, Struct

from wire.flavours import Flavour
from wire.jsontext import JSON_ERRORS, decode_any, encode
from wire.openai_chat_parse import SOURCE
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
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)


class ModelRule(Struct, frozen=True):
    """What some models of a flavour refuse, by their names."""

    flavours: frozenset[str]
    models: re.Pattern[str]
    refused: frozenset[str]
    system_role: str = ""  # The role that stands for system and developer.


_OPENAI = frozenset({"openai", "azure"})
_SAMPLING = frozenset(
    {
        *("temperature", "top_p", "presence_penalty", "frequency_penalty"),
        *("logprobs", "top_logprobs", "logit_bias"),
    }
)
MODEL_RULES = (
    ModelRule(_OPENAI, re.compile(r"^o1-(?:mini|preview)"), _SAMPLING, "user"),
    # Reasoning models answer 400 to sampling fields, also to their defaults.
    ModelRule(_OPENAI, re.compile(r"^(?:o\d|gpt-5(?!.*chat))"), _SAMPLING),
)

EFFORT_BUDGETS = ((2_048, "low"), (8_192, "medium"))
"""A thinking budget as an effort, where only efforts are known; above: high."""


def build(request: ChatRequest, flavour: Flavour, model: str) -> dict[str, Any]:
    """The body, except for what depends on the target's clamp."""
    rule = next(
        (
            r
            for r in MODEL_RULES
            if flavour.name in r.flavours and r.models.match(model)
        ),
        None,
    )
    refused = flavour.refused | flavour.lacks | (rule.refused if rule else frozenset())
    messages = _messages(request, flavour, rule.system_role if rule else "")
    body: dict[str, Any] = {"model": model, "messages": messages}
    fields: dict[str, Any] = {
        "tools": [_tool(t) for t in request.tools if _speaks(t)] or None,
        "tool_choice": _tool_choice(request, flavour),
        "parallel_tool_calls": (
            request.parallel_tool_calls
            if request.tools and flavour.parallel_tool_calls
            else None
        ),
        "response_format": _format(request.response_format, flavour, messages),
        "stop": list(request.stop) or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k if flavour.top_k else None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        flavour.max_tokens: request.max_output_tokens,
        **_wish(request.reasoning, flavour),
        "seed": request.seed,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "n": request.n if request.n != 1 else None,
        "user": request.user,
        "metadata": request.metadata,
        "service_tier": request.service_tier,
        "verbosity": request.verbosity,
        "modalities": list(request.modalities) or None,
        "prompt_cache_key": request.cache_key if flavour.name in _OPENAI else None,
        "stream": True if request.stream else None,
        "stream_options": (
            {"include_usage": True}
            if request.stream and flavour.stream_options
            else None
        ),
    }
    if request.source == SOURCE:
        fields |= {name: Raw(raw) for name, raw in request.extra.items()}
    renamed = dict(flavour.renamed)
    for name, value in fields.items():
        if value is not None and name not in refused:
            body[renamed.get(name, name)] = value
    return body


def _speaks(tool: Tool) -> bool:
    """Server tools of other dialects have no meaning here."""
    return tool.kind != "server" or tool.source == SOURCE


def _messages(
    request: ChatRequest, flavour: Flavour, system_role: str
) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role != "tool" and pictures:
            told.append({"role": "user", "content": pictures})
            pictures = []
        match message.role:
            case "tool":
                told += [
                    _result(part, pictures)
                    for part in message.parts
                    if isinstance(part, ToolResult)
                ]
            case "assistant":
                told.append(_assistant(message, flavour))
            case "system" | "developer":
                role = system_role or (
                    message.role if flavour.developer_role else "system"
                )
                told.append(_named(message, role, flavour))
            case "user":
                told.append(_named(message, "user", flavour))
    if pictures:
        told.append({"role": "user", "content": pictures})
    return told


def _named(message: Message, role: str, flavour: Flavour) -> dict[str, Any]:
    body: dict[str, Any] = {"role": role, "content": _content(message.parts, flavour)}
    if message.name is not None:
        body["name"] = message.name
    return body


def _result(result: ToolResult, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """A tool's answer. The role takes text only: other parts follow in a user turn."""
    texts: list[str] = []
    for part in result.parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        shown = _part(part)
        if shown is not None:
            pictures.append(
                {"type": "text", "text": f"Result of tool call {result.tool_use_id}:"}
            )
            pictures.append(shown)
            texts.append("(see the next message)")
    return {
        "role": "tool",
        "tool_call_id": result.tool_use_id,
        "content": "\n".join(texts),
    }


def _assistant(message: Message, flavour: Flavour) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "assistant", "content": None}
    texts: list[Text] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[Any] = []
    for part in message.parts:
        match part:
            case Text():
                texts.append(part)
            case Reasoning():
                thoughts.append(part.text)
                if part.state is not None and part.state.source == flavour.name:
                    details += _details(part.state.data)
            case Refusal():
                refusals.append(part.text)
            case ToolUse():
                calls.append(_call(part))
            case Audio() if part.id:
                body["audio"] = {"id": part.id}
            case _:
                pass
    if texts:
        body["content"] = _content(tuple(texts), flavour)
    elif not calls and not refusals and "audio" not in body:
        body["content"] = ""
    if message.name is not None:
        body["name"] = message.name
    if refusals:
        body["refusal"] = "".join(refusals)
    if calls:
        body["tool_calls"] = calls
    if details:
        body["reasoning_details"] = details
    elif flavour.reasoning_in is not None and any(thoughts):
        body[flavour.reasoning_in] = "".join(thoughts)
    return body


def _details(data: str) -> list[Any]:
    try:
        details = decode_any(data.encode())
    except JSON_ERRORS:
        return []
    return details if isinstance(details, list) else []


def _call(part: ToolUse) -> dict[str, Any]:
    if part.custom:
        custom = {"name": part.name, "input": part.arguments}
        return {"id": part.id, "type": "custom", "custom": custom}
    call: dict[str, Any] = {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": part.arguments},
    }
    if part.state is not None and part.state.source == "gemini":
        signature = {"thought_signature": part.state.data}
        call["extra_content"] = {"google": signature}
    return call


def _content(parts: tuple[Part, ...], flavour: Flavour) -> str | list[dict[str, Any]]:
    """A plain string where it is only text: small servers take nothing else."""
    marked = flavour.cache_control and any(
        isinstance(p, (Text, Image)) and p.cache for p in parts
    )
    if not marked and all(isinstance(part, (Text, Refusal)) for part in parts):
        texts = [p.text for p in parts if isinstance(p, (Text, Refusal))]
        return texts[0] if len(texts) == 1 else "\n".join(texts)
    content: list[dict[str, Any]] = []
    for part in parts:
        shown = _part(part)
        if shown is None:
            continue
        if flavour.cache_control and isinstance(part, (Text, Image)) and part.cache:
            shown["cache_control"] = _mark(part.cache)
        content.append(shown)
    return content


def _mark(mark: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", **({"ttl": mark.ttl} if mark.ttl else {})}


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            image = {"url": url, **({"detail": part.detail} if part.detail else {})}
            return {"type": "image_url", "image_url": image}
        case File():
            return _file(part)
        case Audio():
            sound = {"data": part.data, "format": part.format or "wav"}
            return {"type": "input_audio", "input_audio": sound}
        case Refusal():
            return {"type": "text", "text": part.text}
        case _:
            return None  # A part of another dialect's own: it means nothing here.


def _file(part: File) -> dict[str, Any]:
    if part.text:
        name = f"{part.name}:\n" if part.name else ""
        return {"type": "text", "text": f"{name}{part.text}"}
    if part.file_id:
        return {"type": "file", "file": {"file_id": part.file_id}}
    media_type = part.media_type or "application/pdf"
    data = part.url or f"data:{media_type};base64,{part.data}"
    name = part.name or f"file.{media_type.rpartition('/')[2]}"
    return {"type": "file", "file": {"file_data": data, "filename": name}}


def _tool(tool: Tool) -> Any:
    if tool.kind == "server":
        return Raw(tool.data)
    described: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        described["description"] = tool.description
    if tool.kind == "custom":
        if tool.data:
            described["format"] = Raw(tool.data)
        return {"type": "custom", "custom": described}
    if tool.parameters:
        described["parameters"] = Raw(tool.parameters)
    if tool.strict is not None:
        described["strict"] = tool.strict
    return {"type": "function", "function": described}


def _tool_choice(request: ChatRequest, flavour: Flavour) -> Any:
    choice: ToolChoice | None = request.tool_choice
    if choice is None or not request.tools:
        return None
    if choice.mode == "tool":
        tools = {tool.name: tool for tool in request.tools}
        found = tools.get(choice.name)
        kind = "custom" if found is not None and found.kind == "custom" else "function"
        return {"type": kind, kind: {"name": choice.name}}
    word = flavour.tool_choice_required if choice.mode == "required" else choice.mode
    if choice.allowed and flavour.name in _OPENAI:
        tools_allowed = [
            {"type": "function", "function": {"name": name}} for name in choice.allowed
        ]
        allowed = {"mode": choice.mode, "tools": tools_allowed}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return word


def _format(
    given: ResponseFormat | None, flavour: Flavour, messages: list[dict[str, Any]]
) -> Any:
    if given is None:
        return None
    if given.kind != "json_schema":
        return {"type": given.kind}
    if not flavour.json_schema:
        schema = given.schema.decode()
        told = f"Answer with one JSON object that follows this JSON schema:\n{schema}"
        messages.insert(0, {"role": "system", "content": told})
        return {"type": "json_object"}
    schema_body: dict[str, Any] = {
        "name": given.name or "response",
        "schema": Raw(given.schema),
    }
    if given.strict is not None:
        schema_body["strict"] = given.strict
    if given.description is not None:
        schema_body["description"] = given.description
    return {"type": "json_schema", "json_schema": schema_body}


def effort_of(wish: ReasoningWish) -> str | None:
    """The wish as an effort, where only efforts are known."""
    if wish.effort is not None:
        return wish.effort
    if wish.budget_tokens is None:
        return None
    for budget, effort in EFFORT_BUDGETS:
        if wish.budget_tokens <= budget:
            return effort
    return "high"


def _wish(wish: ReasoningWish | None, flavour: Flavour) -> dict[str, Any]:
    if wish is None:
        return {}
    enabled = wish.enabled is not False
    match flavour.reasoning_style:
        case "effort":
            return {"reasoning_effort": effort_of(wish)}
        case "object":
            told: dict[str, Any] = {}
            if not enabled:
                told["enabled"] = False
            elif wish.budget_tokens is not None:
                told["max_tokens"] = wish.budget_tokens
            elif wish.effort is not None:
                told["effort"] = wish.effort
            else:
                told["enabled"] = True
            return {"reasoning": told}
        case "thinking":
            return {"thinking": {"type": "enabled" if enabled else "disabled"}}
        case "enable_thinking":
            budget = wish.budget_tokens if enabled else None
            return {"enable_thinking": enabled, "thinking_budget": budget}
        case "none":
            return {}


def body_bytes(body: dict[str, Any]) -> bytes:
    """The body as sent."""
    return encode(body)
