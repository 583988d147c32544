"""The neutral request into a body for generateContent, on Gemini and on Vertex.

Policy on what Google lacks: hints are dropped (parallel_tool_calls, cache marks, user);
what it cannot read is refused with its path. System texts are hoisted, turns of one
kind are merged, results stay in turns of their own. Requests that came from Gemini
clients keep their own words.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from wire import customtools
from wire import gemini_schema as words
from wire.dialect import AuthScheme, Target, UpstreamRequest
from wire.gemini_parse import CONFIG
from wire.gemini_parts import JSON, PartBuilder
from wire.gemini_schema import SOURCE, Method
from wire.request import ChatRequest, ReasoningWish, Text, Tool


def is_vertex(target: Target) -> bool:
    """Whether this deployment is Vertex; its paths and login differ."""
    return target.flavour == "vertex"


def auth_scheme(target: Target) -> AuthScheme:
    """OAuth for a Vertex project, an API key for Gemini and for Vertex express."""
    return (
        "bearer"
        if is_vertex(target) and "project" in target.options
        else ("x-goog-api-key")
    )


def upstream(target: Target, method: Method, body: bytes) -> UpstreamRequest:
    """A request to the deployment."""
    vertex = is_vertex(target)
    return UpstreamRequest(
        "POST",
        words.upstream_path(target.model, method, target.options, vertex=vertex),
        (("content-type", "application/json"),),
        body,
        auth=auth_scheme(target),
    )


def build_request(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build :generateContent or :streamGenerateContent."""
    method: Method = "streamGenerateContent" if request.stream else "generateContent"
    return upstream(target, method, msgspec.json.encode(build_body(request, target)))


