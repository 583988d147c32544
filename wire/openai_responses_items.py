"""Responses objects and output items as clients read them, whole.

What both the stream encoder and the unary answer are made of. A provider's state on a
tool call rides inside `call_id` (`wire.toolids`); reasoning of other providers rides in
`encrypted_content`, marked so that it is never mistaken for OpenAI's own.

Pure.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from wire.completion import Completion
from wire.dialect import Reply
from wire.events import (
    Citation,
    Fault,
    Finish,
    ProviderState,
    ServerTool,
    Start,
    ToolCallStart,
    Usage,
)
from wire.jsontext import decode_any, encode
from wire.openai_errors import error_object
from wire.openai_responses_schema import SOURCE, usage_to
from wire.request import ChatRequest, Reasoning, Refusal, Text, ToolUse
from wire.toolids import pack

STATE_MARK = "stagedoor1:"
"""OpenAI's own encrypted content is base64, which has no colon: no clash."""


def carry(state: ProviderState) -> str:
    """Any provider's reasoning state as `encrypted_content`."""
    if state.source == SOURCE:
        return state.data
    packed = encode((state.source, state.kind, state.data, state.id))
    return STATE_MARK + urlsafe_b64encode(packed).decode()


_states = msgspec.json.Decoder(tuple[str, str, str, str])


def uncarry(secret: str, item_id: str = "") -> ProviderState | None:
    """The state in an `encrypted_content`; None for a damaged one of ours.

    The thought is then lost, the turn is not.
    """
    if not secret.startswith(STATE_MARK):
        return ProviderState(SOURCE, "encrypted", secret, item_id)
    try:
        packed = urlsafe_b64decode(secret.removeprefix(STATE_MARK))
        return ProviderState(*_states.decode(packed))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None


def response_object(
    request: ChatRequest, reply: Reply, start: Start, **fields: Any
) -> dict[str, Any]:
    """A response object; `fields` are status, output, usage, error and the like."""
    extra = request.extra if request.source == SOURCE else {}

    def echo(name: str, default: Any) -> Any:
        return Raw(extra[name]) if name in extra else default

    form: dict[str, Any] = {"type": "text"}
    wanted = request.response_format
    if wanted is not None and wanted.kind == "json_schema":
        form = {
            "type": "json_schema",
            "name": wanted.name,
            "schema": Raw(wanted.schema),
            "strict": bool(wanted.strict),
        }
    elif wanted is not None:
        form = {"type": wanted.kind}
    wish = request.reasoning
    return {
        "id": start.id if start.id.startswith("resp_") else f"resp_{reply.id}",
        "object": "response",
        "created_at": start.created or reply.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": echo("instructions", None),
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": echo("max_tool_calls", None),
        "model": reply.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": echo("previous_response_id", None),
        "prompt_cache_key": request.cache_key,
        "reasoning": {
            "effort": wish.effort if wish else None,
            "summary": wish.summary if wish else None,
        },
        "safety_identifier": echo("safety_identifier", None),
        "service_tier": start.service_tier or request.service_tier or "default",
        "store": echo("store", True),
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": form, "verbosity": request.verbosity or "medium"},
        "tool_choice": echo("tool_choice", "auto"),
        "tools": echo("tools", []),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": echo("truncation", "disabled"),
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
        **fields,
    }


def failure_fields(shown: Fault) -> dict[str, Any]:
    """What an error event holds, of a fault that is already `public`.

    Both shapes in one object: the specification's flat one, and the nested one that
    OpenAI sends and its Python client looks for.
    """
    error = error_object(shown)
    flat = {name: error[name] for name in ("code", "message", "param")}
    return {**flat, "error": error}


def ending(finish: Finish | None) -> dict[str, Any]:
    """Status and details of an answer that ended for this reason."""
    reason = finish.reason if finish else "stop"
    if reason == "length":
        return {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
        }
    if reason == "content_filter":
        return {
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
        }
    return {"status": "completed"}


