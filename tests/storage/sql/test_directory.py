"""The directory against a model of it, over both databases and the one in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.directory.messages import (
    Changes,
    Declared,
    DirectoryDown,
    DirectoryRefused,
    Exists,
    HeldKey,
    KeyTerms,
    NewKey,
    Outdated,
    TooMany,
    Unfit,
    Unknown,
)
from actors.directory.policy import digest, is_secret
from storage.directory import SqlDirectory
from storage.sql.memory import open_memory
from storage.sql.opening import open_database
from storage.sql.port import Database

TERMS = KeyTerms(
    label="shop",
    expires_ms=9_000_000,
    scopes=("inference",),
    models=("gpt-*",),
    models_denied=("gpt-4*",),
    origins=("https://shop.example",),
    audiences=("cart",),
    requests_per_minute_max=60,
)


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def directory(database: Database, clock: Clock) -> SqlDirectory:
    return SqlDirectory(database, clock)


async def test_a_document_comes_back_with_its_money_exact(
    directory: SqlDirectory,
) -> None:
    document = {"spend_usd_max": Decimal("0.1"), "models": ["a", "b"], "tenant": "acme"}

    made = await directory.declare("site", "shop", document, by="ops", expected=0)

    assert made == await directory.declared("site", "shop")
    assert made.document == document
    assert type(made.document["spend_usd_max"]) is Decimal
    assert (made.tenant, made.updated_by, made.created_ms) == ("acme", "ops", 1_000_000)


async def test_two_that_edit_at_once_do_not_undo_each_other(
    directory: SqlDirectory,
) -> None:
    first = await directory.declare("site", "shop", {}, by="a")
    second = await directory.declare(
        "site", "shop", {"pacing": False}, by="b", expected=first.version
    )

    with pytest.raises(Outdated) as outdated:
        await directory.declare("site", "shop", {}, by="a", expected=first.version)
    with pytest.raises(Outdated):
        await directory.remove("site", "shop", by="a", expected=first.version)
    with pytest.raises(Exists):
        await directory.declare("site", "shop", {}, by="a", expected=0)
    with pytest.raises(Unknown):
        await directory.declare("site", "other", {}, by="a", expected=first.version)

    assert outdated.value.version == second.version


async def test_a_name_that_is_used_again_has_another_version(
    directory: SqlDirectory,
) -> None:
    """Else an editor's ETag of the removed one would fit the new one."""
    first = await directory.declare("site", "shop", {}, by="a")
    await directory.remove("site", "shop", by="a")
    again = await directory.declare("site", "shop", {}, by="a", expected=0)

    assert again.version > first.version


async def test_what_the_judge_refuses_is_not_written(
    database: Database, clock: Clock
) -> None:
    def judge(objects: Sequence[Declared]) -> tuple[str, ...]:
        names = sorted(one.name for one in objects)
        return () if "b" in names or not names else (f"no b in {names}",)

    directory = SqlDirectory(database, clock, judge)
    with pytest.raises(Unfit, match=r"no b in \['a'\]"):
        await directory.declare("model", "a", {}, by="ops")
    await directory.declare("model", "b", {}, by="ops")
    await directory.declare("model", "a", {}, by="ops")
    with pytest.raises(Unfit):
        await directory.remove("model", "b", by="ops")

    changes = await directory.changes()
    assert [one.name for one in changes.declared] == ["b", "a"]
    assert changes.generation == 2


async def test_lists_page_to_their_end_and_by_tenant(directory: SqlDirectory) -> None:
    for number in range(7):
        document = {"tenant": "acme" if number % 2 else "other"}
        await directory.declare("site", f"s{number}", document, by="ops")

    async def walk(limit: int, tenant: str | None) -> list[str]:
        names: list[str] = []
        after = ""
        while True:
            page = await directory.list_declared(
                "site", tenant=tenant, after=after, limit=limit
            )
            assert len(page.items) <= limit
            names += [one.name for one in page.items]
            if not page.next:
                return names
            after = page.next

    assert await walk(3, None) == [f"s{number}" for number in range(7)]
    assert await walk(7, None) == [f"s{number}" for number in range(7)]
    assert await walk(1, "acme") == ["s1", "s3", "s5"]


