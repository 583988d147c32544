"""The neutral request into a body for Bedrock's Converse.

Policy on what Converse lacks, the same as for Anthropic: hints are dropped (seed,
penalties, verbosity, parallel calls), what would change the shape of the answer is
refused with its field named. Turns alternate, tool results ride in user turns, system
texts are hoisted.
"""

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from wire import anthropic_models as claude
from wire import lowering
from wire.bedrock_parts import PartWriter, cache_point
from wire.bedrock_read import is_claude
from wire.bedrock_terms import SOURCE
from wire.dialect import AuthScheme, ClientError, Target, UpstreamRequest
from wire.request import ChatRequest, Tool, ToolResult, ToolUse

JSON = dict[str, Any]

_JSON_ONLY: Final = (
    "Answer with one valid JSON value and nothing else: no prose, no fences."
)

_PROFILE: Final = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|sa|global)\.")
_METADATA_TEXT: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_METADATA_MAX: Final = 16  # Bedrock's own bound on requestMetadata.

TIERS: Final = frozenset({"priority", "default", "flex", "reserved"})
_NOVA_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium"}


def build_request(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build POST /model/{id}/converse[-stream]. Raises ClientError."""
    operation = "converse-stream" if request.stream else "converse"
    return upstream(target, operation, msgspec.json.encode(build_body(request, target)))


def build_count(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build POST /model/{id}/count-tokens for the same prompt."""
    body = build_body(request, target)
    counted = {
        name: body[name]
        for name in ("messages", "system", "toolConfig", "additionalModelRequestFields")
        if name in body
    }
    question = msgspec.json.encode({"input": {"converse": counted}})
    # Counting knows models, not the inference profiles in front of them.
    model = _PROFILE.sub("", base_model(target))
    named = msgspec.structs.replace(target, model=model)
    return upstream(named, "count-tokens", question)


def upstream(target: Target, operation: str, body: bytes) -> UpstreamRequest:
    """A call of Bedrock's runtime; ids hold colons and slashes, which are escaped."""
    streams = operation.endswith("-stream")
    accept = "application/vnd.amazon.eventstream" if streams else "application/json"
    auth: AuthScheme = "bearer" if target.options.get("auth") == "bearer" else "sigv4"
    return UpstreamRequest(
        "POST",
        f"/model/{quote(target.model, safe='')}/{operation}",
        (("content-type", "application/json"), ("accept", accept)),
        body,
        auth=auth,
    )


def base_model(target: Target) -> str:
    """The model whose quirks apply: an inference profile's ARN does not name it."""
    return target.options.get("base_model", target.model)


def build_body(request: ChatRequest, target: Target) -> JSON:
    """Everything of the body. Raises ClientError for what cannot be expressed."""
    _refuse_shapes(request)
    model = base_model(target)
    body: JSON = {}
    if request.source == SOURCE:
        body.update({name: Raw(data) for name, data in request.extra.items()})
    turns, system = _turns(request, model)
    format_config = _format(request, model, system)
    body["messages"] = turns
    if system:
        body["system"] = system
    tools = _tool_config(request)
    if tools is not None:
        body["toolConfig"] = tools
    extra, output = _thinking(request, target, tools)
    _add(body, "inferenceConfig", _inference(request, target, extra))
    _add(body, "outputConfig", {**format_config, **output})
    _add(body, "additionalModelRequestFields", extra)
    _add(body, "requestMetadata", _metadata(request))
    _add_options(body, request, target)
    return body


def _add(body: JSON, name: str, value: JSON) -> None:
    if value:
        body[name] = value


def _refuse_shapes(request: ChatRequest) -> None:
    if request.n > 1:
        raise ClientError("Bedrock gives one answer a request; n must be 1.", param="n")
    if request.logprobs:
        raise ClientError("Bedrock gives no logprobs.", param="logprobs")
    if "audio" in request.modalities:
        raise ClientError("Bedrock's Converse gives no sound.", param="modalities")


def _turns(request: ChatRequest, model: str) -> tuple[list[JSON], list[JSON]]:
    """Alternating turns, and the system texts that were hoisted out of them."""
    system: list[JSON] = []
    turns: list[JSON] = []
    writer = PartWriter(model)
    for at, message in enumerate(request.messages):
        hoisted = message.role in {"system", "developer"}
        role = "assistant" if message.role == "assistant" else "user"
        blocks: list[JSON] = []
        for place, part in enumerate(message.parts):
            block = writer.block(part, f"messages.{at}.content.{place}")
            if block is None:
                continue
            blocks.append(block)
            cache = getattr(part, "cache", None)
            if cache is not None:
                blocks.append(cache_point(cache))
        if hoisted:
            system.extend(b for b in blocks if "text" in b or "cachePoint" in b)
        elif blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        # A conversation must begin with the user.
        turns.insert(0, {"role": "user", "content": [{"text": "."}]})
    return turns, system


def _inference(request: ChatRequest, target: Target, extra: JSON) -> JSON:
    model = base_model(target)
    config: JSON = {}
    tokens = target.bound(request.max_output_tokens)
    thinking = extra.get("thinking", {}).get("type") == "enabled"
    if tokens is None and thinking:
        tokens = claude.output_tokens_default(model)
    if tokens is not None:
        config["maxTokens"] = tokens
    stop = [word for word in request.stop if word]
    if stop:
        config["stopSequences"] = stop
    if thinking or (is_claude(model) and not claude.takes_sampling(model)):
        return config
    if request.temperature is not None:
        config["temperature"] = min(max(request.temperature, 0.0), 1.0)
    both = not is_claude(model) or claude.takes_both_samplings(model)
    if request.top_p is not None and (both or request.temperature is None):
        config["topP"] = min(max(request.top_p, 0.0), 1.0)
    if request.top_k is not None:
        if "nova" in model:
            extra.setdefault("inferenceConfig", {})["topK"] = request.top_k
        elif is_claude(model):
            extra["top_k"] = request.top_k
    return config


def _thinking(
    request: ChatRequest, target: Target, tools: JSON | None
) -> tuple[JSON, JSON]:
    """The model's own fields for a wish to think, and Converse's `outputConfig`."""
    wish = request.reasoning
    model = base_model(target)
    if wish is None:
        return {}, {}
    off = wish.enabled is False or wish.effort == "none"
    if not is_claude(model):
        return _other_thinking(model, wish.effort, off=off), {}
    style = claude.thinking_style(model)
    choice = request.tool_choice
    forced = choice is not None and choice.mode in {"required", "tool"}
    if style == "none" or (forced and tools is not None and not off):
        return {}, {}  # Claude refuses to think before a forced call.
    if off:
        return {"thinking": {"type": "disabled"}}, {}
    if style == "adaptive":
        effort = claude.EFFORTS.get(wish.effort, "high") if wish.effort else None
        output: JSON = {} if effort is None else {"effort": effort}
        return {"thinking": {"type": "adaptive"}}, output
    tokens = request.max_output_tokens or claude.output_tokens_default(model)
    if target.max_output_tokens is not None:
        tokens = min(tokens, target.max_output_tokens)
    budget = claude.budget_tokens(wish.effort, wish.budget_tokens, tokens)
    if not budget or _thought_is_missing(request):
        return {}, {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}, {}


def _other_thinking(model: str, effort: str | None, *, off: bool) -> JSON:
    if "nova-2" in model:
        if off:
            return {"reasoningConfig": {"type": "disabled"}}
        level = _NOVA_EFFORTS.get(effort or "medium", "high")
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
    if "gpt-oss" in model and not off:
        return {"reasoning_effort": _NOVA_EFFORTS.get(effort or "medium", "high")}
    return {}


def _thought_is_missing(request: ChatRequest) -> bool:
    """In a tool loop, a budget wants the last call's turn to begin with its thought.

    A client of another dialect may not have kept it; then this turn goes without.
    """
    for message in reversed(request.messages):
        if message.role == "assistant":
            calls = any(isinstance(part, ToolUse) for part in message.parts)
            signed = any(
                getattr(part, "state", None) is not None
                for part in message.parts
                if not isinstance(part, ToolUse)
            )
            return calls and not signed
        if not any(isinstance(part, ToolResult) for part in message.parts):
            return False
    return False


def _format(request: ChatRequest, model: str, system: list[JSON]) -> JSON:
    """The schema as `outputConfig`, or in words where the model has no field for it."""
    form = request.response_format
    if form is None or form.kind == "text":
        return {}
    if form.kind == "json_schema" and (
        not is_claude(model) or claude.takes_schema(model)
    ):
        schema: JSON = {"schema": form.schema.decode()}
        if form.name:
            schema["name"] = form.name
        if form.description:
            schema["description"] = form.description
        return {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}
        }
    words = _JSON_ONLY
    if form.kind == "json_schema":
        words = f"{words} It must follow this JSON schema:\n{form.schema.decode()}"
    system.append({"text": words})
    return {}


