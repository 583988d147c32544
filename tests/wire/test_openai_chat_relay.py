"""OpenAI chat relayed: the bytes that came, each chunk looked at once."""

import re
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings_cases import Case
from tests.support_recordings import cases, cuts, names
from tests.wire.test_openai_chat_stream import chunk_like, flavour_of
from wire import events as ev
from wire.dialect import Head, Reading, Target
from wire.flavours import FLAVOURS
from wire.jsontext import encode
from wire.openai_chat import CHAT
from wire.openai_chat_decoder import ChatDecoder
from wire.openai_chat_relay import ChatRelay, relay_chat_response
from wire.relay import HELD_BYTES_MAX

STREAMS = [
    c
    for c in cases(family="chat", ok=True, streamed=True)
    # Mistral and Cohere are dialects of their own.
    if c.body and c.provider not in {"mistral", "cohere"}
]


def run(relay: ChatRelay, pieces: Iterable[bytes]) -> list[Reading]:
    return [*(relay.feed(piece) for piece in pieces), relay.finish()]


def total(readings: list[Reading]) -> Reading:
    """All readings of a stream as one."""
    whole = Reading()
    for reading in readings:
        whole.out += reading.out
        whole.content |= reading.content
        whole.output_chars += reading.output_chars
        whole.usage = reading.usage or whole.usage
        whole.finish = reading.finish or whole.finish
        whole.fault = reading.fault or whole.fault
        whole.done |= reading.done
        whole.events += reading.events
    return whole


def without_comments(body: bytes) -> bytes:
    return re.sub(rb"(?m)^:[^\n]*\n\n", b"", body)


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_passes_unchanged_at_any_cut(case: Case) -> None:
    """And is metered as the decoder reads it, which shares nothing but the schema."""
    decoder = ChatDecoder(case.provider, flavour_of(case))
    events = decoder.feed(case.body) + decoder.finish()
    fault = next((e for e in events if isinstance(e, ev.Fault)), None)
    usage = [e for e in events if isinstance(e, ev.Usage)]
    finish = [e for e in events if isinstance(e, ev.Finish)]
    for way, pieces in cuts(case.body, zlib.crc32(case.name.encode())).items():
        relay = ChatRelay(case.provider, flavour_of(case))
        got = total(run(relay, pieces))
        assert got.fault == fault, way
        if fault is not None:
            assert b'"error"' not in got.out
            continue
        expected = without_comments(case.body)
        if b"[DONE]" not in expected:
            expected += b"data: [DONE]\n\n"
        assert got.out == expected, way
        assert got.done
        assert got.usage == (usage[-1] if usage else None)
        assert got.finish == finish[-1].reason
        assert got.content == any(ev.is_content(e) for e in events)
        assert got.output_chars == sum(ev.output_chars(e) for e in events) - sum(
            # Arguments that the provider left out are told as "{}" in a translation.
            2
            for e in events
            if isinstance(e, ev.ToolArgsDelta)
            and e.text == "{}"
            and b'"arguments":null' in case.body
        )


def chunk(delta: str, *, finish: str = "null", more: str = "") -> bytes:
    return (
        f'data: {{"id":"c","model":"up","choices":[{{"index":0,"delta":{delta},'
        f'"finish_reason":{finish}}}]{more}}}\n\n'
    ).encode()


