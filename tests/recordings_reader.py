"""A second opinion on every recording, written apart from `wire`.

Owns: what a recorded exchange says, read in plain Python with the json module.
Never: imports `wire`, streams, or is fast. It reads a whole body at once, with the
simplest code that can be right, so that a codec and this file being wrong in the same
way is unlikely.

The normal form (what `Reading` holds):

- `text`, `reasoning`, `refusal` are the concatenated strings of one choice.
- `tool_calls` are the calls the *client* must run. Tools that the provider ran itself
  (web search, code execution, MCP) are not among them: an agent would run them again.
- `finish` is stop | length | tool_calls | content_filter | error | None; `finish_raw`
  is the provider's own word.
- `usage.prompt` includes cached and cache-writing tokens, `usage.completion` includes
  reasoning. `cached` never exceeds `prompt` (one provider reports more).
- `error` is set for an error status and for an error inside a stream of status 200.
"""

from __future__ import annotations

import base64
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
    aws_frames,
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


def anthropic_usage(raw: dict[str, Any]) -> Tokens:
    """Anthropic counts cached input apart; we count it in."""
    read = raw.get("cache_read_input_tokens") or 0
    written = raw.get("cache_creation_input_tokens") or 0
    thinking = (raw.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Tokens(
        prompt=(raw.get("input_tokens") or 0) + read + written,
        cached=read,
        cache_write=written,
        completion=raw.get("output_tokens") or 0,
        reasoning=thinking,
    )


def anthropic_events(events: list[dict[str, Any]], out: Reading) -> None:
    """Read Anthropic's stream events, from SSE or from Bedrock's chunks."""
    usage: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    choice = out.choice()
    for event in events:
        if event["type"] == "message_start":
            message = event["message"]
            out.id, out.model = message["id"], message["model"]
            usage.update(message["usage"])
        elif event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "partial": ""}
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            kind = delta["type"]
            if kind == "input_json_delta":
                block["partial"] += delta["partial_json"]
            elif kind in {"text_delta", "thinking_delta", "signature_delta"}:
                key = kind.removesuffix("_delta")
                block[key] = (block.get(key) or "") + delta[key]
        elif event["type"] == "message_delta":
            set_finish(choice, event["delta"].get("stop_reason"))
            usage.update({k: v for k, v in event["usage"].items() if v is not None})
        elif event["type"] == "error":
            out.error = read_error(None, event, json.dumps(event))
    if usage:
        out.usage = anthropic_usage(usage)
    anthropic_blocks([blocks[at] for at in sorted(blocks)], out)


def anthropic_blocks(blocks: list[dict[str, Any]], out: Reading) -> None:
    """Read whole blocks; what is no text, thinking or tool_use is the server's."""
    choice = out.choice()
    for block in blocks:
        if block["type"] == "text":
            choice.text += block["text"]
        elif block["type"] == "thinking":
            choice.reasoning += block["thinking"]
            out.signatures.append(block.get("signature") or "")
        elif block["type"] == "redacted_thinking":
            out.signatures.append(block["data"])
        elif block["type"] == "tool_use":
            arguments = (
                parsed(block["partial"]) if block.get("partial") else block["input"]
            )
            choice.tool_calls.append(Call(block["name"], arguments, block["id"]))


def read_anthropic(case: Case, out: Reading) -> None:
    """Anthropic Messages, whole or streamed."""
    if case.response_file == "response.sse":
        anthropic_events(sse_json(case.body), out)
    else:
        read_anthropic_message(json.loads(case.body), out)


def read_anthropic_message(message: dict[str, Any], out: Reading) -> None:
    """Read a whole Anthropic message."""
    out.id, out.model = message["id"], message["model"]
    anthropic_blocks(message["content"], out)
    set_finish(out.choice(), message["stop_reason"])
    out.usage = anthropic_usage(message["usage"])


