"""The official Anthropic client reads what we write, and nothing surprises it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import pytest

from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases, names
from wire.anthropic import MESSAGES
from wire.anthropic_errors import error_event
from wire.completion import fold
from wire.counting import TokenCount
from wire.dialect import Reply, Target
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
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
from wire.request import ChatRequest, Message, Text

ASKED = ChatRequest("m", (Message("user", (Text("hi"),)),), "anthropic")
REPLY = Reply("01TEST", 1_700_000_000, "mine")
USAGE = Usage(prompt=20, completion=9, cached=5, cache_write=3, reasoning=2)
STREAMS = cases("anthropic", family="anthropic", streamed=True)


@contextmanager
def client(
    body: bytes, status: int = 200, **headers: str
) -> Iterator[anthropic.Anthropic]:
    """An official client whose network is these bytes."""
    kind = "application/json" if body.startswith(b"{") else "text/event-stream"

    def answer(request: httpx2.Request) -> httpx2.Response:
        del request
        return httpx2.Response(
            status, headers={"content-type": kind, **headers}, content=body
        )

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        yield anthropic.Anthropic(api_key="test", http_client=http, max_retries=0)


def encoded(events: Sequence[Event], piecewise: bool = True) -> bytes:
    encoder = MESSAGES.stream_encoder(ASKED, REPLY)
    if not piecewise:
        return encoder.encode(events) + encoder.finish()
    out = [MESSAGES.heartbeat + encoder.encode([event]) for event in events]
    return b"".join(out) + encoder.finish()


def streamed(body: bytes) -> Any:
    with (
        client(body) as talk,
        talk.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        ) as stream,
    ):
        return stream.get_final_message()


def whole(body: bytes) -> Any:
    with client(body) as talk:
        return talk.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )


SIGNED = ProviderState("anthropic", "signature", "sig==")
CONVERSATION: list[Event] = [
    Start("chatcmpl-1", "gpt"),
    ReasoningDelta("let me "),
    ReasoningDelta("see"),
    ReasoningState(SIGNED),
    TextDelta("Hel"),
    TextDelta("lo 👋"),
    Citation(url="https://example.com", title="Ex", text="lo", start=0, end=7),
    ToolCallStart(0, "call_1", "f"),
    ToolArgsDelta(0, '{"x":'),
    ToolCallStart(1, "call_2", "g"),
    ToolArgsDelta(1, '{"y": 2}'),
    ToolArgsDelta(0, " 1}"),
    ToolCallEnd(0),
    ToolCallEnd(1),
    Finish("tool_calls", "tool_calls"),
    USAGE,
]


@pytest.mark.parametrize("how", ["stream", "unary"])
def test_the_client_reads_a_translated_answer(how: str) -> None:
    """Interleaved calls, usage after the end, thoughts and links: all arrive."""
    if how == "stream":
        message = streamed(encoded(CONVERSATION))
    else:
        message = whole(MESSAGES.render_response(fold(CONVERSATION), ASKED, REPLY))

    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, first, second = message.content
    assert (thinking.thinking, thinking.signature) == ("let me see", "sig==")
    assert text.text == "Hello 👋"
    assert text.citations[0].url == "https://example.com"
    assert (first.id, first.name, first.input) == ("call_1", "f", {"x": 1})
    assert (second.id, second.name, second.input) == ("call_2", "g", {"y": 2})
    assert message.stop_reason == "tool_use"
    assert message.id == "msg_01TEST"
    assert message.model == "mine"
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (12, 9)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (5, 3)
    assert usage.output_tokens_details.thinking_tokens == 2


def test_one_block_is_open_at_a_time() -> None:
    """Anthropic's grammar has no overlapping blocks, so interleaved calls wait."""
    lines = encoded(CONVERSATION, piecewise=False).decode().split("\n\n")
    names_ = [line.split("\n")[0].removeprefix("event: ") for line in lines if line]
    depth = 0
    for name in names_:
        depth += {"content_block_start": 1, "content_block_stop": -1}.get(name, 0)
        assert depth in {0, 1}
        if name == "content_block_delta":
            assert depth == 1
    assert names_[0] == "message_start"
    assert names_[-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("finish", "reason", "sequence"),
    [
        (Finish("stop", "stop"), "end_turn", None),
        (Finish("stop", "stop", stop_sequence="END"), "stop_sequence", "END"),
        (Finish("stop", "pause_turn"), "pause_turn", None),
        (Finish("length", "MAX_TOKENS"), "max_tokens", None),
        (
            Finish("length", "model_context_window_exceeded"),
            "model_context_window_exceeded",
            None,
        ),
        (Finish("content_filter", "SAFETY"), "refusal", None),
        (Finish("tool_calls", "stop"), "tool_use", None),
    ],
)
def test_every_end_has_its_word(
    finish: Finish, reason: str, sequence: str | None
) -> None:
    """Anthropic's own words survive, others get the nearest."""
    events: list[Event] = [Start(), TextDelta("x"), finish]
    for message in (
        streamed(encoded(events)),
        whole(MESSAGES.render_response(fold(events), ASKED, REPLY)),
    ):
        assert message.stop_reason == reason
        assert message.stop_sequence == sequence


def test_an_answer_without_content_is_still_a_message() -> None:
    """A filter may leave nothing; the grammar must hold all the same."""
    message = streamed(encoded([Start(), Finish("content_filter", "SAFETY")]))

    assert message.content == []
    assert message.stop_reason == "refusal"