ROLE = chunk('{"role":"assistant","content":""}')
A = chunk('{"content":"A"}')
STOP = chunk("{}", finish='"stop"')
USAGE = (
    b'data: {"id":"c","model":"up","choices":[],"usage":{"prompt_tokens":3,'
    b'"completion_tokens":1,"total_tokens":4}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def relay(name: str = "openai", **options: object) -> ChatRelay:
    return ChatRelay(name, FLAVOURS[name], **options)


def test_nothing_comes_out_before_the_first_content() -> None:
    """So that a failed attempt leaves no trace and another candidate may try."""
    one = relay()
    for silent in (
        b": OPENROUTER PROCESSING\n\n",
        b'data: {"id":"","choices":[],"prompt_filter_results":[{"index":0}]}\n\n',
        ROLE,
        chunk('{"content":null,"tool_calls":null,"refusal":null}'),
    ):
        reading = one.feed(silent)
        assert (reading.out, reading.content) == (b"", False)
    reading = one.feed(A)
    assert reading.content
    assert reading.out.endswith(
        ROLE + chunk('{"content":null,"tool_calls":null,"refusal":null}') + A
    )
    assert b"PROCESSING" not in reading.out


@pytest.mark.parametrize(
    "delta",
    [
        '{"reasoning_content":"x"}',
        '{"reasoning":"x"}',
        '{"refusal":"x"}',
        '{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}',
        '{"function_call":{"name":"f","arguments":""}}',
        '{"audio":{"id":"a"}}',
        '{"content":[{"type":"text","text":"x"}]}',
    ],
)
def test_whatever_the_model_says_first_commits(delta: str) -> None:
    assert relay().feed(chunk(delta)).content


def test_an_answer_without_content_comes_out_at_its_end() -> None:
    one = relay()
    assert one.feed(ROLE + STOP).out == b""
    reading = one.feed(DONE)
    assert (reading.out, reading.done, reading.content) == (
        ROLE + STOP + DONE,
        True,
        False,
    )


def test_withheld_bytes_are_bounded() -> None:
    one = relay()
    padding = b'data: {"choices":[],"pad":"' + b"x" * 4096 + b'"}\n\n'
    fed = out = 0
    while not out:
        fed += len(padding)
        out += len(one.feed(padding).out)
    assert fed <= HELD_BYTES_MAX + 2 * len(padding)
    assert out == fed


def test_usage_that_only_we_asked_for_is_read_and_swallowed() -> None:
    got = total(run(relay(swallow_usage=True), [ROLE + A + STOP + USAGE + DONE]))
    assert got.usage is not None
    assert (got.usage.prompt, got.usage.completion) == (3, 1)
    assert got.out == ROLE + A + STOP + DONE


def test_usage_beside_a_choice_stays() -> None:
    """OpenRouter's last chunk holds both; the choice is the client's."""
    both = chunk("{}", finish='"stop"', more=',"usage":{"prompt_tokens":3}')
    assert total(run(relay(swallow_usage=True), [A + both + DONE])).out == (
        A + both + DONE
    )


def test_text_that_looks_like_fields_does_not_fool_the_look() -> None:
    """One typed decode: `"error"` or `"usage"` in the model's words are words."""
    said = '"error":{"message":"x"},"usage":{},"finish_reason":"stop"'
    words = said.replace('"', '\\"')
    reading = relay().feed(chunk('{"content":"' + words + '"}'))
    assert reading.fault is None
    assert reading.usage is None
    assert reading.finish is None
    assert reading.output_chars == len(said)


def test_model_is_renamed_only_at_the_top_and_only_when_asked() -> None:
    said = chunk('{"content":"\\"model\\":\\"up\\""}')
    assert relay(model="mine").feed(said).out == said.replace(
        b'"model":"up"', b'"model":"mine"', 1
    )
    nested = (
        b'data: {"moderation":{"model":"up"},"model":"up",'
        b'"choices":[{"delta":{"content":"a"}}]}\n\n'
    )
    assert relay(model="mine").feed(nested).out == (
        b'data: {"moderation":{"model":"up"},"model":"mine",'
        b'"choices":[{"delta":{"content":"a"}}]}\n\n'
    )
    spaced = b'data: {"model": "up", "choices": [{"delta": {"content": "a"}}]}\n\n'
    assert b'"model": "mine"' in relay(model="mine").feed(spaced).out
    assert relay().feed(said).out == said


@pytest.mark.parametrize("content_first", [True, False])
def test_an_error_event_is_a_fault_and_never_relayed(content_first: bool) -> None:
    error = (
        b'event: error\ndata: {"error":{"message":"boom","type":"server_error"}}\n\n'
    )
    one = relay("groq")
    first = one.feed(A if content_first else ROLE)
    assert first.content == content_first
    reading = one.feed(A + error + DONE)
    assert reading.fault is not None
    assert reading.fault.kind == "transient"
    assert reading.out == (A if content_first else b"")
    assert not reading.done
    assert one.feed(A) == Reading(), "nothing follows a fault"
    assert one.finish() == Reading()


def test_a_finish_that_is_an_error_is_a_fault() -> None:
    one = relay("deepseek")
    one.feed(A)
    reading = one.feed(A + chunk("{}", finish='"insufficient_system_resource"'))
    assert reading.fault is not None
    assert reading.out == A


def test_an_error_beside_the_first_content_leaves_no_trace() -> None:
    """Nothing has gone to the client yet, so another candidate may still answer."""
    error = b'data: {"error":{"message":"boom","type":"server_error"}}\n\n'
    reading = relay().feed(ROLE + A + error)
    assert reading.fault is not None
    assert (reading.out, reading.content, reading.output_chars) == (b"", False, 0)


@pytest.mark.parametrize("cut_after", [b"", ROLE, ROLE + A, ROLE + A + STOP[:-9]])
def test_a_stream_cut_before_its_end_is_a_fault(cut_after: bytes) -> None:
    got = total(run(relay(), [cut_after]))
    assert got.fault is not None
    assert got.fault.truncated
    assert not got.done


def test_done_is_added_where_the_server_sends_none() -> None:
    """Clients of OpenAI's dialect wait for it; GPUStack and others just close."""
    got = total(run(relay("gpustack"), [A + STOP]))
    assert got.fault is None
    assert got.out == A + STOP + DONE


def test_nothing_after_done_is_relayed() -> None:
    got = total(run(relay(), [A + STOP + DONE + A, A]))
    assert got.out == A + STOP + DONE


def test_a_cut_ends_the_clients_stream_in_its_grammar() -> None:
    """The hold is spent: finish with `length`, then `[DONE]`."""
    one = relay(model="mine")
    out = one.feed(ROLE + A).out + one.cut("length")
    decoder = ChatDecoder("openai", FLAVOURS["openai"])
    events = decoder.feed(out) + decoder.finish()
    assert events[-1] == ev.Finish("length", "length")
    assert decoder.done
    assert one.feed(A) == Reading()
    assert one.cut() == b""


def test_both_choices_are_cut() -> None:
    one = relay()
    two = b'data: {"id":"c","choices":[{"index":1,"delta":{"content":"B"}}]}\n\n'
    out = one.feed(A + two).out + one.cut()
    decoder = ChatDecoder("openai", FLAVOURS["openai"])
    finished = {e.choice for e in decoder.feed(out) if isinstance(e, ev.Finish)}
    assert finished == {0, 1}


@given(
    st.lists(chunk_like.map(encode) | st.binary(max_size=60), max_size=6),
    st.integers(0, 2**32),
)
def test_garbage_never_raises(chunks: list[bytes], seed: int) -> None:
    body = b"".join(b"data: " + c.replace(b"\n", b" ") + b"\n\n" for c in chunks)
    for pieces in cuts(body, seed).values():
        run(relay(model="mine"), pieces)
    for piece in chunks:
        relay_chat_response(piece, "x", FLAVOURS["openai"], model="mine")


WHOLE = [
    c
    for c in cases(family="chat", ok=True, streamed=False)
    if c.body and c.provider not in {"mistral", "cohere"}
]


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_recorded_answer_passes_unchanged(case: Case) -> None:
    target = Target(model="x", flavour=flavour_of(case).name)
    events = CHAT.parse_response(200, {}, case.body, target)
    reading = CHAT.relay_response(200, {}, case.body)
    assert reading.out == case.body
    assert reading.done
    usage = [e for e in events if isinstance(e, ev.Usage)]
    assert reading.usage == (usage[-1] if usage else None)
    finish = [e for e in events if isinstance(e, ev.Finish)]
    assert reading.finish == finish[-1].reason


def test_unary_model_is_renamed_only_when_asked() -> None:
    body = b'{"id":"c","model":"up","choices":[{"message":{"content":"a"}}]}'
    assert CHAT.relay_response(200, {}, body, model="mine").out == body.replace(
        b'"up"', b'"mine"'
    )


def test_an_error_inside_a_200_is_a_fault() -> None:
    reading = CHAT.relay_response(200, {}, b'{"error":{"message":"x","code":503}}')
    assert reading.fault is not None
    assert reading.out == b""


def test_relay_swallows_only_what_the_client_did_not_ask_for() -> None:
    target = Target(model="up", flavour="openai")
    for asked in (True, False):
        head = Head("m", stream=True, include_usage=asked)
        got = total(run(CHAT.relay(head, target), [A + STOP + USAGE + DONE]))
        assert (USAGE in got.out) == asked
