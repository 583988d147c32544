"""Sites and keys that are added while the gateway serves, and taken away again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.auditor.messages import AuditUnavailable
from actors.directory.messages import Document, KeyTerms, Unfit
from actors.directory.ports import Directory
from actors.vault.delivery import info, seal
from actors.vault.messages import Deliver, DeliveryKey, KeyScope
from gateway.embed import EPOCH_S, Answer, Embedded, embedded, events
from gateway.embed_providers import FakeProvider, PausesAfter, Says
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.sites import SiteConfig
from storage.directory import SqlDirectory
from storage.sql.memory import MemoryDatabase, open_memory
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-1"}
Running = tuple[Embedded, Directory]


@asynccontextmanager
async def serving(
    provider: FakeProvider | None = None,
    made: Config | None = None,
    database: MemoryDatabase | None = None,
) -> AsyncIterator[Running]:
    """A gateway with a site `acme` of its file, and a directory."""
    store = database or await open_memory()
    fake = provider or FakeProvider()
    async with embedded(
        made or config(), {"main": fake}, environ=ENV, database=store
    ) as gateway:
        directory = gateway.gateway.gate.directory
        assert directory is not None
        yield gateway, directory


async def settled() -> None:
    """Let what was written be followed: no time is needed, only turns."""
    await trio.testing.wait_all_tasks_blocked()


async def ask(gateway: Embedded, key: str, **more: Any) -> Answer:
    return await gateway.post(CHAT, chat(stream=False, **more), key=key)


async def added(
    directory: Directory, terms: KeyTerms | None = None, **document: Any
) -> str:
    """A site `shop` and a key for it."""
    await directory.declare("site", "shop", document, by="ops")
    made = await directory.create_key("shop", terms or KeyTerms(), by="ops")
    await settled()
    return made.secret


async def test_a_site_that_is_added_is_served_at_once(
    autojump_clock: MockClock,
) -> None:
    async with serving() as (gateway, directory):
        key = await added(directory)

        assert (await ask(gateway, key)).status == 200
        assert (await ask(gateway, KEY)).status == 200
        [first, _] = await gateway.records()
        assert first.site == "shop"
        assert first.key_id == f"shop:{key[13:21]}"
        assert trio.current_time() < 1


async def test_a_key_can_be_made_for_a_site_of_the_file(
    autojump_clock: MockClock,
) -> None:
    async with serving() as (gateway, directory):
        made = await directory.create_key("acme", KeyTerms(), by="ops")
        await settled()

        assert (await ask(gateway, made.secret)).status == 200


async def test_what_is_there_at_the_start_is_served_from_the_start(
    autojump_clock: MockClock,
) -> None:
    store = await open_memory()
    async with serving(database=store) as (_, directory):
        key = await added(directory)
    async with serving(database=store) as (gateway, _):
        assert (await ask(gateway, key)).status == 200


async def test_a_revoked_key_is_refused_and_its_open_stream_ends(
    autojump_clock: MockClock,
) -> None:
    """In the dialect's own words, and with nothing held after."""
    main = FakeProvider([PausesAfter(), PausesAfter()])
    async with serving(main) as (gateway, directory):
        key = await added(directory)
        other = (await directory.create_key("shop", KeyTerms(), by="ops")).secret
        await settled()
        async with (
            gateway.open("POST", CHAT, chat(), key=key) as call,
            gateway.open("POST", CHAT, chat(), key=other) as stays,
        ):
            assert await call.chunk()
            assert await stays.chunk()
            await directory.revoke_key(key, by="ops")
            answer = await call.read()
            assert not stays.done
            last = [one for one in events(answer.body) if isinstance(one, dict)][-1]
            assert last["error"]["code"] == "invalid_api_key"
            assert "revoked" in last["error"]["message"]
            assert main.open == 1
            assert (await ask(gateway, key)).status == 401
            assert trio.current_time() < 1


async def test_a_stream_of_anthropics_dialect_ends_with_its_error_event(
    autojump_clock: MockClock,
) -> None:
    async with serving(FakeProvider([PausesAfter()])) as (gateway, directory):
        key = await added(directory)
        body = {**chat(), "max_tokens": 50}
        async with gateway.open("POST", "/v1/messages", body, key=key) as call:
            assert await call.chunk()
            await directory.revoke_key(key, by="ops")
            answer = await call.read()
        assert answer.body.rstrip().split(b"\n\n")[-1].startswith(b"event: error")


