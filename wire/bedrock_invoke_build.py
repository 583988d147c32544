"""Requests for Bedrock's InvokeModel: Claude's and Nova's bodies, AWS's headers."""

from typing import Any, Final

import msgspec

from wire import anthropic_build
from wire import bedrock_build as build
from wire.bedrock_read import is_claude
from wire.dialect import Target, UpstreamRequest
from wire.request import ChatRequest

ANTHROPIC_VERSION: Final = "bedrock-2023-05-31"

BETAS: Final = frozenset(
    {
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "interleaved-thinking-2025-05-14",
        "output-128k-2025-02-19",
        "token-efficient-tools-2025-02-19",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    }
)
"""Betas Bedrock knows. Any other, and agents send many, is a 400 for the whole call; a
target's option `betas` names more of them."""


def build_invoke(request: ChatRequest, target: Target) -> UpstreamRequest:
    """An InvokeModel call, or Converse's for other models. Raises ClientError."""
    model = build.base_model(target)
    if is_claude(model):
        body = _claude_body(request, target, model)
    elif "nova" in model:
        body = _nova_body(request, target)
    else:
        return build.build_request(request, target)
    operation = "invoke-with-response-stream" if request.stream else "invoke"
    upstream = build.upstream(target, operation, msgspec.json.encode(body))
    headers = (*upstream.headers, *_option_headers(request, target))
    return msgspec.structs.replace(upstream, headers=headers)


def _claude_body(request: ChatRequest, target: Target, model: str) -> dict[str, Any]:
    named = msgspec.structs.replace(target, model=model)
    body = anthropic_build.build_body(request, named)
    # The tier is a header here.
    for field in ("model", "stream", "service_tier"):
        body.pop(field, None)
    body["anthropic_version"] = ANTHROPIC_VERSION
    beta = request.extra.get("header:anthropic-beta")
    if beta is not None:
        more = target.options.get("betas", "").split(",")
        known = BETAS.union(word.strip() for word in more)
        said = msgspec.json.decode(beta, type=str).split(",")
        words = [word for word in map(str.strip, said) if word in known]
        if words:
            body["anthropic_beta"] = words
    return body


def _option_headers(request: ChatRequest, target: Target) -> list[tuple[str, str]]:
    """What Converse has in its body and InvokeModel in headers."""
    options = target.options
    headers: list[tuple[str, str]] = []
    if "guardrail_id" in options:
        trace = options.get("guardrail_trace", "disabled").upper()
        headers += [
            ("x-amzn-bedrock-guardrailidentifier", options["guardrail_id"]),
            ("x-amzn-bedrock-guardrailversion", build.guardrail_version(target)),
            ("x-amzn-bedrock-trace", trace),
        ]
    if "latency" in options:
        headers.append(("x-amzn-bedrock-performanceconfig-latency", options["latency"]))
    if request.service_tier in build.TIERS:
        headers.append(("x-amzn-bedrock-service-tier", str(request.service_tier)))
    return headers


def _nova_body(request: ChatRequest, target: Target) -> dict[str, Any]:
    """Nova's own schema is Converse's, with its extra fields in their places."""
    body = build.build_body(request, target)
    extra = body.pop("additionalModelRequestFields", {})
    inference = {**body.pop("inferenceConfig", {}), **extra.pop("inferenceConfig", {})}
    kept: dict[str, Any] = {
        name: body[name]
        for name in ("messages", "system", "toolConfig")
        if name in body
    }
    if inference:
        kept["inferenceConfig"] = inference
    return {"schemaVersion": "messages-v1", **kept, **extra}