async def test_a_key_is_shown_once_and_kept_as_a_digest(
    directory: SqlDirectory, database: Database
) -> None:
    made = await directory.create_key("shop", TERMS, by="ops")

    assert is_secret(made.secret)
    assert made.secret.startswith(made.facts.prefix)
    assert made.secret not in repr(made)
    assert made.facts == await directory.key(made.facts.id)
    assert made.facts == await directory.key(made.secret)
    assert made.facts == await directory.key(made.facts.key_id)
    (held,) = (await directory.changes()).keys
    assert held.digests == ((digest(made.secret), None),)
    for table in ("declared", "site_key", "key_secret", "channel"):
        rows = await database.read(f"SELECT * FROM {table}")  # noqa: S608 - a constant
        assert made.secret[len(made.facts.prefix) :] not in repr(rows)


async def test_a_rotated_key_serves_with_both_secrets_until_the_overlap_ends(
    directory: SqlDirectory, clock: Clock
) -> None:
    """The client is changed in between, without an outage."""
    old = await directory.create_key("shop", TERMS, by="ops")
    new = await directory.rotate_key(old.facts.id, overlap_s=60, by="ops")

    assert new.facts.id == old.facts.id
    assert new.facts.terms == TERMS
    (held,) = (await directory.changes()).keys
    assert dict(held.digests) == {
        digest(old.secret): 1_060_000,
        digest(new.secret): None,
    }
    clock.now_s += 30
    last = await directory.rotate_key(old.facts.id, overlap_s=600, by="ops")
    (held,) = (await directory.changes()).keys
    assert dict(held.digests) == {
        digest(old.secret): 1_060_000,  # A second rotation lengthens no life.
        digest(new.secret): 1_630_000,
        digest(last.secret): None,
    }


async def test_a_rotation_without_overlap_ends_the_other_secrets_at_once(
    directory: SqlDirectory,
) -> None:
    """For one that leaked."""
    old = await directory.create_key("shop", TERMS, by="ops")
    new = await directory.rotate_key(old.facts.id, overlap_s=0, by="ops")

    (held,) = (await directory.changes()).keys
    assert [one for one, _ in held.digests] == [digest(new.secret)]


async def test_a_key_has_few_secrets(directory: SqlDirectory) -> None:
    made = await directory.create_key("shop", TERMS, by="ops")
    for _ in range(3):
        await directory.rotate_key(made.facts.id, overlap_s=60, by="ops")

    with pytest.raises(TooMany, match="without an overlap"):
        await directory.rotate_key(made.facts.id, overlap_s=60, by="ops")
    await directory.rotate_key(made.facts.id, overlap_s=0, by="ops")


async def test_a_revoked_key_stays_known_and_opens_nothing(
    directory: SqlDirectory,
) -> None:
    """Who asks what became of it learns that; no restore of a row revives it."""
    made = await directory.create_key("shop", TERMS, by="ops")
    revoked = await directory.revoke_key(made.facts.id, by="ops")

    assert revoked.revoked_ms == 1_000_000
    assert await directory.revoke_key(made.facts.id, by="ops") == revoked
    (held,) = (await directory.changes()).keys
    assert held.digests == ()
    with pytest.raises(Unknown):
        await directory.rotate_key(made.facts.id, overlap_s=0, by="ops")


async def test_changes_are_what_is_different_since(directory: SqlDirectory) -> None:
    await directory.declare("site", "a", {}, by="ops")
    key = await directory.create_key("a", TERMS, by="ops")
    before = (await directory.changes()).generation
    await directory.declare("site", "b", {}, by="ops")
    await directory.remove("site", "a", by="ops")

    changes = await directory.changes(before)

    assert [one.name for one in changes.declared] == ["b"]
    assert set(changes.gone) == {("site", "a"), ("key", key.facts.id)}
    assert not changes.whole
    assert await directory.changes(changes.generation) == Changes(
        changes.generation, (), (), ()
    )


