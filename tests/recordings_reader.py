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
from typing import Any

from tests.recordings_cases import (
    Call,
    Case,
    Error,
    Reading,
    Tokens,
    aws_frames,
    parsed,
    sse_json,
)
from tests.recordings_openai import (
    chat_usage,
    error_kind,
    read_chat,
    read_error,
    read_responses,
    set_finish,
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