@pytest.mark.parametrize("how", ["suspend", "remove", "suspend tenant"])
async def test_a_site_that_is_taken_away_ends_with_its_streams(
    autojump_clock: MockClock, how: str
) -> None:
    main = FakeProvider([PausesAfter(), Says()])
    async with serving(main) as (gateway, directory):
        await directory.declare("tenant", "acme-corp", {}, by="ops")
        key = await added(directory, tenant="acme-corp")
        async with gateway.open("POST", CHAT, chat(), key=key) as call:
            assert await call.chunk()
            match how:
                case "suspend":
                    document: Document = {"tenant": "acme-corp", "suspended": True}
                    await directory.declare("site", "shop", document, by="ops")
                case "remove":
                    await directory.remove("site", "shop", by="ops")
                case _:
                    document = {"suspended": True}
                    await directory.declare("tenant", "acme-corp", document, by="ops")
            answer = await call.read()
        last = [one for one in events(answer.body) if isinstance(one, dict)][-1]
        refused = await ask(gateway, key)
        told = (last["error"]["code"], refused.status)
        if how == "remove":
            # Its keys went with it, before it did.
            assert told == ("invalid_api_key", 401)
        else:
            assert told == ("site_suspended", 403)
            assert "suspended" in refused.json()["error"]["message"]
        assert (await ask(gateway, KEY)).status == 200


async def test_a_suspended_site_comes_back_with_its_keys(
    autojump_clock: MockClock,
) -> None:
    async with serving() as (gateway, directory):
        key = await added(directory, suspended=True)
        assert (await ask(gateway, key)).status == 403
        await directory.declare("site", "shop", {}, by="ops")
        await settled()

        assert (await ask(gateway, key)).status == 200


async def test_a_key_serves_until_it_expires(autojump_clock: MockClock) -> None:
    async with serving() as (gateway, directory):
        expires_ms = int((EPOCH_S + 60) * 1000)
        key = await added(directory, KeyTerms(expires_ms=expires_ms))
        assert (await ask(gateway, key)).status == 200
        await trio.sleep(61)

        assert (await ask(gateway, key)).status == 401


async def test_a_rotated_key_overlaps_and_keeps_its_name(
    autojump_clock: MockClock,
) -> None:
    """Its limits and caps go on: they are of the key, not of its secret."""
    async with serving() as (gateway, directory):
        old = await added(directory, KeyTerms(requests_per_minute_max=2))
        new = (await directory.rotate_key(old, overlap_s=60, by="ops")).secret
        await settled()

        assert [(await ask(gateway, key)).status for key in (old, new, new)] == [
            200,
            200,
            429,
        ]
        await trio.sleep(61)
        assert (await ask(gateway, old)).status == 401
        assert (await ask(gateway, new)).status == 200
        assert len({record.key_id for record in await gateway.records()}) == 1


async def test_a_keys_limits_can_be_changed_while_it_is_used(
    autojump_clock: MockClock,
) -> None:
    async with serving() as (gateway, directory):
        key = await added(directory, KeyTerms(requests_per_minute_max=1))
        assert (await ask(gateway, key)).status == 200
        assert (await ask(gateway, key)).status == 429
        await directory.change_key(key, KeyTerms(requests_per_minute_max=600), by="ops")
        await settled()
        await trio.sleep(1)

        assert (await ask(gateway, key)).status == 200


@pytest.mark.parametrize(
    ("terms", "status"),
    [
        (KeyTerms(models=("fa*",)), 200),
        (KeyTerms(models=("other",)), 404),
        (KeyTerms(models_denied=("f?st",)), 404),
        (KeyTerms(models=("*",), models_denied=("fast",)), 404),
        (KeyTerms(scopes=("inference",)), 200),
        (KeyTerms(scopes=("models", "usage")), 403),
    ],
)
async def test_a_key_may_what_its_terms_say(
    autojump_clock: MockClock, terms: KeyTerms, status: int
) -> None:
    async with serving() as (gateway, directory):
        key = await added(directory, terms)

        assert (await ask(gateway, key)).status == status
        listed = await gateway.request("GET", "/v1/models", key=key)
        if listed.status == 403:
            assert terms.scopes == ("inference",)
        else:
            names = [one["id"] for one in listed.json()["data"]]
            assert names == (["fast"] if status != 404 else [])


async def test_an_alias_gets_round_no_denial(autojump_clock: MockClock) -> None:
    async with serving() as (gateway, directory):
        await directory.declare(
            "model",
            "big",
            {"route": ["main/m"], "aliases": ["innocent"]},
            by="ops",
        )
        by_site = await added(directory, models_denied=["big"])
        by_key = await directory.create_key(
            "acme", KeyTerms(models_denied=("big",)), by="ops"
        )
        await settled()

        for key in (by_site, by_key.secret):
            assert (await ask(gateway, key, model="innocent")).status == 404
            assert (await ask(gateway, key)).status == 200
        assert (await ask(gateway, KEY, model="innocent")).status == 200


