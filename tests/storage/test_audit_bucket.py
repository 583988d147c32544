"""Locked anchors, against a real S3 server that checks signatures, rights and locks."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
import trio

from actors.auditor.anchors import contradiction
from actors.auditor.notes import Checkpoint, Signer, Verifier, open_checkpoint
from actors.auditor.ports import AnchorRefused, AnchorsUnavailable
from actors.auditor.wal import LogRefused
from actors.provider.transport import Transport
from gateway.cli import OK, REFUSED, main
from storage.audit_bucket import AuditBucket
from storage.audit_opening import open_log
from storage.audit_verify import Expectations, verify
from storage.s3 import S3Error
from tests.actors.vault.kms_servers import free_port
from tests.storage.audit_keeper import ORIGIN, Keeper
from tests.storage.moto_s3 import LOCKED, UNLOCKED, Moto, moto_s3

# The first run makes the server's environment, from the lock file.
pytestmark = pytest.mark.timeout(900)
SEED = b"\x07" * 32


@pytest.fixture(name="moto", scope="module")
def _moto() -> Iterator[Moto]:
    with moto_s3() as moto:
        yield moto


@pytest.fixture(name="transport")
async def _transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.aclose()


def signed(origin: str, size: int, root: bytes = b"r" * 32) -> tuple[bytes, Verifier]:
    """A checkpoint of a log of this name; each test has its own."""
    signer = Signer.of(origin, SEED)
    note = signer.sign(Checkpoint(origin, size, root).text()).encode()
    return note, signer.verifier


async def key_of(bucket: AuditBucket, log: Verifier) -> tuple[str, str]:
    """The name and version of the only object of a log."""
    [one] = (await bucket.s3.versions(f"stagedoor/{log.name}/")).versions
    return one.key, one.version


async def test_what_is_kept_comes_back_the_largest_first(
    moto: Moto, transport: Transport
) -> None:
    bucket = moto.bucket(transport)
    for size in (9, 1_000_000, 0, 10):
        note, log = signed("order.example", size)
        await bucket.keep(note, log)
    kept = await bucket.newest(log)
    assert [one.size for one in kept] == [1_000_000, 10, 9, 0]
    everything = await bucket.all(log)
    assert len(everything.notes) == 4
    assert everything.problems == ()
    other = signed("other.example", 1)[1]
    assert await bucket.newest(other) == ()


async def test_keeping_the_same_again_is_no_matter_and_another_is_a_contradiction(
    moto: Moto, transport: Transport
) -> None:
    bucket = moto.bucket(transport)
    note, log = signed("again.example", 7)
    await bucket.keep(note, log)
    await bucket.keep(note, log)
    with pytest.raises(AnchorRefused, match="another log at size 7"):
        await bucket.keep(signed("again.example", 7, b"x" * 32)[0], log)


async def test_nobody_removes_or_replaces_a_locked_anchor(
    moto: Moto, transport: Transport
) -> None:
    """Not even who has every right; and a try is seen."""
    bucket = moto.bucket(transport)
    note, log = signed("locked.example", 5)
    await bucket.keep(note, log)
    key, version = await key_of(bucket, log)
    with pytest.raises(S3Error) as again:
        await bucket.s3.put_locked(key, b"another", 1_900_000_000)
    assert (again.value.status, again.value.code) == (412, "PreconditionFailed")

    target = f"/{LOCKED}/{quote(key)}"
    bypass = {"x-amz-bypass-governance-retention": "true"}
    for headers in ({}, bypass):
        removed, why = moto.call(
            "DELETE", f"{target}?versionId={version}", b"", headers
        )
        assert (removed, b"AccessDenied" in why) == (403, True)
    # A marker hides it from whoever asks by name, and a newer version covers it.
    forged = signed("locked.example", 5, b"f" * 32)[0]
    assert moto.call("DELETE", target)[0] == 204
    assert moto.call("PUT", target, forged)[0] == 200

    found = await bucket.all(log)
    assert {data for _, data in found.notes} == {note, forged}
    told = "\n".join(found.problems)
    assert "somebody tried to delete it" in told
    assert "is not locked" in told
    assert open_checkpoint(note, log) in await bucket.newest(log)


async def test_the_gateway_itself_may_not_even_hide_an_anchor(
    moto: Moto, transport: Transport
) -> None:
    bucket = moto.bucket(transport)
    note, log = signed("rights.example", 5)
    await bucket.keep(note, log)
    key, _ = await key_of(bucket, log)
    assert moto.call("DELETE", f"/{LOCKED}/{quote(key)}", key=moto.user)[0] == 403


async def test_a_bucket_that_does_not_lock_anchors_nothing(
    moto: Moto, transport: Transport
) -> None:
    note, log = signed("unlocked.example", 5)
    with pytest.raises(AnchorsUnavailable, match="forgetful"):
        await moto.bucket(transport, UNLOCKED).keep(note, log)
    assert not await moto.s3(transport, UNLOCKED).locks()
    assert await moto.s3(transport).locks()


async def test_a_name_that_was_taken_by_something_unlocked_anchors_nothing(
    moto: Moto, transport: Transport
) -> None:
    """Who has our credentials could put the checkpoint there first, to remove it."""
    bucket = moto.bucket(transport)
    note, log = signed("taken.example", 5)
    name = f"stagedoor/taken.example/{log.key_id.hex()}/{2**63 - 6:019d}-5"
    assert moto.call("PUT", f"/{LOCKED}/{name}", note)[0] == 200
    with pytest.raises(AnchorsUnavailable, match="does not lock it"):
        await bucket.keep(note, log)


async def test_errors_say_what_and_never_the_secret(
    moto: Moto, transport: Transport
) -> None:
    note, log = signed("errors.example", 5)
    gone = moto.s3(transport, url=f"http://127.0.0.1:{free_port()}")
    wrong = moto.s3(transport, key=(moto.user[0], "made-up-secret"))
    missing = moto.s3(transport, "nowhere")
    for s3, why in (
        (gone, "cannot be reached"),
        (wrong, "403 SignatureDoesNotMatch"),
        (missing, "404 NoSuchBucket"),
    ):
        bucket = AuditBucket(s3, "", 60.0, 30)
        for ask in (bucket.keep(note, log), bucket.newest(log), bucket.all(log)):
            with pytest.raises(AnchorsUnavailable, match=why) as caught:
                await ask
            assert "made-up-secret" not in str(caught.value)


async def test_a_listing_goes_on_over_its_pages(
    moto: Moto, transport: Transport
) -> None:
    s3 = moto.bucket(transport).s3
    names = [f"pages/{number}" for number in range(5)]
    for name in names:
        await s3.put_locked(name, b"x", 1_900_000_000)
    found: list[str] = []
    after: tuple[str, str] | None = None
    while True:
        page = await s3.versions("pages/", after=after, most=2)
        found += [one.key for one in page.versions]
        after = page.more
        if after is None:
            break
    assert found == names


# -- a log, its copies, and its anchors ----------------------------------------------


@attrs.frozen
class Anchored:
    state: Path
    older: Path
    key: Verifier


def grown(moto: Moto, folder: Path) -> Anchored:
    """A log with an anchor, and a copy of its folder from before that."""
    state, older = folder / "state", folder / "older"
    state.mkdir()
    with Keeper(state) as log:
        log.write(300)
        log.publish()
        key = log.key
    shutil.copytree(state, older)
    with Keeper(state) as log:
        log.write(300, "later")
        log.publish()
        note = (log.folder / "checkpoint").read_bytes()

    async def keep() -> None:
        transport = Transport()
        await moto.bucket(transport).keep(note, key)
        await transport.aclose()

    trio.run(keep)
    return Anchored(state, older, key)


def test_a_copy_from_before_the_last_anchor_is_refused_and_found(
    moto: Moto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = grown(moto, tmp_path)

    async def newest() -> tuple[Checkpoint, ...]:
        transport = Transport()
        kept = await moto.bucket(transport).newest(made.key)
        await transport.aclose()
        return kept

    kept = trio.run(newest)
    with Keeper(made.older) as older:
        assert "knows 600 entries, the log has 300" in contradiction(older.book, kept)
    with pytest.raises(LogRefused, match="ends at 300, but a checkpoint of size 600"):
        open_log(made.older, ORIGIN, (), kept)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.user[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.user[1])
    where = ["--bucket", f"{moto.url}/{LOCKED}", "--bucket-prefix", "stagedoor/"]
    command = ["audit", "verify", "--vkey", made.key.vkey, *where]
    assert main([*command, str(made.state / "audit")]) == OK
    assert "1 anchored checkpoints continued" in capsys.readouterr().out
    assert main([*command, str(made.older / "audit")]) == REFUSED
    assert "knows 600 entries, the log has 300" in capsys.readouterr().err
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main([*command, str(made.state / "audit")]) == REFUSED
    assert "AWS_SECRET_ACCESS_KEY is not set" in capsys.readouterr().err


def test_a_history_rewritten_with_the_stolen_key_contradicts_its_anchor(
    tmp_path: Path,
) -> None:
    """As long, as well signed, and not what is locked."""
    state, other = tmp_path / "state", tmp_path / "other"
    for folder in (state, other):
        folder.mkdir()
    with Keeper(state) as log:
        log.write(300)
        log.publish()
        note = (log.folder / "checkpoint").read_bytes()
        key = log.key
    shutil.copy(state / "audit.key", other / "audit.key")
    with Keeper(other) as forged:
        forged.write(300, "forged")
        forged.publish()
        kept = (open_checkpoint(note, key),)
        assert "another log at size 300" in contradiction(forged.book, kept)
    expected = Expectations(notes=(("anchor x", note),))
    report = verify(forged.folder, key, expected)
    assert report.problems == ["anchor x knows another log at size 300"]