def _tool_config(request: ChatRequest) -> JSON | None:
    choice = request.tool_choice
    mode = choice.mode if choice is not None else "auto"
    allowed = choice.allowed if choice is not None else ()
    named = _tools_of_history(request)
    if mode == "none" and not named:
        return None  # There is no "none": a model without tools calls none.
    tools: list[Any] = []
    for tool in request.tools:
        if tool.kind == "server":
            if tool.source == SOURCE and tool.data:
                tools.append(Raw(tool.data))
        elif not allowed or tool.name in allowed:
            tools.append(_tool(tool))
            if tool.cache is not None:
                tools.append(cache_point(tool.cache))
    if not tools:
        # Converse refuses a history of calls without a toolConfig: name what it holds.
        tools = [
            {"toolSpec": {"name": name, "inputSchema": {"json": lowering.EMPTY_SCHEMA}}}
            for name in named
        ]
    if not tools:
        return None
    config: JSON = {"tools": tools}
    if mode == "required":
        config["toolChoice"] = {"any": {}}
    elif mode == "tool" and choice is not None:
        config["toolChoice"] = {"tool": {"name": choice.name}}
    return config


def _tools_of_history(request: ChatRequest) -> list[str]:
    names = (
        part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolUse)
    )
    return list(dict.fromkeys(names))


def _tool(tool: Tool) -> JSON:
    spec: JSON = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": lowering.parameters(tool)}
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


def _metadata(request: ChatRequest) -> JSON:
    """What fits Bedrock's alphabet; the rest is for other providers' consoles."""
    said = dict(request.metadata or {})
    if request.user:
        said.setdefault("user", request.user)
    fitting = [
        (name, value)
        for name, value in said.items()
        if _METADATA_TEXT.fullmatch(name) and _METADATA_TEXT.fullmatch(value)
    ]
    return dict(fitting[:_METADATA_MAX])


def guardrail_version(target: Target) -> str:
    """The draft, where the operator pinned no version."""
    return target.options.get("guardrail_version", "DRAFT")


def _add_options(body: JSON, request: ChatRequest, target: Target) -> None:
    options = target.options
    if "guardrail_id" in options:
        body["guardrailConfig"] = {
            "guardrailIdentifier": options["guardrail_id"],
            "guardrailVersion": guardrail_version(target),
            "trace": options.get("guardrail_trace", "disabled"),
        }
    if "latency" in options:
        body["performanceConfig"] = {"latency": options["latency"]}
    if request.service_tier in TIERS:
        body["serviceTier"] = {"type": request.service_tier}