def test_foreign_state_pictures_and_refusals_are_not_lost() -> None:
    """What Anthropic has no block for travels in the nearest one."""
    state = ProviderState("openai_responses", "encrypted", "zzz", id="rs_1")
    events: list[Event] = [
        Start(),
        ReasoningState(state),
        RefusalDelta("I cannot"),
        Media("image/png", data="aGk="),
        Media("audio/wav", data="aGk=", transcript="said"),
        TextDelta("other choice", choice=1),
        Finish("stop"),
    ]
    for message in (
        streamed(encoded(events)),
        whole(MESSAGES.render_response(fold(events), ASKED, REPLY)),
    ):
        assert message.content[0].type == "redacted_thinking"
        assert message.content[0].data.startswith("stagedoor1.")
        text = "".join(b.text for b in message.content if b.type == "text")
        assert text == "I cannot![image](data:image/png;base64,aGk=)said"


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_the_client_reads_recordings_through_the_vocabulary(case: Case) -> None:
    """Decoded and encoded again, a recording means to the client what it meant."""
    decoder = MESSAGES.stream_decoder(ASKED, Target("m"))
    events = decoder.feed(case.body)
    reading = read(case)
    direct, ours = streamed(case.body), streamed(encoded(events))

    def told(message: Any) -> list[dict[str, Any]]:
        """Its blocks, without the word that a call is an ordinary one."""
        blocks = [block.to_dict() for block in message.content]
        for block in blocks:
            if block.get("caller") == {"type": "direct"}:
                del block["caller"]
        return blocks

    assert told(ours) == told(direct)
    assert ours.stop_reason == direct.stop_reason
    assert reading.usage is not None
    assert ours.usage.output_tokens == reading.usage.completion


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        (
            Fault("client", "no", status=400),
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
        (
            Fault("client", "no", status=404, code="model_not_found"),
            anthropic.NotFoundError,
            "not_found_error",
        ),
        (
            Fault("throttle", "slow", status=429),
            anthropic.RateLimitError,
            "rate_limit_error",
        ),
        (
            Fault("throttle", "slow", status=503),
            anthropic.APIStatusError,
            "overloaded_error",
        ),
        (Fault("key", "bad", status=401), anthropic.InternalServerError, "api_error"),
        (
            Fault("transient", "oh", status=424),
            anthropic.InternalServerError,
            "api_error",
        ),
        (Fault("ours", "cap", status=402), anthropic.APIStatusError, "billing_error"),
    ],
)
def test_errors_raise_what_the_client_expects(
    fault: Fault, error: type[Exception], kind: str
) -> None:
    """An upstream's bad key is never the client's own 401."""
    answer = MESSAGES.render_error(fault)
    with (
        client(answer.body, answer.status) as talk,
        pytest.raises(error) as caught,
    ):
        talk.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )

    raised: Any = caught.value
    assert raised.type == kind
    assert raised.status_code not in {401, 403}
    assert raised.body["error"]["message"]


def test_an_error_in_the_stream_raises_after_the_text() -> None:
    """After the first byte the status is 200 and the error an event."""
    encoder = MESSAGES.stream_encoder(ASKED, REPLY)
    begun = encoder.encode([Start(), TextDelta("half")])
    fault = Fault("throttle", "overloaded", status=529)
    body = begun + MESSAGES.heartbeat + error_event(fault)
    seen: list[str] = []

    with (
        client(body) as talk,
        pytest.raises(anthropic.APIStatusError) as caught,
        talk.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        ) as stream,
    ):
        seen.extend(stream.text_stream)
    assert seen == ["half"]
    assert caught.value.type == "overloaded_error"


def test_overflow_says_the_words_agents_look_for() -> None:
    """An agent compacts on `prompt is too long`, whoever the provider was."""
    fault = Fault(
        "context", "input token count (9) exceeds the maximum (8)", status=400
    )
    answer = MESSAGES.render_error(fault)

    assert b"prompt is too long" in answer.body
    assert answer.status == 400


def test_retry_after_is_capped() -> None:
    """The client sleeps whatever it is told."""
    fault = Fault("throttle", "slow", status=429, retry_after_s=7200.0)

    assert dict(MESSAGES.render_error(fault).headers)["retry-after"] == "60"


def test_the_client_reads_a_count() -> None:
    """Claude clients probe with one token each where counting is a 404."""
    with client(MESSAGES.render_count(TokenCount(7))) as talk:
        count = talk.messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "x"}]
        )
    assert count.input_tokens == 7


def test_a_cut_stream_ends_cleanly() -> None:
    """A spent hold ends a relayed answer as max_tokens, block closed."""
    case = next(c for c in STREAMS if "text-stream-helper" in c.name)
    middle = case.body.rindex(b"event: content_block_stop")
    relay = MESSAGES.relay(
        MESSAGES.read_head(b'{"model":"m","messages":[]}', {}), Target("m")
    )
    out = relay.feed(case.body[:middle]).out + relay.cut("length")

    message = streamed(out)
    assert message.stop_reason == "max_tokens"
    assert message.content[0].text
    assert relay.cut("length") == b""


def test_a_relay_renames_only_the_model() -> None:
    """The client is answered with the name it asked for."""
    case = STREAMS[3]
    relay = MESSAGES.relay(
        MESSAGES.read_head(b'{"model":"m","messages":[]}', {}),
        Target("m"),
        model="mine",
    )
    body = relay.feed(case.body).out

    assert streamed(body).model == "mine"
    assert body.partition(b"\n\n")[2] == case.body.partition(b"\n\n")[2]
