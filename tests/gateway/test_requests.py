"""One request through the whole gateway, in memory, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts
from gateway.embed import Embedded, MemoryJournal, embedded, events, text_of
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    BreaksFirst,
    CutAfter,
    Fails,
    FakeProvider,
    Floods,
    Mute,
    PausesAfter,
    Refuses,
    Says,
    Silent,
)
from gateway.settings.config import Config
from tests.gateway.gateways import CHAT, DEADLINES, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}


@asynccontextmanager
async def two(
    first: Sequence[Behaviour],
    second: Sequence[Behaviour] = (Says("from b"),),
    made: Config | None = None,
) -> AsyncIterator[tuple[Embedded, FakeProvider, FakeProvider]]:
    """A gateway whose route is a, then b."""
    a, b = FakeProvider(first), FakeProvider(second)
    made = made or config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        yield gateway, a, b


async def assert_nothing_held(gateway: Embedded) -> None:
    """Permits, holds, leases, streams: all back."""
    await trio.testing.wait_all_tasks_blocked()
    tree = gateway.gateway.tree
    vitals = await gateway.gateway.gate.vitals()
    assert {n: v.in_flight for n, v in vitals.items() if not isinstance(v, str)} == {
        n: 0 for n, v in vitals.items() if not isinstance(v, str)
    }
    names = [node.id for node in tree.system.snapshot().walk()]
    assert [n for n in names if n.startswith(("streams/", "vault/"))] == []
    for account in await tree.ledger.ask(ReportAccounts()):
        assert (account.held_nanousd, account.in_flight) == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_is_answered_recorded_and_billed(
    autojump_clock: MockClock, stream: bool
) -> None:
    main = FakeProvider([Says("Hello there you")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(stream=stream), key=KEY)

        assert answer.status == 200
        if stream:
            assert text_of(answer.body) == "Hello there you"
            assert list(events(answer.body))[-1] == "[DONE]"
        else:
            message = answer.json()["choices"][0]["message"]
            assert message["content"] == "Hello there you"
        [record] = await gateway.records()
        assert (record.outcome, record.prompt_tokens, record.output_tokens) == (
            "ok",
            7,
            3,
        )
        # 7 tokens at $1 and 3 at $2 a million.
        assert record.cost_nanousd == 7 * 1000 + 3 * 2000
        assert record.request_id == answer.headers["x-request-id"]
        assert main.authorizations == ["Bearer sk-upstream-canary-42"]
        await assert_nothing_held(gateway)


@pytest.mark.parametrize(
    "first",
    [
        Refuses(),
        Fails(500),
        Fails(503),
        Fails(429, headers={"retry-after": "5"}),
        Fails(401),
        Silent(),
        Mute(),
        BreaksFirst(),
    ],
    ids=lambda b: type(b).__name__ + str(getattr(b, "status", "")),
)
async def test_a_failure_before_content_moves_to_the_next_candidate(
    autojump_clock: MockClock,
    first: Behaviour,
) -> None:
    """Commit on first content: role chunks, heads and error events are none."""
    async with two([first]) as (gateway, a, b):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 200
        assert text_of(answer.body) == "from b"
        [record] = await gateway.records()
        assert [attempt.provider for attempt in record.attempts] == ["a", "b"]
        assert record.outcome == "ok"
        assert (len(a.requests), len(b.requests)) == (1, 1)
        assert (a.open, b.open) == (0, 0)
        await assert_nothing_held(gateway)


@pytest.mark.parametrize(
    "first",
    [BreaksAfter(), CutAfter(clean=True), CutAfter(clean=False), PausesAfter()],
    ids=["error event", "early end", "broken body", "pause"],
)
async def test_a_failure_after_content_is_told_as_an_error_never_as_a_stop(
    autojump_clock: MockClock,
    first: Behaviour,
) -> None:
    async with two([first]) as (gateway, _a, b):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        seen = list(events(answer.body))
        assert text_of(answer.body) == "Hello"
        assert "error" in seen[-1] or "error" in seen[-2]
        finishes = [
            choice["finish_reason"]
            for event in seen
            if isinstance(event, dict)
            for choice in event.get("choices", ())
        ]
        assert set(finishes) == {None}
        assert b.requests == []
        [record] = await gateway.records()
        assert record.outcome == "error"
        assert record.usage_estimated
        assert record.cost_nanousd > 0
        await assert_nothing_held(gateway)


async def test_a_clients_own_fault_is_not_tried_elsewhere(
    autojump_clock: MockClock,
) -> None:
    async with two([Fails(400, "no such field", "bad_field")]) as (gateway, a, b):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 400
        assert answer.json()["error"]["code"] == "bad_field"
        assert (len(a.requests), len(b.requests)) == (1, 0)


async def test_the_same_target_is_retried_only_when_none_is_left(
    autojump_clock: MockClock,
) -> None:
    async with two([Fails(500), Says("second try")], [Fails(500)]) as (g, a, b):
        answer = await g.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "second try"
        assert (len(a.requests), len(b.requests)) == (2, 1)


async def test_an_upstreams_refusal_of_our_key_is_not_the_clients(
    autojump_clock: MockClock,
) -> None:
    """A 401 passed through would make clients throw their own good key away."""
    main = FakeProvider([Fails(401, "Incorrect API key sk-upstream-canary-42")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 502
        assert answer.json()["error"]["code"] == "upstream_credential_refused"
        assert b"canary" not in answer.body
        again = await gateway.post(CHAT, chat(), key=KEY)
        assert again.status == 503
        assert len(main.requests) == 1


async def test_a_missing_key_is_said_without_naming_it(
    autojump_clock: MockClock,
) -> None:
    async with embedded(config(), {"main": FakeProvider()}) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 503
        assert answer.json()["error"]["code"] == "key_unavailable"


# -- deadlines -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "seconds"),
    [
        (Silent(), DEADLINES.headers_s),
        (Mute(), DEADLINES.first_content_s),
        (PausesAfter(), DEADLINES.idle_s),
        (Floods(), None),
    ],
    ids=["headers", "first content", "idle", "total"],
)
async def test_each_phase_has_its_own_deadline(
    autojump_clock: MockClock, behaviour: Behaviour, seconds: float | None
) -> None:
    main = FakeProvider([behaviour])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            while await call.chunk():
                if isinstance(behaviour, Floods):
                    await trio.sleep(1)
        [record] = await gateway.records()
        first = record.attempts[0]
        assert first.total_ms == round((seconds or DEADLINES.total_s) * 1000)
        assert first.outcome == "slow"
        assert main.open == 0
        await assert_nothing_held(gateway)


async def test_a_connection_that_does_not_open_has_its_own_deadline(
    autojump_clock: MockClock,
) -> None:
    class NoRoute(FakeProvider):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["stagedoor.phase"]("connect")
            self.requests.append(b"")
            await trio.sleep_forever()
            raise AssertionError

    main = NoRoute()
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 504
        [record] = await gateway.records()
        assert record.attempts[0].total_ms == DEADLINES.connect_s * 1000
        assert record.attempts[0].phase == "connect"


# -- the client leaves ---------------------------------------------------------------


async def test_leaving_cancels_the_upstream_call_at_once(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter()])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
            left_at = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()

        assert trio.current_time() == left_at
        assert (main.open, main.cancelled) == (0, 1)
        [record] = await gateway.records()
        assert record.outcome == "aborted"
        assert record.usage_estimated
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("behaviour", [Silent(), Mute(), Says(delta_s=3)])
async def test_leaving_at_any_time_leaves_nothing_behind(
    autojump_clock: MockClock, behaviour: Behaviour
) -> None:
    main = FakeProvider([behaviour])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY):
            await trio.sleep(0.5)
        await assert_nothing_held(gateway)
        assert main.open == 0
        [record] = await gateway.records()
        assert record.outcome == "aborted"


async def test_leaving_where_the_bill_goes_on_drains_for_its_usage(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("one two three four five", delta_s=1)])
    made = config([provider("main", on_abort="drain")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
        await trio.sleep(10)

        [record] = await gateway.records()
        assert (record.outcome, record.output_tokens) == ("aborted", 5)
        assert not record.usage_estimated
        assert main.cancelled == 0
        await assert_nothing_held(gateway)


async def test_a_drain_is_bounded(autojump_clock: MockClock) -> None:
    main = FakeProvider([PausesAfter()])
    made = config([provider("main", on_abort="drain")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
        await trio.sleep(30)

        assert (main.open, main.cancelled) == (0, 1)
        await assert_nothing_held(gateway)


async def test_a_drain_ends_in_time_where_nothing_comes(
    autojump_clock: MockClock,
) -> None:
    """Twenty seconds, not the idle deadline of a provider that has fallen silent."""
    main = FakeProvider([PausesAfter()])
    patient = attrs.evolve(DEADLINES, idle_s=500, total_s=1000)
    made = config([provider("main", on_abort="drain", deadlines=patient)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
        await trio.sleep(19)
        assert main.open == 1
        await trio.sleep(2)
        assert main.open == 0
        [record] = await gateway.records()
        assert record.outcome == "aborted"
        await assert_nothing_held(gateway)


async def test_a_crash_of_a_stream_says_nothing_good_of_its_provider(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open breaker must not close because our own code failed."""

    async def bug(*_args: object) -> None:
        raise AssertionError("a bug of ours")

    async with two([Says()]) as (gateway, _a, _b):
        monkeypatch.setattr("actors.stream.attempt.relay_stream", bug)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 500
        [record] = await gateway.records()
        assert record.outcome == "crashed"
        assert [attempt.outcome for attempt in record.attempts] == ["cancelled"]
        await assert_nothing_held(gateway)


