"""What we write is what OpenAI's own client reads, and what it writes we read."""

from collections.abc import Callable, Sequence

import httpx2
import openai
import pytest

from wire import events as ev
from wire.completion import fold
from wire.dialect import Reply
from wire.openai_chat import CHAT
from wire.request import ChatRequest
from wire.sse import HEARTBEAT, comment

REPLY = Reply(id="abc", created=1_700_000_000, model="asked")

Handler = Callable[[httpx2.Request], httpx2.Response]

MESSAGES = [{"role": "user", "content": "hi"}]

ANSWER: list[ev.Event] = [
    ev.Start(id="x", model="up"),
    ev.ReasoningDelta("hm"),
    ev.TextDelta("Grüße 😀\u2028"),
    ev.TextDelta("!"),
    ev.ToolCallStart(0, "c1", "f"),
    ev.ToolArgsDelta(0, '{"a":'),
    ev.ToolArgsDelta(0, "1}"),
    ev.ToolCallEnd(0),
    ev.ToolCallStart(1, "c2", "g"),
    ev.ToolCallEnd(1),
    ev.Finish("tool_calls", "tool_use"),
    ev.Usage(prompt=10, completion=5, cached=3, reasoning=2),
]


def client(handler: Handler) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k",
        base_url="http://gateway.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handler)),
    )


def streaming(body: Callable[[ChatRequest], bytes]) -> Handler:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = CHAT.parse_request(request.content, {})
        return httpx2.Response(
            200, headers=dict(CHAT.stream_headers), content=body(asked)
        )

    return answer


def told(asked: ChatRequest, events: Sequence[ev.Event] = ANSWER) -> bytes:
    """The stream as the gateway sends it, heartbeats between the frames."""
    encoder = CHAT.stream_encoder(asked, REPLY)
    pieces = [comment("open")]
    for event in events:
        pieces += [encoder.encode([event]), HEARTBEAT]
    return b"".join((*pieces, encoder.finish()))


def test_stream_is_read_whole() -> None:
    chunks = list(
        client(streaming(told)).chat.completions.create(
            model="asked",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert "".join(d.content or "" for d in deltas) == "Grüße 😀\u2028!"
    calls = [call for d in deltas for call in d.tool_calls or []]
    assert [c.id for c in calls if c.id] == ["c1", "c2"]
    arguments = ["", ""]
    for call in calls:
        arguments[call.index] += call.function.arguments or ""
    assert arguments == ['{"a":1}', "{}"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 3
    assert {c.model for c in chunks} == {"asked"}
    assert all(c.id == "chatcmpl-abc" for c in chunks)


def test_stream_helper_builds_the_final_completion() -> None:
    """The SDK's accumulator is stricter than iteration: it wants a legal grammar."""
    with client(streaming(told)).chat.completions.stream(
        model="asked", messages=MESSAGES, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Grüße 😀\u2028!"
    assert [c.function.arguments for c in message.tool_calls] == ['{"a":1}', "{}"]


def test_unary_answer_is_read() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = CHAT.parse_request(request.content, {})
        body = CHAT.render_response(fold(ANSWER), asked, REPLY)
        return httpx2.Response(
            200, headers={"content-type": "application/json"}, content=body
        )

    got = client(answer).chat.completions.create(model="asked", messages=MESSAGES)
    assert got.choices[0].message.content == "Grüße 😀\u2028!"
    assert got.choices[0].finish_reason == "tool_calls"
    assert got.choices[0].message.tool_calls[0].function.arguments == '{"a":1}'
    assert got.usage.total_tokens == 15
    assert got.usage.completion_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (
            ev.Fault("client", "no", 404, "model_not_found"),
            openai.NotFoundError,
            "model_not_found",
        ),
        (
            ev.Fault("context", "long", 400, "context_length_exceeded"),
            openai.BadRequestError,
            "context_length_exceeded",
        ),
        (
            ev.Fault("throttle", "slow", 529, "rate_limit_exceeded", retry_after_s=3e6),
            openai.InternalServerError,
            "rate_limit_exceeded",
        ),
        (
            ev.Fault("key", "Incorrect API key provided: sk-1", 401, source="xai"),
            openai.InternalServerError,
            "upstream_credential_refused",
        ),
        (ev.Fault("transient", "oops", 408), openai.InternalServerError, None),
    ],
)
def test_errors_are_the_clients_own_classes(
    fault: ev.Fault, error: type[openai.APIStatusError], code: str | None
) -> None:
    """And our key's trouble is never shown as the client's."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        shown = CHAT.render_error(fault)
        return httpx2.Response(
            shown.status, headers=dict(shown.headers), content=shown.body
        )

    with pytest.raises(error) as caught:
        client(answer).chat.completions.create(model="m", messages=MESSAGES)
    assert caught.value.code == code
    assert "sk-1" not in str(caught.value)
    wait = caught.value.response.headers.get("retry-after")
    assert wait is None or int(wait) <= 60


def test_an_error_in_mid_stream_is_raised_not_swallowed() -> None:
    def broken(asked: ChatRequest) -> bytes:
        encoder = CHAT.stream_encoder(asked, REPLY)
        fault = ev.Fault("transient", "upstream died", 502, "upstream_truncated")
        return encoder.encode(ANSWER[:3]) + CHAT.error_event(fault)

    stream = client(streaming(broken)).chat.completions.create(
        model="asked", messages=MESSAGES, stream=True
    )
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "upstream_truncated"