def annotation_of(event: Citation) -> Any:
    """A citation as an annotation; its own JSON where it came as one."""
    if event.source == SOURCE and event.data:
        return decode_any(event.data)
    return {
        "type": "url_citation",
        "url": event.url,
        "title": event.title,
        "start_index": event.start or 0,
        "end_index": event.end or 0,
    }


def part_of(
    kind: str, whole: str, annotations: Sequence[Any] = (), logprobs: Sequence[Any] = ()
) -> dict[str, Any]:
    """A content or summary part of an item."""
    match kind:
        case "text":
            return {
                "type": "output_text",
                "text": whole,
                "annotations": list(annotations),
                "logprobs": list(logprobs),
            }
        case "refusal":
            return {"type": "refusal", "refusal": whole}
        case "summary":
            return {"type": "summary_text", "text": whole}
        case _:
            return {"type": "reasoning_text", "text": whole}


def reasoning_fields(parts: list[Any], secret: str | None) -> dict[str, Any]:
    """What a reasoning item holds beside its head."""
    summary = [part for part in parts if part["type"] == "summary_text"]
    content = [part for part in parts if part["type"] == "reasoning_text"]
    fields: dict[str, Any] = {"summary": summary}
    if content:
        fields["content"] = content
    if secret is not None:
        fields["encrypted_content"] = secret
    return fields


def call_item(
    item_id: str, call: ToolCallStart, whole: str, status: str
) -> dict[str, Any]:
    """A tool call as an output item; a provider's state rides inside `call_id`."""
    return {
        "id": item_id,
        "type": "custom_tool_call" if call.custom else "function_call",
        "status": status,
        "call_id": pack(call.id, call.state),
        "name": call.name,
        "input" if call.custom else "arguments": whole,
    }


def render(completion: Completion, request: ChatRequest, reply: Reply) -> bytes:
    """The body of a unary answer: its first choice, the only one there is here."""
    choice = completion.choices[0] if completion.choices else None
    return encode(
        response_object(
            request,
            reply,
            completion.start,
            **ending(choice.finish if choice else None),
            output=_output(completion, reply),
            usage=usage_to(completion.usage or Usage()),
        )
    )


def _output(completion: Completion, reply: Reply) -> list[Any]:
    """Items of a whole answer: told as a stream, then read off its last snapshot."""
    output: list[Any] = []
    if not completion.choices:
        return output
    choice = completion.choices[0]
    texts: list[Any] = []

    def flush() -> None:
        if texts:
            item = {"id": f"msg_{reply.id}{len(output)}", "type": "message"}
            item |= {"status": "completed", "role": "assistant"}
            output.append({**item, "content": list(texts)})
            texts.clear()

    annotations = [annotation_of(citation) for citation in choice.citations]
    for part in choice.parts:
        match part:
            case Text():
                shown = part_of("text", part.text)
                shown["annotations"], annotations = annotations, []
                texts.append(shown)
                continue
            case Refusal():
                texts.append(part_of("refusal", part.text))
                continue
            case Reasoning():
                flush()
                output.append(_whole_reasoning(part, reply, len(output)))
            case ToolUse():
                flush()
                output.append(_whole_call(part, reply, len(output)))
            case ServerTool() if part.source == SOURCE:
                flush()
                output.append(decode_any(part.data))
            case _:
                pass
    flush()
    return output


def _whole_call(part: ToolUse, reply: Reply, place: int) -> dict[str, Any]:
    call = ToolCallStart(0, part.id, part.name, 0, part.custom, part.state)
    item_id = f"{'ctc' if part.custom else 'fc'}_{reply.id}{place}"
    return call_item(item_id, call, part.arguments, "completed")


def _whole_reasoning(part: Reasoning, reply: Reply, place: int) -> dict[str, Any]:
    told = [part_of("summary" if part.summary else "reasoning", part.text)]
    secret = carry(part.state) if part.state is not None else None
    own = part.state.id if part.state and part.state.source == SOURCE else ""
    item = {"id": own or f"rs_{reply.id}{place}", "type": "reasoning"}
    fields = reasoning_fields(told if part.text else [], secret)
    return {**item, "status": "completed", **fields}
