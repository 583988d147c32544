"""What clients of the Responses dialect fetch again, go on from, and leave running."""

from __future__ import annotations

from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from gateway.embed import Embedded, embedded
from gateway.embed_providers import Fails, FakeProvider, PausesAfter, Refuses, Says
from gateway.settings.config import Config
from gateway.settings.keys import SiteKey
from gateway.settings.providers import ProviderConfig
from gateway.settings.server import Limits
from gateway.settings.sites import SiteConfig
from tests.gateway.gateways import DEADLINES, KEY, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-1"}
PATH = "/v1/responses"
OTHER = "sk-other-dev-0001"


def asked(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "fast", "input": text, **more}


def frames(body: bytes) -> list[Any]:
    return [
        msgspec.json.decode(event.split(b"data: ", 1)[1])
        for event in body.split(b"\n\n")
        if b"data: " in event
    ]


def two_sites() -> Config:
    made = config()
    other = SiteConfig(name="other", keys=(SiteKey.of(OTHER),))
    return attrs.evolve(made, sites=(*made.sites, other))


class RemembersItself(FakeProvider):
    """A provider that speaks Responses and stores its own answers."""

    def _answer(self, behaviour: Any, asked: Any) -> httpx.Response:
        number = len(self.requests)
        message = {
            "id": f"msg_up{number}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Sure", "annotations": []}],
        }
        thought = {"id": f"rs_up{number}", "type": "reasoning", "summary": []}
        return self.whole(
            msgspec.json.encode(
                {
                    "id": f"resp_up{number}",
                    "object": "response",
                    "created_at": 1,
                    "status": "completed",
                    "model": "m",
                    "output": [thought, message],
                    "usage": {"input_tokens": 1, "output_tokens": 1},
                }
            )
        )


def native(name: str) -> ProviderConfig:
    """A provider at OpenAI's own address: it speaks Responses."""
    return provider(name, base_url="https://api.openai.com/v1")


async def get(gateway: Embedded, path: str, key: str = KEY) -> Any:
    return await gateway.request("GET", f"{PATH}/{path}", key=key)