async def test_a_stalled_client_stops_the_read_from_upstream(
    autojump_clock: MockClock,
) -> None:
    """Backpressure: bytes in flight stay bounded however long the client sleeps."""
    main = FakeProvider([Floods()])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
            await trio.testing.wait_all_tasks_blocked()
            pulled = main.chunks_pulled
            await trio.sleep(5)

            assert main.chunks_pulled == pulled
            assert pulled <= 40  # Channel, the piece in hand, the piece at the client.
        await assert_nothing_held(gateway)


# -- limits and caps -----------------------------------------------------------------


async def test_a_site_has_a_limit_of_requests_in_flight(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says(delta_s=1)])
    made = config(in_flight_max=1)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
            second = await gateway.post(CHAT, chat(), key=KEY)
            assert second.status == 429
            assert second.json()["error"]["code"] == "site_concurrency_exceeded"
            assert "retry-after" in second.headers
            await call.read()
        third = await gateway.post(CHAT, chat(), key=KEY)
        assert third.status == 200


async def test_a_spend_cap_refuses_what_might_exceed_it(
    autojump_clock: MockClock,
) -> None:
    """Holds are the worst case; the cap is never exceeded, not even by one answer."""
    cap = 50_000  # nano-dollars; an answer of 5 tokens costs 7,000 + 2,000 * words.
    main = FakeProvider([Says("a b c")])
    made = config(spend_max_nanousd=cap)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        answers = [
            await gateway.post(CHAT, chat(max_tokens=4), key=KEY) for _ in range(8)
        ]
        statuses = [answer.status for answer in answers]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        error = answers[-1].json()["error"]
        assert error["code"] == "insufficient_quota"
        assert "month" in error["message"]
        spent = sum(record.cost_nanousd for record in await gateway.records())
        assert 0 < spent <= cap


