"""The official Google client reads what we write, and nothing surprises it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import msgspec
import pytest
from google import genai
from google.genai import errors, types

from tests.recordings_cases import Case
from tests.support_recordings import cases, names
from wire.completion import fold
from wire.counting import TokenCount
from wire.dialect import Head, Reply, Target
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Logprobs,
    Media,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.gemini import PROVIDER, GeminiClient, Route, parse_path
from wire.request import ChatRequest, Message, Reasoning, Text, ToolResult, ToolUse

ASKED = ChatRequest("m", (Message("user", (Text("hi"),)),), "gemini", stream=True)
REPLY = Reply("01TEST", 1_700_000_000, "mine")
STREAM = GeminiClient(Route("m", "streamGenerateContent"))
SSE = [
    case
    for case in cases("gemini", "vertex", family="gemini", streamed=True, ok=True)
    if case.response_file == "response.sse"
]


@contextmanager
def client(
    body: bytes, status: int = 200, seen: list[httpx2.Request] | None = None
) -> Iterator[genai.Client]:
    """An official client whose network is these bytes."""
    kind = "application/json" if body[:1] in b"[{" else "text/event-stream"

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        options = types.HttpOptions(httpx_client=http)  # type: ignore[arg-type]
        talk = genai.Client(api_key="test", vertexai=False, http_options=options)
        yield talk
        talk.close()


def encoded(events: Sequence[Event], client_: GeminiClient = STREAM) -> bytes:
    encoder = client_.stream_encoder(ASKED, REPLY)
    out = [encoder.encode([event]) + client_.heartbeat for event in events]
    return b"".join(out) + encoder.finish()


def streamed(body: bytes) -> list[Any]:
    with client(body) as talk:
        return list(talk.models.generate_content_stream(model="m", contents="x"))


def whole(body: bytes) -> Any:
    with client(body) as talk:
        return talk.models.generate_content(model="m", contents="x")


def parts_of(chunks: Sequence[Any]) -> list[Any]:
    return [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        for part in (candidate.content and candidate.content.parts) or ()
    ]


SIGNED = ProviderState("gemini", "thought_signature", "c2ln")
CONVERSATION: list[Event] = [
    Start("chatcmpl-1", "gpt"),
    ReasoningDelta("let me see"),
    TextDelta("Hel"),
    TextDelta("lo 👋\u2028"),
    Citation(url="https://example.com", title="Ex", text="lo"),
    ToolCallStart(0, "call_1", "f", state=SIGNED),
    ToolArgsDelta(0, '{"x":'),
    ToolCallStart(1, "call_2", "g"),
    ToolArgsDelta(1, '{"y": 2}'),
    ToolArgsDelta(0, " 1}"),
    ToolCallEnd(0),
    ToolCallEnd(1),
    Finish("tool_calls", "tool_calls"),
    Usage(prompt=20, completion=9, cached=5, reasoning=2),
]


@pytest.mark.parametrize("how", ["stream", "unary"])
def test_the_client_reads_a_translated_answer(how: str) -> None:
    """Interleaved calls, usage after the end, thoughts and links: all arrive."""
    if how == "stream":
        chunks = streamed(encoded(CONVERSATION))
    else:
        chunks = [whole(STREAM.render_response(fold(CONVERSATION), ASKED, REPLY))]
    parts, last = parts_of(chunks), chunks[-1]

    assert "".join(p.text or "" for p in parts if p.thought) == "let me see"
    text = "".join(p.text or "" for p in parts if not p.thought)
    assert text == "Hello 👋\u2028"
    calls = [p for p in parts if p.function_call]
    assert [c.function_call.name for c in calls] == ["f", "g"]
    assert [c.function_call.args for c in calls] == [{"x": 1}, {"y": 2}]
    assert [c.function_call.id for c in calls] == ["call_1", "call_2"]
    assert [c.thought_signature for c in calls] == [b"sig", None]
    assert last.candidates[0].finish_reason == types.FinishReason.STOP
    web = last.candidates[0].grounding_metadata.grounding_chunks[0].web
    assert (web.uri, web.title) == ("https://example.com", "Ex")
    usage = last.usage_metadata
    assert usage.prompt_token_count == 20
    assert usage.candidates_token_count == 7
    assert usage.thoughts_token_count == 2
    assert usage.total_token_count == 29
    assert usage.cached_content_token_count == 5
    assert (last.model_version, last.response_id) == ("mine", "01TEST")


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("stop", "end_turn"), "STOP"),
        (Finish("tool_calls", "tool_use"), "STOP"),
        (Finish("length", "max_tokens"), "MAX_TOKENS"),
        (Finish("content_filter", "refusal"), "SAFETY"),
        (Finish("content_filter", "RECITATION"), "RECITATION"),
    ],
)
def test_every_end_has_its_word(finish: Finish, word: str) -> None:
    """Google's own words survive, others get the nearest."""
    events: list[Event] = [Start(), TextDelta("x"), finish]
    unary = STREAM.render_response(fold(events), ASKED, REPLY)
    for chunks in (streamed(encoded(events)), [whole(unary)]):
        assert chunks[-1].candidates[0].finish_reason.name == word


