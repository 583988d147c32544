"""A provider's key is rotated while requests flow: none is lost, none sees a 401.

The real minting client and the real rotation, for ten weeks of a virtual clock.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import trio
from trio.testing import MockClock

from actors.vault.locked import LockedMemory
from actors.vault.messages import KeyScope
from actors.vault.rotation import DAY_S
from gateway.embed import EPOCH_S, embedded, memory_safe
from gateway.embed_providers import FakeProvider, Says
from gateway.keysafe import make_minters
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

FIRST, ADMIN = "sk-first-by-hand", "sk-admin-that-mints"
MADE = config(
    [
        provider(
            "main",
            base_url="https://api.openai.com/v1",
            key_env="",
            key="vault:default",
            rotation_key="vault:admin",
            rotation_account="proj_1",
        )
    ]
)


class MintingProvider(FakeProvider):
    """OpenAI's admin API and its chat, with one list of keys that are good."""

    def __init__(self) -> None:
        super().__init__([Says(delta_s=0.2)])
        self.good = {FIRST: "", ADMIN: ""}
        self.refused = 0
        self.ended: list[str] = []
        self.spoilt = False  # New keys are refused a day after they were made.
        self.made_at: dict[str, float] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = self._key_of(request)
        path = request.url.path
        if key not in self.good or self._is_spoilt(key):
            self.refused += 1
            return self._json({"error": {"message": "bad key", "code": None}}, 401)
        if path == "/v1/models":
            return self._json({"data": []})
        if path.endswith("/service_accounts") and request.method == "GET":
            return self._json({"data": [{"id": i} for i in self.good.values() if i]})
        if path.endswith("/service_accounts"):
            assert key == ADMIN
            number = len(self.made_at) + 1
            made = f"sk-minted-{number}"
            self.good[made] = f"account-{number}"
            self.made_at[made] = trio.current_time()
            return self._json({"id": f"account-{number}", "api_key": {"value": made}})
        if request.method == "DELETE":
            gone = path.rpartition("/")[2]
            self.good = {k: i for k, i in self.good.items() if i != gone}
            self.ended.append(gone)
            return self._json({"deleted": True})
        assert key != ADMIN, "the key that mints is for minting"
        self.requests.append(await request.aread())
        self.authorizations.append(key)
        self.open += 1
        await trio.sleep(0.1)
        return self._answer(self.script[0], msgspec.json.decode(self.requests[-1]))

    def _is_spoilt(self, key: str) -> bool:
        made = self.made_at.get(key)
        return self.spoilt and made is not None and trio.current_time() > made + 3600

    def _key_of(self, request: httpx.Request) -> str:
        use = request.extensions["stagedoor.key"]
        head = bytearray()
        try:
            use.handle.write_key(head, host=request.url.host, secure=True)
        finally:
            use.handle.spent()
        return head.decode()

    def _json(self, value: Any, status: int = 200) -> httpx.Response:
        return httpx.Response(
            status,
            content=msgspec.json.encode(value),
            headers={"content-type": "application/json"},
        )


async def through(days: float, stub: MintingProvider) -> list[int]:
    """Clients all the time, for so many days; the statuses they saw."""

    def wall() -> float:
        return EPOCH_S + trio.current_time()

    safe = memory_safe(wall=wall)
    await safe.load()
    for name, key in (("default", FIRST), ("admin", ADMIN)):
        await safe.add(
            KeyScope("main", name),
            LockedMemory(secret=False).hold(key.encode()),
            hosts=("api.openai.com",),
            access_key_id="",
            principal="op",
            now=trio.current_time,
        )
    statuses: list[int] = []
    until = trio.current_time() + days * DAY_S
    minters = make_minters(safe, stub, wall)
    async with (
        embedded(MADE, {"main": stub}, safe=safe, make_minter=minters) as gateway,
        trio.open_nursery() as nursery,
    ):

        async def client(every_s: float) -> None:
            while trio.current_time() < until:
                answer = await gateway.post(CHAT, chat(), key=KEY)
                statuses.append(answer.status)
                await trio.sleep(every_s)

        for every_s in (9700.0, 14300.0):  # Some fifteen requests a day, at any hour.
            nursery.start_soon(client, every_s)
    return statuses


async def test_ten_weeks_of_rotation_lose_no_request(autojump_clock: MockClock) -> None:
    stub = MintingProvider()
    statuses = await through(70, stub)
    assert set(statuses) == {200}
    assert len(statuses) > 900
    assert stub.refused == 0
    assert len(stub.made_at) == 2
    assert stub.ended == ["account-1"]  # FIRST was pasted: its owner ends it.
    used = list(dict.fromkeys(stub.authorizations))
    assert used == [FIRST, "sk-minted-1", "sk-minted-2"]


async def test_a_minted_key_that_goes_bad_gives_way_and_no_client_sees_why(
    autojump_clock: MockClock,
) -> None:
    stub = MintingProvider()
    stub.spoilt = True
    statuses = await through(33, stub)
    assert not {401, 403} & set(statuses)
    assert stub.authorizations[-1] == FIRST
    # Three refusals roll it back; the breaker's pause is what the others met.
    assert sum(status != 200 for status in statuses) <= 12
