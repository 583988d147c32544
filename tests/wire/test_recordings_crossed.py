"""Conversations between clients and providers of different dialects.

Answers: every recorded answer, told to a client of every other dialect, is read back by
that dialect's own decoder and held to the independent reading of the provider's bytes.
Requests: one set of conversations goes from each client's dialect to each provider's.
Faults: recorded errors, cuts and errors in mid-stream reach each client as its own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from tests.recordings_cases import Case, Reading
from tests.recordings_reader import read
from tests.support_recordings import cases, cuts, names
from tests.support_replay import ASKED, assert_calls, drain, lower
from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.completion import fold
from wire.dialect import (
    ClientDialect,
    ProviderDialect,
    Reply,
    Target,
    finish_reason,
)
from wire.events import Event, Fault, ProviderState
from wire.gemini import PROVIDER, GeminiClient, Route
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.relay import Translation
from wire.request import (
    ChatRequest,
    Image,
    Message,
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

GEMINI = GeminiClient(Route("mine", "streamGenerateContent"))
CLIENTS: dict[str, ClientDialect] = {
    "anthropic": MESSAGES,
    "gemini": GEMINI,
    "openai": CHAT,
    "responses": RESPONSES,
}
READERS: dict[str, ProviderDialect] = {
    "anthropic": MESSAGES,
    "gemini": PROVIDER,
    "openai": CHAT,
    "responses": RESPONSES,
}
PROVIDERS: dict[str, ProviderDialect] = {
    "anthropic": MESSAGES,
    "gemini": PROVIDER,
    "chat": CHAT,
    "responses": RESPONSES,
    "converse": Bedrock(),
    "invoke": BedrockInvoke(),
    "cohere": Cohere(),
    "ollama": Ollama(),
}
FLAVOURS = {"openai-chat": "openai", "azure-openai": "azure", "ollama-openai": "ollama"}
REPLY = Reply("01TEST", 1_700_000_000, "mine")
ANSWERS = [
    case
    for family in PROVIDERS
    for case in cases(family=family, ok=True)
    if "embeddings" not in case.name and not read(case).error
]
ERRORS = [case for case in cases(ok=False) if case.family in PROVIDERS]
PAIRS = [
    pytest.param(case, client, id=f"{case.name}-{client}")
    for case in ANSWERS
    for client in CLIENTS
    if PROVIDERS[case.family] is not READERS[client]
]


def provider_of(case: Case) -> ProviderDialect:
    return Mistral() if case.provider == "mistral" else PROVIDERS[case.family]


def target_of(case: Case) -> Target:
    """The deployment a case was recorded from, as far as its reading depends on it."""
    flavour = FLAVOURS.get(case.provider, case.provider.removeprefix("compat-"))
    model = "model"
    if case.family in {"converse", "invoke"}:
        model = unquote((case.url or "").partition("/model/")[2].partition("/")[0])
    flavoured = case.family in {"chat", "responses", "gemini"}
    return Target(model, flavour=flavour if flavoured else "")


def translated(case: Case, client: str) -> Translation:
    """A recorded stream on its way to a client."""
    return Translation(
        provider_of(case).stream_decoder(ASKED, target_of(case)),
        CLIENTS[client].stream_encoder(ASKED, REPLY),
    )


def assert_told(events: list[Event], reading: Reading, client: str) -> None:
    """The client reads what the provider said."""
    assert not any(isinstance(event, Fault) for event in events)
    completion = fold(events)
    choice = completion.choices[0] if completion.choices else None
    if choice is None:  # OpenAI's stream of an answer without a word has no choice.
        assert not reading.text
        assert not reading.tool_calls
        return
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    thoughts = [part.text for part in choice.parts if isinstance(part, Reasoning)]
    if not reading.refusal:  # Where a dialect has no refusals they are text.
        assert "".join(texts) == reading.text
    assert "".join(thoughts) == reading.reasoning
    choice.parts = [
        msgspec.structs.replace(part, id=unpack(part.id)[0])
        if isinstance(part, ToolUse)
        else part
        for part in choice.parts
    ]
    assert_calls(choice, reading)
    assert choice.finish is not None
    if reading.finish is not None:
        calls = len(reading.tool_calls)
        assert finish_reason(choice.finish, calls) == reading.finish
    if reading.usage is None or (client == "openai" and completion.usage is None):
        return
    assert completion.usage is not None
    for name in ("prompt", "completion", "cached", "reasoning"):
        assert getattr(completion.usage, name) == getattr(reading.usage, name), name


@pytest.mark.parametrize(("case", "client"), PAIRS)
def test_a_recorded_answer_reaches_a_client_of_another_dialect(
    case: Case, client: str
) -> None:
    """Text, thoughts, calls, end and usage arrive; where bytes were cut is nothing."""
    reading = read(case)
    reader = READERS[client]
    if not case.streamed:
        headers = lower(case.response_headers)
        answer = provider_of(case).parse_response(
            case.status, headers, case.body, target_of(case)
        )
        body = CLIENTS[client].render_response(fold(answer), ASKED, REPLY)
        events = reader.parse_response(200, {}, body, Target("mine"))
        assert_told(events, reading, client)
        return
    bodies = set()
    for pieces in cuts(case.body, 3).values():
        stream = translated(case, client)
        readings = [stream.feed(piece) for piece in pieces]
        readings.append(stream.finish())
        assert not any(one.fault for one in readings)
        # What goes out first commits the stream: it must not be a mere greeting.
        first = next(at for at, one in enumerate(readings) if one.out)
        assert any(one.content for one in readings[: first + 1]) or readings[first].done
        bodies.add(b"".join(one.out for one in readings))
    for body in bodies:
        events = drain(reader.stream_decoder(ASKED, Target("mine")), [body])
        assert_told(events, reading, client)


def test_the_recordings_are_there() -> None:
    """An empty set would pass in silence."""
    assert len(ANSWERS) >= 170
    assert len(PAIRS) >= 400


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "case",
    [case for case in ANSWERS if case.streamed],
    ids=names([case for case in ANSWERS if case.streamed]),
)
def test_a_cut_answer_is_an_error_in_the_clients_dialect(
    case: Case, client: str
) -> None:
    """Half an answer is never a whole one, and what came of it was relayed."""
    stream = translated(case, client)
    half = stream.feed(case.body[: len(case.body) // 2])
    end = stream.finish()
    fault = half.fault or end.fault
    assert fault is not None
    assert fault.kind == "transient"
    assert not end.done

    body = half.out + end.out + CLIENTS[client].error_event(fault)
    events = drain(READERS[client].stream_decoder(ASKED, Target("mine")), [body])
    assert isinstance(events[-1], Fault)
    assert events[-1].kind == "transient"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", ERRORS, ids=names(ERRORS))
def test_a_recorded_error_reaches_every_client_as_its_own(
    case: Case, client: str
) -> None:
    """Overflow stays overflow, a throttle a throttle; our bad key is nobody's 401."""
    provider = provider_of(case)
    fault = provider.classify_error(
        case.status, lower(case.response_headers), case.body, target_of(case)
    )
    error = read(case).error
    assert error is not None
    assert fault.kind == error.kind

    answer = CLIENTS[client].render_error(fault)
    assert answer.status not in {401, 403}
    again = READERS[client].classify_error(
        answer.status, dict(answer.headers), answer.body, Target("mine")
    )
    expected = "transient" if fault.kind == "key" else fault.kind
    assert again.kind == expected
    if fault.code in {"context_length_exceeded", "model_not_found"}:
        assert again.code == fault.code


