"""Reloading: what changed, what of it can be obeyed, and noticing that it did."""

from pathlib import Path

import trio

from gateway.settings import (
    Bind,
    Config,
    Deadlines,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    ServerConfig,
    SiteConfig,
    SiteKey,
    diff,
    evolve,
)
from gateway.settings.config import Candidate
from gateway.settings.watch import changes

MAIN = ProviderConfig(name="main", kind="openai", models=("a",))
FAST = ModelConfig(name="fast", route=(Candidate("main", "a"),))
ACME = SiteConfig(name="acme", keys=(SiteKey.of("sk-acme-first"),))
BEFORE = Config(sites=(ACME,), providers=(MAIN,), models=(FAST,))


def test_the_same_configuration_is_no_change() -> None:
    assert not diff(BEFORE, evolve(BEFORE))


def test_what_is_baked_into_the_listener_waits_for_a_restart() -> None:
    after = evolve(
        BEFORE, server=ServerConfig(bind=Bind("127.0.0.1", 1), state_dir=Path("/other"))
    )

    found = diff(BEFORE, after)

    assert found.live == ()
    assert [str(change) for change in found.restart] == [
        "server.bind changed",
        "server.state_dir changed",
    ]


def test_a_provider_is_compared_with_the_one_of_its_name() -> None:
    """Their order in the file means nothing."""
    other = ProviderConfig(name="other", kind="openai", models=("b",))
    before = evolve(BEFORE, providers=(MAIN, other))
    after = evolve(BEFORE, providers=(other, evolve(MAIN, in_flight_max=9)))

    found = diff(before, after)

    assert [str(change) for change in found.live] == [
        "providers.main.in_flight_max changed"
    ]
    assert found.touches("providers.main")
    assert not found.touches("providers.mai")
    assert (found.live[0].old, found.live[0].new) == (64, 9)


def test_whole_tables_come_and_go() -> None:
    other = evolve(MAIN, name="other")
    priced = evolve(
        MAIN,
        prices={"a": PriceConfig(input_nanousd_per_mtok=1, output_nanousd_per_mtok=2)},
    )
    after = evolve(BEFORE, sites=(), providers=(priced, other))

    assert [str(change) for change in diff(BEFORE, after).live] == [
        "sites.acme removed",
        "providers.main.prices.a added",
        "providers.other added",
    ]


def test_a_deadline_is_live_and_so_are_its_heirs() -> None:
    after = evolve(BEFORE, server=ServerConfig(deadlines=Deadlines(idle_s=9.0)))

    assert [change.path for change in diff(BEFORE, after).live] == [
        "server.deadlines.idle_s"
    ]


def test_a_change_of_keys_can_be_logged() -> None:
    """Values stay out of it."""
    after = evolve(BEFORE, sites=(evolve(ACME, keys=()),))
    (change,) = diff(BEFORE, after).live

    assert "sk-" not in f"{change} {change!r}"


async def noticed(path: Path, *edits: object) -> int:
    """How often `path` was reported changed, after each of the edits in turn."""
    count = 0
    started = trio.Event()
    watch = changes(path, started=started)
    with trio.fail_after(30):  # Only a hang gets this far.
        async with trio.open_nursery() as nursery:
            arrived = trio.Event()

            async def follow() -> None:
                nonlocal count, arrived
                async for _ in watch:
                    count += 1
                    arrived.set()

            nursery.start_soon(follow)
            await started.wait()
            for edit in edits:
                assert callable(edit)
                edit()
                await arrived.wait()
                arrived = trio.Event()
            nursery.cancel_scope.cancel()
    await watch.aclose()  # type: ignore[attr-defined]
    return count


async def test_a_file_written_in_place_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "stagedoor.toml"
    file.write_text("1")

    assert await noticed(file, lambda: file.write_text("2")) == 1


async def test_a_file_that_an_editor_replaces_is_noticed_each_time(
    tmp_path: Path,
) -> None:
    file = tmp_path / "stagedoor.toml"
    file.write_text("1")

    def replace(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(file)

    assert await noticed(file, lambda: replace("2"), lambda: replace("3")) == 2


async def test_a_file_that_is_empty_for_a_moment_is_no_change(tmp_path: Path) -> None:
    """It is being written; the one report is for what was written then."""
    file = tmp_path / "stagedoor.toml"
    file.write_text("1")

    def rewrite() -> None:
        file.write_text("")
        file.unlink()
        file.write_text("2")

    assert await noticed(file, rewrite) == 1


async def test_a_config_map_swapped_under_a_link_is_noticed(tmp_path: Path) -> None:
    """Kubernetes: stagedoor.toml -> ..data/stagedoor.toml, ..data -> a folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stagedoor.toml").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    file = tmp_path / "stagedoor.toml"
    file.symlink_to("..data/stagedoor.toml")

    def swap() -> None:
        (tmp_path / "..next").symlink_to("two")
        (tmp_path / "..next").replace(tmp_path / "..data")

    assert await noticed(file, swap) == 1


async def test_touching_a_file_or_its_neighbours_is_no_change(tmp_path: Path) -> None:
    """The one report is for the edit that follows: contents decide."""
    file = tmp_path / "stagedoor.toml"
    file.write_text("1")

    def edits() -> None:
        (tmp_path / "neighbour").write_text("x")
        file.touch()
        file.write_text("2")

    assert await noticed(file, edits) == 1
