"""Silent streams are kept awake, in every dialect, and for nothing when they flow."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio.testing
from trio.testing import MockClock

from gateway.embed import Embedded, embedded, events, text_of
from gateway.embed_providers import (
    Behaviour,
    Fails,
    FakeProvider,
    PausesAfter,
    Says,
    Silent,
)
from gateway.settings.config import Config
from gateway.settings.server import UpstreamDeadlines
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

PATIENT = UpstreamDeadlines(
    connect_s=1, headers_s=70, first_content_s=80, idle_s=200, total_s=600
)
MESSAGE = {"role": "user", "content": "hi"}
GEMINI = "/v1beta/models/fast:streamGenerateContent?alt=sse"
REQUESTS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "chat": (CHAT, chat(), b": hb\n"),
    "completions": (
        "/v1/completions",
        {"model": "fast", "stream": True, "prompt": "hi"},
        b": hb\n",
    ),
    "responses": (
        "/v1/responses",
        {"model": "fast", "stream": True, "input": "hi"},
        b": hb\n",
    ),
    "anthropic": (
        "/v1/messages",
        {"model": "fast", "stream": True, "max_tokens": 9, "messages": [MESSAGE]},
        b'event: ping\ndata: {"type": "ping"}\n\n',
    ),
    "gemini": (
        GEMINI,
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        b"\n",
    ),
}


def patient() -> Config:
    """A provider that may think for a minute."""
    return config([provider("main", deadlines=PATIENT)])


async def beats(gateway: Embedded, path: str, body: Any) -> list[tuple[float, bytes]]:
    """What comes, and when, to the end."""
    seen: list[tuple[float, bytes]] = []
    async with gateway.open("POST", path, body, key=KEY) as call:
        began = trio.current_time()
        while piece := await call.chunk():
            seen.append((trio.current_time() - began, piece))
        assert call.status == 200
    return seen


@pytest.mark.parametrize("name", list(REQUESTS))
async def test_a_stream_that_pauses_gets_the_heartbeat_of_its_dialect(
    autojump_clock: MockClock, name: str
) -> None:
    path, body, heartbeat = REQUESTS[name]
    main = FakeProvider([Says("one two", delta_s=40)])
    async with embedded(patient(), {"main": main}, environ=ENV) as gateway:
        seen = await beats(gateway, path, body)

        # Words come at 40 and 80 s; no silence is longer than 15.
        at = [time for time, _ in seen]
        assert max(b - a for a, b in zip([0.0, *at], at, strict=False)) <= 15
        hearts = [time for time, piece in seen if piece == heartbeat]
        assert len(hearts) == len([t for t in hearts if t < 80]) >= 4
        # Never in the middle of a frame: what is around it is what it would be.
        rest = b"".join(piece for _, piece in seen if piece != heartbeat)
        assert b"one" in rest
        assert b"two" in rest
        assert (await gateway.records())[0].outcome == "ok"
        await assert_nothing_held(gateway)


async def test_a_stream_that_flows_gets_none(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("a b c d e f g h", delta_s=9)])
    async with embedded(patient(), {"main": main}, environ=ENV) as gateway:
        seen = await beats(gateway, CHAT, chat())

        assert b": hb" not in b"".join(piece for _, piece in seen)
        assert text_of(b"".join(p for _, p in seen)) == "a b c d e f g h"


@pytest.mark.parametrize("name", list(REQUESTS))
async def test_an_error_after_heartbeats_is_an_event_of_its_dialect(
    autojump_clock: MockClock, name: str
) -> None:
    """The status is gone by then; the next candidate would still have had its turn."""
    path, body, heartbeat = REQUESTS[name]
    main = FakeProvider([Silent()])
    async with embedded(patient(), {"main": main}, environ=ENV) as gateway:
        seen = await beats(gateway, path, body)

        *hearts, (_, last) = seen
        assert {piece for _, piece in hearts} == {heartbeat}
        assert b'"error"' in last
        assert b"[DONE]" not in last
        [record] = await gateway.records()
        assert (record.outcome, record.status) == ("error", 504)
        await assert_nothing_held(gateway)


async def test_the_next_candidate_answers_behind_heartbeats(
    autojump_clock: MockClock,
) -> None:
    slow = attrs.evolve(PATIENT, headers_s=20)  # type: ignore[misc]
    made = config([provider("a", deadlines=slow), provider("b", deadlines=PATIENT)])
    a, b = FakeProvider([Silent()]), FakeProvider([Says("from b", delta_s=20)])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            answer = await call.read()

        assert answer.body.startswith(b": hb\n")
        assert text_of(answer.body.replace(b": hb\n", b"")) == "from b"
        assert list(events(answer.body))[-1] == "[DONE]"
        [record] = await gateway.records()
        assert answer.headers["x-request-id"] == record.request_id
        assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("behaviour", [PausesAfter("x")])
async def test_a_client_that_reads_nothing_gets_no_more_on_top(
    autojump_clock: MockClock, behaviour: Behaviour
) -> None:
    main = FakeProvider([behaviour])
    async with embedded(patient(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            await call.head()
            await trio.sleep(150)
            pieces = len(call._pieces)
        # What the client's side takes, and one that waits in the channel.
        assert pieces <= 4
        await assert_nothing_held(gateway)


async def test_whole_answers_and_background_ones_get_none(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("a", delta_s=40)])
    async with embedded(patient(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)
        assert answer.json()["choices"][0]["message"]["content"] == "a"
        queued = await gateway.post(
            "/v1/responses",
            {"model": "fast", "input": "x", "background": True, "stream": False},
            key=KEY,
        )
        assert queued.json()["status"] == "queued"
        await trio.sleep(50)
        found = await gateway.request(
            "GET", f"/v1/responses/{queued.json()['id']}", key=KEY
        )
        assert found.json()["status"] == "completed"


@pytest.mark.parametrize("name", list(REQUESTS))
@pytest.mark.parametrize("resume", ["off", "detach"])
async def test_what_the_head_came_too_early_to_say_comes_before_the_first_event(
    autojump_clock: MockClock, name: str, resume: str
) -> None:
    """As comments, a header field a line, where the dialect's clients skip those."""
    path, body, heartbeat = REQUESTS[name]
    made = config(
        [provider("main", deadlines=PATIENT)], routing_headers=True, resume=resume
    )
    main = FakeProvider([Says("one two", delta_s=40)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", path, body, key=KEY) as call:
            answer = await call.read()
        again = await gateway.request(
            "GET", f"/v1/streams/{answer.headers['x-request-id']}", key=KEY
        )

    assert "x-stagedoor-route" not in answer.headers
    said = answer.body.replace(heartbeat, b"")
    lines = said.split(b"\n")
    comments = [line for line in lines if line.startswith(b":")]
    if name == "gemini":
        assert comments == []
    else:
        names = [line.split(b":")[1].strip() for line in comments]
        assert names == [
            b"x-stagedoor-route",
            b"x-stagedoor-attempts",
            b"x-stagedoor-cost",
        ]
        assert comments[0] == b": x-stagedoor-route: main/m"
        # In front of the first event, and part of it: a blank line would end one.
        assert lines.index(comments[0]) <= 1
        first = said.partition(b"\n\n")[0].split(b"\n")
        assert first[-1].startswith(b"data: {")
        assert first[0].startswith(b"id: ") == (resume != "off")
    if resume != "off":
        # Whoever picks it up reads the same, with the same numbers.
        if name == "gemini":  # Its heartbeat is a blank line, as an event's end is.
            assert b"".join(again.body.split()) == b"".join(answer.body.split())
        else:
            assert again.body == said


async def test_an_error_behind_heartbeats_says_when_to_come_back(
    autojump_clock: MockClock,
) -> None:
    """The field that an SDK would have looked for is there for who reads the bytes."""
    slow = attrs.evolve(PATIENT, headers_s=20)  # type: ignore[misc]
    made = config([provider("a", deadlines=slow), provider("b", deadlines=PATIENT)])
    b = FakeProvider([Fails(429, headers={"retry-after": "30"})])
    gone = {"a": FakeProvider([Silent()]), "b": b}
    async with embedded(made, gone, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

    assert answer.status == 200
    last = answer.body.replace(b": hb\n", b"")
    assert b": retry-after: 30\n" in last.partition(b"data: ")[0]
    assert last.partition(b"data: ")[2].startswith(b'{"error"')
    assert last.count(b"\n\n") == 1