# ----------------------------------------------------------------------- requests

USER = Message("user", (Text("What is the weather in Paris and Rome?"),))
TOOL = Tool(
    "weather",
    description="Look it up.",
    parameters=b'{"type":"object","properties":{"city":{"type":"string"}}}',
)
CALLS = Message(
    "assistant",
    (
        Text("Let me look."),
        ToolUse("call_1", "weather", '{"city":"Paris"}'),
        ToolUse("call_2", "weather", '{"city":"Rome"}'),
    ),
)
RESULTS = (
    Message("tool", (ToolResult("call_1", (Text("rain"),), name="weather"),)),
    Message("tool", (ToolResult("call_2", (Text("sun"),), name="weather"),)),
)
PICTURE = Image(data="iVBORw0KGgo=", media_type="image/png")
SCHEMA = ResponseFormat(
    "json_schema", name="answer", schema=b'{"type":"object"}', strict=True
)


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    fields = {"max_output_tokens": 500, **fields}
    return ChatRequest("mine", messages, "test", **fields)


CONVERSATIONS: dict[str, ChatRequest] = {
    "plain": asked(USER),
    "system": asked(Message("system", (Text("Be brief."),)), USER),
    "multi-turn": asked(
        USER, Message("assistant", (Text("Where?"),)), Message("user", (Text("Here"),))
    ),
    "tools": asked(USER, tools=(TOOL,), tool_choice=ToolChoice("auto")),
    "forced tool": asked(
        USER, tools=(TOOL,), tool_choice=ToolChoice("tool", name="weather")
    ),
    "parallel results": asked(USER, CALLS, *RESULTS, tools=(TOOL,)),
    "image": asked(Message("user", (Text("What is this?"), PICTURE))),
    "schema": asked(USER, response_format=SCHEMA),
    "reasoning": asked(USER, reasoning=ReasoningWish(effort="low")),
    "stop and sampling": asked(USER, stop=("END",), temperature=0.5),
    "streamed": asked(USER, stream=True, include_usage=True),
}
SIDES: dict[str, tuple[ClientDialect, ProviderDialect, Target]] = {
    "anthropic": (MESSAGES, MESSAGES, Target("claude-sonnet-4-5")),
    "gemini": (GEMINI, PROVIDER, Target("gemini-2.5-flash")),
    "openai": (CHAT, CHAT, Target("gpt-4.1", flavour="openai")),
    "responses": (RESPONSES, RESPONSES, Target("gpt-4.1", flavour="openai")),
}
ONLY_PROVIDERS: dict[str, tuple[ProviderDialect, Target]] = {
    "bedrock": (Bedrock(), Target("us.anthropic.claude-sonnet-4-5-20250929-v1:0")),
    "cohere": (Cohere(), Target("command-a-03-2025")),
    "mistral": (Mistral(), Target("mistral-large-latest")),
    "ollama": (Ollama(), Target("llama3")),
}


