"""Finish reasons, errors and OpenAI's shapes for the second reader of recordings.

See recordings_reader.py for the normal form. Never imports `wire`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.recordings_cases import (
    Call,
    Case,
    Choice,
    Error,
    Reading,
    Tokens,
    parsed,
    sse_json,
)

FINISH = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "pause_turn"), "stop"),
    **dict.fromkeys(("compaction", "eos", "complete", "finish", "completed"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(("max_output_tokens", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call"), "tool_calls"),
    "function_call": "tool_calls",
    **dict.fromkeys(("content_filter", "refusal", "safety"), "content_filter"),
    **dict.fromkeys(
        ("recitation", "blocklist", "prohibited_content"), "content_filter"
    ),
    **dict.fromkeys(("spii", "model_armor", "content_filtered"), "content_filter"),
    "guardrail_intervened": "content_filter",
    **dict.fromkeys(("error", "failed", "malformed_function_call"), "error"),
    **dict.fromkeys(("unexpected_tool_call", "malformed_model_output"), "error"),
    **dict.fromkeys(("malformed_tool_use", "timeout", "error_toxic"), "error"),
}


def set_finish(choice: Choice, raw: str | None) -> None:
    """Write down the provider's word and ours; a later null does not erase it."""
    if raw:
        choice.finish_raw = raw
        choice.finish = FINISH[raw.lower()]


OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context length|prompt is too long|prompt too long"
    r"|input token count|input tokens exceeded|too_many_prompt_tokens|TOO_MANY_TOKENS",
    re.IGNORECASE,
)
BAD_KEY = re.compile(
    r"api key not valid|incorrect api key|API_KEY_INVALID|invalid api key"
    r"|security token",
    re.IGNORECASE,
)


def error_kind(status: int | None, text: str) -> str:
    """Whose fault an error is, from its status and its words."""
    if OVERFLOW.search(text):
        return "context"
    if (
        status in {401, 402, 403}
        or "insufficient_quota" in text
        or BAD_KEY.search(text)
    ):
        return "key"
    if status in {429, 498, 529} or "rate_limit" in text or "overloaded" in text:
        return "throttle"
    if status in {408, 409, 424} or (status is not None and status >= 500):
        return "transient"
    return "client"


def read_error(status: int | None, body: Any, raw: str) -> Error:
    """Read any provider's error body; there are eight shapes."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    code: Any = None
    message = raw
    if isinstance(inner, str):
        message, code = inner, body.get("code")
    elif isinstance(inner, dict):
        said = inner.get("message") or inner.get("detail") or raw
        message = said if isinstance(said, str) else json.dumps(said)
        code = inner.get("code")
        if not isinstance(code, str):
            code = inner.get("status") or inner.get("type") or code
        status = inner.get("status_code") or status
    return Error(
        status=status,
        code=None if code is None else str(code),
        message=message,
        kind=error_kind(status, raw),
    )


def chat_usage(raw: dict[str, Any] | None) -> Tokens | None:
    """OpenAI's usage and its relatives'."""
    if not raw:
        return None
    prompt = raw.get("prompt_tokens") or 0
    completion = raw.get("completion_tokens") or 0
    details = raw.get("prompt_tokens_details") or {}
    thinking = (raw.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    thinking = thinking or raw.get("reasoning_tokens") or 0
    if thinking and raw.get("total_tokens") == prompt + completion + thinking:
        completion += thinking  # xAI leaves reasoning out of completion_tokens.
    cached = details.get("cached_tokens") or raw.get("prompt_cache_hit_tokens")
    cached = cached or raw.get("num_cached_tokens") or raw.get("cached_tokens") or 0
    return Tokens(
        prompt=prompt,
        cached=min(cached, prompt),
        cache_write=details.get("cache_write_tokens") or 0,
        completion=completion,
        reasoning=thinking,
    )


def chat_content(choice: Choice, content: Any) -> None:
    """A string, or Mistral's list of text and thinking parts."""
    if isinstance(content, str):
        choice.text += content
    for part in content if isinstance(content, list) else []:
        if part["type"] == "text":
            choice.text += part["text"]
        elif part["type"] == "thinking":
            choice.reasoning += "".join(p.get("text", "") for p in part["thinking"])