async def test_a_stream_never_outruns_its_hold(autojump_clock: MockClock) -> None:
    """A provider that ignores max_tokens is cut, and the client sees `length`."""
    main = FakeProvider([Floods(chunk_chars=20)])
    made = config(spend_max_nanousd=10**9)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=10), key=KEY)

        reasons = [
            choice["finish_reason"]
            for event in events(answer.body)
            if isinstance(event, dict)
            for choice in event["choices"]
        ]
        assert reasons[-1] == "length"
        [record] = await gateway.records()
        assert record.outcome == "cut"
        assert main.open == 0
        await assert_nothing_held(gateway)


async def test_an_unpriced_model_is_refused_under_a_cap(
    autojump_clock: MockClock,
) -> None:
    made = config([provider("main", prices={})], spend_max_nanousd=10**9)
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.json()["error"]["code"] == "unpriced"


async def test_a_model_off_the_allowlist_looks_unknown(
    autojump_clock: MockClock,
) -> None:
    made = config(models=("slow*",))
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        listed = await gateway.request("GET", "/v1/models", key=KEY)
        assert listed.json()["data"] == []


# -- breaker -------------------------------------------------------------------------


async def test_a_provider_that_fails_is_left_alone_then_probed(
    autojump_clock: MockClock,
) -> None:
    """Closed, open, probation, closed: the actor's life, seen from outside."""
    script = [Fails(500)] * 3 + [Says("well again")]
    async with two(script) as (gateway, a, b):
        for _ in range(3):
            assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
        assert len(a.requests) == 3
        assert gateway.gateway.tree.provider("a").state == "down"
        await gateway.post(CHAT, chat(), key=KEY)
        assert len(a.requests) == 3  # Open: not even asked.
        await trio.sleep(1.1)
        vitals = await gateway.gateway.gate.vitals()
        assert vitals["a"].state == "probation"
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert text_of(answer.body) == "well again"
        vitals = await gateway.gateway.gate.vitals()
        assert vitals["a"].state == "closed"
        assert len(b.requests) == 4


