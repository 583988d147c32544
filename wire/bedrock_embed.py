"""Embeddings on Bedrock: Titan and Cohere Embed, through InvokeModel. Pure.

Titan embeds one text a call and Cohere up to 96; a request with more is refused, not
split: how many calls one request may cost is for the caller to decide.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from wire import bedrock_build as build
from wire.bedrock_terms import SOURCE
from wire.dialect import ClientError, Headers, Target, UpstreamRequest, malformed
from wire.embeddings import EmbedRequest, EmbedResult, Vector
from wire.errors import classify
from wire.events import Fault, Usage
from wire.jsontext import JSON_ERRORS, whole

COHERE_TEXTS_MAX: Final = 96  # Cohere's own bound a call.


class _Titan(msgspec.Struct):
    embedding: Raw
    inputTextTokenCount: int | None = None  # noqa: N815 - the wire's name


class _Cohere(msgspec.Struct):
    embeddings: list[Raw] | dict[str, list[Raw]]


_titan = msgspec.json.Decoder(_Titan)
_cohere = msgspec.json.Decoder(_Cohere)


class BedrockEmbed:
    """See `EmbedProvider`."""

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """The provider's request. Raises ClientError for what it cannot express."""
        texts = request.texts("Bedrock")
        if _is_cohere(target):
            body = _cohere_body(request, texts)
        else:
            body = _titan_body(request, texts)
        return build.upstream(target, "invoke", msgspec.json.encode(body))

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """The provider's answer; never raises on bytes from outside."""
        if not 200 <= status < 300:
            return classify(SOURCE, status, headers, body)
        try:
            if _is_cohere(target):
                return _read_cohere(body, headers, target)
            answer = _titan.decode(body)
        except JSON_ERRORS:
            return malformed(SOURCE, "an answer without embeddings")
        tokens = answer.inputTextTokenCount
        return EmbedResult(
            target.model,
            (Vector(bytes(answer.embedding)),),
            None if tokens is None else Usage(prompt=tokens),
        )


def _is_cohere(target: Target) -> bool:
    return "cohere." in build.base_model(target)


def _titan_body(request: EmbedRequest, texts: list[str]) -> dict[str, Any]:
    if len(texts) != 1:
        raise ClientError("Titan embeds one text a request.", param="input")
    body: dict[str, Any] = {"inputText": texts[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def _cohere_body(request: EmbedRequest, texts: list[str]) -> dict[str, Any]:
    if len(texts) > COHERE_TEXTS_MAX:
        raise ClientError(
            f"Cohere embeds at most {COHERE_TEXTS_MAX} texts a request.", param="input"
        )
    body: dict[str, Any] = {
        "texts": texts,
        "input_type": request.input_type or "search_document",
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body


def _read_cohere(body: bytes, headers: Headers, target: Target) -> EmbedResult:
    found = _cohere.decode(body).embeddings
    vectors = found if isinstance(found, list) else found.get("float", [])
    tokens = whole(headers.get("x-amzn-bedrock-input-token-count", ""))
    usage = None if tokens is None else Usage(prompt=tokens)
    return EmbedResult(target.model, tuple(Vector(bytes(v)) for v in vectors), usage)
