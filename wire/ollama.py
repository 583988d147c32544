"""The dialect of Ollama's native API, as a provider: /api/chat and /api/embed.

Policy on what Ollama lacks, the same as elsewhere: hints are dropped, what would change
the shape of the answer is refused with its field named. It cannot be made to call a
tool; a choice of one leaves that one on offer, "none" leaves none.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from wire import customtools, lowering
from wire.dialect import (
    AuthScheme,
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
from wire.jsontext import JSON_ERRORS, whole
from wire.ollama_read import SOURCE, OllamaDecoder, OllamaReader
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

CHAT_PATH: Final = "/api/chat"
EMBED_PATH: Final = "/api/embed"

_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium"}


class Ollama:
    """See `ProviderDialect` and `EmbedProvider`.

    Options of its target: `num_ctx`, `keep_alive`, and `auth` ("bearer" for ollama.com
    or a proxy with a key).
    """

    name = SOURCE

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return _upstream(CHAT_PATH, build_body(request, target), target)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        del target
        return customtools.decoder_for(request, OllamaDecoder())

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        del target
        if not 200 <= status < 300:
            return [classify(SOURCE, status, headers, body)]
        reader = OllamaReader()
        events = reader.read(body)
        if not reader.over:
            return [malformed(SOURCE, "an answer that is not done")]
        return events

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """See `EmbedProvider.build_embed`."""
        texts = request.texts("Ollama")
        body: JSON = {"model": target.model, "input": texts}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return _upstream(EMBED_PATH, body, target)

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """See `EmbedProvider.parse_embed`; the older API's one vector is read too."""
        if not 200 <= status < 300:
            return classify(SOURCE, status, headers, body)
        try:
            answer = _embedded.decode(body)
        except JSON_ERRORS:
            return malformed(SOURCE, "an answer without embeddings")
        found = answer.embeddings
        if found is None:
            found = [answer.embedding]
        if not all(map(bytes, found)):
            return malformed(SOURCE, "an answer without embeddings")
        usage = Usage(prompt=answer.prompt_eval_count or 0)
        return EmbedResult(target.model, tuple(Vector(bytes(v)) for v in found), usage)


class _Embedded(msgspec.Struct):
    embeddings: list[Raw] | None = None
    embedding: Raw = Raw(b"")
    prompt_eval_count: int | None = None


_embedded = msgspec.json.Decoder(_Embedded)


def _upstream(path: str, body: JSON, target: Target) -> UpstreamRequest:
    auth: AuthScheme = "bearer" if target.options.get("auth") == "bearer" else "none"
    headers = (("content-type", "application/json"),)
    return UpstreamRequest("POST", path, headers, msgspec.json.encode(body), auth=auth)


def build_body(request: ChatRequest, target: Target) -> JSON:
    """The body of /api/chat. Raises ClientError for what cannot be expressed."""
    _refuse_shapes(request)
    body: JSON = {"model": target.model, "stream": request.stream}
    if request.source == SOURCE:
        body.update({name: Raw(data) for name, data in request.extra.items()})
    body["messages"] = _messages(request)
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    form = request.response_format
    if form is not None and form.kind == "json_object":
        body["format"] = "json"
    elif form is not None and form.kind == "json_schema":
        body["format"] = Raw(form.schema)
    options = _options(request, target)
    if options:
        body["options"] = options
    think = _think(request, target)
    if think is not None:
        body["think"] = think
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs is not None:
            body["top_logprobs"] = request.top_logprobs
    if "keep_alive" in target.options:
        body["keep_alive"] = target.options["keep_alive"]
    return body


def _refuse_shapes(request: ChatRequest) -> None:
    if request.n > 1:
        raise ClientError("Ollama gives one answer a request; n must be 1.", param="n")
    if "audio" in request.modalities:
        raise ClientError("Ollama answers in text only.", param="modalities")