def read_chat(case: Case, out: Reading) -> None:
    """OpenAI chat and completions, whole or streamed, from any vendor."""
    unary = case.response_file == "response.json"
    chunks = [json.loads(case.body)] if unary else sse_json(case.body)
    started: dict[tuple[int, Any], dict[str, Any]] = {}
    for chunk in chunks:
        if chunk.get("error"):
            out.error = read_error(None, chunk, json.dumps(chunk))
        out.id = out.id or chunk.get("id")
        out.model = out.model or chunk.get("model")
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        out.usage = chat_usage(usage) or out.usage
        for raw in chunk.get("choices") or []:
            choice = out.choice(raw.get("index") or 0)
            said = raw.get("message") or raw.get("delta") or {}
            chat_content(choice, said.get("content"))
            choice.text += raw.get("text") or ""
            thought = said.get("reasoning_content") or said.get("reasoning")
            choice.reasoning += thought or ""
            choice.refusal += said.get("refusal") or ""
            calls = list(said.get("tool_calls") or [])
            if said.get("function_call"):
                calls.append({"function": said["function_call"], "index": 0})
            for position, call in enumerate(calls):
                at = position if unary or "index" not in call else call["index"]
                key = (raw.get("index") or 0, at)
                known = started.setdefault(key, {"name": "", "args": "", "id": None})
                function = call.get("function") or {}
                known["name"] = known["name"] or function.get("name") or ""
                arguments = function.get("arguments") or ""
                if not isinstance(arguments, str):
                    arguments = json.dumps(arguments)
                known["args"] += arguments
                known["id"] = known["id"] or call.get("id")
            finish = raw.get("finish_reason")
            set_finish(choice, finish or (raw.get("finish_details") or {}).get("type"))
    for (index, _), call in started.items():
        out.choice(index).tool_calls.append(
            Call(call["name"], parsed(call["args"]), call["id"]),
        )


def read_responses(case: Case, out: Reading) -> None:
    """OpenAI Responses: the last snapshot of the response says everything."""
    final: dict[str, Any] = {}
    items: dict[int, dict[str, Any]] = {}
    if case.response_file == "response.json":
        final = json.loads(case.body)
    else:
        for event in sse_json(case.body):
            final = event.get("response") or final
            if event["type"] == "response.output_item.done":
                items[event["output_index"]] = event["item"]
            if event["type"] == "error":
                inner = event.get("error") or event
                out.error = read_error(None, {"error": inner}, json.dumps(event))
    out.id, out.model = final.get("id"), final.get("model")
    choice = out.choice()
    done = [items[at] for at in sorted(items)]
    for item in final.get("output") or done:
        if item["type"] == "message":
            for part in item["content"]:
                choice.text += part.get("text") or ""
                choice.refusal += part.get("refusal") or ""
        elif item["type"] == "reasoning":
            for part in (item.get("summary") or []) + (item.get("content") or []):
                choice.reasoning += part.get("text") or ""
        elif item["type"] in {"function_call", "custom_tool_call"}:
            arguments = item.get("arguments", item.get("input"))
            call = Call(item["name"], parsed(arguments), item["call_id"])
            choice.tool_calls.append(call)
    reason = (final.get("incomplete_details") or {}).get("reason")
    set_finish(choice, reason or final.get("status"))
    if choice.finish == "stop" and choice.tool_calls:
        choice.finish = "tool_calls"
    raw = final.get("usage")
    if raw:
        details = raw.get("input_tokens_details") or {}
        thinking = (raw.get("output_tokens_details") or {}).get("reasoning_tokens") or 0
        cached = min(details.get("cached_tokens") or 0, raw["input_tokens"])
        out.usage = Tokens(
            prompt=raw["input_tokens"],
            cached=cached,
            cache_write=details.get("cache_write_tokens") or 0,
            completion=raw["output_tokens"],
            reasoning=thinking,
        )
