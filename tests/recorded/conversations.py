"""The conversations that every pair of client and provider has, as clients write them.

Each is told once, in plain values, and written here in the words of each client's
dialect. Nothing of `wire` is used: what the gateway is asked is not made by it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import attrs

PICTURE: Final = "iVBORw0KGgo="
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Final = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
}
OUTPUT_TOKENS_MAX: Final = 8_000
BUDGET_TOKENS: Final = 2_048


@attrs.frozen
class Asked:
    """A conversation as anybody would describe it."""

    question: str = "Which weather has Lisbon?"
    system: str = ""
    before: tuple[tuple[str, str], ...] = ()  # Earlier turns: who, what.
    calls: tuple[tuple[str, str, str], ...] = ()  # Called before: id, place, result.
    tools: bool = False
    picture: bool = False
    schema: bool = False
    reasoning: bool = False
    stop: str = ""

    @property
    def words(self) -> list[str]:
        """What has to arrive at the provider, wherever its dialect puts it."""
        said = [self.question, self.system, *(text for _, text in self.before)]
        for _, place, result in self.calls:
            said += [place, result]
        said += ["weather_of"] if self.tools else []
        said += [PICTURE] if self.picture else []
        said += [self.stop]
        return [word for word in said if word]


PLAIN: Final = Asked()
CONVERSATIONS: Final[dict[str, Asked]] = {
    "plain": PLAIN,
    "system": Asked(system="Answer in one word."),
    "multi-turn": Asked(before=(("user", "Good morning"), ("assistant", "Hello!"))),
    "parallel tools": Asked(
        tools=True,
        calls=(("call_one1", "Lisbon", "rain"), ("call_two2", "Porto", "sun")),
    ),
    "image": Asked(picture=True),
    "JSON schema": Asked(schema=True),
    "reasoning": Asked(reasoning=True),
    "stop": Asked(stop="THE END"),
    "length": PLAIN,
    "refusal": PLAIN,
    "context overflow": PLAIN,
    "throttled": PLAIN,
    "mid-stream error": PLAIN,
    "truncated": PLAIN,
}


def chat(asked: Asked) -> dict[str, Any]:
    """OpenAI chat completions."""
    messages: list[Any] = []
    if asked.system:
        messages.append({"role": "system", "content": asked.system})
    messages += [{"role": who, "content": text} for who, text in asked.before]
    parts: list[Any] = [{"type": "text", "text": asked.question}]
    if asked.picture:
        url = f"data:image/png;base64,{PICTURE}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    content = parts if asked.picture else asked.question
    messages.append({"role": "user", "content": content})
    if asked.calls:
        calls = [
            {
                "id": id_,
                "type": "function",
                "function": {
                    "name": "weather_of",
                    "arguments": json.dumps({"place": place}),
                },
            }
            for id_, place, _ in asked.calls
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": id_, "content": result}
            for id_, _, result in asked.calls
        ]
    body: dict[str, Any] = {
        "messages": messages,
        "max_completion_tokens": OUTPUT_TOKENS_MAX,
    }
    if asked.tools:
        tool = {"name": "weather_of", "parameters": TOOL}
        body["tools"] = [{"type": "function", "function": tool}]
    if asked.schema:
        schema = {"name": "answer", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if asked.reasoning:
        body["reasoning_effort"] = "low"
    if asked.stop:
        body["stop"] = [asked.stop]
    return body


def responses(asked: Asked) -> dict[str, Any]:
    """OpenAI Responses; it has no stop sequences."""
    items: list[Any] = [{"role": who, "content": text} for who, text in asked.before]
    parts: list[Any] = [{"type": "input_text", "text": asked.question}]
    if asked.picture:
        url = f"data:image/png;base64,{PICTURE}"
        parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
    items.append({"role": "user", "content": parts})
    for id_, place, _ in asked.calls:
        items.append(
            {
                "type": "function_call",
                "call_id": id_,
                "name": "weather_of",
                "arguments": json.dumps({"place": place}),
            }
        )
    for id_, _, result in asked.calls:
        items.append({"type": "function_call_output", "call_id": id_, "output": result})
    body: dict[str, Any] = {"input": items, "max_output_tokens": OUTPUT_TOKENS_MAX}
    if asked.system:
        body["instructions"] = asked.system
    if asked.tools:
        tool = {"name": "weather_of", "parameters": TOOL, "strict": False}
        body["tools"] = [{"type": "function", **tool}]
    if asked.schema:
        schema = {"type": "json_schema", "name": "answer", "schema": SCHEMA}
        body["text"] = {"format": {**schema, "strict": True}}
    if asked.reasoning:
        body["reasoning"] = {"effort": "low"}
    return body


def messages(asked: Asked) -> dict[str, Any]:
    """Anthropic messages."""
    turns: list[Any] = [{"role": who, "content": text} for who, text in asked.before]
    parts: list[Any] = [{"type": "text", "text": asked.question}]
    if asked.picture:
        source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
        parts.append({"type": "image", "source": source})
    turns.append({"role": "user", "content": parts})
    if asked.calls:
        uses = [
            {
                "type": "tool_use",
                "id": id_,
                "name": "weather_of",
                "input": {"place": place},
            }
            for id_, place, _ in asked.calls
        ]
        results = [
            {"type": "tool_result", "tool_use_id": id_, "content": result}
            for id_, _, result in asked.calls
        ]
        turns += [
            {"role": "assistant", "content": uses},
            {"role": "user", "content": results},
        ]
    body: dict[str, Any] = {"messages": turns, "max_tokens": OUTPUT_TOKENS_MAX}
    if asked.system:
        body["system"] = asked.system
    if asked.tools:
        body["tools"] = [{"name": "weather_of", "input_schema": TOOL}]
    if asked.schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if asked.reasoning:
        body["thinking"] = {"type": "enabled", "budget_tokens": BUDGET_TOKENS}
    if asked.stop:
        body["stop_sequences"] = [asked.stop]
    return body


def gemini(asked: Asked) -> dict[str, Any]:
    """Google's generateContent."""
    role = {"user": "user", "assistant": "model"}
    contents: list[Any] = [
        {"role": role[who], "parts": [{"text": text}]} for who, text in asked.before
    ]
    parts: list[Any] = [{"text": asked.question}]
    if asked.picture:
        parts.append({"inlineData": {"mimeType": "image/png", "data": PICTURE}})
    contents.append({"role": "user", "parts": parts})
    if asked.calls:
        calls = [
            {
                "functionCall": {
                    "id": id_,
                    "name": "weather_of",
                    "args": {"place": place},
                }
            }
            for id_, place, _ in asked.calls
        ]
        results = [
            {
                "functionResponse": {
                    "id": id_,
                    "name": "weather_of",
                    "response": {"output": result},
                }
            }
            for id_, _, result in asked.calls
        ]
        contents += [
            {"role": "model", "parts": calls},
            {"role": "user", "parts": results},
        ]
    config: dict[str, Any] = {"maxOutputTokens": OUTPUT_TOKENS_MAX}
    body: dict[str, Any] = {"contents": contents, "generationConfig": config}
    if asked.system:
        body["systemInstruction"] = {"parts": [{"text": asked.system}]}
    if asked.tools:
        tool = {"name": "weather_of", "parametersJsonSchema": TOOL}
        body["tools"] = [{"functionDeclarations": [tool]}]
    if asked.schema:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = SCHEMA
    if asked.reasoning:
        config["thinkingConfig"] = {"thinkingBudget": BUDGET_TOKENS}
    if asked.stop:
        config["stopSequences"] = [asked.stop]
    return body


WRITTEN: Final[dict[str, Callable[[Asked], dict[str, Any]]]] = {
    "chat": chat,
    "responses": responses,
    "messages": messages,
    "gemini": gemini,
}


def request_of(client: str, name: str, model: str, *, stream: bool) -> tuple[str, Any]:
    """Where a client of this dialect sends the conversation, and what."""
    body = WRITTEN[client](CONVERSATIONS[name])
    if client == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}", body
    body |= {"model": model, "stream": stream}
    if client == "chat" and stream:
        body["stream_options"] = {"include_usage": True}
    path = {"chat": "chat/completions"}.get(client, client)
    return f"/v1/{path}", body


def cannot_say(client: str, name: str) -> bool:
    """Whether a dialect has no words for what the conversation asks."""
    return client == "responses" and bool(CONVERSATIONS[name].stop)