def read_gemini(case: Case, out: Reading) -> None:
    """Gemini and Vertex: SSE, one object, or a JSON array of chunks."""
    if case.response_file == "response.sse":
        chunks = sse_json(case.body)
    else:
        whole = json.loads(case.body)
        chunks = whole if isinstance(whole, list) else [whole]
    for chunk in chunks:
        if "error" in chunk:
            out.error = read_error(None, chunk, json.dumps(chunk))
            continue
        out.id, out.model = chunk.get("responseId"), chunk.get("modelVersion")
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            out.choice().finish_raw = chunk["promptFeedback"]["blockReason"]
            out.choice().finish = "content_filter"
        for candidate in chunk.get("candidates") or []:
            choice = out.choice(candidate.get("index") or 0)
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("thoughtSignature"):
                    out.signatures.append(part["thoughtSignature"])
                if "text" in part and part.get("thought"):
                    choice.reasoning += part["text"]
                elif "text" in part:
                    choice.text += part["text"]
                elif "functionCall" in part:
                    call = part["functionCall"]
                    arguments = call.get("args") or {}
                    choice.tool_calls.append(
                        Call(call["name"], arguments, call.get("id")),
                    )
            set_finish(choice, candidate.get("finishReason"))
        raw = chunk.get("usageMetadata") or {}
        if "promptTokenCount" in raw:
            thinking = raw.get("thoughtsTokenCount") or 0
            tools = raw.get("toolUsePromptTokenCount") or 0
            out.usage = Tokens(
                prompt=raw["promptTokenCount"] + tools,
                cached=raw.get("cachedContentTokenCount") or 0,
                completion=(raw.get("candidatesTokenCount") or 0) + thinking,
                reasoning=thinking,
            )
    for choice in out.choices.values():
        if choice.finish == "stop" and choice.tool_calls:
            choice.finish = "tool_calls"


def converse_usage(raw: dict[str, Any]) -> Tokens:
    """Bedrock counts cached input apart; we count it in."""
    read = raw.get("cacheReadInputTokens") or 0
    written = raw.get("cacheWriteInputTokens") or 0
    return Tokens(
        prompt=raw["inputTokens"] + read + written,
        cached=read,
        cache_write=written,
        completion=raw["outputTokens"],
    )


def converse_block(block: dict[str, Any], out: Reading) -> None:
    """One content block of Converse, whole."""
    choice = out.choice()
    if "reasoningContent" in block:
        reasoning = block["reasoningContent"]
        text = reasoning.get("reasoningText") or {}
        choice.reasoning += text.get("text") or ""
        signature = text.get("signature") or reasoning.get("redactedContent")
        if signature:
            out.signatures.append(signature)
    elif "toolUse" in block:
        use = block["toolUse"]
        if use.get("type") != "server_tool_use":
            call = Call(use["name"], parsed(use["input"]), use["toolUseId"])
            choice.tool_calls.append(call)
    elif "citationsContent" in block:
        for part in block["citationsContent"].get("content") or []:
            choice.text += part.get("text") or ""
    else:
        choice.text += block.get("text") or ""


def converse_events(events: list[tuple[str, dict[str, Any]]], out: Reading) -> None:
    """Read ConverseStream events as (event-type, payload)."""
    blocks: dict[int, dict[str, Any]] = {}
    for kind, event in events:
        if kind == "contentBlockStart":
            blocks[event["contentBlockIndex"]] = dict(event["start"])
        elif kind == "contentBlockDelta":
            block = blocks.setdefault(event["contentBlockIndex"], {})
            delta = event["delta"]
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                use = dict(block["toolUse"])
                use["input"] = use.get("input", "") + delta["toolUse"]["input"]
                block["toolUse"] = use
            elif "reasoningContent" in delta:
                piece = delta["reasoningContent"]
                whole = block.setdefault("reasoningContent", {})
                if "redactedContent" in piece:
                    whole["redactedContent"] = piece["redactedContent"]
                else:
                    text = whole.setdefault("reasoningText", {})
                    for key, value in piece.items():
                        text[key] = text.get(key, "") + value
        elif kind == "messageStop":
            set_finish(out.choice(), event["stopReason"])
        elif kind == "metadata":
            out.usage = converse_usage(event["usage"])
        elif kind.endswith("Exception"):
            out.error = Error(None, kind, event.get("message", ""), "transient")
    for at in sorted(blocks):
        block = blocks[at]
        if "toolUse" in block:
            block["toolUse"].setdefault("input", "")
        converse_block(block, out)