async def test_a_keys_origins_go_before_its_sites(autojump_clock: MockClock) -> None:
    async with serving() as (gateway, directory):
        key = await added(
            directory,
            KeyTerms(origins=("https://shop.example",)),
            allowed_origins=["https://other.example"],
        )

        async def from_page(origin: str) -> int:
            answer = await gateway.request(
                "POST", CHAT, chat(stream=False), key=key, headers={"origin": origin}
            )
            return answer.status

        assert await from_page("https://shop.example") == 200
        assert await from_page("https://other.example") == 403


async def test_models_and_caps_can_be_added(autojump_clock: MockClock) -> None:
    async with serving() as (gateway, directory):
        await directory.declare("model", "new", {"route": ["main/m"]}, by="ops")
        await directory.declare("cap", "small", {"spend_usd_max": 0}, by="ops")
        await settled()
        refused = await ask(gateway, KEY, model="new", max_tokens=5)
        assert refused.json()["error"]["code"] == "insufficient_quota"
        await directory.remove("cap", "small", by="ops")
        await settled()

        assert (await ask(gateway, KEY, model="new", max_tokens=5)).status == 200


@pytest.mark.parametrize(
    ("kind", "name", "document", "why"),
    [
        ("site", "acme", {}, "is also in the file"),
        ("site", "x", {"models": ["nope"]}, "matches no model; models are fast"),
        ("site", "x", {"keys": ["sk-secret-0001"]}, "is for the file"),
        ("site", "x", {"tenant": "nobody"}, "is no tenant"),
        ("site", "x", {"modles": []}, "did you mean models"),
        ("site", "no spaces", {}, "is not a name"),
        ("model", "y", {"route": ["nope/m"]}, "names no provider"),
        (
            "provider",
            "p",
            {"kind": "openai", "models": ["m"], "key_env": "HOME"},
            "must not reach this machine's environment",
        ),
        (
            "provider",
            "p",
            {
                "kind": "openai",
                "models": ["m"],
                "base_url": "http://169.254.169.254/v1",
                "allow_plain_http": True,
            },
            "metadata service",
        ),
        (
            "provider",
            "p",
            {"kind": "openai", "models": ["m"], "federation": {"url": "https://x"}},
            "must not reach",
        ),
    ],
)
async def test_what_would_not_hold_together_is_refused_when_it_is_written(
    autojump_clock: MockClock, kind: Any, name: str, document: Document, why: str
) -> None:
    """So that no process is left with a configuration that it cannot serve."""
    async with serving() as (gateway, directory):
        with pytest.raises(Unfit) as refused:
            await directory.declare(kind, name, document, by="ops")

        assert why in str(refused.value)
        assert "sk-secret" not in str(refused.value)
        assert (await ask(gateway, KEY)).status == 200


async def test_a_file_that_takes_a_directorys_name_is_refused_and_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    """A reload says so, as the start would; the file that was served stays."""
    async with serving() as (gateway, directory):
        key = await added(directory)
        clash = config(models_denied=("fast",))
        taken = attrs.evolve(clash, sites=(*clash.sites, SiteConfig(name="shop")))
        assert gateway.following is not None
        with pytest.raises(ConfigError, match="shop: is also in the file"):
            await gateway.following.rebase(taken)
        assert (await ask(gateway, KEY)).status == 200
        await gateway.following.rebase(clash)

        assert (await ask(gateway, KEY)).status == 404
        assert (await ask(gateway, key)).status == 200


async def test_a_start_is_refused_where_file_and_directory_share_a_name(
    autojump_clock: MockClock,
) -> None:
    store = await open_memory()
    async with serving(database=store) as (_, directory):
        await added(directory)
    clash = config()
    taken = attrs.evolve(clash, sites=(*clash.sites, SiteConfig(name="shop")))

    with pytest.raises(ConfigError, match=r"sites\.shop: is also in the file"):
        async with serving(made=taken, database=store):
            pass


