"""OpenAI chat answers: recorded chunks into events, events into chunks and back."""

import zlib
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import recordings_reader
from tests.recordings_cases import Case, parsed
from tests.support_recordings import cases, cuts, names
from wire import events as ev
from wire.completion import fold
from wire.dialect import Reply
from wire.flavours import FLAVOURS, Flavour, flavour
from wire.openai_chat_decoder import ChatDecoder, ChunkReader
from wire.openai_chat_encoder import ChatEncoder, render
from wire.request import ChatRequest, Reasoning, Refusal, Text, ToolUse

FLAVOUR_OF = {
    "openai-chat": "openai",
    "azure-openai": "azure",
    "ollama-openai": "ollama",
    "gemini-openai-compat": "gemini-openai",
}


def flavour_of(case: Case) -> Flavour:
    name = FLAVOUR_OF.get(case.provider, case.provider.removeprefix("compat-"))
    return flavour(name)


CHAT = [c for c in cases(family="chat", ok=True) if c.body]
STREAMS = [c for c in CHAT if c.streamed]
WHOLE = [c for c in CHAT if not c.streamed]


def seed_of(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def decode(case: Case, pieces: Iterable[bytes]) -> list[ev.Event]:
    decoder = ChatDecoder(case.provider, flavour_of(case))
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


def same_as_reader(case: Case, events: Sequence[ev.Event]) -> None:
    """Compare with the independent reader, which shares no code with the codec."""
    expected = recordings_reader.read(case)
    got = fold(events)
    faults = [event for event in events if isinstance(event, ev.Fault)]
    if expected.error is not None:
        assert len(faults) == 1
        assert faults[0].message == expected.error.message
        return
    assert not faults
    for index, choice in expected.choices.items():
        mine = next(c for c in got.choices if c.index == index)
        parts = mine.parts
        assert "".join(p.text for p in parts if isinstance(p, Text)) == choice.text
        assert (
            "".join(p.text for p in parts if isinstance(p, Reasoning))
            == choice.reasoning
        )
        assert (
            "".join(p.text for p in parts if isinstance(p, Refusal)) == choice.refusal
        )
        calls = [p for p in parts if isinstance(p, ToolUse)]
        assert [(c.name, parsed(c.arguments)) for c in calls] == [
            (
                c.name,
                parsed(c.arguments) if isinstance(c.arguments, str) else c.arguments,
            )
            for c in choice.tool_calls
        ]
        assert mine.finish is not None
        assert mine.finish.raw == choice.finish_raw
        finish = choice.finish
        if calls and finish == "stop":
            finish = "tool_calls"
        assert mine.finish.reason == finish
    if expected.usage is None:
        assert got.usage is None
    else:
        assert got.usage is not None
        assert got.usage.prompt == expected.usage.prompt
        assert got.usage.completion == expected.usage.completion
        assert got.usage.cached == expected.usage.cached
        assert got.usage.cache_write == expected.usage.cache_write
        assert got.usage.reasoning == expected.usage.reasoning
    assert got.start.model == (expected.model or "")


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_reads_the_same_at_any_cut(case: Case) -> None:
    expected: list[ev.Event] | None = None
    for way, pieces in cuts(case.body, seed_of(case)).items():
        events = decode(case, pieces)
        if expected is None:
            expected = events
            same_as_reader(case, events)
        assert events == expected, way


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_recorded_answer_reads_as_the_independent_reader_says(case: Case) -> None:
    reader = ChunkReader(case.provider, flavour_of(case))
    same_as_reader(case, reader.read(case.body))


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_cut_anywhere_is_never_a_silent_stop(case: Case) -> None:
    """Every cut before the last choice's finish is a truncation fault."""
    events = decode(case, [case.body])
    if any(isinstance(event, ev.Fault) for event in events):
        return
    finish_at = case.body.rfind(b'"finish_reason":"')
    if finish_at < 0:
        finish_at = case.body.rfind(b'"finish_reason": "')
    for at in range(0, finish_at, max(1, finish_at // 40)):
        decoder = ChatDecoder(case.provider, flavour_of(case))
        cut_events = decoder.feed(case.body[:at]) + decoder.finish()
        fault = cut_events[-1]
        assert isinstance(fault, ev.Fault)
        assert fault.truncated


REPLY = Reply(id="abc123", created=1_700_000_000, model="asked-model")


def request(*, include_usage: bool = True) -> ChatRequest:
    return ChatRequest("asked-model", (), "openai_chat", include_usage=include_usage)


def emit(events: Sequence[ev.Event], step: int = 1) -> bytes:
    encoder = ChatEncoder(request(), REPLY)
    out = b"".join(
        encoder.encode(events[at : at + step]) for at in range(0, len(events), step)
    )
    return out + encoder.finish()


def plain(events: Sequence[ev.Event]) -> list[ev.Event]:
    """Events as OpenAI's dialect can tell them: no block numbers, our names and ids."""
    kept: list[ev.Event] = []
    for event in events:
        match event:
            case ev.Start():
                kept.append(msgspec.structs.replace(event, id="", model=""))
            case ev.Usage():
                kept.append(
                    msgspec.structs.replace(
                        event, searches=0, cost_microusd=None, total_reported=None
                    )
                )
            case ev.Finish():
                kept.append(msgspec.structs.replace(event, raw=event.reason))
            case _:
                kept.append(event)
    # Usage has its own chunk at the end.
    usage = [event for event in kept if isinstance(event, ev.Usage)]
    return [event for event in kept if not isinstance(event, ev.Usage)] + usage[-1:]


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_a_stream_told_again_says_the_same(case: Case) -> None:
    """Decode, encode, decode: nothing of the answer is lost or doubled."""
    events = decode(case, [case.body])
    if any(isinstance(event, ev.Fault) for event in events):
        return
    again = ChatDecoder("openai", FLAVOURS["openai"])
    told = again.feed(emit(events)) + again.finish()
    if not any(isinstance(event, ev.Usage) for event in events):
        told = [event for event in told if not isinstance(event, ev.Usage)]
    assert plain(told) == plain(events)


# Surrogates are no text; everything else may come out of a model.
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ids = st.text("abcXYZ019_-", min_size=1, max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> list[ev.Event]:
    """Event streams that keep the rules of `wire.events`."""
    events: list[ev.Event] = [ev.Start(id="chatcmpl-1", model="asked-model", created=7)]
    for choice in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(st.sampled_from("tttrfc"), max_size=8))
        calls = 0
        for kind in kinds:
            match kind:
                case "t":
                    events.append(ev.TextDelta(draw(words), choice))
                case "r":
                    events.append(ev.ReasoningDelta(draw(words), choice))
                case "f":
                    events.append(ev.RefusalDelta(draw(words), choice))
                case _:
                    state = draw(
                        st.none()
                        | st.builds(ev.ProviderState, words, words, words, words)
                    )
                    custom = draw(st.booleans())
                    events.append(
                        ev.ToolCallStart(
                            calls,
                            f"{draw(ids)}{calls}",
                            draw(ids),
                            choice,
                            custom,
                            state,
                        )
                    )
                    events += [
                        ev.ToolArgsDelta(calls, piece, choice)
                        for piece in draw(st.lists(words, min_size=1, max_size=3))
                    ]
                    events.append(ev.ToolCallEnd(calls, choice))
                    calls += 1
        reason = draw(st.sampled_from(["stop", "length", "content_filter"]))
        reason = "tool_calls" if calls and reason == "stop" else reason
        events.append(ev.Finish(reason, reason, choice))
    completion = draw(st.integers(0, 10**6))
    events.append(
        ev.Usage(
            prompt=draw(st.integers(0, 10**6)), completion=completion, total_reported=1
        )
    )
    return events


def unpacked(events: Sequence[ev.Event]) -> list[ev.Event]:
    """Take the state out of the ids again, as the request parser does."""
    from wire.toolids import unpack  # noqa: PLC0415 - only this helper needs it

    out: list[ev.Event] = []
    for event in events:
        if isinstance(event, ev.ToolCallStart):
            call_id, state = unpack(event.id)
            event = msgspec.structs.replace(event, id=call_id, state=state)  # noqa: PLW2901
        out.append(event)
    return out


@given(answers(), st.integers(1, 5), st.integers(0, 2**32))
def test_what_is_encoded_is_decoded(
    events: list[ev.Event], step: int, seed: int
) -> None:
    wire = emit(events, step)
    for way, pieces in cuts(wire, seed).items():
        decoder = ChatDecoder("openai", FLAVOURS["openai"])
        told = [event for piece in pieces for event in decoder.feed(piece)]
        told += decoder.finish()
        assert plain(unpacked(told)) == plain(events), way
        assert decoder.done


@given(answers())
def test_an_answer_rendered_whole_says_what_the_stream_said(
    events: list[ev.Event],
) -> None:
    body = render(fold(events), request(), REPLY)
    told = unpacked(ChunkReader("openai", FLAVOURS["openai"]).read(body))
    mine, theirs = fold(told), fold(events)

    def texts(parts: Sequence[object], kind: type) -> str:
        return "".join(getattr(p, "text", "") for p in parts if isinstance(p, kind))

    for one, other in zip(mine.choices, theirs.choices, strict=True):
        for kind in (Text, Reasoning, Refusal):
            assert texts(one.parts, kind) == texts(other.parts, kind)
        assert [p for p in one.parts if isinstance(p, ToolUse)] == [
            p for p in other.parts if isinstance(p, ToolUse)
        ]
        assert one.finish is not None
        assert other.finish is not None
        assert one.finish.reason == other.finish.reason


FIELDS = (
    *("choices", "delta", "message", "content", "tool_calls", "function", "index"),
    *("id", "name", "arguments", "finish_reason", "usage", "error", "x_groq", "audio"),
    *("images", "text", "annotations", "url_citation", "logprobs", "google"),
    *("reasoning_details", "extra_content", "citations"),
)

chunk_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(
    st.lists(chunk_like.map(msgspec.json.encode) | st.binary(max_size=60), max_size=6)
)
def test_garbage_never_raises(chunks: list[bytes]) -> None:
    """Whatever a server puts in its fields: events or a fault, never an exception."""
    decoder = ChatDecoder("openai-compatible", flavour("openai-compatible"))
    for chunk in chunks:
        decoder.feed(b"data: " + chunk.replace(b"\n", b" ") + b"\n\n")
    decoder.finish()
    ChunkReader("x", flavour("x")).read(b"".join(chunks))


def chunks(*deltas: str, finish: str = "stop") -> bytes:
    body = "".join(
        f'data: {{"id":"c1","choices":[{{"index":0,"delta":{d}}}]}}\n\n' for d in deltas
    )
    end = f'data: {{"id":"c1","choices":[{{"delta":{{}},"finish_reason":"{finish}"}}]}}'
    return f"{body}{end}\n\ndata: [DONE]\n\n".encode()


def read(body: bytes, name: str = "openai-compatible") -> list[ev.Event]:
    decoder = ChatDecoder(name, flavour(name))
    return decoder.feed(body) + decoder.finish()


def calls_of(events: Sequence[ev.Event]) -> list[tuple[str, str, str]]:
    return [
        (part.id, part.name, part.arguments)
        for part in fold(events).choices[0].parts
        if isinstance(part, ToolUse)
    ]


def test_parallel_calls_all_at_index_0_are_told_apart_by_their_ids() -> None:
    """Google's compatible endpoint numbers none of them."""
    one = (
        '{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}'
    )
    two = (
        '{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"[]"}}]}'
    )
    assert calls_of(read(chunks(one, two))) == [("a", "f", "{}"), ("b", "g", "[]")]


def test_a_call_without_index_and_id_gets_both() -> None:
    """Mistral leaves the index out, others the id; a client needs the two."""
    one = '{"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":"}}]}'
    two = '{"tool_calls":[{"function":{"arguments":"1}"}}]}'
    assert calls_of(read(chunks(one, two))) == [("call_c1_0_0", "f", '{"a":1}')]


def test_a_call_waits_for_its_name() -> None:
    one = '{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{"}}]}'
    two = '{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}'
    assert calls_of(read(chunks(one, two))) == [("a", "f", "{}")]


def test_stop_after_tool_calls_is_tool_calls() -> None:
    one = '{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}'
    events = read(chunks(one, finish="stop"))
    assert events[-1] == ev.Finish("tool_calls", "stop")
    assert calls_of(events) == [("a", "f", "{}")]


def test_finish_word_error_is_a_fault_not_a_success() -> None:
    events = read(chunks('{"content":"a"}', finish="error"), "mistral")
    assert isinstance(events[-1], ev.Fault)
    assert events[-1].kind == "transient"


def test_unknown_finish_word_is_kept_beside_stop() -> None:
    assert read(chunks(finish="surprise"))[-1] == ev.Finish("stop", "surprise")


def test_error_and_choices_in_one_chunk_is_an_error() -> None:
    """OpenRouter's way: taking the choice would show a truncated success."""
    body = (
        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
        b'data: {"id":"c","error":{"code":502,"message":"Provider disconnected"},'
        b'"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    fault = read(body, "openrouter")[-1]
    assert isinstance(fault, ev.Fault)
    assert (fault.kind, fault.status) == ("transient", 502)
    assert fault.message == "Provider disconnected"


def test_a_bare_json_error_in_a_200_is_found() -> None:
    fault = read(b'{"error":{"message":"overloaded","type":"server_error"}}')[-1]
    assert isinstance(fault, ev.Fault)
    assert not fault.truncated
    assert fault.message == "overloaded"


def test_a_done_marker_without_its_blank_line_ends_the_stream() -> None:
    body = chunks('{"content":"a"}').removesuffix(b"\n\n")
    assert read(body)[-1] == ev.Finish("stop", "stop")


def test_nothing_after_done_is_read() -> None:
    body = chunks('{"content":"a"}')
    assert read(body + body) == read(body)


def test_xai_reasoning_is_counted_into_completion() -> None:
    body = (
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,'
        b'"completion_tokens":5,"total_tokens":115,'
        b'"completion_tokens_details":{"reasoning_tokens":100},'
        b'"prompt_tokens_details":{"cached_tokens":99}}}\n\ndata: [DONE]\n\n'
    )
    usage = read(body, "xai")[-1]
    assert isinstance(usage, ev.Usage)
    assert (usage.prompt, usage.completion, usage.reasoning) == (10, 105, 100)
    assert usage.cached == 10, "never more than the prompt"