def test_choices_keep_apart() -> None:
    """A client may ask for several candidates; their parts never mix."""
    events: list[Event] = [
        Start(),
        TextDelta("a", choice=0),
        TextDelta("b", choice=1),
        TextDelta("c", choice=0),
        Finish("stop", choice=0),
        Finish("length", choice=1),
    ]
    encoder = STREAM.stream_encoder(ASKED, REPLY)
    chunks = streamed(encoder.encode(events) + encoder.finish())

    texts: dict[int, str] = {0: "", 1: ""}
    for chunk in chunks:
        for candidate in chunk.candidates:
            texts[candidate.index or 0] += candidate.content.parts[0].text
    assert texts == {0: "ac", 1: "b"}
    ends = [candidate.finish_reason.name for candidate in chunks[-1].candidates]
    assert ends == ["STOP", "MAX_TOKENS"]


def test_pictures_and_refusals_are_not_lost() -> None:
    """A picture is inline data, a refusal is text."""
    events: list[Event] = [
        Start(),
        RefusalDelta("I cannot"),
        Media("image/png", data="aGk="),
        Finish("stop"),
    ]
    parts = parts_of(streamed(encoded(events)))

    assert parts[0].text == "I cannot"
    assert parts[1].inline_data.data == b"hi"


@pytest.mark.parametrize("how", ["stream", "unary"])
def test_log_probabilities_arrive_and_go_back(how: str) -> None:
    """OpenAI tells them piece by piece, Google at the end; both ways agree."""
    token = {"token": "x", "logprob": -0.5, "bytes": [120]}
    said = msgspec.json.encode(
        {"content": [{**token, "top_logprobs": [token]}], "refusal": None}
    )
    events: list[Event] = [Start(), TextDelta("x"), Logprobs(said), Finish("stop")]
    if how == "stream":
        body = encoded(events)
        last = streamed(body)[-1]
        again = PROVIDER.stream_decoder(ASKED, Target("m")).feed(body)
    else:
        body = STREAM.render_response(fold(events), ASKED, REPLY)
        last = whole(body)
        again = PROVIDER.parse_response(200, {}, body, Target("m"))

    result = last.candidates[0].logprobs_result
    assert result.chosen_candidates[0].token == "x"
    assert result.top_candidates[0].candidates[0].log_probability == -0.5
    found = next(event for event in again if isinstance(event, Logprobs))
    assert msgspec.json.decode(found.data) == msgspec.json.decode(said)


@pytest.mark.parametrize("case", SSE, ids=names(SSE))
def test_the_client_reads_recordings_through_us(case: Case) -> None:
    """Relayed or decoded and encoded again, a recording means what it meant."""
    target = Target("m", flavour=case.provider)
    decoder = PROVIDER.stream_decoder(ASKED, target)
    events = decoder.feed(case.body) + decoder.finish()
    relay = STREAM.relay(Head("m"), target)
    relayed = relay.feed(case.body).out + relay.finish().out

    direct = streamed(case.body)
    assert [c.model_dump(exclude={"sdk_http_response"}) for c in streamed(relayed)] == [
        c.model_dump(exclude={"sdk_http_response"}) for c in direct
    ]
    ours = streamed(encoded(events))
    said = "".join(part.text or "" for part in parts_of(direct))
    assert "".join(part.text or "" for part in parts_of(ours)) == said
    assert [p.thought_signature for p in parts_of(ours) if p.thought_signature] == [
        p.thought_signature for p in parts_of(direct) if p.thought_signature
    ]


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        (Fault("client", "no", status=400, param="contents"), 400, "INVALID_ARGUMENT"),
        (Fault("client", "no", status=404, code="model_not_found"), 404, "NOT_FOUND"),
        (
            Fault("throttle", "slow", status=429, retry_after_s=9),
            429,
            "RESOURCE_EXHAUSTED",
        ),
        (Fault("key", "bad", status=401), 502, "UNAVAILABLE"),
        (Fault("transient", "oh", status=424), 502, "UNAVAILABLE"),
        (Fault("ours", "cap", status=402), 402, "FAILED_PRECONDITION"),
    ],
)
def test_errors_raise_what_the_client_expects(
    fault: Fault, status: int, word: str
) -> None:
    """An upstream's bad key is never the client's own 401; both framings raise."""
    array = GeminiClient(Route("m", "streamGenerateContent", sse=False))
    for answer in (STREAM.render_error(fault), array.render_error(fault)):
        with (
            client(answer.body, answer.status) as talk,
            pytest.raises(errors.APIError) as caught,
        ):
            list(talk.models.generate_content_stream(model="m", contents="x"))

        assert caught.value.code == status
        assert caught.value.status == word