def read_converse(case: Case, out: Reading) -> None:
    """Bedrock Converse, whole or streamed."""
    if case.response_file == "response.bin":
        events = [
            (h.get(":event-type") or h[":exception-type"], json.loads(payload))
            for h, payload in aws_frames(case.body)
        ]
        converse_events(events, out)
        return
    message = json.loads(case.body)
    for block in message["output"]["message"]["content"]:
        converse_block(block, out)
    set_finish(out.choice(), message["stopReason"])
    out.usage = converse_usage(message["usage"])


def read_invoke(case: Case, out: Reading) -> None:
    """Bedrock invoke: each model family answers in its own shape."""
    if case.response_file == "response.bin":
        chunks = [
            json.loads(base64.b64decode(json.loads(payload)["bytes"]))
            for _, payload in aws_frames(case.body)
        ]
    else:
        chunks = [json.loads(case.body)]
    if chunks[0].get("type") == "message_start":
        anthropic_events(chunks, out)
        return
    if chunks[0].get("type") == "message":
        read_anthropic_message(chunks[0], out)
        return
    if "messageStart" in chunks[0]:
        converse_events([next(iter(c.items())) for c in chunks], out)
        return
    choice = out.choice()
    for chunk in chunks:
        for result in chunk.get("results") or [chunk]:  # Titan
            choice.text += result.get("outputText") or ""
            set_finish(choice, result.get("completionReason"))
            if "tokenCount" in result:
                out.usage = Tokens(
                    prompt=chunk["inputTextTokenCount"],
                    completion=result["tokenCount"],
                )
        if chunk.get("totalOutputTextTokenCount") is not None:
            out.usage = Tokens(
                prompt=int(chunk["inputTextTokenCount"]),
                completion=int(chunk["totalOutputTextTokenCount"]),
            )
        if chunk.get("amazon-bedrock-guardrailAction") == "INTERVENED":
            set_finish(choice, "guardrail_intervened")
        if not chunk.get("is_finished"):  # Cohere Command repeats all at the end
            choice.text += chunk.get("text") or ""
        set_finish(choice, chunk.get("finish_reason"))


def read_cohere(case: Case, out: Reading) -> None:
    """Cohere v2 chat. The tool plan is thinking aloud, so it reads as reasoning."""
    choice = out.choice()
    final: dict[str, Any] = {}
    if case.response_file == "response.json":
        final = json.loads(case.body)
        message = final["message"]
        out.id = final["id"]
        for part in message.get("content") or []:
            choice.text += part.get("text") or ""
            choice.reasoning += part.get("thinking") or ""
        choice.reasoning += message.get("tool_plan") or ""
        for call in message.get("tool_calls") or []:
            function = call["function"]
            call_ = Call(function["name"], parsed(function["arguments"]), call["id"])
            choice.tool_calls.append(call_)
    else:
        calls: dict[int, dict[str, Any]] = {}
        for event in sse_json(case.body):
            kind = event["type"]
            delta = event.get("delta") or {}
            message = delta.get("message") or {}
            if kind == "message-start":
                out.id = event["id"]
            elif kind in {"content-start", "content-delta"}:
                choice.text += message["content"].get("text") or ""
                choice.reasoning += message["content"].get("thinking") or ""
            elif kind == "tool-plan-delta":
                choice.reasoning += message["tool_plan"]
            elif kind == "tool-call-start":
                calls[event["index"]] = message["tool_calls"]
            elif kind == "tool-call-delta":
                more = message["tool_calls"]["function"]["arguments"]
                calls[event["index"]]["function"]["arguments"] += more
            elif kind == "message-end":
                final = delta
        for at in sorted(calls):
            function = calls[at]["function"]
            arguments = parsed(function["arguments"])
            choice.tool_calls.append(Call(function["name"], arguments, calls[at]["id"]))
    set_finish(choice, final["finish_reason"])
    tokens = final["usage"]["tokens"]
    out.usage = Tokens(
        # Pictures are counted apart, and billed: 267 billed are 8 of text and 259.
        prompt=int(tokens["input_tokens"]) + int(tokens.get("image_tokens") or 0),
        cached=int(final["usage"].get("cached_tokens") or 0),
        completion=int(tokens["output_tokens"]),
        reasoning=int(tokens.get("reasoning_tokens") or 0),
    )


