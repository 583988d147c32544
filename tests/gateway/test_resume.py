"""Streams that are picked up again, and requests that are sent twice."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    Fails,
    FakeProvider,
    Floods,
    PausesAfter,
    Says,
    Silent,
)
from gateway.settings.config import Config
from gateway.settings.definition import evolve
from gateway.settings.keys import SiteKey
from gateway.settings.sites import SiteConfig
from tests.gateway.gateways import CHAT, DEADLINES, KEY, chat, config, provider
from tests.gateway.test_requests import assert_nothing_held

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
TEXT = "one two three four five six"
OTHER_KEY = "sk-other-dev-0001"
SLOW = Says(TEXT, delta_s=1)
ORIGIN = "https://www.acme.example"


def made(**site: Any) -> Config:
    site.setdefault("resume", "detach")
    one = config(**site)
    other = SiteConfig(name="other", keys=(SiteKey.of(OTHER_KEY),), resume="detach")
    return evolve(one, sites=(*one.sites, other))


@asynccontextmanager
async def gateway_with(
    script: Sequence[Behaviour] = (SLOW,), **site: Any
) -> AsyncGenerator[tuple[Embedded, FakeProvider]]:
    main = FakeProvider(script)
    async with embedded(made(**site), {"main": main}, environ=ENV) as gateway:
        yield gateway, main


def ids_of(body: bytes) -> list[str]:
    return re.findall(r"^id: (\S+)$", body.decode(), re.MULTILINE)


def plain(body: bytes) -> bytes:
    """Without ids."""
    return re.sub(rb"(?m)^id: .*\n", b"", body)


def tapes_of(gateway: Embedded) -> Any:
    """The keeper of tapes itself."""
    ref = gateway.gateway.tree.system.lookup("tapes")
    assert ref is not None
    return ref.cell.actor


async def read_some(gateway: Embedded, chunks: int, **headers: str) -> bytes:
    """The beginning of a stream whose client then leaves."""
    seen = b""
    async with gateway.open("POST", CHAT, chat(), key=KEY, headers=headers) as call:
        for _ in range(chunks):
            seen += await call.chunk()
    return seen


async def test_a_stream_is_picked_up_where_it_was_left(
    autojump_clock: MockClock,
) -> None:
    """Nothing is lost, nothing comes twice, and one generation is paid."""
    async with gateway_with() as (gateway, main):
        seen = await read_some(gateway, 3)
        last = ids_of(seen)[-1]

        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": last}
        )

        assert answer.status == 200
        assert answer.headers["x-stagedoor-replayed"] == "true"
        assert text_of(plain(seen + answer.body)) == TEXT
        numbers = [
            int(one.partition(".")[2]) for one in ids_of(seen) + ids_of(answer.body)
        ]
        assert numbers == list(range(len(numbers)))
        assert len(main.requests) == 1
        [record] = await gateway.records()
        assert (record.outcome, record.output_tokens) == ("ok", 6)
        await assert_nothing_held(gateway)


async def test_it_goes_on_without_its_client_and_can_be_had_when_it_is_over(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, _):
        seen = await read_some(gateway, 2)
        await trio.sleep(60)
        last = ids_of(seen)[-1]
        path = f"/v1/streams/{last.partition('.')[0]}"

        rest = await gateway.request(
            "GET", path, key=KEY, headers={"last-event-id": last}
        )
        number = last.partition(".")[2]
        again = await gateway.request("GET", f"{path}?starting_after={number}", key=KEY)
        whole = await gateway.request("GET", path, key=KEY)

        assert text_of(plain(seen + rest.body)) == TEXT
        assert again.body == rest.body
        assert text_of(plain(whole.body)) == TEXT


async def test_where_it_stops_its_bill_stops_and_its_beginning_can_be_had(
    autojump_clock: MockClock,
) -> None:
    """The rest ends in an error event: never an end that looks like a good one."""
    async with gateway_with(resume="cancel") as (gateway, main):
        seen = await read_some(gateway, 3)
        await trio.sleep(1)
        assert (main.open, main.cancelled) == (0, 1)

        rest = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": ids_of(seen)[-1]}
        )

        assert b"stream_interrupted" in rest.body
        assert b"[DONE]" not in rest.body
        assert len(main.requests) == 1
        [record] = await gateway.records()
        assert record.outcome == "aborted"
        await assert_nothing_held(gateway)


async def test_many_read_one_stream_at_once(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, main):
        bodies: list[bytes] = []
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            first = await call.chunk()
            request_id = call.headers["x-request-id"]

            async def read() -> None:
                path = f"/v1/streams/{request_id}"
                answer = await gateway.request("GET", path, key=KEY)
                bodies.append(answer.body)

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(read)
                rest = await call.read()

        assert bodies == [first + rest.body] * 5
        assert len(main.requests) == 1


async def test_another_sites_stream_is_one_that_never_was(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        seen = await read_some(gateway, 2)
        last = ids_of(seen)[-1]

        answer = await gateway.request(
            "POST", CHAT, chat(), key=OTHER_KEY, headers={"last-event-id": last}
        )
        never = await gateway.request(
            "POST",
            CHAT,
            chat(),
            key=KEY,
            headers={"last-event-id": f"req_{'0' * 24}.1"},
        )

        for one in (answer, never):
            assert one.status == 404
            assert one.json()["error"]["code"] == "stream_not_found"
        assert len(main.requests) == 1


async def test_it_is_forgotten_in_time(autojump_clock: MockClock) -> None:
    async with gateway_with() as (gateway, _):
        seen = await read_some(gateway, 2)
        await trio.sleep(6 + 600 + 1)

        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": ids_of(seen)[-1]}
        )

        assert answer.status == 404
        assert repr(tapes_of(gateway)).startswith("<Tapes running=0 kept=0 <Budget 0/")


async def test_a_stream_that_nobody_wants_any_more_can_be_ended(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with([PausesAfter()]) as (gateway, main):
        seen = await read_some(gateway, 1)
        request_id = ids_of(seen)[0].partition(".")[0]
        assert main.open == 1

        path = f"/v1/streams/{request_id}/cancel"
        foreign = await gateway.request("POST", path, key=OTHER_KEY)
        first = await gateway.request("POST", path, key=KEY)
        await trio.sleep(1)
        second = await gateway.request("POST", path, key=KEY)

        assert foreign.status == 404
        assert (first.json()["status"], second.json()["status"]) == ("stopping", "over")
        assert main.open == 0
        await assert_nothing_held(gateway)


async def test_ids_are_for_those_who_opted_in(autojump_clock: MockClock) -> None:
    async with gateway_with([Says(TEXT)], resume="off") as (gateway, _):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert ids_of(answer.body) == []
        path = f"/v1/streams/{answer.headers['x-request-id']}"
        assert (await gateway.request("GET", path, key=KEY)).status == 404


async def test_a_slow_reader_holds_the_upstream_back(
    autojump_clock: MockClock,
) -> None:
    """A tape is no way around backpressure."""
    async with gateway_with([Floods(1000)]) as (gateway, main):
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            await call.chunk()
            await trio.sleep(5)
            pulled = main.chunks_pulled
            await trio.sleep(5)
            assert main.chunks_pulled == pulled
            assert pulled < 120  # 64 KiB on the tape, 16 places, and what was read.
            request_id = call.headers["x-request-id"]
            path = f"/v1/streams/{request_id}/cancel"
            await gateway.request("POST", path, key=KEY)
        await trio.sleep(1)
        await assert_nothing_held(gateway)


async def test_one_that_is_too_long_is_given_and_not_kept(
    autojump_clock: MockClock,
) -> None:
    """And it ends when its reader leaves: nobody could pick it up."""
    async with gateway_with([Floods(30_000)]) as (gateway, main):
        size = 0
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            first = await call.chunk()
            while size < 9 * 2**20:
                size += len(await call.chunk())
        await trio.sleep(1)
        assert main.open == 0

        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers={"last-event-id": ids_of(first)[0]}
        )

        assert answer.status == 410
        assert answer.json()["error"]["code"] == "stream_gone"
        await assert_nothing_held(gateway)


async def test_all_together_take_no_more_than_their_bound(
    autojump_clock: MockClock,
) -> None:
    """The oldest go; who comes back for one is told so, and not served twice."""
    limits = evolve(config().server.limits, replay_bytes_max=12_000)
    server = evolve(config().server, limits=limits)
    main = FakeProvider([Says("word " * 20)])
    one = evolve(made(), server=server)
    async with embedded(one, {"main": main}, environ=ENV) as gateway:
        names = [f"name-{place}" for place in range(6)]
        for name in names:
            await gateway.request(
                "POST", CHAT, chat(), key=KEY, headers={"idempotency-key": name}
            )
        budget = tapes_of(gateway).cell.budget
        assert 0 < budget.bytes_held <= 12_000

        again = [
            await gateway.request(
                "POST", CHAT, chat(), key=KEY, headers={"idempotency-key": name}
            )
            for name in names
        ]

        assert again[0].status == 410
        assert again[-1].status == 200
        assert len(main.requests) == 6


# -- requests that are sent twice ------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("resume", ["off", "cancel", "detach"])
async def test_the_same_key_and_body_get_the_same_answer(
    autojump_clock: MockClock, stream: bool, resume: str
) -> None:
    async with gateway_with([Says(TEXT), Says("another")], resume=resume) as (
        gateway,
        main,
    ):
        headers = {"idempotency-key": "0b1f-44"}
        first = await gateway.request(
            "POST", CHAT, chat(stream=stream), key=KEY, headers=headers
        )
        second = await gateway.request(
            "POST", CHAT, chat(stream=stream), key=KEY, headers=headers
        )

        assert second.body == first.body
        assert second.status == first.status == 200
        assert second.headers["x-request-id"] == first.headers["x-request-id"]
        assert "x-stagedoor-replayed" not in first.headers
        assert second.headers["x-stagedoor-replayed"] == "true"
        assert len(main.requests) == 1
        assert len(await gateway.records()) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_whoever_sends_it_again_while_it_runs_joins(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with gateway_with(resume="off") as (gateway, main):
        bodies: list[bytes] = []

        async def ask(after_s: float) -> None:
            await trio.sleep(after_s)
            answer = await gateway.request(
                "POST",
                CHAT,
                chat(stream=stream),
                key=KEY,
                headers={"idempotency-key": "k"},
            )
            bodies.append(answer.body)

        async with trio.open_nursery() as nursery:
            for after_s in (0, 0, 0.5, 3.5, 100):
                nursery.start_soon(ask, after_s)

        assert len(set(bodies)) == 1
        assert len(bodies) == 5
        assert len(main.requests) == 1


async def test_another_body_under_the_same_key_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        headers = {"idempotency-key": "k"}
        await gateway.request("POST", CHAT, chat("a"), key=KEY, headers=headers)

        other = await gateway.request("POST", CHAT, chat("b"), key=KEY, headers=headers)
        path = await gateway.request(
            "POST", "/v1/completions", chat("a"), key=KEY, headers=headers
        )
        foreign = await gateway.request(
            "POST", CHAT, chat("b"), key=OTHER_KEY, headers=headers
        )

        assert other.status == 422
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        assert path.status in {400, 422}
        assert foreign.status == 200
        assert len(main.requests) == 2


async def test_a_failure_is_no_answer_to_give_again(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with([Fails(400), Says(TEXT)]) as (gateway, main):
        headers = {"idempotency-key": "k"}
        first = await gateway.request("POST", CHAT, chat(), key=KEY, headers=headers)
        second = await gateway.request("POST", CHAT, chat(), key=KEY, headers=headers)

        assert (first.status, second.status) == (400, 200)
        assert len(main.requests) == 2


async def test_what_broke_after_content_is_given_again_as_it_was(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with([BreaksAfter(), Says(TEXT)]) as (gateway, main):
        headers = {"idempotency-key": "k"}
        first = await gateway.request("POST", CHAT, chat(), key=KEY, headers=headers)
        second = await gateway.request("POST", CHAT, chat(), key=KEY, headers=headers)

        assert b"overloaded" in first.body
        assert second.body == first.body
        assert len(main.requests) == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ä"])
async def test_a_key_that_is_none_is_refused(
    autojump_clock: MockClock, key: str
) -> None:
    async with gateway_with([Says(TEXT)]) as (gateway, main):
        raw = [(b"idempotency-key", key.encode("latin-1"))]
        answer = await gateway.request(
            "POST", CHAT, chat(), key=KEY, headers=dict(_text(raw))
        )
        if key:
            assert answer.status == 400
            assert main.requests == []


def _text(raw: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode("latin-1")) for name, value in raw]


async def test_a_whole_answer_whose_client_left_can_be_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    """With `detach` it is there; otherwise it was ended, and is asked for anew."""
    for resume, calls in (("detach", 1), ("off", 2)):
        async with gateway_with(resume=resume) as (gateway, main):
            headers = {"idempotency-key": "k"}
            body = chat(stream=False)
            async with gateway.open("POST", CHAT, body, key=KEY, headers=headers):
                await trio.sleep(0.5)
            await trio.sleep(30)

            answer = await gateway.request("POST", CHAT, body, key=KEY, headers=headers)

            assert answer.status == 200
            assert len(main.requests) == calls


# -- by a grant ------------------------------------------------------------------------


async def granted(gateway: Embedded) -> str:
    body = {"request": chat(), "origin": ORIGIN}
    answer = await gateway.post("/v1/stream_grants", body, key=KEY)
    path = answer.json()["path"]
    assert isinstance(path, str)
    return path


async def test_a_page_comes_back_with_the_grant_it_used(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with(allowed_origins=(ORIGIN,)) as (gateway, main):
        path = await granted(gateway)
        seen = b""
        page = {"origin": ORIGIN}
        async with gateway.open("GET", path, headers=page) as call:
            for _ in range(3):
                seen += await call.chunk()
        last = ids_of(seen)[-1]
        await trio.sleep(90)  # The grant itself is over.

        rest = await gateway.request(
            "GET", path, headers={**page, "last-event-id": last}
        )
        number = last.partition(".")[2]
        same = await gateway.request(
            "GET", f"{path}?starting_after={number}", headers=page
        )
        foreign = await gateway.request(
            "GET",
            path,
            headers={"origin": "https://evil.example", "last-event-id": last},
        )
        replay = await gateway.request("GET", path, headers=page)

        assert text_of(plain(seen + rest.body)) == TEXT
        assert rest.headers["access-control-allow-origin"] == ORIGIN
        assert same.body == rest.body
        assert foreign.json()["error"]["code"] == "grant_origin_mismatch"
        assert replay.status == 403
        assert len(main.requests) == 1


async def test_an_event_source_that_has_all_is_told_to_stay_away(
    autojump_clock: MockClock,
) -> None:
    """It reconnects after every end, good ones too; 204 is how it is stopped."""
    async with gateway_with([Says(TEXT)], allowed_origins=(ORIGIN,)) as (gateway, main):
        path = await granted(gateway)
        page = {"origin": ORIGIN}
        answer = await gateway.request("GET", path, headers=page)
        last = ids_of(answer.body)[-1]

        again = await gateway.request(
            "GET", path, headers={**page, "last-event-id": last}
        )

        assert again.status == 204
        assert len(main.requests) == 1


async def test_a_page_can_end_what_goes_on_without_it(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with([PausesAfter()], allowed_origins=(ORIGIN,)) as (
        gateway,
        main,
    ):
        path = await granted(gateway)
        page = {"origin": ORIGIN, "content-type": "text/plain"}
        async with gateway.open("GET", path, headers=page) as call:
            await call.chunk()
        assert main.open == 1

        foreign = await gateway.request(
            "POST", f"{path}/cancel", headers={"origin": "https://evil.example"}
        )
        assert foreign.status == 403
        answer = await gateway.request("POST", f"{path}/cancel", b"", headers=page)
        await trio.sleep(1)

        assert answer.json()["status"] == "stopping"
        assert main.open == 0
        await assert_nothing_held(gateway)


async def test_heartbeats_are_each_readers_own(autojump_clock: MockClock) -> None:
    """They are in no tape, and a silence ends nobody's stream."""
    patient = evolve(DEADLINES, first_content_s=50, idle_s=50, total_s=600)
    main = FakeProvider([Says(TEXT, delta_s=20)])
    one = made()
    one = evolve(one, providers=(provider("main", deadlines=patient),))
    async with embedded(one, {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)
        path = f"/v1/streams/{answer.headers['x-request-id']}"
        kept = await gateway.request("GET", path, key=KEY)

        assert b": hb\n" in answer.body
        assert b": hb\n" not in kept.body
        assert text_of(plain(kept.body)) == TEXT
        assert answer.body.replace(b": hb\n", b"") == kept.body


async def test_a_drain_waits_for_what_goes_on_alone(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        await read_some(gateway, 2)
        await gateway.gateway.drain()

        assert main.cancelled == 0
        assert main.open == 0
    [record] = gateway.journal.records
    assert record.outcome == "ok"


async def test_a_crash_of_the_keeper_of_tapes_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with() as (gateway, main):
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            await call.chunk()
            tapes = tapes_of(gateway)
            assert len(tapes.cell.running) == 1
            tapes.ctx.start_soon(_crash)
            rest = await call.read()
        await trio.sleep(1)

        assert b"stream_interrupted" in rest.body
        assert main.open == 0
        await assert_nothing_held(gateway)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert text_of(plain(answer.body)) == TEXT


async def _crash() -> None:
    raise ZeroDivisionError


async def test_a_response_goes_on_and_is_had_by_its_own_id_and_numbers(
    autojump_clock: MockClock,
) -> None:
    """OpenAI's own way: `starting_after`, at the answer's own path."""
    async with gateway_with() as (gateway, main):
        body = {"model": "fast", "stream": True, "input": "hi"}
        seen = b""
        async with gateway.open("POST", "/v1/responses", body, key=KEY) as call:
            while b"output_text.delta" not in seen:
                seen += await call.chunk()
        found = re.search(rb'"id":"(resp_[^"]+)"', seen)
        assert found is not None
        numbers = [int(n) for n in re.findall(rb'"sequence_number":(\d+)', seen)]

        path = f"/v1/responses/{found[1].decode()}?stream=true&starting_after="
        rest = await gateway.request("GET", f"{path}{numbers[-1]}", key=KEY)

        numbers += [int(n) for n in re.findall(rb'"sequence_number":(\d+)', rest.body)]
        assert numbers == list(range(len(numbers)))
        assert b"response.completed" in rest.body
        assert len(main.requests) == 1


@pytest.mark.parametrize("dialect", ["messages", "completions", "gemini"])
async def test_every_dialect_can_be_picked_up(
    autojump_clock: MockClock, dialect: str
) -> None:
    path, body = {
        "messages": (
            "/v1/messages",
            {
                "model": "fast",
                "stream": True,
                "max_tokens": 50,
                "messages": [{"role": "user", "content": "hi"}],
            },
        ),
        "completions": (
            "/v1/completions",
            {"model": "fast", "stream": True, "prompt": "hi"},
        ),
        "gemini": (
            "/v1beta/models/fast:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        ),
    }[dialect]
    async with gateway_with() as (gateway, main):
        seen = b""
        async with gateway.open("POST", path, body, key=KEY) as call:
            while b"two" not in seen:
                seen += await call.chunk()

        request_id = call.headers["x-request-id"]
        # Google's clients read nothing but data: theirs counts what it has had.
        last = seen.count(b"data: ") - 1
        names = [f"{request_id}.{number}" for number in range(last + 1)]
        assert ids_of(seen) == ([] if dialect == "gemini" else names)
        rest = await gateway.request(
            "POST", path, body, key=KEY, headers={"last-event-id": names[-1]}
        )
        whole = await gateway.request("GET", f"/v1/streams/{request_id}", key=KEY)

        assert seen + rest.body == whole.body
        assert b"six" in rest.body
        assert len(main.requests) == 1


async def plain_asgi(
    gateway: Embedded, method: str, path: str, body: bytes, **headers: str
) -> tuple[int, bytes]:
    """As over HTTP/2, where nobody calls back when a client leaves."""
    fields = {"authorization": f"Bearer {KEY}", **headers}
    messages = [{"type": "http.request", "body": body}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await trio.sleep_forever()
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    name, _, query = path.partition("?")
    await gateway.app(
        {
            "type": "http",
            "method": method,
            "path": name,
            "raw_path": name.encode(),
            "query_string": query.encode(),
            "headers": [
                (k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()
            ],
        },
        receive,
        send,
    )
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


async def test_it_is_the_same_over_http_2(autojump_clock: MockClock) -> None:
    async with gateway_with([Says(TEXT)]) as (gateway, main):
        raw = msgspec.json.encode(chat())
        first = await plain_asgi(gateway, "POST", CHAT, raw, idempotency_key="k")
        again = await plain_asgi(gateway, "POST", CHAT, raw, idempotency_key="k")
        other = await plain_asgi(gateway, "POST", CHAT, b"{}", idempotency_key="k")
        name, _, number = ids_of(first[1])[2].partition(".")
        path = f"/v1/streams/{name}?starting_after={number}"
        rest = await plain_asgi(gateway, "GET", path, b"")
        none = await plain_asgi(gateway, "GET", f"/v1/streams/req_{'0' * 24}", b"")

        assert first[0] == 200
        assert again == first
        assert other[0] in {400, 422}
        assert first[1].endswith(rest[1])
        assert none[0] == 404
        assert len(main.requests) == 1
        gone = next(iter(tapes_of(gateway).cell.whole.values()))
        gone.forget()
        assert (await plain_asgi(gateway, "GET", path, b""))[0] == 410


async def test_a_long_silence_before_the_first_word_is_no_silence_to_proxies(
    autojump_clock: MockClock,
) -> None:
    patient = evolve(
        DEADLINES, headers_s=200, first_content_s=300, idle_s=200, total_s=900
    )
    for behaviour, good in ((Says("one two", delta_s=100), True), (Silent(), False)):
        main = FakeProvider([behaviour])
        one = evolve(made(), providers=(provider("main", deadlines=patient),))
        async with embedded(one, {"main": main}, environ=ENV) as gateway:
            headers = {"idempotency-key": "k"}
            begun_at = trio.current_time()
            async with gateway.open(
                "POST", CHAT, chat(), key=KEY, headers=headers
            ) as call:
                assert await call.chunk() == b": hb\n"
                assert trio.current_time() - begun_at < 20
                answer = await call.read()
            again = await gateway.request(
                "GET", f"/v1/streams/{call.headers['x-request-id']}", key=KEY
            )

            assert call.status == 200
            if good:
                assert text_of(plain(answer.body.replace(b": hb\n", b""))) == "one two"
                assert again.body == answer.body.replace(b": hb\n", b"")
                assert ids_of(again.body)[0].endswith(".0")
            else:
                # An error that came too late for a status is no answer to keep.
                assert b'"error"' in answer.body
                assert again.status == 404
