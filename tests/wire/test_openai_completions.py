"""Legacy completions: relayed as they came, translated to chat where they must be."""

import json
import zlib
from typing import Any

import httpx2
import openai
import pytest

from tests.recordings_cases import Case
from tests.support_recordings import cases, cuts, names
from tests.wire.test_openai_chat_relay import run, total
from tests.wire.test_openai_chat_stream import flavour_of, same_as_reader
from wire import events as ev
from wire.completion import fold
from wire.dialect import ClientError, Reply, Target
from wire.openai_chat_decoder import ChatDecoder
from wire.openai_chat_relay import ChatRelay
from wire.openai_completions import COMPLETIONS
from wire.request import ChatRequest, Message, Text

RECORDED = [c for c in cases(family="completions", ok=True) if c.body]
STREAMS = [c for c in RECORDED if c.streamed]
WHOLE = [c for c in RECORDED if not c.streamed]
REPLY = Reply(id="abc", created=7, model="asked")
EVENTS: list[ev.Event] = [
    ev.Start(id="x"),
    ev.TextDelta("four"),
    ev.TextDelta("!"),
    ev.Finish("stop", "end_turn"),
    ev.Usage(prompt=3, completion=2),
]


@pytest.mark.parametrize("case", STREAMS, ids=names(STREAMS))
def test_recorded_stream_is_read_and_relayed_at_any_cut(case: Case) -> None:
    for way, pieces in cuts(case.body, zlib.crc32(case.name.encode())).items():
        decoder = ChatDecoder(case.provider, flavour_of(case))
        events = [event for piece in pieces for event in decoder.feed(piece)]
        events += decoder.finish()
        same_as_reader(case, events)
        got = total(run(ChatRelay(case.provider, flavour_of(case)), pieces))
        assert got.out == case.body, way
        assert got.output_chars == sum(ev.output_chars(e) for e in events)
        assert got.done


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_recorded_answer_is_read_and_relayed(case: Case) -> None:
    target = Target(model="x", flavour=flavour_of(case).name)
    events = COMPLETIONS.parse_response(200, {}, case.body, target)
    same_as_reader(case, events)
    assert COMPLETIONS.relay_response(200, {}, case.body).out == case.body


def parse(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "prompt": "2+2", **fields}).encode()
    return COMPLETIONS.parse_request(body, {})


def test_a_prompt_becomes_one_user_turn() -> None:
    for prompt in ("2+2", ["2+2"]):
        request = parse(prompt=prompt, stop="x")
        assert request.messages == (Message("user", (Text("2+2"),)),)
        assert request.stop == ("x",)
        assert request.max_output_tokens == 16, "OpenAI's default here"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 1}, "logprobs"),
    ],
)
def test_what_chat_cannot_say_is_an_error(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        parse(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "answers"),
    [({}, 1), ({"prompt": ["a", "b"], "n": 2}, 4), ({"best_of": 5}, 5)],
)
def test_every_answer_that_is_billed_is_counted(
    fields: dict[str, Any], answers: int
) -> None:
    body = json.dumps({"model": "m", "prompt": [1, 2], **fields}).encode()
    assert COMPLETIONS.read_head(body, {}).n == answers


def test_the_body_passes_with_its_bound_said_aloud() -> None:
    body = b'{"model":"m","prompt":["a"],"echo":true}'
    target = Target(model="up", flavour="openai", max_output_tokens=5)
    head = COMPLETIONS.read_head(body, {})
    sent = COMPLETIONS.forward_request(body, {}, head, target)
    assert json.loads(sent.body) == {
        "model": "up",
        "prompt": ["a"],
        "echo": True,
        "max_tokens": 5,
    }
    assert sent.path == "/completions"


def test_a_chat_of_one_user_turn_can_be_completed_others_cannot() -> None:
    target = Target(model="up", flavour="vllm")
    sent = json.loads(COMPLETIONS.build_request(parse(), target).body)
    assert sent["prompt"] == "2+2"
    two = ChatRequest("m", (Message("system", (Text("s"),)),), "openai_chat")
    with pytest.raises(ClientError):
        COMPLETIONS.build_request(two, target)


def test_the_official_client_reads_what_we_write() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = COMPLETIONS.parse_request(request.content, {})
        if not asked.stream:
            body = COMPLETIONS.render_response(fold(EVENTS), asked, REPLY)
            return httpx2.Response(
                200, headers={"content-type": "application/json"}, content=body
            )
        encoder = COMPLETIONS.stream_encoder(asked, REPLY)
        body = encoder.encode(EVENTS) + encoder.finish()
        headers = dict(COMPLETIONS.stream_headers)
        return httpx2.Response(200, headers=headers, content=body)

    client = openai.OpenAI(
        api_key="k",
        base_url="http://gateway.test/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    got = client.completions.create(model="asked", prompt="2+2")
    assert (got.choices[0].text, got.choices[0].finish_reason) == ("four!", "stop")
    assert got.usage.total_tokens == 5
    chunks = list(
        client.completions.create(
            model="asked",
            prompt="2+2",
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "four!"
    assert chunks[-1].usage.prompt_tokens == 3
