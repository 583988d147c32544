"""Rotation: the table, every interruption, rollbacks, and the minting clients."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import httpx
import pytest
import trio

from actors.auditor.messages import AuditEvent
from actors.vault.holdings import moved
from actors.vault.keks import KekLimits
from actors.vault.locked import LockedMemory
from actors.vault.messages import KeyScope
from actors.vault.mints import AwsMint, OpenAiMint, OpenRouterMint
from actors.vault.ports import Minted, MintFault, Put, SecretRow
from actors.vault.rotation import (
    DAY_S,
    ENDS,
    NEXT,
    Timing,
    gives_up,
    is_overdue,
    pause_s,
)
from actors.vault.rotator import Rotator
from actors.vault.safe import KekMissing, Safe
from actors.vault.secret import LeasedKey
from storage.vault_files import VaultMemory
from tests.actors.vault.vaults import FlakyKms

MEMORY = LockedMemory()
SCOPE = KeyScope("main")
HOST = "api.main.example"


def test_every_state_leads_to_an_end() -> None:
    states = {state for state, _ in NEXT} | set(NEXT.values())
    for start in states - ENDS:
        reached = {start}
        while True:
            more = {NEXT[key] for key in NEXT if key[0] in reached} | reached
            if more == reached:
                break
            reached = more
        assert reached & ENDS
    assert not {state for state, _ in NEXT} & ENDS


def test_nothing_is_deactivated_that_no_probed_key_replaces() -> None:
    """Every way to `deactivating` leads through `probed`."""
    without = {key: to for key, to in NEXT.items() if key[1] != "probed"}
    reached = {"minting"}
    for _ in NEXT:
        reached |= {to for (state, _), to in without.items() if state in reached}
    assert "deactivating" not in reached
    assert "deleting" not in reached


def test_after_the_deletion_began_there_is_no_way_back() -> None:
    assert {event for state, event in NEXT if state == "deleting"} == {"deleted"}


def test_pauses_grow_and_end_somewhere() -> None:
    pauses = [pause_s(n) for n in range(1, 100)]
    assert all(a <= b for a, b in pairwise(pauses))
    assert pauses[-1] == 900
    assert gives_up("minting", 5, lasting=False)
    assert gives_up("probing", 1, lasting=True)
    assert not gives_up("deleting", 1000, lasting=True)


def test_a_key_that_nobody_rotates_is_overdue() -> None:
    timing = Timing()
    assert not is_overdue(0, 31 * DAY_S, timing)
    assert is_overdue(0, 31 * DAY_S + 1, timing)


class Crash(Exception):
    """The process ended here."""


@attrs.define
class FakeProvider:
    """Keys at a provider: their state, and which calls fail."""

    keys: dict[str, str] = attrs.field(factory=dict[str, str])
    labels: dict[str, str] = attrs.field(factory=dict[str, str])
    calls: list[str] = attrs.field(factory=list[str])
    faults: dict[str, list[Exception]] = attrs.field(factory=dict)
    made: int = 0

    def _call(self, what: str) -> None:
        self.calls.append(what)
        faults = self.faults.get(what)
        if faults:
            raise faults.pop(0)

    async def mint(self, label: str) -> Minted:
        self._call("mint")
        for key_id, of in list(self.labels.items()):
            if of == label:
                del self.keys[key_id], self.labels[key_id]
        self.made += 1
        key_id = f"key-{self.made}"
        self.keys[key_id] = "active"
        self.labels[key_id] = label
        self._call("minted")
        return Minted(MEMORY.hold(f"sk-minted-{self.made}".encode()), key_id)

    async def probe(self, minted: Minted) -> None:
        self._call("probe")
        assert self.keys[minted.provider_key_id] == "active"
        assert bytes(minted.key.view).startswith(b"sk-minted-")

    async def deactivate(self, provider_key_id: str) -> None:
        self._call("deactivate")
        self.keys[provider_key_id] = "inactive"

    async def reactivate(self, provider_key_id: str) -> None:
        self._call("reactivate")
        self.keys[provider_key_id] = "active"

    async def delete(self, provider_key_id: str) -> None:
        self._call("delete")
        self.keys.pop(provider_key_id, None)


@attrs.define
class World:
    """A clock, a store, a provider; `rotator` is made anew after each crash."""

    store: VaultMemory = attrs.field(factory=VaultMemory)
    provider: FakeProvider = attrs.field(factory=FakeProvider)
    now_s: float = 1_000_000.0
    events: list[AuditEvent] = attrs.field(factory=list[AuditEvent])
    crash_at: int = -1
    commits: int = 0
    kms: FlakyKms = attrs.field(factory=FlakyKms)

    async def rotator(self) -> Rotator:
        safe = Safe(
            self.store,
            {"local": self.kms},
            MEMORY,
            seals_with="local",
            wall=lambda: self.now_s,
            limits=KekLimits(),
        )
        await safe.load()

        async def attest(event: AuditEvent) -> None:
            await trio.lowlevel.checkpoint()
            self.events.append(event)

        inner = safe.commit

        async def commit(*changes: Any) -> None:
            self.commits += 1
            if self.commits == self.crash_at:
                raise Crash
            await inner(*changes)

        safe.commit = commit  # type: ignore[method-assign]
        return Rotator(
            SCOPE,
            safe,
            self.provider,
            timing=Timing(),
            now=lambda: self.now_s,
            attest=attest,
        )

    async def add_first(self) -> None:
        rotator = await self.rotator()
        self.provider.keys["key-0"] = "active"
        await rotator._safe.add(
            SCOPE,
            MEMORY.hold(b"sk-first"),
            hosts=(HOST,),
            access_key_id="",
            principal="op",
            now=lambda: self.now_s,
            provider_key_id="key-0",
        )

    async def lent(self) -> bytes:
        """What a lease would be made of now; a gateway must always have one."""
        rotator = await self.rotator()
        safe = rotator._safe
        found = safe.open(SCOPE, self.now_s)
        while isinstance(found, KekMissing):
            await safe.fetch_kek(found.row, lambda: self.now_s)
            found = safe.open(SCOPE, self.now_s)
        return bytes(found.key)

    def usable(self) -> set[str]:
        """Ids of the provider's keys that work."""
        return {key for key, state in self.provider.keys.items() if state == "active"}

    def versions(self) -> dict[int, str]:
        rows = self.store.rows.values()
        return {r.version: r.state for r in rows if isinstance(r, SecretRow)}

    async def run(
        self, days: float, rotator: Rotator | None = None, *, step_s: float = 3600
    ) -> str:
        """Let days pass; crashes restart it. The key on loan must always work."""
        end = self.now_s + days * DAY_S
        rotator = rotator or await self.rotator()
        while self.now_s < end:
            try:
                at = await rotator.advance()
            except Crash:
                rotator = await self.rotator()
                at = self.now_s
            await self.assert_served()
            self.now_s = (
                min(end, max(at, self.now_s + 1))
                if at > self.now_s
                else (self.now_s + 1)
            )
            del step_s
            step_s = 0
        row = rotator.row
        return row.state if row is not None else ""

    async def assert_served(self) -> None:
        key = await self.lent()
        number = 0 if key == b"sk-first" else int(key.rpartition(b"-")[2])
        assert f"key-{number}" in self.usable(), (key, self.provider.keys)