async def test_what_fits_only_another_machines_file_changes_nothing_here(
    autojump_clock: MockClock,
) -> None:
    """It was judged beside that file. Keys are obeyed all the same; a fix is taken."""
    store = await open_memory()
    async with serving(database=store) as (gateway, directory):
        key = await added(directory)
        elsewhere = SqlDirectory(store, lambda: EPOCH_S)
        await elsewhere.declare("model", "new", {"route": ["theirs/m"]}, by="ops")
        await elsewhere.revoke_key(key, by="ops")
        await trio.sleep(60)
        assert (await ask(gateway, key)).status == 401
        assert (await ask(gateway, KEY)).status == 200
        await elsewhere.declare("model", "new", {"route": ["main/m"]}, by="ops")
        await settled()

        assert (await ask(gateway, KEY, model="new")).status == 200
        # Once a generation at most, not once a second.
        assert gateway.logged().count(b"directory.refused") in {1, 2}


async def test_a_change_that_could_not_be_applied_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    """The audit log was gone when it came: keys are obeyed, objects a second later."""
    async with serving() as (gateway, directory):
        key = await added(directory)
        with pytest.MonkeyPatch.context() as patched:

            async def fails(*_: Any) -> None:
                await trio.lowlevel.checkpoint()
                raise AuditUnavailable("no disk")

            patched.setattr(type(gateway.gateway), "_reload", fails)
            await directory.declare("model", "new", {"route": ["main/m"]}, by="ops")
            await directory.revoke_key(key, by="ops")
            await trio.sleep(5)
            assert (await ask(gateway, key)).status == 401
            assert (await ask(gateway, KEY, model="new")).status == 404
        await trio.sleep(2)

        assert (await ask(gateway, KEY, model="new")).status == 200


async def test_the_store_may_go_and_come_back(autojump_clock: MockClock) -> None:
    """Requests are served from the copy; what happened meanwhile is caught up with."""
    store = await open_memory()
    async with serving(database=store) as (gateway, directory):
        key = await added(directory)
        store.outage = "is away"
        await trio.sleep(30)
        assert (await ask(gateway, key)).status == 200
        store.outage = ""
        await directory.revoke_key(key, by="ops")
        await trio.sleep(1)

        assert (await ask(gateway, key)).status == 401


async def stored(gateway: Embedded, scope: KeyScope, value: bytes) -> None:
    """Put a provider key into the vault, as an operator does."""
    vault = gateway.gateway.tree.vault
    bound_to = info(scope.tenant, scope.environment, scope.provider, scope.name)
    sealed = seal(value, await vault.ask(DeliveryKey()), bound_to)
    await vault.ask(
        Deliver(scope, sealed, ("main.example",), principal="operator:control")
    )


async def test_a_site_uses_its_own_tenants_key_and_never_anothers(
    autojump_clock: MockClock,
) -> None:
    """And the shared one where its tenant has none."""
    main = FakeProvider()
    made = config([provider("main", key_env="", key="vault:main")])
    async with serving(main, made) as (gateway, directory):
        for tenant in ("red", "blue", "poor"):
            await directory.declare("tenant", tenant, {}, by="ops")
        keys = {}
        for site, home in {
            "r": {"tenant": "red", "environment": "prod"},
            "s": {"tenant": "red", "environment": "staging"},
            "b": {"tenant": "blue", "environment": "prod"},
            "p": {"tenant": "poor"},
        }.items():
            await directory.declare("site", site, home, by="ops")
            keys[site] = (await directory.create_key(site, KeyTerms(), by="o")).secret
        for home, value in {
            ("default", "default"): b"sk-shared-key-0000",
            ("red", "prod"): b"sk-red-key-0000000",
            ("blue", "prod"): b"sk-blue-key-000000",
        }.items():
            await stored(gateway, KeyScope("main", "main", *home), value)
        await settled()

        for site in ("r", "s", "b", "p"):
            assert (await ask(gateway, keys[site])).status == 200
        assert (await ask(gateway, KEY)).status == 200

    assert main.authorizations == [
        "Bearer sk-red-key-0000000",
        "Bearer sk-shared-key-0000",
        "Bearer sk-blue-key-000000",
        "Bearer sk-shared-key-0000",
        "Bearer sk-shared-key-0000",
    ]


async def test_a_burst_of_changes_ends_where_the_directory_is(
    autojump_clock: MockClock,
) -> None:
    """Two gateways over one store hear of each other's writes."""
    store = await open_memory()
    async with (
        serving(database=store) as (one, directory),
        serving(FakeProvider([Says()]), database=store) as (two, _),
    ):
        keys = []
        for number in range(20):
            await directory.declare("site", f"s{number}", {}, by="ops")
            made = await directory.create_key(f"s{number}", KeyTerms(), by="ops")
            keys.append(made.secret)
        for number in range(0, 20, 2):
            await directory.remove("site", f"s{number}", by="ops")
        await settled()

        for gateway in (one, two):
            statuses = [(await ask(gateway, key)).status for key in keys]
            assert statuses == [401, 200] * 10
