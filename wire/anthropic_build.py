"""The neutral request into a body for Anthropic's Messages API.

Policy on what Anthropic lacks: hints are dropped (seed, penalties, cache key); what
would change the shape of the answer is refused with its field named (n > 1, logprobs,
audio). Turns are made to alternate, tool results go into user turns, system texts are
hoisted. Requests that came from Anthropic clients keep their own words.
"""

from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from wire import anthropic_models as models
from wire import customtools
from wire.anthropic_blocks import JSON, blocks_of, marked
from wire.anthropic_schema import SOURCE, VERSION_BEARER, VERSION_SAMPLING
from wire.dialect import AuthScheme, ClientError, Target, UpstreamRequest
from wire.request import ChatRequest, Tool

MESSAGES_PATH: Final = "/v1/messages"
COUNT_PATH: Final = "/v1/messages/count_tokens"

VERTEX_VERSION: Final = "vertex-2023-10-16"
"""What Vertex calls the version of 2023-06-01; later ones go by their date."""

_JSON_ONLY: Final = (
    "Answer with one valid JSON value and nothing else: no prose, no fences."
)

_COUNTED: Final[tuple[str, ...]] = (
    *("model", "messages", "system", "tools", "tool_choice", "thinking"),
    *("output_config", "mcp_servers", "context_management"),
)
"""Fields that count_tokens takes; any other is a 400 there."""