async def test_who_knows_of_a_later_generation_reads_all_anew(
    directory: SqlDirectory,
) -> None:
    """After a restore from a backup the numbers begin lower."""
    await directory.declare("site", "a", {}, by="ops")

    changes = await directory.changes(1_000)

    assert changes.whole
    assert [one.name for one in changes.declared] == ["a"]


async def test_a_change_wakes_who_subscribed(directory: SqlDirectory) -> None:
    bell = await directory.subscribe()

    await directory.create_key("shop", TERMS, by="ops")

    with trio.fail_after(10):
        await bell.wait()


async def test_a_store_that_is_gone_is_said_in_the_directorys_words(
    tmp_path: Path, clock: Clock
) -> None:
    database = await open_database("", tmp_path)
    directory = SqlDirectory(database, clock)
    await database.aclose()

    with pytest.raises(DirectoryDown):
        await directory.changes()


async def test_writers_side_by_side_get_generations_of_their_own(
    directory: SqlDirectory,
) -> None:
    made: list[NewKey] = []

    async def write(site: str) -> None:
        made.append(await directory.create_key(site, KeyTerms(), by="ops"))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(write, f"s{number % 2}")

    assert sorted(one.facts.version for one in made) == list(range(1, 9))


# -- against a model --

NAMES = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(["site", "model"])
EXPECTED = st.sampled_from([None, 0, "current", "stale"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("declare"), KINDS, NAMES, EXPECTED, st.integers(0, 2)),
        st.tuples(st.just("remove"), KINDS, NAMES, EXPECTED),
        st.tuples(st.just("create"), NAMES),
        st.tuples(st.just("change"), st.integers(0, 5)),
        st.tuples(st.just("rotate"), st.integers(0, 5), st.sampled_from([0, 60])),
        st.tuples(st.just("revoke"), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.sampled_from([30, 90])),
        st.tuples(st.just("follow")),
    ),
    max_size=25,
)


class Model:
    """What the directory should hold, as plainly as can be said."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], tuple[Any, int]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.versions: list[int] = [0]

    def expected(self, key: tuple[str, str], how: Any) -> int | None:
        version = self.objects[key][1] if key in self.objects else 0
        return {"current": version, "stale": max(version - 1, 0)}.get(how, how)


class Follower:
    """A process's copy, kept by changes alone."""

    def __init__(self) -> None:
        self.generation = 0
        self.objects: dict[tuple[str, str], Declared] = {}
        self.keys: dict[str, HeldKey] = {}

    def take(self, changes: Changes) -> None:
        if changes.whole:
            self.objects.clear()
            self.keys.clear()
        for kind, name in changes.gone:
            self.objects.pop((kind, name), None)
            if kind == "key":
                self.keys.pop(name, None)
        for one in changes.declared:
            self.objects[one.kind, one.name] = one
        for key in changes.keys:
            self.keys[key.facts.id] = key
        self.generation = changes.generation


async def live_through(directory: SqlDirectory, clock: Clock, steps: Any) -> None:
    model, follower = Model(), Follower()
    made: list[str] = []
    for step in steps:
        before = dict(model.objects)
        try:
            await _step(directory, clock, model, follower, made, step)
        except DirectoryRefused:
            assert model.objects == before
    follower.take(await directory.changes(follower.generation))
    fresh = Follower()
    fresh.take(await directory.changes())
    assert fresh.objects == follower.objects
    assert fresh.keys == follower.keys
    assert {
        key: (one.document, one.version) for key, one in fresh.objects.items()
    } == model.objects
    now_ms = int(clock() * 1000)
    assert {
        name: {secret for secret, ends in key.digests if ends is None or ends > now_ms}
        for name, key in fresh.keys.items()
    } == {
        name: {
            digest(secret)
            for secret, ends in key["secrets"].items()
            if ends is None or ends > now_ms
        }
        for name, key in model.keys.items()
    }