def _options(request: ChatRequest, target: Target) -> JSON:
    context = target.options.get("num_ctx", "")
    values: JSON = {
        "num_ctx": whole(context),
        "num_predict": target.bound(request.max_output_tokens),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    return {name: value for name, value in values.items() if value is not None}


def _think(request: ChatRequest, target: Target) -> bool | str | None:
    wish = request.reasoning
    if wish is None:
        return None
    if wish.enabled is False or wish.effort == "none":
        return False
    if "gpt-oss" in target.model:  # The one family with levels; it cannot be told no.
        return _EFFORTS.get(wish.effort or "medium", "high")
    return True


def _tools(request: ChatRequest) -> list[JSON]:
    choice = request.tool_choice
    if choice is not None and choice.mode == "none":
        return []
    return [_tool(tool) for tool in lowering.offered(request, forced_alone=True)]


def _tool(tool: Tool) -> JSON:
    function: JSON = {"name": tool.name, "description": tool.description or ""}
    function["parameters"] = lowering.parameters(tool)
    return {"type": "function", "function": function}


def _messages(request: ChatRequest) -> list[JSON]:
    names = {
        part.id: part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolUse)
    }
    turns: list[JSON] = []
    for at, message in enumerate(request.messages):
        where = f"messages.{at}.content"
        if message.role == "tool":
            turns.extend(
                _tool_result(part, where, names)
                for part in message.parts
                if isinstance(part, ToolResult)
            )
        else:
            turns.append(_turn(message, where))
    return turns


def _turn(message: Message, where: str) -> JSON:
    turn: JSON = {
        "role": "system" if message.role == "developer" else message.role,
        "content": _text(message.parts, where),
    }
    images = [
        _image(part, f"{where}.{at}")
        for at, part in enumerate(message.parts)
        if isinstance(part, Image)
    ]
    if images:
        turn["images"] = images
    calls = [_call(part) for part in message.parts if isinstance(part, ToolUse)]
    if calls:
        turn["tool_calls"] = calls
    thoughts = [part.text for part in message.parts if isinstance(part, Reasoning)]
    if calls and any(thoughts):
        # Models that think between calls want their last thoughts back.
        turn["thinking"] = "".join(thoughts)
    return turn


def _text(parts: tuple[Part, ...], where: str) -> str:
    texts: list[str] = []
    for at, part in enumerate(parts):
        match part:
            case Text() | Refusal():
                texts.append(part.text)
            case File():
                texts.append(_file(part, f"{where}.{at}"))
            case Image() | ToolUse() | Reasoning() | OpaquePart():
                continue  # Said elsewhere, or another dialect's own.
            case _:
                raise ClientError(
                    "Ollama takes text, pictures and text files here.",
                    param=f"{where}.{at}",
                )
    return "\n".join(text for text in texts if text)


def _file(part: File, where: str) -> str:
    said = lowering.file_text(part, where, "Ollama")
    return f"{part.name}:\n{said}" if part.name else said


def _image(part: Image, where: str) -> str:
    if not part.data:
        raise ClientError(
            "Ollama fetches no URLs: send the picture as base64.", param=where
        )
    return part.data


def _call(part: ToolUse) -> JSON:
    arguments: Any
    if part.custom:
        arguments = customtools.pack(part.arguments)
    else:
        written = part.arguments.strip() or "{}"
        try:
            value = msgspec.json.decode(written)
        except JSON_ERRORS:
            value = None
        # Ollama's templates walk the arguments: they must be an object.
        arguments = (
            Raw(written.encode())
            if isinstance(value, dict)
            else {"invalid_json": part.arguments}
        )
    function = {"name": part.name, "arguments": arguments}
    return {"id": part.id, "type": "function", "function": function}


def _tool_result(part: ToolResult, where: str, names: dict[str, str]) -> JSON:
    said = _text(part.parts, where)
    turn: JSON = {
        "role": "tool",
        "content": f"Error: {said}" if part.is_error else said,
    }
    name = part.name or names.get(part.tool_use_id, "")
    if name:
        turn["tool_name"] = name
    images = [_image(one, where) for one in part.parts if isinstance(one, Image)]
    if images:
        turn["images"] = images
    return turn