def build_request(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build POST /v1/messages. Raises ClientError for what cannot be expressed."""
    return _upstream(request, target, build_body(request, target))


def build_count(request: ChatRequest, target: Target) -> UpstreamRequest:
    """Build POST /v1/messages/count_tokens for the same prompt."""
    body = build_body(request, target)
    counted: JSON = {name: body[name] for name in _COUNTED if name in body}
    return _upstream(request, target, counted, count=True)


def auth_scheme(version: str) -> AuthScheme:
    """Log in as the official clients of this API version do."""
    return "bearer" if version >= VERSION_BEARER else "x-api-key"


def _upstream(
    request: ChatRequest, target: Target, body: JSON, *, count: bool = False
) -> UpstreamRequest:
    version = target.options.get("api_version", VERSION_SAMPLING)
    beta = None
    if request.source == SOURCE:
        version = _header(request, "anthropic-version") or version
        beta = _header(request, "anthropic-beta")
    elif _samples(body):
        version = VERSION_SAMPLING
    return upstream(target, body, version=version, beta=beta, count=count)


def upstream(
    target: Target, body: JSON, *, version: str, beta: str | None, count: bool = False
) -> UpstreamRequest:
    """Address a body: at Anthropic, or at Vertex, which has the model in the path."""
    headers = [("content-type", "application/json")]
    if beta:
        headers.append(("anthropic-beta", beta))
    if target.flavour == "vertex":
        return _vertex(target, body, version, headers, count=count)
    headers.append(("anthropic-version", version))
    path = COUNT_PATH if count else MESSAGES_PATH
    sent = msgspec.json.encode(body)
    return UpstreamRequest("POST", path, tuple(headers), sent, auth_scheme(version))


def _vertex(
    target: Target,
    body: JSON,
    version: str,
    headers: list[tuple[str, str]],
    *,
    count: bool,
) -> UpstreamRequest:
    project, location = (
        quote(target.options.get(name, fallback), safe="")
        for name, fallback in (("project", ""), ("location", "global"))
    )
    body["anthropic_version"] = (
        VERTEX_VERSION if version == VERSION_SAMPLING else version
    )
    if count:
        tail = "count-tokens:rawPredict"
    else:
        model = quote(str(target.model), safe="@")
        body.pop("model", None)
        streams = body.get("stream", False)
        if isinstance(streams, Raw):
            streams = bytes(streams) == b"true"
        tail = f"{model}:{'streamRawPredict' if streams else 'rawPredict'}"
    path = f"/v1/projects/{project}/locations/{location}"
    path += f"/publishers/anthropic/models/{tail}"
    sent = msgspec.json.encode(body)
    return UpstreamRequest("POST", path, tuple(headers), sent, "bearer")


def _header(request: ChatRequest, name: str) -> str | None:
    raw = request.extra.get(f"header:{name}")
    return None if raw is None else msgspec.json.decode(raw, type=str)


def _samples(body: JSON) -> bool:
    return any(name in body for name in ("temperature", "top_p", "top_k"))


def build_body(request: ChatRequest, target: Target) -> JSON:
    """Everything but the headers; Bedrock and Vertex wrap the same body."""
    own = request.source == SOURCE
    if not own:
        _refuse_shapes(request)
    max_tokens = request.max_output_tokens
    if max_tokens is None:
        max_tokens = models.output_tokens_default(target.model)
    if target.max_output_tokens is not None:
        max_tokens = min(max_tokens, target.max_output_tokens)
    body: JSON = {"model": target.model, "max_tokens": max_tokens}
    if own:
        named = {k: Raw(v) for k, v in request.extra.items() if ":" not in k}
        body.update(named)
    turns, system = _turns(request)
    system += _format_words(request, target)
    if system:
        only = system[0]
        plain = len(system) == 1 and only.keys() == {"type", "text"}
        body["system"] = only["text"] if plain else system
    body["messages"] = turns
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    choice = _tool_choice(request, bool(tools))
    if choice:
        body["tool_choice"] = choice
    if request.stop:
        body["stop_sequences"] = _stop(request, own)
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.service_tier is not None:
        standard = request.service_tier == "default"
        body["service_tier"] = "standard_only" if standard else "auto"
    _add_thinking(body, request, target)
    _add_sampling(body, request, target)
    if request.stream:
        body["stream"] = True
    return body


def _refuse_shapes(request: ChatRequest) -> None:
    if request.n > 1:
        raise ClientError("Claude gives one answer a request; n must be 1.", param="n")
    if request.logprobs:
        raise ClientError("Claude gives no logprobs.", param="logprobs")
    if "audio" in request.modalities:
        raise ClientError("Claude answers in text only.", param="modalities")


def _stop(request: ChatRequest, own: bool) -> list[str]:
    if not own and not all(word.strip() for word in request.stop):
        message = "Claude takes no stop sequence that is only white space."
        raise ClientError(message, param="stop")
    return list(request.stop)


def _add_sampling(body: JSON, request: ChatRequest, target: Target) -> None:
    values: JSON = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    if request.source != SOURCE:
        if not models.takes_sampling(target.model):
            return
        if request.temperature is not None:
            values["temperature"] = min(max(request.temperature, 0.0), 1.0)
            if not models.takes_both_samplings(target.model):
                values["top_p"] = None
        if "thinking" in body and body["thinking"]["type"] != "disabled":
            # Thinking takes temperature 1 only, no top_k, and little of top_p.
            top_p = None if request.top_p is None else max(request.top_p, 0.95)
            values = {"temperature": None, "top_k": None, "top_p": top_p}
    body.update({name: value for name, value in values.items() if value is not None})


def _add_thinking(body: JSON, request: ChatRequest, target: Target) -> None:
    wish = request.reasoning
    own = request.source == SOURCE
    output: JSON = {}
    form = request.response_format
    if (
        form
        and form.kind == "json_schema"
        and (own or models.takes_schema(target.model))
    ):
        output["format"] = {"type": "json_schema", "schema": Raw(form.schema)}
    if wish is not None:
        style = models.thinking_style(target.model)
        thinking: JSON | None = None
        if own:
            if wish.effort:
                output["effort"] = wish.effort
            thinking = _own_thinking(request)
        elif wish.enabled is False or wish.effort == "none":
            thinking = {"type": "disabled"} if style != "none" else None
        elif style == "adaptive":
            thinking = {"type": "adaptive"}
            if wish.effort:
                output["effort"] = models.EFFORTS.get(wish.effort, "high")
        elif style == "budget":
            budget = models.budget_tokens(
                wish.effort, wish.budget_tokens, body["max_tokens"]
            )
            if budget and not _thought_is_missing(body["messages"]):
                thinking = {"type": "enabled", "budget_tokens": budget}
        if not own and thinking and _forces_tool(request):
            thinking = None  # Anthropic refuses to think before a forced call.
        if thinking and "thinking" not in body:
            if wish.summary and thinking["type"] != "disabled":
                omitted = wish.summary == "omitted"
                thinking["display"] = "omitted" if omitted else "summarized"
            body["thinking"] = thinking
    if output:
        body["output_config"] = {**body.get("output_config", {}), **output}


def _own_thinking(request: ChatRequest) -> JSON | None:
    wish = request.reasoning
    if wish is None or wish.enabled is None:
        return None
    if not wish.enabled:
        return {"type": "disabled"}
    if wish.budget_tokens is None:
        return {"type": "adaptive"}
    return {"type": "enabled", "budget_tokens": wish.budget_tokens}


def _forces_tool(request: ChatRequest) -> bool:
    choice = request.tool_choice
    return choice is not None and choice.mode in {"required", "tool"}


def _thought_is_missing(turns: list[JSON]) -> bool:
    """In a tool loop, a budget wants the last call's turn to begin with its thought.

    A client of another dialect may not have kept it; then this turn goes without.
    """
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            kinds = [block["type"] for block in turn["content"]]
            return "tool_use" in kinds and not kinds[0].endswith("thinking")
        if not any(block["type"] == "tool_result" for block in turn["content"]):
            return False
    return False


def _tool_choice(request: ChatRequest, has_tools: bool) -> JSON | None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    own = request.source == SOURCE
    if not (has_tools or own) or (choice is None and parallel is None):
        return None
    if choice is None and parallel and not own:
        return None  # Parallel calls are what Anthropic does anyway.
    out: JSON
    match choice.mode if choice else "auto":
        case "tool" if choice:
            out = {"type": "tool", "name": choice.name}
        case "required":
            out = {"type": "any"}
        case "none":
            out = {"type": "none"}
        case _:
            out = {"type": "auto"}
    if parallel is not None and (own or not parallel) and out["type"] != "none":
        out["disable_parallel_tool_use"] = not parallel
    return out


def _tools(request: ChatRequest) -> list[Any]:
    allowed = request.tool_choice.allowed if request.tool_choice else ()
    out: list[Any] = []
    for tool in request.tools:
        if tool.data and tool.source == SOURCE:
            out.append(Raw(tool.data))
        elif tool.kind != "server" and (not allowed or tool.name in allowed):
            out.append(_tool(tool))
    return out


def _tool(tool: Tool) -> JSON:
    out: JSON = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.kind == "custom":
        out["input_schema"] = customtools.SCHEMA
    elif tool.parameters:
        out["input_schema"] = Raw(tool.parameters)
    else:
        out["input_schema"] = {"type": "object", "properties": {}}
    if tool.strict is not None:
        out["strict"] = tool.strict
    return marked(out, tool.cache)


def _format_words(request: ChatRequest, target: Target) -> list[JSON]:
    """Say in words what an older model, or plain JSON mode, has no field for."""
    form = request.response_format
    if form is None or form.kind == "text" or request.source == SOURCE:
        return []
    if form.kind == "json_object":
        return [{"type": "text", "text": _JSON_ONLY}]
    if models.takes_schema(target.model):
        return []
    words = f"{_JSON_ONLY} It must follow this JSON schema:\n{form.schema.decode()}"
    return [{"type": "text", "text": words}]


def _turns(request: ChatRequest) -> tuple[list[JSON], list[JSON]]:
    """Alternating turns, and the system texts that were hoisted out of them."""
    own = request.source == SOURCE
    system: list[JSON] = []
    turns: list[JSON] = []
    for at, message in enumerate(request.messages):
        where = f"messages.{at}"
        role = "assistant" if message.role == "assistant" else "user"
        if message.role in {"system", "developer"}:
            blocks = blocks_of(message, where, own)
            if not own or not turns:
                system.extend(
                    block for block in blocks if own or block["type"] == "text"
                )
                continue
            role = "system"  # Mid-conversation: Anthropic has that itself by now.
        else:
            blocks = blocks_of(message, where, own)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    if not own:
        _mend_ends(turns)
    return turns, system


def _mend_ends(turns: list[JSON]) -> None:
    """Begin with the user, and end without the white space Anthropic refuses."""
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": "."}]})
    last = turns[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        text = last["content"][-1]
        text["text"] = text["text"].rstrip() or "."