async def test_a_key_is_rotated_every_month_without_a_moment_of_no_key() -> None:
    world = World()
    await world.add_first()
    await world.run(29.9)
    assert world.provider.calls == []
    assert await world.run(5) == "done"
    assert await world.lent() == b"sk-minted-1"
    assert world.provider.keys == {"key-1": "active"}
    assert world.versions() == {1: "revoked", 2: "active"}
    assert world.provider.calls == ["mint", "minted", "probe", "deactivate", "delete"]
    acts = [event.out for event in world.events]
    assert acts == [
        "begin", "minted", "promote", "probed", "over", "deactivated", "quiet",
        "deleted",
    ]  # fmt: skip
    await world.run(60)
    assert await world.lent() == b"sk-minted-3"


async def test_the_old_key_overlaps_for_a_day_and_is_watched_for_another() -> None:
    world = World()
    await world.add_first()
    await world.run(30.9)
    assert world.usable() == {"key-0", "key-1"}
    await world.run(0.5)
    assert world.provider.keys["key-0"] == "inactive"
    await world.run(1)
    assert set(world.provider.keys) == {"key-1"}


@pytest.mark.parametrize("crash_at", range(2, 12))
async def test_a_crash_before_any_commit_is_gone_on_from(crash_at: int) -> None:
    """Whatever was done at the provider and not stored is repeated or swept."""
    world = World()
    await world.add_first()
    world.crash_at = world.commits + crash_at - 1
    assert await world.run(40) == "done"
    assert len(world.provider.keys) == 1
    await world.assert_served()


