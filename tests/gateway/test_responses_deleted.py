"""DELETE /v1/responses/{id} reaches the copy that the provider keeps."""

from __future__ import annotations

from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider, Says
from tests.gateway.gateways import KEY, config
from tests.gateway.test_requests import assert_nothing_held
from tests.gateway.test_responses_kept import (
    ENV,
    OTHER,
    PATH,
    RemembersItself,
    asked,
    get,
    native,
    two_sites,
)


class Forgets(RemembersItself):
    """It stores its answers, and deletes them when it is told to."""

    def __init__(self, *answers: int | Exception) -> None:
        super().__init__()
        self.answers = list(answers or (200,))
        self.deleted: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "DELETE":
            return await super().handle_async_request(request)
        self._take_key(request)
        self.deleted.append(str(request.url))
        answer = self.answers[min(len(self.deleted), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, json={"deleted": True})


async def delete(gateway: Any, name: str, key: str = KEY) -> Any:
    return await gateway.request("DELETE", f"{PATH}/{name}", key=key)


async def test_both_copies_are_deleted(autojump_clock: MockClock) -> None:
    main = Forgets()
    made = config([native("main")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        gone = await delete(gateway, name)

        assert gone.json() == {"id": name, "object": "response", "deleted": True}
        assert main.deleted == ["https://api.openai.com/v1/responses/resp_up1"]
        assert main.authorizations == ["Bearer sk-upstream-1"] * 2
        assert (await get(gateway, name)).status == 404
        assert (await delete(gateway, name)).status == 404
        assert len(main.deleted) == 1
        await assert_nothing_held(gateway)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (500, "refused (status 500)"),
        (403, "does not let the gateway's key delete it (status 403)"),
        (httpx.ConnectError("no"), "cannot be reached"),
    ],
)
async def test_while_the_providers_copy_is_there_so_is_ours(
    answer: int | Exception, why: str, autojump_clock: MockClock
) -> None:
    """Else nobody could find it any more to delete it; and it can be tried again."""
    main = Forgets(answer, 200)
    made = config([native("main")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        first = await delete(gateway, name)

        assert first.status == 502
        assert first.json()["error"]["code"] == "not_deleted"
        assert (
            f"provider main holds this response too, and {why}"
            in (first.json()["error"]["message"])
        )
        assert (await get(gateway, name)).status == 200
        # It says nothing of how well the provider answers.
        assert (await gateway.post(PATH, asked(), key=KEY)).status == 200
        assert (await delete(gateway, name)).status == 200
        assert (await get(gateway, name)).status == 404
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("answer", [404, 405, 410, 501])
async def test_a_copy_that_is_not_there_is_deleted(
    answer: int, autojump_clock: MockClock
) -> None:
    made = config([native("main")])
    async with embedded(made, {"main": Forgets(answer)}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        assert (await delete(gateway, name)).status == 200


async def test_no_site_deletes_anothers(autojump_clock: MockClock) -> None:
    """Nor learns that it is there, by what happens at the provider."""
    main = Forgets()
    made = attrs.evolve(two_sites(), providers=(native("main"),))  # type: ignore[misc]
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]

        for key, wanted in ((OTHER, name), (KEY, "resp_up1x"), (OTHER, "resp_up1")):
            answer = await delete(gateway, wanted, key)
            assert answer.status == 404
        assert main.deleted == []
        assert (await get(gateway, name)).status == 200


async def test_an_answer_without_a_copy_asks_nobody(autojump_clock: MockClock) -> None:
    """Of a provider that speaks another dialect, or when nothing is to be stored."""
    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        name = (await gateway.post(PATH, asked(), key=KEY)).json()["id"]
        assert (await delete(gateway, name)).status == 200
        assert len(main.requests) == 1


async def test_what_is_deleted_while_it_is_given_is_deleted_there_too(
    autojump_clock: MockClock,
) -> None:
    main = Forgets()
    made = config([native("main")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        told = await gateway.post(PATH, asked(background=True), key=KEY)
        name = told.json()["id"]
        assert (await delete(gateway, name)).status == 200
        await trio.sleep(1)

        assert (await get(gateway, name)).status == 404
        # Where the provider had begun, it has a copy by its own id.
        assert len(main.deleted) == len(main.requests)
        await assert_nothing_held(gateway)