def read_ollama(case: Case, out: Reading) -> None:
    """Ollama's own API: chat, generate and embeddings, whole or a line an object."""
    if b'"embedding"' in case.body[:20]:
        out.vectors = 1
        return
    lines = case.body.splitlines() if "ndjson" in case.response_file else [case.body]
    choice = out.choice()
    for line in filter(None, map(bytes.strip, lines)):
        chunk = json.loads(line)
        if chunk.get("error"):
            out.error = read_error(None, chunk, chunk["error"])
        out.model = chunk.get("model") or out.model
        message = chunk.get("message") or {}
        choice.text += (message.get("content") or "") + (chunk.get("response") or "")
        choice.reasoning += message.get("thinking") or chunk.get("thinking") or ""
        for call in message.get("tool_calls") or []:
            function = call["function"]
            choice.tool_calls.append(Call(function["name"], function["arguments"]))
        if chunk.get("done"):
            set_finish(choice, chunk.get("done_reason") or "stop")
            out.usage = Tokens(
                prompt=chunk.get("prompt_eval_count") or 0,
                completion=chunk.get("eval_count") or 0,
            )
    if choice.finish == "stop" and choice.tool_calls:
        choice.finish = "tool_calls"


def read_embeddings(case: Case, out: Reading) -> None:
    """Any vendor's embeddings: how many vectors, and what they cost."""
    body = json.loads(case.body)
    if "embeddings" in body:
        vectors = body["embeddings"]
        if isinstance(vectors, dict):
            vectors = next(iter(vectors.values()))
        out.vectors = len(vectors)
    else:
        out.vectors = len(body["data"])
    out.model = body.get("model")
    out.usage = chat_usage(body.get("usage"))


def read_count(case: Case, out: Reading) -> None:
    """Token counts: Anthropic's, OpenAI's and Google's."""
    body = json.loads(case.body)
    out.input_tokens = body.get("input_tokens", body.get("totalTokens"))


def read_realtime(case: Case, out: Reading) -> None:
    """A WebSocket session: the words of its answers, spoken or written."""
    choice = out.choice()
    for line in case.body.splitlines():
        frame = json.loads(line)
        if frame["kind"] != "message" or frame["direction"] != "received":
            continue
        event = frame["data"]
        kind = event["type"]
        if kind in {
            "response.output_text.delta",
            "response.output_audio_transcript.delta",
        }:
            choice.text += event["delta"]
        elif kind == "response.done":
            set_finish(choice, event["response"]["status"])
            usage = event["response"].get("usage") or {}
            out.usage = Tokens(
                prompt=usage.get("input_tokens") or 0,
                completion=usage.get("output_tokens") or 0,
            )


READERS = {
    "anthropic": read_anthropic,
    "gemini": read_gemini,
    "chat": read_chat,
    "completions": read_chat,
    "responses": read_responses,
    "converse": read_converse,
    "invoke": read_invoke,
    "cohere": read_cohere,
    "ollama": read_ollama,
    "embeddings": read_embeddings,
    "count": read_count,
    "realtime": read_realtime,
    "other": lambda case, out: None,
}


def read(case: Case) -> Reading:
    """Read one recording into the normal form of the module head."""
    out = Reading()
    if case.status >= 400:
        raw = case.body.decode()
        fault = case.response_headers.get("x-amzn-errortype", "")
        out.error = read_error(case.status, json.loads(raw), raw)
        if fault:
            out.error = Error(
                case.status,
                fault.partition(":")[0],
                out.error.message,
                error_kind(case.status, raw + fault),
            )
        return out
    READERS[case.family](case, out)
    return out