def build_count(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build :countTokens. Gemini counts more than contents only in a wrapper."""
    body = build_body(request, target)
    if is_vertex(target):
        names = ("contents", "systemInstruction", "tools", CONFIG)
        body = {name: body[name] for name in names if name in body}
    elif body.keys() != {"contents"}:
        model = f"models/{target.model.removeprefix('models/')}"
        body = {"generateContentRequest": {"model": model, **body}}
    return upstream(target, "countTokens", msgspec.json.encode(body))


def build_body(request: ChatRequest, target: Target) -> JSON:
    """The body. Raises ClientError for what cannot be expressed."""
    own = request.source == SOURCE
    body: JSON = {}
    config_extra: JSON = {}
    if own:
        for name, raw in request.extra.items():
            if name.startswith(f"{CONFIG}."):
                config_extra[name.removeprefix(f"{CONFIG}.")] = Raw(raw)
            elif name != "toolConfig":
                body[name] = Raw(raw)
    system, contents = _contents(request, target)
    if contents or "cachedContent" not in body:
        body["contents"] = contents or [{"role": "user", "parts": [{"text": "."}]}]
    if system:
        body["systemInstruction"] = {"parts": system}
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    config = _tool_config(request, bool(tools))
    if config is not None:
        body["toolConfig"] = config
    generation = _generation(request, target, config_extra)
    if generation:
        body[CONFIG] = generation
    tier = request.service_tier
    if tier in {"flex", "priority"} or (own and tier is not None):
        body["serviceTier"] = "standard" if tier == "default" else tier
    return body


def _contents(request: ChatRequest, target: Target) -> tuple[list[JSON], list[JSON]]:
    builder = PartBuilder(
        signed=words.wants_signatures(target.model),
        ids=not is_vertex(target),
        own=request.source == SOURCE,
    )
    system: list[JSON] = []
    contents: list[JSON] = []
    last_kind = ""
    for at, message in enumerate(request.messages):
        if message.role in {"system", "developer"}:
            texts = [part.text for part in message.parts if isinstance(part, Text)]
            system.extend({"text": text} for text in texts if text)
            continue
        parts = builder.parts(message.parts, f"contents[{at}]")
        if not parts:
            continue
        kind = message.role
        if kind == last_kind:
            contents[-1]["parts"] += parts
        else:
            role = "model" if kind == "assistant" else "user"
            contents.append({"role": role, "parts": parts})
        last_kind = kind
    return system, contents


def _tools(request: ChatRequest) -> list[Any]:
    allowed = request.tool_choice.allowed if request.tool_choice else ()
    functions: list[Any] = []
    out: list[Any] = []
    for tool in request.tools:
        if tool.kind == "server":
            if tool.source == SOURCE:
                out.append(Raw(tool.data))
        elif tool.data and tool.source == SOURCE:
            functions.append(Raw(tool.data))
        elif not allowed or tool.name in allowed or request.source == SOURCE:
            functions.append(_function(tool))
    return [{"functionDeclarations": functions}, *out] if functions else out


def _function(tool: Tool) -> JSON:
    out: JSON = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.kind == "custom":
        out["parametersJsonSchema"] = customtools.SCHEMA
    elif tool.parameters:
        out["parametersJsonSchema"] = Raw(tool.parameters)
    return out


def _tool_config(request: ChatRequest, has_tools: bool) -> Any:
    if request.source == SOURCE and "toolConfig" in request.extra:
        return Raw(request.extra["toolConfig"])
    choice = request.tool_choice
    if choice is None or not has_tools:
        return None
    calling: JSON
    match choice.mode:
        case "tool":
            calling = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case "required":
            calling = {"mode": "ANY"}
            if choice.allowed:
                calling["allowedFunctionNames"] = list(choice.allowed)
        case "none":
            calling = {"mode": "NONE"}
        case _:
            calling = {"mode": "AUTO"}
    return {"functionCallingConfig": calling}


def _generation(request: ChatRequest, target: Target, extra: JSON) -> JSON:
    most = target.bound(request.max_output_tokens)
    temperature = request.temperature
    if temperature is not None and request.source != SOURCE:
        temperature = min(max(temperature, 0.0), 2.0)
    values: JSON = {
        "temperature": temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "candidateCount": request.n if request.n > 1 else None,
        "maxOutputTokens": most,
        "stopSequences": list(request.stop) or None,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "seed": request.seed,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs if request.logprobs else None,
        "responseModalities": [word.upper() for word in _modalities(request)] or None,
        **_format(request, extra),
        "thinkingConfig": _thinking(request, target, extra) or None,
    }
    values = {name: value for name, value in values.items() if value is not None}
    return {**values, **extra}


def _modalities(request: ChatRequest) -> Iterable[str]:
    """Text alone is what Google answers in anyway; its own clients may say so."""
    if request.source == SOURCE or set(request.modalities) - {"text"}:
        return request.modalities
    return ()


def _format(request: ChatRequest, extra: JSON) -> JSON:
    form = request.response_format
    if form is None:
        return {}
    if form.kind == "text":
        return {"responseMimeType": "text/plain"} if request.source == SOURCE else {}
    out: JSON = {"responseMimeType": "application/json"}
    if form.kind == "json_schema" and "responseSchema" not in extra:
        out["responseJsonSchema"] = Raw(form.schema)
    return out


def _thinking(request: ChatRequest, target: Target, extra: JSON) -> JSON:
    wish = request.reasoning
    if wish is None:
        return {}
    if request.source == SOURCE:
        return _own_thinking(wish, extra)
    if not words.thinks(target.model):
        return {}
    off = wish.enabled is False or wish.effort == "none"
    out: JSON = {}
    if words.thinks_by_level(target.model):
        effort = "none" if off else wish.effort
        if effort is None and wish.budget_tokens is not None:
            effort = _effort_of(wish.budget_tokens)
        if effort is not None:
            level = words.LEVELS.get(effort, "high")
            # Pro's least is low: it has no minimal.
            pro = "pro" in target.model and level == "minimal"
            out["thinkingLevel"] = "low" if pro else level
    elif off:
        out["thinkingBudget"] = words.PRO_BUDGET_MIN if "pro" in target.model else 0
    elif wish.budget_tokens is not None:
        out["thinkingBudget"] = wish.budget_tokens
    elif wish.effort is not None:
        out["thinkingBudget"] = words.BUDGETS.get(wish.effort, 24_576)
    if not off and wish.summary != "omitted":
        out["includeThoughts"] = True  # Free, and what the client asked to see.
    return out


def _own_thinking(wish: ReasoningWish, extra: JSON) -> JSON:
    out: JSON = {}
    if wish.effort is not None:
        out["thinkingLevel"] = wish.effort
    if "thinkingBudget" in extra:
        out["thinkingBudget"] = extra.pop("thinkingBudget")
    elif wish.budget_tokens is not None:
        out["thinkingBudget"] = wish.budget_tokens
    if wish.summary is not None:
        out["includeThoughts"] = wish.summary != "omitted"
    return out


def _effort_of(budget_tokens: int) -> str:
    """The level that thinks about as long as a budget would."""
    for effort in ("minimal", "low", "medium"):
        if budget_tokens <= words.BUDGETS[effort]:
            return effort
    return "high"