def essence(request: ChatRequest) -> dict[str, Any]:
    """What must survive any pair of dialects; ids of calls become their numbers."""
    order: dict[str, int] = {}
    turns: list[tuple[str, list[Any]]] = []
    for message in request.messages:
        role = "system" if message.role == "developer" else message.role
        parts: list[Any] = []
        for part in message.parts:
            match part:
                case Text():
                    parts.append(part.text)
                case Image():
                    parts.append((part.media_type, part.data))
                case ToolUse():
                    at = order.setdefault(part.id, len(order))
                    arguments = msgspec.json.decode(part.arguments)
                    parts.append(("call", at, part.name, arguments))
                case ToolResult():
                    said = [one.text for one in part.parts if isinstance(one, Text)]
                    at = order.setdefault(part.tool_use_id, len(order))
                    parts.append(("result", at, *said))
                case _:
                    pass
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(parts)
        else:
            turns.append((role, parts))
    choice = request.tool_choice
    form = request.response_format
    return {
        "turns": turns,
        "tools": [
            (tool.name, tool.description, msgspec.json.decode(tool.parameters))
            for tool in request.tools
        ],
        "choice": (choice.mode, choice.name) if choice else None,
        "schema": msgspec.json.decode(form.schema) if form and form.schema else None,
        "stop": request.stop,
        "temperature": request.temperature,
        "most": request.max_output_tokens,
        "stream": request.stream,
    }


def body_of(side: str, request: ChatRequest) -> bytes:
    """The body a client of this dialect would send for the conversation."""
    _, provider, target = SIDES[side]
    return provider.build_request(request, target).body


def client_of(side: str, *, stream: bool) -> ClientDialect:
    """A Gemini client says in its path whether it streams."""
    if side != "gemini":
        return SIDES[side][0]
    method = "streamGenerateContent" if stream else "generateContent"
    return GeminiClient(Route("mine", method))