async def test_a_probe_whose_client_leaves_gives_its_permit_back(
    autojump_clock: MockClock,
) -> None:
    """Otherwise the breaker would stay half-open for ever."""
    script = [Fails(500)] * 3 + [Mute(), Says("well again")]
    async with two(script) as (gateway, a, _b):
        for _ in range(3):
            await gateway.post(CHAT, chat(), key=KEY)
        await trio.sleep(1.1)
        async with gateway.open("POST", CHAT, chat(), key=KEY):
            await trio.sleep(0.1)
        assert len(a.requests) == 4
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert text_of(answer.body) == "well again"


async def test_when_all_are_open_the_client_learns_when_to_come_back(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Fails(500)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 503
        assert float(answer.headers["retry-after"]) > 0
        ready = await gateway.request("GET", "/readyz")
        assert ready.status == 503


async def test_calls_beyond_in_flight_wait_in_a_bounded_queue(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("one two", delta_s=1)])
    made = config([provider("main", in_flight_max=1, queue_max=1)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await gateway.post(CHAT, chat(), key=KEY)).status)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert sorted(statuses) == [200, 200, 503]
        assert main.open == 0


# -- records -------------------------------------------------------------------------


async def test_without_records_nothing_is_served(autojump_clock: MockClock) -> None:
    journal = MemoryJournal()
    main = FakeProvider()
    async with embedded(
        config(), {"main": main}, environ=ENV, journal=journal
    ) as gateway:
        journal.broken = True
        await gateway.post(CHAT, chat(), key=KEY)
        await trio.sleep(0.2)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 503
        assert len(main.requests) == 1
        refused = answer.headers["x-request-id"]
        journal.broken = False
        await trio.sleep(10)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 200
        # The record that met the broken disk was kept and is there exactly once.
        assert len(await gateway.records()) == 2
        # Nothing was served then, but operators see that it was asked for.
        assert refused.encode() in gateway.logged()


async def test_no_prompt_and_no_key_in_the_log_or_the_records(
    autojump_clock: MockClock,
) -> None:
    async with two([Fails(500, "canary-error")]) as (gateway, _a, _b):
        await gateway.post(CHAT, chat("canary-prompt"), key=KEY)
        await gateway.post(CHAT, b'{"canary-json', key=KEY)
        await gateway.post(CHAT, chat("canary-prompt"), key="sk-canary-client-key")
        lines = b"\n".join(gateway.journal.lines) + gateway.logged()
        assert lines.count(b'"event":"request"') == 3
        assert b"canary" not in lines
        assert KEY.encode() not in lines


# -- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"not json", None),
        (b"[]", None),
        (b'{"model": 3, "messages": []}', "model"),
        (b'{"messages": []}', "model"),
        (b'{"model": "fast"}', "messages"),
        (b'{"model": "fast", "messages": "hi"}', "messages"),
        (b'{"model": "fast", "messages": [], "stream": "yes"}', "stream"),
        (b"\xff\xfe", None),
    ],
)
async def test_bad_bodies_get_a_400_that_names_the_field(
    autojump_clock: MockClock, body: bytes, param: str | None
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, body, key=KEY)

        assert answer.status == 400
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert error["message"]


async def test_wrong_paths_methods_and_keys(autojump_clock: MockClock) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        assert (await gateway.post(CHAT, chat())).status == 401
        assert (await gateway.post(CHAT, chat(), key="sk-wrong-key-1")).status == 401
        assert (await gateway.request("GET", "/v1/models")).status == 401
        assert (await gateway.request("GET", "/nope", key=KEY)).status == 404
        wrong = await gateway.request("GET", CHAT, key=KEY)
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
        unknown = await gateway.post(CHAT, {**chat(), "model": "nobody"}, key=KEY)
        assert unknown.status == 404
        assert unknown.json()["error"]["code"] == "model_not_found"
        assert (await gateway.request("GET", "/healthz")).status == 200
        assert (await gateway.request("GET", "/readyz")).status == 200
        metrics = await gateway.request("GET", "/metrics")
        assert b"stagedoor_requests_total" in metrics.body or metrics.status == 200
