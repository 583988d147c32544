"""Every recorded answer, told to every client: nothing lost, nothing doubled.

The client's side is read back by that dialect's own decoder, which is checked against
the independent reader elsewhere.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.recordings_cases import Case
from tests.support_recordings import cases, cut, names
from tests.wire.test_openai_chat_relay import total
from tests.wire.test_openai_chat_stream import flavour_of
from wire import events as ev
from wire.anthropic import Messages
from wire.bedrock import Bedrock
from wire.cohere import Cohere
from wire.completion import fold
from wire.dialect import ClientError, Head, Reply, Target
from wire.exchange import Relayed, Translated, open_exchange
from wire.gemini import GeminiProvider
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.request import ChatRequest, Message, Reasoning, Refusal, Text, ToolUse
from wire.toolids import unpack

MESSAGES = Messages()
CLIENTS = {"chat": CHAT, "responses": RESPONSES, "anthropic": MESSAGES}
PROVIDERS: dict[str, Any] = {
    "chat": CHAT,
    "completions": CHAT,
    "responses": RESPONSES,
    "anthropic": MESSAGES,
    "gemini": GeminiProvider(),
    "converse": Bedrock(),
    "cohere": Cohere(),
    "ollama": Ollama(),
}
REPLY = Reply(id="abc", created=1_700_000_000, model="asked")


def provider_of(case: Case) -> Any:
    return Mistral() if case.provider == "mistral" else PROVIDERS[case.family]


ANSWERS = [
    c
    for c in cases(ok=True)
    if c.family in PROVIDERS
    and c.body
    and c.operation not in {"responses-get", "countTokens"}
    # A background answer has not been given yet.
    and b'"status":"queued"' not in c.body[:400]
]


def target_of(case: Case) -> Target:
    name = flavour_of(case).name if case.family in {"chat", "completions"} else ""
    return Target(model="up", flavour="" if name == "openai-compatible" else name)


def asked_of(case: Case) -> ChatRequest:
    turn = Message("user", (Text("hi"),))
    return ChatRequest(
        "asked", (turn,), "test", stream=case.streamed, include_usage=True
    )


def told(events: Sequence[ev.Event], *, reasoning: bool = True) -> dict[str, Any]:
    """What every dialect can tell: text, thoughts, calls, the end, the bill."""
    answer = fold([e for e in events if getattr(e, "choice", 0) == 0])
    choice = answer.choices[0] if answer.choices else None
    parts = choice.parts if choice else []
    usage = answer.usage or ev.Usage()
    said = {
        "text": "".join(p.text for p in parts if isinstance(p, (Text, Refusal))),
        "calls": [
            (unpack(p.id)[0] if p.id else "", p.name, parsed(p.arguments))
            for p in parts
            if isinstance(p, ToolUse)
        ],
        "finish": choice.finish.reason if choice and choice.finish else "stop",
        "usage": (usage.prompt, usage.completion, usage.cached),
    }
    if reasoning:
        said["reasoning"] = "".join(p.text for p in parts if isinstance(p, Reasoning))
    return said


def parsed(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments.encode())
    except msgspec.DecodeError:
        return arguments


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", ANSWERS, ids=names(ANSWERS))
def test_recorded_answer_is_told_whole_to_every_client(case: Case, client: str) -> None:
    provider, theirs = provider_of(case), CLIENTS[client]
    asked, target = asked_of(case), target_of(case)
    exchange = Translated(theirs, provider, asked, target, REPLY)
    if case.streamed:
        decoder = provider.stream_decoder(asked, target)
        events = decoder.feed(case.body) + decoder.finish()
        reader = exchange.reader()
        pieces = cut(case.body, zlib.crc32(case.name.encode()), 300)
        got = total([*(reader.feed(p) for p in pieces), reader.finish()])
    else:
        events = provider.parse_response(200, case.response_headers, case.body, target)
        got = exchange.unary(200, case.response_headers, case.body)
    fault = next((e for e in events if isinstance(e, ev.Fault)), None)
    assert got.fault == fault
    if fault is not None:
        return
    assert got.done
    if case.streamed:
        again_decoder = theirs.stream_decoder(asked, Target(model="x"))
        again = again_decoder.feed(got.out) + again_decoder.finish()
    else:
        again = theirs.parse_response(200, {}, got.out, Target(model="x"))
    expected, found = told(events), told(again)
    expected["calls"] = [
        (i or found["calls"][n][0], *r) for n, (i, *r) in enumerate(expected["calls"])
    ]
    assert found == expected
    usage = [e for e in events if isinstance(e, ev.Usage)]
    assert got.usage == (usage[-1] if usage else None)
    assert got.output_chars == sum(map(ev.output_chars, events))


def test_one_dialect_is_relayed_two_are_translated() -> None:
    body = (
        b'{"model":"asked","messages":[{"role":"user","content":"hi"}],"max_tokens":9}'
    )
    for client, provider, kind in (
        (CHAT, CHAT, Relayed),
        (MESSAGES, MESSAGES, Relayed),
        (CHAT, MESSAGES, Translated),
        (MESSAGES, CHAT, Translated),
        (CHAT, Cohere(), Translated),
    ):
        exchange = open_exchange(
            client,
            provider,
            body=body,
            headers={},
            head=client.read_head(body, {}),
            target=Target(model="up"),
            reply=REPLY,
        )
        assert isinstance(exchange, kind)
        assert b"asked" not in exchange.upstream.body
        assert "hi" not in repr(exchange) + repr(exchange.upstream)


def test_the_client_is_answered_with_the_name_it_asked_for() -> None:
    head = Head("asked")
    body = b'{"model":"asked","messages":[{"role":"user","content":"hi"}]}'
    exchange = open_exchange(
        CHAT,
        CHAT,
        body=body,
        headers={},
        head=head,
        target=Target(model="up"),
        reply=REPLY,
    )
    answer = b'{"model":"up","choices":[{"message":{"content":"a"}}]}'
    assert b'"model":"asked"' in exchange.unary(200, {}, answer).out


@pytest.mark.parametrize("provider", [CHAT, MESSAGES])
def test_an_error_status_is_a_fault_on_both_ways(provider: Any) -> None:
    body = b'{"model":"asked","messages":[{"role":"user","content":"hi"}]}'
    exchange = open_exchange(
        CHAT,
        provider,
        body=body,
        headers={},
        head=CHAT.read_head(body, {}),
        target=Target(model="up"),
        reply=REPLY,
    )
    reading = exchange.unary(429, {"retry-after": "2"}, b"{}")
    assert reading.fault is not None
    assert (reading.fault.kind, reading.fault.retry_after_s) == ("throttle", 2.0)
    assert reading.out == b""


def test_what_cannot_be_told_is_refused_before_anything_is_sent() -> None:
    body = b'{"model":"m","n":2,"messages":[{"role":"user","content":"hi"}]}'
    with pytest.raises(ClientError):
        open_exchange(
            CHAT,
            RESPONSES,
            body=body,
            headers={},
            head=CHAT.read_head(body, {}),
            target=Target(model="up"),
            reply=REPLY,
        )
