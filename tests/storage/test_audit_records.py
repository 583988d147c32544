"""The log and the request records: every line is covered, also after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.auditor.messages import AuditEvent
from actors.provider.transport import Transport
from gateway.auditing import Audit, open_audit
from gateway.cli import main as stagedoor
from gateway.embed import embedded
from gateway.embed_providers import FakeProvider
from gateway.settings.errors import ConfigError
from gateway.settings.server import ServerConfig
from storage.audit_files import log_folder
from storage.audit_memory import MemoryLogStore
from storage.audit_records import cover_rest, nonces_since
from storage.records import RecordFiles
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.storage.audit_keeper import ORIGIN, Keeper


def opened(server: ServerConfig) -> Audit:
    async def open_it() -> Audit:
        return await open_audit(server, 1, {}, Transport())

    return trio.run(open_it)


LINE = b'{"request_id":"req_1"}\n'


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Three batches of records that no log entry covers yet."""
    journal = RecordFiles(tmp_path, lambda: 1_800_000_000)
    for count in (1, 2, 3):
        trio.run(journal.append, LINE * count)
    journal.close()
    [path] = (tmp_path / "records").iterdir()
    return path


def cover(state: Path) -> int:
    with Keeper(state) as keeper:
        covered = cover_rest(keeper.book, state, 1000)
        keeper.write(0)
        if keeper.book.log.publication():
            keeper.publish()
    return covered


def verified(state: Path) -> int:
    command = ["audit", "verify", str(log_folder(state, ORIGIN))]
    command += ["--vkey", Keeper(state).key.vkey]
    return stagedoor([*command, "--records", str(state / "records")])


def test_what_a_crash_left_uncovered_is_covered_at_the_next_start(
    tmp_path: Path, records: Path
) -> None:
    assert cover(tmp_path) == 6 * len(LINE)
    assert cover(tmp_path) == 0
    with records.open("ab") as file:
        file.write(LINE + b"torn")
    assert verified(tmp_path) == 1
    assert cover(tmp_path) == len(LINE), "a torn line is no record"
    with records.open("r+b") as file:
        file.truncate(7 * len(LINE))
    assert verified(tmp_path) == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"req_1", b"req_2", 1),
        lambda data: data[: -len(LINE)],
        lambda data: data + LINE,
        lambda data: LINE + data,
    ],
)
def test_records_that_were_changed_are_found(
    tmp_path: Path, records: Path, damage: Callable[[bytes], bytes]
) -> None:
    cover(tmp_path)
    assert verified(tmp_path) == 0
    records.write_bytes(damage(records.read_bytes()))
    assert verified(tmp_path) == 1


def test_records_that_were_pruned_are_no_problem(tmp_path: Path, records: Path) -> None:
    cover(tmp_path)
    records.unlink()

    assert verified(tmp_path) == 0


def test_used_nonces_are_remembered_over_a_restart_and_a_rotation(
    tmp_path: Path,
) -> None:
    with Keeper(tmp_path) as keeper:
        log = keeper.book.log
        log.add(AuditEvent("a.b", nonce="too-old"), 100)
        log.add(AuditEvent("a.b", nonce="n1"), 5000)
        keeper.write(600)
        log.add(AuditEvent("a.b", nonce="n2"), 6000)
        keeper.write()
        keeper.publish()
        keeper.rotate()
    with Keeper(tmp_path) as keeper:
        assert keeper.book.log.base > 1
        assert nonces_since(keeper.book, 5000) == {"n1": 5000, "n2": 6000}


def test_a_gateway_does_not_start_on_a_log_that_was_tampered_with(
    tmp_path: Path,
) -> None:
    server = ServerConfig(state_dir=tmp_path)
    audit = opened(server)
    trio.run(audit.close)
    folder = log_folder(tmp_path, audit.book.log.origin)
    segment = folder / "wal"
    segment.write_bytes(segment.read_bytes()[:-1])

    with pytest.raises(ConfigError, match="no readable beginning"):
        opened(server)


def test_two_gateways_cannot_write_one_log(tmp_path: Path) -> None:
    """Each would sign its own entries at the same numbers: a fork."""
    server = ServerConfig(state_dir=tmp_path)
    audit = opened(server)
    with pytest.raises(ConfigError, match="another process writes"):
        opened(server)
    trio.run(audit.close)
    again = opened(server)
    assert again.book.log.origin == audit.book.log.origin
    trio.run(again.close)


async def test_a_gateway_whose_log_is_disowned_is_not_ready(
    autojump_clock: MockClock,
) -> None:
    providers = {"main": FakeProvider()}
    async with embedded(config(), providers, environ={"PROVIDER_KEY": "k"}) as gateway:
        assert (await gateway.request("GET", "/readyz")).status == 200
        gateway.gateway.tree.spec.book.disowned = "a witness has seen another history"
        answer = await gateway.request("GET", "/readyz")
        refused = await gateway.post(CHAT, chat(), key=KEY)

    assert answer.status == 503
    assert "seen another history" in answer.json()["reasons"][0]
    assert refused.status == 503


async def test_a_gateway_that_cannot_write_says_why_and_what_to_do(
    autojump_clock: MockClock,
) -> None:
    providers = {"main": FakeProvider()}
    async with embedded(config(), providers, environ={"PROVIDER_KEY": "k"}) as gateway:
        book = gateway.gateway.tree.spec.book
        for field, what in (
            ("trouble", "the audit log cannot be written"),
            ("journal_trouble", "records cannot be written"),
        ):
            setattr(book, field, "No space left on device")
            [reason] = (await gateway.request("GET", "/readyz")).json()["reasons"]
            assert f"{what}: No space left on device; make room" in reason
            setattr(book, field, "")
        assert (await gateway.request("GET", "/readyz")).status == 200


async def test_without_the_log_no_key_is_lent_and_with_it_again(
    autojump_clock: MockClock,
) -> None:
    """No lease without audit: a clear 503 at once, no call upstream; then service."""
    main = FakeProvider()
    async with embedded(
        config(), {"main": main}, environ={"PROVIDER_KEY": "k"}
    ) as gateway:
        store = gateway.gateway.tree.spec.book.store
        assert isinstance(store, MemoryLogStore)
        store.fails = True
        started = trio.current_time()
        for _ in range(3):
            answer = await gateway.post(CHAT, chat(), key=KEY)
            assert answer.status == 503
        assert trio.current_time() - started < 1
        assert main.requests == []
        store.fails = False
        await trio.sleep(6)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 200
        assert len(main.requests) == 1