async def until_status(gateway: Embedded, name: str, *wanted: str) -> dict[str, Any]:
    while True:
        found = (await get(gateway, name)).json()
        if found["status"] in wanted:
            return dict(found)
        await trio.sleep(0.1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_finished_answer_can_be_fetched_again(
    autojump_clock: MockClock, stream: bool
) -> None:
    main = FakeProvider([Says("Hello there")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, asked(stream=stream), key=KEY)
        told = frames(answer.body)[-1]["response"] if stream else answer.json()
        again = await get(gateway, told["id"])

        assert again.status == 200
        assert again.json() == told
        assert len(main.requests) == 1


async def test_events_behind_a_number_are_replayed(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("one two three")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, asked(stream=True), key=KEY)
        told = frames(answer.body)
        name = told[0]["response"]["id"]
        all_again = await get(gateway, f"{name}?stream=true")
        behind = await get(gateway, f"{name}?stream=true&starting_after=4")

        assert all_again.body == answer.body
        assert frames(behind.body) == [e for e in told if e["sequence_number"] > 4]
        assert behind.headers["content-type"].startswith("text/event-stream")


async def test_another_sites_answer_is_one_that_never_was(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("Hello")])
    async with embedded(two_sites(), {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        for method, rest in [
            ("GET", ""),
            ("GET", "/input_items"),
            ("DELETE", ""),
            ("POST", "/cancel"),
        ]:
            mine = await gateway.request(method, f"{PATH}/{name}{rest}", key=OTHER)
            none = await gateway.request(method, f"{PATH}/resp_x{rest}", key=OTHER)
            assert mine.status == none.status == 404
            assert mine.body.replace(name.encode(), b"resp_x") == none.body
        going_on = asked(previous_response_id=name)
        answer = await gateway.post(PATH, going_on, key=OTHER)

        assert answer.status == 400
        assert answer.json()["error"]["code"] == "previous_response_not_found"
        assert answer.json()["error"]["param"] == "previous_response_id"
        assert (await get(gateway, name)).status == 200


async def test_what_is_not_to_be_stored_is_not(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = (await gateway.post(PATH, asked(store=False), key=KEY)).json()

        assert (await get(gateway, answer["id"])).status == 404


async def test_a_deleted_answer_is_gone(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        gone = await gateway.request("DELETE", f"{PATH}/{name}", key=KEY)

        assert gone.json() == {"id": name, "object": "response", "deleted": True}
        assert (await get(gateway, name)).status == 404


async def test_an_answer_expires(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        keep_s = gateway.gateway.config.server.limits.keep_s
        await trio.sleep(keep_s - 1)
        assert (await get(gateway, name)).status == 200
        await trio.sleep(2)
        assert (await get(gateway, name)).status == 404


async def test_a_conversation_goes_on_at_a_provider_without_memory(
    autojump_clock: MockClock,
) -> None:
    """The whole of it is sent, also the parts that were gone on from themselves."""
    main = FakeProvider([Says("Hello"), Says("Fine"), Says("Bye")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        first = (await gateway.post(PATH, asked("hi"), key=KEY)).json()["id"]
        more = asked("how are you", previous_response_id=first)
        second = (await gateway.post(PATH, more, key=KEY)).json()
        assert second["previous_response_id"] in {first, None}
        last = asked("good", previous_response_id=second["id"], stream=True)
        await gateway.post(PATH, last, key=KEY)

        sent = msgspec.json.decode(main.requests[-1])["messages"]
        said = [(m["role"], m["content"]) for m in sent]
        assert [role for role, _ in said] == [
            *("user", "assistant", "user", "assistant", "user")
        ]
        words = msgspec.json.encode(said).decode()
        assert [w in words for w in ("hi", "Hello", "how are you", "Fine", "good")] == [
            True
        ] * 5


async def test_input_items_come_in_pages(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("Hello")])
    items = [{"role": "user", "content": f"part {n}"} for n in range(5)]
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, {"model": "fast", "input": items}, key=KEY)
        name = answer.json()["id"]
        page = (await get(gateway, f"{name}/input_items?limit=3&order=asc")).json()
        rest = (
            await get(gateway, f"{name}/input_items?order=asc&after={page['last_id']}")
        ).json()
        newest = (await get(gateway, f"{name}/input_items")).json()["data"]

        assert [i["content"][0]["text"] for i in page["data"]] == [
            *("part 0", "part 1", "part 2")
        ]
        assert (page["has_more"], rest["has_more"]) == (True, False)
        assert [i["content"][0]["text"] for i in rest["data"]] == ["part 3", "part 4"]
        assert newest[0]["content"][0]["text"] == "part 4"
        for query in ("limit=0", "limit=x", "order=up", "after=nobody"):
            bad = await get(gateway, f"{name}/input_items?{query}")
            assert bad.status == 400


async def test_a_background_answer_is_given_to_nobody_and_fetched_later(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("Hello there", delta_s=1.0)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        queued = (await gateway.post(PATH, asked(background=True), key=KEY)).json()
        assert (queued["status"], queued["background"]) == ("queued", True)
        done = await until_status(gateway, queued["id"], "completed", "failed")

        assert done["status"] == "completed"
        assert done["background"] is True
        assert done["output"][0]["content"][0]["text"] == "Hello there"
        assert b"background" not in main.requests[0]


async def test_a_background_stream_survives_its_client(
    autojump_clock: MockClock,
) -> None:
    """Resume: hang up in the middle, come back with the last number seen."""
    main = FakeProvider([Says("one two three four", delta_s=1.0)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        body = asked(background=True, stream=True)
        async with gateway.open("POST", PATH, body, key=KEY) as call:
            assert await call.head() == 200
            seen = frames(await call.chunk())
        name = seen[0]["response"]["id"]
        last = seen[-1]["sequence_number"]
        rest = await get(gateway, f"{name}?stream=true&starting_after={last}")

        numbers = [e["sequence_number"] for e in (*seen, *frames(rest.body))]
        assert numbers == list(range(len(numbers)))
        assert frames(rest.body)[-1]["type"] == "response.completed"
        assert main.cancelled == 0


async def test_a_background_answer_is_cancelled_on_request(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        body = asked(background=True, stream=True)
        async with gateway.open("POST", PATH, body, key=KEY) as call:
            name = frames(await call.chunk())[0]["response"]["id"]
        answer = await gateway.request("POST", f"{PATH}/{name}/cancel", key=KEY)

        assert answer.json()["status"] == "cancelled"
        assert (await get(gateway, name)).json()["status"] == "cancelled"
        await trio.testing.wait_all_tasks_blocked()
        assert (main.open, main.cancelled) == (0, 1)
        again = await gateway.request("POST", f"{PATH}/{name}/cancel", key=KEY)
        assert again.json()["status"] == "cancelled"


async def test_only_background_answers_can_be_cancelled(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        answer = await gateway.request("POST", f"{PATH}/{name}/cancel", key=KEY)

        assert answer.status == 400
        assert "synchronous" in answer.json()["error"]["message"]


async def test_a_background_failure_is_told_when_it_is_fetched(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Fails(400, "no such field", "bad_field")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        queued = (await gateway.post(PATH, asked(background=True), key=KEY)).json()
        done = await until_status(gateway, queued["id"], "completed", "failed")

        assert done["status"] == "failed"
        assert done["error"] == {"code": "bad_field", "message": "no such field"}


async def test_a_client_that_leaves_an_ordinary_stream_ends_it(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", PATH, asked(stream=True), key=KEY) as call:
            name = frames(await call.chunk())[0]["response"]["id"]
        await trio.testing.wait_all_tasks_blocked()

        assert (await get(gateway, name)).json()["status"] == "cancelled"
        assert main.open == 0


async def test_an_answer_of_an_error_is_not_kept(autojump_clock: MockClock) -> None:
    main = FakeProvider([Fails(400, "no", "bad")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, asked(), key=KEY)
        await trio.testing.wait_all_tasks_blocked()

        assert answer.status == 400
        keeper = gateway.gateway.tree.system.lookup("keeper")
        assert keeper is not None
        assert repr(keeper.cell.actor).startswith("<Keeper running=0 background=0")


async def test_background_needs_what_is_stored(autojump_clock: MockClock) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, asked(background=True, store=False), key=KEY)

        assert answer.status == 400
        assert answer.json()["error"]["param"] == "background"


async def test_who_stored_an_answer_itself_goes_on_from_it(
    autojump_clock: MockClock,
) -> None:
    """First in line whatever the route says, and by its own id."""
    a, b = FakeProvider([Fails(500), Says("never")]), RemembersItself()
    made = config([provider("a"), native("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        first = (await gateway.post(PATH, asked("hi"), key=KEY)).json()
        assert first["id"] == "resp_up1"
        more = asked("more", previous_response_id="resp_up1")
        second = await gateway.post(PATH, more, key=KEY)

        assert second.json()["id"] == "resp_up2"
        assert len(a.requests) == 1
        sent = msgspec.json.decode(b.requests[1])
        assert (sent["previous_response_id"], sent["input"]) == ("resp_up1", "more")


async def test_others_go_on_from_it_with_the_whole_conversation(
    autojump_clock: MockClock,
) -> None:
    """Without what only its owner understands: ids, and thoughts without a proof."""
    a, b = FakeProvider([Fails(500), Says("from a")]), RemembersItself()
    made = config([provider("a"), native("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        await gateway.post(PATH, asked("hi"), key=KEY)
        b.script = [Refuses()]
        more = asked("more", previous_response_id="resp_up1")
        answer = await gateway.post(PATH, more, key=KEY)

        assert answer.json()["output"][0]["content"][0]["text"] == "from a"
        sent = msgspec.json.decode(a.requests[1])["messages"]
        assert [m["role"] for m in sent] == ["user", "assistant", "user"]
        assert b"resp_up1" not in a.requests[1]
        assert b"rs_up1" not in a.requests[1]


async def test_no_site_reads_at_a_provider_what_the_gateway_does_not_know(
    autojump_clock: MockClock,
) -> None:
    """All sites share the provider's account: an unknown id may be another site's."""
    main = RemembersItself()
    async with embedded(config([native("b")]), {"b": main}, environ=ENV) as gateway:
        more = asked("more", previous_response_id="resp_of_somebody")
        answer = await gateway.post(PATH, more, key=KEY)

        assert answer.json()["error"]["code"] == "previous_response_not_found"
        assert main.requests == []


async def test_a_gateway_may_keep_nothing(autojump_clock: MockClock) -> None:
    made = config()
    server = attrs.evolve(made.server, limits=Limits(kept_bytes_max=0))
    made = attrs.evolve(made, server=server)
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(PATH, asked(), key=KEY)
        assert answer.status == 200
        assert (await get(gateway, answer.json()["id"])).status == 404
        refused = await gateway.post(PATH, asked(background=True), key=KEY)
        assert refused.json()["error"]["param"] == "background"


async def test_a_silence_does_not_end_what_a_client_follows(
    autojump_clock: MockClock,
) -> None:
    """A heartbeat cuts the wait for the next event short, and nothing else."""
    patient = attrs.evolve(DEADLINES, first_content_s=90, idle_s=90, total_s=900)
    made = config([provider("main", deadlines=patient)])
    slow = FakeProvider([Says("one two three", delta_s=40)])
    async with embedded(made, {"main": slow}, environ=ENV) as gateway:
        body = asked(stream=True, background=True)
        answer = await gateway.post(PATH, body, key=KEY)

        assert answer.body.count(b": hb\n") >= 4
        seen = frames(answer.body.replace(b": hb\n", b""))
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        assert seen[-1]["type"] == "response.completed"
