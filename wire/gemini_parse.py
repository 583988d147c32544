"""A Gemini client's request into the neutral vocabulary.

Owns: reading generateContent, streamGenerateContent and countTokens bodies of both
services. Model and method are in the path, so they come in as a `Route`. Calls without
ids get made-up ones, and results find theirs by name and order, as Google does it.

Fields without a word in `wire.request` go to `extra`: top-level ones by their name,
those of generationConfig as "generationConfig.<name>".
"""

import re
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from wire.dialect import ClientError, Head, Need
from wire.gemini_fields import Fields, bad
from wire.gemini_parts import AUDIO_FORMATS, RESPONSE, SYNTHETIC_ID, uncarry
from wire.gemini_schema import SOURCE, Route
from wire.gemini_types import json_schema
from wire.jsontext import decode_object
from wire.request import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    ReasoningWish,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from wire.toolids import unpack

PREFIX_BYTES_MAX: Final = 4096
"""Caches begin at about a thousand tokens: enough to tell conversations apart."""

TOKENS_MAX: Final = 2**31 - 1
"""No model answers longer; above it is a mistake that would overflow a price."""

CANDIDATES_MAX: Final = 8
"""Google's own bound; each is a hold of its own in the ledger."""

CONFIG: Final = "generationConfig"

_BASE64 = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/=_-]{64,})"')

_MODES: Final = {"AUTO": "auto", "ANY": "required", "NONE": "none"}


def read_head(body: bytes, route: Route) -> Head:
    """Look at the top level only. Raises ClientError."""
    top = _top(body)
    contents, tools = top.raw("contents"), top.raw("tools")
    before = tools + top.raw("systemInstruction") + top.raw("cachedContent")
    first = Fields(b'{"contents":' + (contents or b"[]") + b"}").items("contents")[:1]
    config = top.inner(CONFIG) or Fields(b"{}", CONFIG)
    schema = config.raw("responseSchema") or config.raw("responseJsonSchema")
    needs: set[Need] = set()
    if b"unctionDeclarations" in tools or b"unction_declarations" in tools:
        needs.add("tools")
    for need, sign in (("images", b'"image/'), ("audio", b'"audio/')):
        if sign in contents:
            needs.add("images" if need == "images" else "audio")
    if b'"application/pdf"' in contents:
        needs.add("files")
    if schema:
        needs.add("json_schema")
    if config.raw("thinkingConfig"):
        needs.add("reasoning")
    return Head(
        model=route.model,
        stream=route.stream,
        include_usage=True,  # Every chunk of Google's has it.
        max_output_tokens=_bound(config),
        n=_candidates(config),
        prompt_bytes=len(contents) + len(before) + len(schema),
        media_bytes=sum(map(len, _BASE64.findall(contents))),
        prefix=(before + b"".join(first))[:PREFIX_BYTES_MAX],
        needs=frozenset(needs),
        service_tier=top.text("serviceTier"),
    )


def _bound(config: Fields) -> int | None:
    value = config.whole("maxOutputTokens")
    if value is not None and not 1 <= value <= TOKENS_MAX:
        raise bad(config.path("maxOutputTokens"), f"must be 1 to {TOKENS_MAX}")
    return value


def _candidates(config: Fields) -> int:
    value = config.whole("candidateCount")
    if value is not None and not 1 <= value <= CANDIDATES_MAX:
        raise bad(config.path("candidateCount"), f"must be 1 to {CANDIDATES_MAX}")
    return value or 1


def _top(body: bytes) -> Fields:
    """The request's fields; countTokens may wrap them once more."""
    top = Fields(body)
    wrapped = top.inner("generateContentRequest")
    if wrapped is not None:
        wrapped.rest.pop("model", None)
        return wrapped
    return top


def parse_request(body: bytes, route: Route) -> ChatRequest:
    """Parse and check everything. Raises ClientError with the path of the fault."""
    try:
        body.decode()  # UTF-8 throughout: what we keep raw is not looked at again.
    except UnicodeDecodeError:
        raise ClientError("The request body is not valid JSON.") from None
    top = _top(body)
    top.rest.pop("model", None)  # Some clients repeat it; the path decides.
    reader = _Turns(top.path)
    messages = reader.system(top) + reader.contents(top)
    config = top.inner(CONFIG) or Fields(b"{}", CONFIG)
    tools = [
        tool
        for at, raw in enumerate(top.items("tools"))
        for tool in _tools(Fields(raw, f"tools[{at}]"))
    ]
    kept: dict[str, bytes] = {}
    choice = _tool_choice(top, kept)
    modalities = tuple(word.lower() for word in config.texts("responseModalities"))
    tier = top.text("serviceTier")
    request = ChatRequest(
        model=route.model,
        messages=tuple(messages),
        source=SOURCE,
        tools=tuple(tools),
        tool_choice=choice,
        response_format=_response_format(config, kept),
        stop=config.texts("stopSequences"),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.whole("topK"),
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
        max_output_tokens=_bound(config),
        reasoning=_reasoning(config, kept),
        seed=config.whole("seed"),
        logprobs=config.flag("responseLogprobs"),
        top_logprobs=config.whole("logprobs"),
        n=_candidates(config),
        modalities=modalities,
        service_tier={"standard": "default"}.get(tier or "", tier),
        stream=route.stream,
        include_usage=True,
        extra={
            **{name: bytes(raw) for name, raw in top.rest.items()},
            **{f"{CONFIG}.{name}": bytes(raw) for name, raw in config.rest.items()},
            **kept,
        },
    )
    if not messages and "cachedContent" not in request.extra:
        raise ClientError("contents is not specified", param="contents")
    return request