def test_an_error_in_the_stream_raises_after_the_text() -> None:
    """After the first byte the status is 200 and the error a chunk."""
    encoder = STREAM.stream_encoder(ASKED, REPLY)
    body = encoder.encode([Start(), TextDelta("half")]) + STREAM.heartbeat
    body += STREAM.error_event(Fault("throttle", "overloaded", status=503))
    seen: list[str | None] = []

    with client(body) as talk:
        chunks = talk.models.generate_content_stream(model="m", contents="x")
        seen.append(next(chunks).text)
        with pytest.raises(errors.APIError) as caught:
            next(chunks)
    assert seen == ["half"]
    assert caught.value.code == 503


def test_the_client_reads_a_count() -> None:
    """Cached tokens are told where a named cache holds some."""
    with client(STREAM.render_count(TokenCount(7, cached=3))) as talk:
        count = talk.models.count_tokens(model="m", contents="x")
    assert (count.total_tokens, count.cached_content_token_count) == (7, 3)


def test_what_the_client_sends_is_understood() -> None:
    """A real conversation of the official client: schema, tools, results, thoughts."""
    seen: list[httpx2.Request] = []
    contents: list[Any] = [
        types.Content(role="user", parts=[types.Part(text="hi")]),
        types.Content(
            role="model",
            parts=[
                types.Part(text="hm", thought=True),
                types.Part(text="", thought=True, thought_signature=b"sig"),
                types.Part(
                    function_call=types.FunctionCall(name="f", args={"x": 1}),
                    thought_signature=b"sig",
                ),
            ],
        ),
        types.Content(
            role="user",
            parts=[
                types.Part.from_function_response(name="f", response={"output": "1"})
            ],
        ),
    ]
    config = types.GenerateContentConfig(
        system_instruction="be brief",
        temperature=0.5,
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(
                        name="f",
                        parameters=types.Schema(
                            type=types.Type.OBJECT,
                            properties={"x": types.Schema(type=types.Type.INTEGER)},
                        ),
                    )
                ]
            )
        ],
        thinking_config=types.ThinkingConfig(
            include_thoughts=True, thinking_budget=512
        ),
    )
    with client(encoded(CONVERSATION), seen=seen) as talk:
        list(
            talk.models.generate_content_stream(
                model="gemini-2.5-flash", contents=contents, config=config
            )
        )

    asked = seen[0]
    route = parse_path(asked.url.path, asked.url.query.decode())
    assert route == Route("gemini-2.5-flash", "streamGenerateContent")
    assert route is not None
    request = GeminiClient(route).parse_request(asked.content, {})
    system, user, model, tool = request.messages
    assert system.parts == (Text("be brief"),)
    assert user.parts == (Text("hi"),)
    assert model.parts[0] == Reasoning("hm", SIGNED, summary=True)
    use = model.parts[1]
    assert isinstance(use, ToolUse)
    assert use.state == SIGNED
    assert isinstance(tool.parts[0], ToolResult)
    assert tool.parts[0].tool_use_id == use.id
    assert tool.parts[0].parts[0] == Text("1")
    assert request.reasoning is not None
    assert request.reasoning.budget_tokens == 512


def test_foreign_state_survives_this_client() -> None:
    """Anthropic's signature inside Google's, through a client that decodes base64."""
    foreign = ProviderState("anthropic", "signature", "sig==")
    events: list[Event] = [
        Start(),
        ReasoningDelta("hm"),
        ReasoningState(foreign),
        ToolCallStart(0, "c", "f", state=ProviderState("x", "y", "z")),
        ToolCallEnd(0),
        Finish("tool_calls"),
    ]
    parts = parts_of(streamed(encoded(events)))
    seen: list[httpx2.Request] = []
    history: Any = [
        types.Content(role="user", parts=[types.Part(text="hi")]),
        types.Content(role="model", parts=parts),
    ]
    with client(encoded(events), seen=seen) as talk:
        list(talk.models.generate_content_stream(model="m", contents=history))

    request = STREAM.parse_request(seen[0].content, {})
    thought, use = request.messages[1].parts[:2]
    assert thought == Reasoning("hm", foreign, summary=True)
    assert isinstance(use, ToolUse)
    assert (use.id, use.state) == ("c", ProviderState("x", "y", "z"))
