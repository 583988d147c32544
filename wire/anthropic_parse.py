"""An Anthropic client's request into the neutral vocabulary.

Owns: reading /v1/messages and /v1/messages/count_tokens bodies, their checks, and the
errors that name the field at fault as Anthropic does ("messages.0.content"). Never
quotes a value of the request in an error. Pure.

Blocks that have no word in `wire.request` (server tools, search results, compaction)
become `OpaquePart`, fields without one go to `extra`; `anthropic_build` writes both out
again. Two headers ride in `extra` as well, as "header:<name>".
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw

from wire.anthropic_parts import decode, decode_optional, mark, parts_of
from wire.anthropic_schema import (
    REQUEST_FIELDS,
    SOURCE,
    HeadRequest,
    InMessage,
    InOutputConfig,
    InRequest,
    InThinking,
    InTool,
    InToolChoice,
)
from wire.dialect import ClientError, Head, Headers, Need
from wire.request import (
    ChatRequest,
    Message,
    Part,
    ReasoningWish,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

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

_IMAGE = re.compile(rb'"type"\s*:\s*"image"')
_DOCUMENT = re.compile(rb'"type"\s*:\s*"document"')
_BASE64 = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/=]{64,})"')


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
        cache=mark(tool.cache_control),
    )


def _messages(top: InRequest) -> tuple[Message, ...]:
    messages: list[Message] = []
    if isinstance(top.system, str):
        messages.append(Message("system", (Text(top.system),)))
    elif top.system:
        parts = tuple(parts_of(top.system, "system", {}))
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
    for part in parts_of(turn.content, f"{where}.content", names):
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
