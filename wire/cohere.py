"""The dialect of Cohere's v2 API, as a provider: chat and embeddings.

Policy on what Cohere lacks, the same as elsewhere: hints are dropped, what would change
the shape of the answer is refused with its field named. It knows no choice of one tool:
that tool is then the only one on offer, and calling is required.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from wire import customtools, lowering
from wire.cohere_read import SOURCE, CohereDecoder, CohereReader
from wire.dialect import (
    ClientError,
    Headers,
    StreamDecoder,
    Target,
    UpstreamRequest,
    malformed,
)
from wire.embeddings import EmbedRequest, EmbedResult, Vector
from wire.errors import classify
from wire.events import Event, Fault, Usage
from wire.jsontext import JSON_ERRORS, count, decode_object, mapping
from wire.request import (
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)

JSON = dict[str, Any]

CHAT_PATH: Final = "/v2/chat"
EMBED_PATH: Final = "/v2/embed"

STOP_MAX: Final = 5  # Cohere's own bound.
EMBED_TEXTS_MAX: Final = 96  # And this one.
TOP_K_MAX: Final = 500

BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192}
"""Thinking tokens for an effort; above, Cohere sets its own bound."""


class Cohere:
    """See `ProviderDialect` and `EmbedProvider`."""

    name = SOURCE

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return _upstream(CHAT_PATH, build_body(request, target), stream=request.stream)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        return customtools.decoder_for(request, CohereDecoder(target.model))

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        if not 200 <= status < 300:
            return [classify(SOURCE, status, headers, body)]
        answer = decode_object(body)
        if answer is None:
            return [malformed(SOURCE, "an answer that is no JSON object")]
        return CohereReader(target.model).whole(answer)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """See `EmbedProvider.build_embed`."""
        texts = request.texts("Cohere")
        if len(texts) > EMBED_TEXTS_MAX:
            raise ClientError(
                f"Cohere embeds at most {EMBED_TEXTS_MAX} texts a request.",
                param="input",
            )
        body: JSON = {
            "model": target.model,
            "texts": texts,
            "input_type": request.input_type or "search_document",
            "embedding_types": [request.encoding],
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        if request.source == SOURCE:
            body.update({name: Raw(data) for name, data in request.extra.items()})
        return _upstream(EMBED_PATH, body, stream=False)

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """See `EmbedProvider.parse_embed`."""
        if not 200 <= status < 300:
            return classify(SOURCE, status, headers, body)
        try:
            answer = _embedded.decode(body)
        except JSON_ERRORS:
            return malformed(SOURCE, "an answer without embeddings")
        floats = [Vector(bytes(raw)) for raw in answer.embeddings.get("float", [])]
        packed = [
            Vector(bytes(raw).strip(b'"'), "base64")
            for raw in answer.embeddings.get("base64", [])
        ]
        billed = mapping(answer.meta.get("billed_units"))
        usage = Usage(prompt=count(billed.get("input_tokens")))
        return EmbedResult(target.model, tuple(floats or packed), usage)


class _Embedded(msgspec.Struct):
    embeddings: dict[str, list[Raw]]
    meta: dict[str, Any] = {}


_embedded = msgspec.json.Decoder(_Embedded)


def _upstream(path: str, body: JSON, *, stream: bool) -> UpstreamRequest:
    accept = "text/event-stream" if stream else "application/json"
    return UpstreamRequest(
        "POST",
        path,
        (("content-type", "application/json"), ("accept", accept)),
        msgspec.json.encode(body),
    )


def build_body(request: ChatRequest, target: Target) -> JSON:
    """The body of /v2/chat. Raises ClientError for what cannot be expressed."""
    _refuse_shapes(request)
    body: JSON = {"model": target.model}
    if request.source == SOURCE:
        body.update({name: Raw(data) for name, data in request.extra.items()})
    body["messages"], documents = _messages(request)
    if documents:
        body["documents"] = documents
    _add_tools(body, request)
    form = request.response_format
    if form is not None and form.kind != "text":
        shape: JSON = {"type": "json_object"}
        if form.kind == "json_schema":
            shape["json_schema"] = Raw(form.schema)
        body["response_format"] = shape
    values: JSON = {
        "max_tokens": target.bound(request.max_output_tokens),
        "temperature": _clamp(request.temperature, 0.0, 1.0),
        "p": _clamp(request.top_p, 0.01, 0.99),
        "k": None if request.top_k is None else min(max(request.top_k, 0), TOP_K_MAX),
        "presence_penalty": _clamp(request.presence_penalty, 0.0, 1.0),
        "frequency_penalty": _clamp(request.frequency_penalty, 0.0, 1.0),
        "seed": request.seed,
        "stop_sequences": list(request.stop) or None,
        "logprobs": request.logprobs or None,
        "thinking": _thinking(request),
    }
    body.update({name: value for name, value in values.items() if value is not None})
    body["stream"] = request.stream
    return body


def _refuse_shapes(request: ChatRequest) -> None:
    if request.n > 1:
        raise ClientError("Cohere gives one answer a request; n must be 1.", param="n")
    if request.top_logprobs:
        raise ClientError("Cohere gives no alternatives.", param="top_logprobs")
    if "audio" in request.modalities:
        raise ClientError("Cohere answers in text only.", param="modalities")
    if len(request.stop) > STOP_MAX:
        raise ClientError(
            f"Cohere takes at most {STOP_MAX} stop sequences.", param="stop"
        )


def _clamp(value: float | None, low: float, high: float) -> float | None:
    return None if value is None else min(max(value, low), high)


def _thinking(request: ChatRequest) -> JSON | None:
    wish = request.reasoning
    if wish is None:
        return None
    if wish.enabled is False or wish.effort == "none":
        return {"type": "disabled"}
    thinking: JSON = {"type": "enabled"}
    budget = wish.budget_tokens or BUDGETS.get(wish.effort or "")
    if budget is not None:
        thinking["token_budget"] = budget
    return thinking


def _add_tools(body: JSON, request: ChatRequest) -> None:
    choice = request.tool_choice
    tools = lowering.offered(request, forced_alone=True)
    if not tools:
        return
    body["tools"] = [_tool(tool) for tool in tools]
    if all(tool.strict for tool in tools):
        body["strict_tools"] = True
    if choice is not None and choice.mode in {"required", "tool"}:
        body["tool_choice"] = "REQUIRED"
    elif choice is not None and choice.mode == "none":
        body["tool_choice"] = "NONE"


def _tool(tool: Tool) -> JSON:
    function: JSON = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = lowering.parameters(tool)
    return {"type": "function", "function": function}


def _messages(request: ChatRequest) -> tuple[list[JSON], list[JSON]]:
    """The turns, and the documents Cohere wants beside them."""
    turns: list[JSON] = []
    documents: list[JSON] = []
    for at, message in enumerate(request.messages):
        where = f"messages.{at}"
        if message.role == "tool":
            turns.extend(
                _tool_result(part, f"{where}.content")
                for part in message.parts
                if isinstance(part, ToolResult)
            )
        elif message.role == "assistant":
            turns.append(_assistant(message))
        else:
            role = "user" if message.role == "user" else "system"
            content = _content(message, where, documents)
            if content:
                turns.append({"role": role, "content": content})
    return turns, documents


def _content(message: Message, where: str, documents: list[JSON]) -> list[JSON]:
    content: list[JSON] = []
    for at, part in enumerate(message.parts):
        place = f"{where}.content.{at}"
        match part:
            case Text():
                content.append({"type": "text", "text": part.text})
            case Image():
                content.append({"type": "image_url", "image_url": _image(part, place)})
            case File():
                documents.append(_document(part, place, len(documents)))
            case OpaquePart():
                continue  # Another dialect's own: it means nothing here.
            case _:
                raise ClientError(
                    "Cohere takes text, pictures and text files here.", param=place
                )
    return content


def _image(part: Image, where: str) -> JSON:
    if part.data:
        url = f"data:{part.media_type};base64,{part.data}"
    elif part.url:
        url = part.url
    else:
        raise ClientError("An image needs a URL or its data here.", param=where)
    return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}


def _document(part: File, where: str, number: int) -> JSON:
    data: JSON = {"text": lowering.file_text(part, where, "Cohere")}
    if part.name:
        data["title"] = part.name
    return {"id": f"doc:{number}", "data": data}


def _assistant(message: Message) -> JSON:
    """An earlier answer. Thoughts before tool calls are what Cohere calls its plan."""
    turn: JSON = {"role": "assistant"}
    texts = [part.text for part in message.parts if isinstance(part, (Text, Refusal))]
    calls = [part for part in message.parts if isinstance(part, ToolUse)]
    plan = [part.text for part in message.parts if isinstance(part, Reasoning)]
    said = [{"type": "text", "text": one} for one in texts if one]
    if calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
            }
            for call in calls
        ]
        if any(plan):
            turn["tool_plan"] = "".join(plan)
    if said or not calls:
        turn["content"] = said or [{"type": "text", "text": ""}]
    return turn


def _arguments(call: ToolUse) -> str:
    if call.custom:
        return msgspec.json.encode(customtools.pack(call.arguments)).decode()
    return call.arguments or "{}"


def _tool_result(part: ToolResult, where: str) -> JSON:
    texts = [_result_text(inner, where) for inner in part.parts]
    said = "\n".join(text for text in texts if text)
    if part.is_error:
        # There is no field for it; the model has to read it.
        said = f"Error: {said}"
    return {"role": "tool", "tool_call_id": part.tool_use_id, "content": said}


def _result_text(part: Part, where: str) -> str:
    if isinstance(part, (Text, Refusal)):
        return part.text
    if isinstance(part, File) and part.text:
        return part.text
    if isinstance(part, OpaquePart):
        return ""  # Another dialect's own spelling of the text beside it.
    raise ClientError("Cohere takes text only as a tool's result.", param=where)