async def _step(  # noqa: PLR0917 - what a run is made of
    directory: SqlDirectory,
    clock: Clock,
    model: Model,
    follower: Follower,
    made: list[str],
    step: Any,
) -> None:
    match step:
        case ("declare", kind, name, how, value):
            expected = model.expected((kind, name), how)
            version = model.objects.get((kind, name), (None, 0))[1]
            fits = expected is None or expected == version
            try:
                done = await directory.declare(
                    kind, name, {"x": value}, by="ops", expected=expected
                )
            except DirectoryRefused:
                assert not fits
                raise
            assert fits
            assert done.version > max(model.versions)
            model.versions.append(done.version)
            model.objects[kind, name] = ({"x": value}, done.version)
        case ("remove", kind, name, how):
            expected = model.expected((kind, name), how)
            version = model.objects.get((kind, name), (None, 0))[1]
            fits = version > 0 and (expected is None or expected == version)
            try:
                await directory.remove(kind, name, by="ops", expected=expected)
            except DirectoryRefused:
                assert not fits
                raise
            assert fits
            del model.objects[kind, name]
            if kind == "site":
                for key_id, key in list(model.keys.items()):
                    if key["site"] == name:
                        del model.keys[key_id]
        case ("create", site):
            new = await directory.create_key(site, KeyTerms(), by="ops")
            made.append(new.facts.id)
            model.keys[new.facts.id] = {"site": site, "secrets": {new.secret: None}}
        case ("change", number) if made:
            await directory.change_key(made[number % len(made)], TERMS, by="ops")
        case ("rotate", number, overlap_s) if made:
            key_id = made[number % len(made)]
            new = await directory.rotate_key(key_id, overlap_s=overlap_s, by="ops")
            secrets = model.keys[key_id]["secrets"]
            end_ms = int(clock() * 1000) + overlap_s * 1000
            for secret, ends in secrets.items():
                secrets[secret] = end_ms if ends is None else min(ends, end_ms)
            secrets[new.secret] = None
        case ("revoke", number) if made:
            key_id = made[number % len(made)]
            await directory.revoke_key(key_id, by="ops")
            model.keys[key_id]["secrets"].clear()
        case ("pass", passed_s):
            clock.now_s += passed_s
        case ("follow",):
            follower.take(await directory.changes(follower.generation))
        case _:
            pass


@given(steps=STEPS)
@settings(max_examples=60)
def test_any_run_of_writes_leaves_what_the_model_says(steps: Any) -> None:
    """In memory: as many runs as a test may take."""

    async def run() -> None:
        database = await open_memory()
        try:
            clock = Clock()
            await live_through(SqlDirectory(database, clock), clock, steps)
        finally:
            await database.aclose()

    trio.run(run)


@pytest.mark.parametrize("seed", range(3))
async def test_a_long_run_on_a_real_database_leaves_what_the_model_says(
    database: Database, clock: Clock, seed: int
) -> None:
    rng = random.Random(seed)
    kinds: list[Callable[[], tuple[Any, ...]]] = [
        lambda: (
            "declare",
            rng.choice(["site", "model"]),
            rng.choice("abc"),
            rng.choice([None, 0, "current", "stale"]),
            rng.randrange(3),
        ),
        lambda: (
            "remove",
            rng.choice(["site", "model"]),
            rng.choice("abc"),
            rng.choice([None, "current", "stale"]),
        ),
        lambda: ("create", rng.choice("abc")),
        lambda: ("change", rng.randrange(6)),
        lambda: ("rotate", rng.randrange(6), rng.choice([0, 60])),
        lambda: ("revoke", rng.randrange(6)),
        lambda: ("pass", 30),
        lambda: ("follow",),
    ]
    steps = [rng.choice(kinds)() for _ in range(80)]

    await live_through(SqlDirectory(database, clock), clock, steps)