def _reasoning(config: Fields, kept: dict[str, bytes]) -> ReasoningWish | None:
    thinking = config.inner("thinkingConfig")
    if thinking is None:
        return None
    level = thinking.text("thinkingLevel")
    budget = thinking.whole("thinkingBudget")
    thoughts = thinking.flag("includeThoughts")
    if budget == -1:  # Google's word for "as you like".
        kept[f"{CONFIG}.thinkingBudget"] = b"-1"
        budget = None
    return ReasoningWish(
        effort=None if level is None else level.lower(),
        budget_tokens=budget,
        enabled=False if budget == 0 else None,
        summary="auto" if thoughts else None if thoughts is None else "omitted",
    )


def _response_format(config: Fields, kept: dict[str, bytes]) -> ResponseFormat | None:
    mime = config.text("responseMimeType")
    schema = config.raw("responseSchema")
    if schema:
        kept[f"{CONFIG}.responseSchema"] = schema  # Google's own kind of schema.
        schema = json_schema(schema)
    else:
        schema = config.raw("responseJsonSchema")
    if mime not in {None, "application/json", "text/plain"}:
        kept[f"{CONFIG}.responseMimeType"] = msgspec.json.encode(mime)
    if schema:
        return ResponseFormat("json_schema", name="answer", schema=schema)
    if mime == "application/json":
        return ResponseFormat("json_object")
    return ResponseFormat("text") if mime == "text/plain" else None


def _tool_choice(top: Fields, kept: dict[str, bytes]) -> ToolChoice | None:
    raw = top.raw("toolConfig")
    if not raw:
        return None
    config = Fields(raw, "toolConfig")
    calling = config.inner("functionCallingConfig")
    if calling is None or config.rest:
        kept["toolConfig"] = raw
    if calling is None:
        return None
    mode = (calling.text("mode") or "AUTO").upper()
    allowed = calling.texts("allowedFunctionNames")
    if mode not in _MODES or calling.rest:
        kept["toolConfig"] = raw
    match _MODES.get(mode, "auto"):
        case "required" if len(allowed) == 1:
            return ToolChoice("tool", name=allowed[0])
        case "required":
            return ToolChoice("required", allowed=allowed)
        case "none":
            return ToolChoice("none")
        case _:
            return ToolChoice("auto", allowed=allowed)


def _tools(tool: Fields) -> Iterable[Tool]:
    """One entry of `tools`: functions of the client, and tools Google runs."""
    declared = tool.items("functionDeclarations")
    for at, raw in enumerate(declared):
        where = f"{tool.where}.functionDeclarations[{at}]"
        function = Fields(raw, where)
        name = function.text("name")
        if not name:
            raise bad(f"{where}.name", "a function needs a name")
        description = function.text("description")
        schema = function.raw("parameters")
        own = bool(schema) or bool(function.rest.keys() - {"parametersJsonSchema"})
        yield Tool(
            name=name,
            description=description,
            parameters=(
                json_schema(schema) if schema else function.raw("parametersJsonSchema")
            ),
            source=SOURCE if own else "",
            data=raw if own else b"",
        )
    for name, raw in tool.rest.items():
        data = msgspec.json.encode({name: raw})
        yield Tool(name, kind="server", source=SOURCE, data=data)