async def test_a_new_key_that_fails_its_probe_is_never_used() -> None:
    world = World()
    await world.add_first()
    world.provider.faults["probe"] = [MintFault("no") for _ in range(5)]
    await world.run(30.5)
    assert await world.lent() == b"sk-first"
    assert "deactivate" not in world.provider.calls
    assert world.usable() == {"key-0"}
    rotator = await world.rotator()
    assert rotator.row is not None
    assert rotator.row.state == "rolled_back"
    assert await world.run(5, rotator) == "done"


async def test_a_hiccup_is_tried_again_and_a_refusal_is_not() -> None:
    world = World()
    await world.add_first()
    world.provider.faults["mint"] = [MintFault("503"), MintFault("503")]
    assert await world.run(34) == "done"

    other = World()
    await other.add_first()
    other.provider.faults["mint"] = [MintFault("403", lasting=True)]
    await other.run(30.1)
    assert other.provider.calls == ["mint"]


async def test_a_new_key_that_is_refused_later_gives_way_to_the_old_one() -> None:
    """Within the overlap and within the watch: the old one comes back."""
    for days in (30.5, 31.5):
        world = World()
        await world.add_first()
        rotator = await world.rotator()
        await world.run(days, rotator)
        assert rotator.row is not None
        assert rotator.row.state in ("overlap", "watching")
        for _ in range(3):
            rotator.refused()
        await rotator.advance()
        await rotator.advance()
        assert await world.lent() == b"sk-first"
        assert world.usable() == {"key-0"}
        assert world.versions() == {1: "active", 2: "revoked"}


async def test_one_refusal_is_no_reason_to_roll_back() -> None:
    world = World()
    await world.add_first()
    rotator = await world.rotator()
    await world.run(30.5, rotator)
    rotator.refused()
    assert await world.run(3, rotator) == "done"


async def test_an_operator_may_begin_at_once() -> None:
    world = World()
    await world.add_first()
    rotator = await world.rotator()
    await rotator.advance(asked=True)
    await rotator.advance()
    assert await world.lent() == b"sk-minted-1"


async def test_a_pasted_key_without_an_id_is_left_to_its_owner() -> None:
    world = World()
    rotator = await world.rotator()
    world.provider.keys["key-0"] = "active"
    await rotator._safe.add(
        SCOPE,
        MEMORY.hold(b"sk-first"),
        hosts=(HOST,),
        access_key_id="",
        principal="op",
        now=lambda: world.now_s,
    )
    assert await world.run(40) == "done"
    assert world.provider.keys == {"key-0": "active", "key-1": "active"}


def test_moving_a_row_bumps_its_revision() -> None:
    row = SecretRow("t", "e", "p", "n", 1, "active", b"", 0, "op")
    assert isinstance(Put(moved(row, "retired", now_s=3)).row, SecretRow)
    assert moved(row, "retired", now_s=3).retired_s == 3


# -- clients -------------------------------------------------------------------------