@pytest.mark.parametrize("client", SIDES)
@pytest.mark.parametrize("provider", SIDES)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_survives_any_pair(
    client: str, provider: str, name: str
) -> None:
    """From the client's dialect to the provider's, and read there again."""
    conversation = CONVERSATIONS[name]
    sent = body_of(client, conversation)
    parsed = client_of(client, stream=conversation.stream).parse_request(sent, {})
    arrived = SIDES[provider][1].build_request(parsed, SIDES[provider][2]).body
    read_there = client_of(provider, stream=conversation.stream).parse_request(
        arrived, {}
    )

    arrived_there, wanted = essence(read_there), essence(conversation)
    if "responses" in {client, provider}:  # OpenAI's Responses have no stop sequences.
        arrived_there["stop"] = wanted["stop"]
    assert arrived_there == wanted
    if name == "reasoning" and provider != "openai":
        assert read_there.reasoning is None or read_there.reasoning.enabled is not False


@pytest.mark.parametrize("client", SIDES)
@pytest.mark.parametrize("provider", ONLY_PROVIDERS)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_reaches_providers_without_clients(
    client: str, provider: str, name: str
) -> None:
    """These dialects we only send: the body is JSON that holds every word."""
    conversation = CONVERSATIONS[name]
    sent = body_of(client, conversation)
    parsed = client_of(client, stream=conversation.stream).parse_request(sent, {})
    dialect, target = ONLY_PROVIDERS[provider]
    upstream = dialect.build_request(parsed, target)

    assert isinstance(msgspec.json.decode(upstream.body), dict)
    for message in conversation.messages:
        for part in message.parts:
            if isinstance(part, Text):
                assert part.text.encode() in upstream.body
            elif isinstance(part, ToolUse):
                assert part.name.encode() in upstream.body


@pytest.mark.parametrize("client", ["anthropic", "openai"])
def test_googles_signature_goes_round_through_other_clients(client: str) -> None:
    """Answer with a signed call, echo by the client, next request to Google."""
    case = next(c for c in ANSWERS if c.name == "gemini/fixture-stream-tool-call")
    signature = read(case).signatures[0]
    stream = translated(case, client)
    told = stream.feed(case.body).out + stream.finish().out
    answer = fold(drain(READERS[client].stream_decoder(ASKED, Target("m")), [told]))
    call = next(p for p in answer.choices[0].parts if isinstance(p, ToolUse))
    history = asked(
        USER,
        Message("assistant", (call,)),
        Message("tool", (ToolResult(call.id, (Text("rain"),), name=call.name),)),
        tools=(TOOL,),
    )
    echoed = CLIENTS[client].parse_request(body_of(client, history), {})
    sent = PROVIDER.build_request(echoed, Target("gemini-3-pro-preview"))

    parts = msgspec.json.decode(sent.body)["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == signature
    assert "id" not in parts[0]["functionCall"]


@pytest.mark.parametrize("client", ["gemini"])
def test_anthropics_signature_goes_round_through_other_clients(client: str) -> None:
    """A signed thought, echo by the client, next request to Anthropic."""
    case = next(
        c for c in ANSWERS if "messages-stream-tools-thinking--tool-chain" in c.name
    )
    stream = translated(case, client)
    told = stream.feed(case.body).out + stream.finish().out
    answer = fold(drain(READERS[client].stream_decoder(ASKED, Target("m")), [told]))
    signed = [p for p in answer.choices[0].parts if isinstance(p, Reasoning)]
    assert signed[0].state is not None
    history = asked(
        USER,
        Message("assistant", tuple(p for p in answer.choices[0].parts)),  # type: ignore[arg-type]
    )
    echoed = CLIENTS[client].parse_request(body_of(client, history), {})
    sent = MESSAGES.build_request(echoed, Target("claude-sonnet-4-5"))

    blocks = msgspec.json.decode(sent.body)["messages"][1]["content"]
    assert blocks[0] == {
        "type": "thinking",
        "thinking": read(case).reasoning,
        "signature": read(case).signatures[0],
    }
    assert ProviderState("anthropic", "signature", blocks[0]["signature"])