class _Turns:
    """Reads contents in order and remembers which calls still want a result."""

    def __init__(self, path: Any) -> None:
        self._path = path
        self._open: deque[tuple[str, str]] = deque()  # (name, id)

    def system(self, top: Fields) -> list[Message]:
        """`systemInstruction`, which may be a string, parts, or a content."""
        raw = top.raw("systemInstruction")
        if not raw:
            return []
        where = top.path("systemInstruction")
        if raw.startswith(b'"'):
            return [Message("system", (Text(msgspec.json.decode(raw, type=str)),))]
        content = Fields(raw, where)
        parts = self._parts(content, "system")
        return [Message("system", tuple(parts))] if parts else []

    def contents(self, top: Fields) -> list[Message]:
        """`contents`: results of tools become messages of their own."""
        messages: list[Message] = []
        for at, raw in enumerate(top.items("contents")):
            content = Fields(raw, f"{top.path('contents')}[{at}]")
            role = content.text("role") or "user"
            if role not in {"user", "model", "function"}:
                raise bad(content.path("role"), "valid roles are user and model")
            run: list[Part] = []
            for part in self._parts(content, str(at)):
                is_result = isinstance(part, ToolResult)
                if run and is_result != isinstance(run[0], ToolResult):
                    messages.append(_message(role, run))
                    run = []
                run.append(part)
            if run:
                messages.append(_message(role, run))
        return messages

    def _parts(self, content: Fields, turn: str) -> list[Part]:
        parts: list[Part] = []
        for at, raw in enumerate(content.items("parts")):
            where = f"{content.path('parts')}[{at}]"
            for part in self._part(raw, where, f"{turn}_{at}"):
                last = parts[-1] if parts else None
                if (
                    isinstance(part, Reasoning)
                    and isinstance(last, Reasoning)
                    and last.state is None
                    and last.summary == part.summary
                ):
                    # A client's history holds a thought in the pieces it came in.
                    parts[-1] = msgspec.structs.replace(
                        last, text=last.text + part.text, state=part.state
                    )
                else:
                    parts.append(part)
        return parts

    def _part(self, raw: bytes, where: str, place: str) -> Iterable[Part]:
        part = Fields(raw, where)
        signature = part.text("thoughtSignature")
        state = uncarry(signature) if signature else None
        thought = part.flag("thought")
        text = part.text("text")
        if text is not None:
            if thought:
                yield Reasoning(text, state, summary=True)
                return
            if text or state is None:
                yield Text(text)
            if state is not None:
                yield Reasoning("", state)
            return
        call = part.inner("functionCall")
        if call is not None:
            name = call.text("name") or ""
            call_id, packed = unpack(call.text("id") or f"{SYNTHETIC_ID}{place}")
            self._open.append((name, call_id))
            yield ToolUse(
                id=call_id,
                name=name,
                arguments=call.raw("args").decode() or "{}",
                state=state or packed,
            )
            return
        result = part.inner("functionResponse")
        if result is not None:
            yield self._result(result, raw)
            return
        yield _media(part, raw)

    def _result(self, result: Fields, raw: bytes) -> ToolResult:
        name = result.text("name") or ""
        call_id, _ = unpack(result.text("id") or "")
        at = next(
            (
                at
                for at, (called, known) in enumerate(self._open)
                if (call_id == known if call_id else called == name)
            ),
            None,
        )
        if at is not None:
            known_name, call_id = self._open[at]
            name = name or known_name
            del self._open[at]
        response = result.raw("response")
        text, is_error = _said(response)
        parts: list[Part] = [Text(text)]
        for inner_at, inner in enumerate(result.items("parts")):
            field = Fields(inner, f"{result.path('parts')}[{inner_at}]")
            parts.append(_media(field, inner))
        parts.append(OpaquePart(SOURCE, RESPONSE, raw))
        return ToolResult(
            tool_use_id=call_id or f"{SYNTHETIC_ID}{name}",
            parts=tuple(parts),
            is_error=is_error,
            name=name,
        )


def _message(role: str, parts: list[Part]) -> Message:
    if isinstance(parts[0], ToolResult):
        return Message("tool", tuple(parts))
    return Message("assistant" if role == "model" else "user", tuple(parts))


def _said(response: bytes) -> tuple[str, bool]:
    """What a tool said, out of the object Google wants around it."""
    value = decode_object(response) if response else None
    if value is not None and len(value) == 1:
        for name in ("output", "result", "error"):
            if isinstance(value.get(name), str):
                return value[name], name == "error"
    return response.decode() or "{}", False


def _media(part: Fields, raw: bytes) -> Part:
    blob = part.inner("inlineData")
    if blob is not None:
        kind, data = blob.text("mimeType") or "", blob.text("data") or ""
        if kind.startswith("image/"):
            return Image(data=data, media_type=kind)
        if kind in AUDIO_FORMATS:
            return Audio(data=data, format=AUDIO_FORMATS[kind])
        name = blob.text("displayName") or ""
        return File(data=data, media_type=kind, name=name, options=_rest(part))
    linked = part.inner("fileData")
    if linked is not None:
        kind, url = linked.text("mimeType") or "", linked.text("fileUri") or ""
        if kind.startswith("image/"):
            return Image(url=url, media_type=kind)
        return File(url=url, media_type=kind, options=_rest(part))
    if not part.rest:
        raise bad(part.where, "a part must hold something")
    return OpaquePart(SOURCE, next(iter(part.rest)), raw)


def _rest(part: Fields) -> bytes:
    rest: dict[str, Raw] = part.rest
    return msgspec.json.encode(rest) if rest else b""