class Api(httpx.AsyncBaseTransport):
    """Plays a provider's API; keys are written as our transport writes them."""

    def __init__(self, answer: Callable[[httpx.Request, str], httpx.Response]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        use = request.extensions.get("stagedoor.key")
        auth = request.headers.get("authorization", "")
        if use is not None:
            head = bytearray(use.prefix)
            use.handle.write_key(head, host=request.url.host, secure=True)
            use.handle.spent()
            auth = head.decode()
        self.seen.append((request.method, request.url.raw_path.decode(), auth))
        return self.answer(request, auth)


def lend(key: bytes = b"sk-admin", host: str = "api.openai.com") -> Any:
    async def lent() -> LeasedKey:
        await trio.lowlevel.checkpoint()
        memory = MEMORY.hold(key)
        return LeasedKey(
            KeyScope("admin"),
            memory,
            memory.view,
            hosts=frozenset({host}),
            plain_allowed=False,
            expires_at=1,
            now=lambda: 0,
            on_end=lambda _: None,
            access_key_id="AKIAADMIN",
        )

    return lent


async def test_openai_mints_service_accounts() -> None:
    accounts = {"old": "label"}

    def answer(request: httpx.Request, auth: str) -> httpx.Response:
        path = request.url.path
        if path == "/v1/models":
            return httpx.Response(200 if auth == "Bearer sk-svc" else 401, json={})
        assert auth == "Bearer sk-admin"
        if request.method == "GET":
            rows = [{"id": key, "name": name} for key, name in accounts.items()]
            return httpx.Response(200, json={"data": rows})
        if request.method == "DELETE":
            gone = accounts.pop(path.rpartition("/")[2], None)
            return httpx.Response(200 if gone else 404, json={"deleted": True})
        accounts["new"] = json.loads(request.content)["name"]
        api_key = {"object": "…", "value": "sk-svc", "id": "key_abc"}
        return httpx.Response(200, json={"id": "new", "api_key": api_key})

    api = Api(answer)
    mint = OpenAiMint("proj_1", lend(), api, MEMORY)
    minted = await mint.mint("label")
    assert (bytes(minted.key.view), minted.provider_key_id) == (b"sk-svc", "new")
    assert accounts == {"new": "label"}
    await mint.probe(minted)
    await mint.delete("new")
    await mint.delete("new")
    place = "/v1/organization/projects/proj_1/service_accounts"
    assert [(method, path) for method, path, _ in api.seen] == [
        ("GET", f"{place}?limit=100"),
        ("DELETE", f"{place}/old"),
        ("POST", place),
        ("GET", "/v1/models"),
        ("DELETE", f"{place}/new"),
        ("DELETE", f"{place}/new"),
    ]


async def test_openrouter_mints_disables_and_deletes() -> None:
    disabled: list[bool] = []

    def answer(request: httpx.Request, auth: str) -> httpx.Response:
        if request.method == "PATCH":
            disabled.append(json.loads(request.content)["disabled"])
        if request.method == "POST":
            made = {"data": {"hash": "h1"}, "key": "sk-or-new"}
            return httpx.Response(201, json=made)
        if request.url.path == "/api/v1/key":
            return httpx.Response(200 if auth == "Bearer sk-or-new" else 401, json={})
        return httpx.Response(200, json={"data": []})

    api = Api(answer)
    mint = OpenRouterMint(lend(host="openrouter.ai"), api, MEMORY)
    minted = await mint.mint("label")
    await mint.probe(minted)
    await mint.deactivate("h1")
    await mint.reactivate("h1")
    await mint.delete("h1")
    assert disabled == [True, False]
    assert api.seen[-1][:2] == ("DELETE", "/api/v1/keys/h1")


@pytest.mark.parametrize(
    ("status", "lasting"), [(403, True), (400, True), (429, False), (500, False)]
)
async def test_what_will_not_help_again_is_told(status: int, lasting: bool) -> None:
    api = Api(lambda _request, _auth: httpx.Response(status, json={"error": "sk-x"}))
    with pytest.raises(MintFault) as caught:
        await OpenAiMint("p", lend(), api, MEMORY).mint("label")
    assert caught.value.lasting == lasting
    assert "sk-" not in str(caught.value)


async def test_aws_signs_for_its_access_keys() -> None:
    def answer(request: httpx.Request, auth: str) -> httpx.Response:
        body = request.content.decode()
        host = request.url.host
        service = "sts" if host.startswith("sts") else "iam"
        signer = "AKIANEW" if service == "sts" else "AKIAADMIN"
        assert re.match(
            rf"AWS4-HMAC-SHA256 Credential={signer}/\d{{8}}/us-east-1/{service}/", auth
        )
        if "Action=CreateAccessKey" in body:
            return httpx.Response(
                200,
                text="<R><AccessKeyId>AKIANEW</AccessKeyId>"
                "<SecretAccessKey>made/up+secret</SecretAccessKey></R>",
            )
        if "DeleteAccessKey" in body:
            return httpx.Response(404, text="<E><Code>NoSuchEntity</Code></E>")
        return httpx.Response(200, text="<R/>")

    mint = AwsMint("gateway", lend(), Api(answer), MEMORY, lambda: 1_800_000_000)
    minted = await mint.mint("label")
    assert (minted.access_key_id, minted.provider_key_id) == ("AKIANEW", "AKIANEW")
    assert bytes(minted.key.view) == b"made/up+secret"
    await mint.probe(minted)
    await mint.deactivate("AKIAOLD")
    await mint.delete("AKIAOLD")


async def test_a_user_with_two_keys_already_is_a_lasting_fault() -> None:
    text = "<E><Code>LimitExceeded</Code></E>"
    api = Api(lambda _request, _auth: httpx.Response(409, text=text))
    with pytest.raises(MintFault, match="LimitExceeded") as caught:
        await AwsMint("u", lend(), api, MEMORY, lambda: 0).mint("label")
    assert caught.value.lasting
