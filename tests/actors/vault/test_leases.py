"""Leases: bound to hosts, a deadline and a grant, and wiped whatever ends them."""

from __future__ import annotations

import copy
import pickle

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from actors.vault.actor import FOLLOW_S
from actors.vault.grants import GRANT_S
from actors.vault.keks import KekLimits
from actors.vault.messages import (
    KeyScope,
    LeaseRefused,
    ReportVault,
    Revoke,
    RevokeSecret,
    RotateKek,
    Shred,
    VaultRefused,
)
from actors.vault.policy import default_rules, parse
from actors.vault.ports import KekRow, Put, SecretRow
from runtime import Spawn
from storage.vault_files import VaultMemory
from tests.actors.vault.vaults import (
    HOST,
    KEY,
    OPERATOR,
    SCOPE,
    FlakyKms,
    Log,
    running,
    source,
    written,
)


async def test_a_sealed_key_is_lent_and_wiped_after_its_use(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        facts = await bench.put()
        lease = await bench.lend()

        assert (facts.version, facts.state, facts.hosts) == (1, "active", (HOST,))
        assert written(lease) == KEY
        lease.handle.spent()
        with pytest.raises(LeaseRefused, match="spent"):
            written(lease)
        assert KEY not in b"".join(
            row.record for row in bench.store.rows.values() if hasattr(row, "record")
        )


async def test_a_grant_is_in_the_log_before_the_first_lease_and_serves_the_others(
    autojump_clock: MockClock,
) -> None:
    async with running(log=Log(slow_s=1)) as bench:
        await bench.put()
        began = trio.current_time()
        await bench.lend()
        assert trio.current_time() - began == 1
        assert bench.log.acts() == ["key.add", "key.grant"]

        await bench.lend()
        assert trio.current_time() - began == 1
        assert bench.log.acts() == ["key.add", "key.grant"]

        await trio.sleep(GRANT_S)
        await bench.lend()
        assert bench.log.acts() == ["key.add", "key.grant", "key.grant"]


async def test_many_that_come_at_once_share_one_grant_and_one_unwrap(
    autojump_clock: MockClock,
) -> None:
    async with running(log=Log(slow_s=1)) as bench:
        await bench.put()
        bench.safe.keks.clear()
        bench.kms.slow_s = 1
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(bench.lend)
        assert bench.log.acts().count("key.grant") == 1
        assert bench.kms.unwrapped == 1


async def test_uses_are_counted_in_the_log_one_event_a_batch(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        for _ in range(5):
            (await bench.lend()).handle.spent()
        await trio.sleep(0.2)
        [event] = bench.log.noted
        assert (event.act, event.actor, event.ver) == ("key.use", "site:acme", 1)
        assert dict(event.detail) == {
            "route": "chat",
            "leases": 5,
            "first": "lease-1",
            "last": "lease-5",
            "spent": 5,
        }


async def test_no_lease_without_audit(autojump_clock: MockClock) -> None:
    """A disk that is full stops keys, in words that say so, and is over when it is."""
    async with running() as bench:
        await bench.put()
        bench.log.broken = True
        with pytest.raises(LeaseRefused, match="no key without its audit record"):
            await bench.lend()
        bench.log.broken = False
        assert written(await bench.lend()) == KEY


async def test_a_strict_sites_every_lease_is_in_the_log_first(
    autojump_clock: MockClock,
) -> None:
    async with running(strict_sites=frozenset({"acme"})) as bench:
        await bench.put()
        first, second = await bench.lend(), await bench.lend()
        await bench.lend(site="other")
        leases = [e.lease for e in bench.log.attested if e.act == "key.lease"]
        assert leases == [first.id, second.id]

        bench.log.broken = True
        with pytest.raises(LeaseRefused):
            await bench.lend()
        report = await bench.vault.ask(ReportVault())
        assert report.leases == 3  # The refused one is wiped.


async def test_a_key_goes_to_its_hosts_only_and_only_encrypted(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend()
        with pytest.raises(LeaseRefused, match="not the key's host"):
            written(lease, "api.main.example.evil.test")
        with pytest.raises(LeaseRefused, match="without TLS"):
            written(lease, secure=False)
        assert written(lease) == KEY


async def test_a_changed_base_url_moves_no_sealed_key(
    autojump_clock: MockClock,
) -> None:
    """The hosts are sealed with the key; the configuration can only narrow them."""
    moved = {SCOPE: source(hosts=frozenset({"evil.test", HOST}))}
    async with running(sources=moved) as bench:
        await bench.put()
        lease = await bench.lend()
        with pytest.raises(LeaseRefused):
            written(lease, "evil.test")


async def test_a_lease_ends_at_its_deadline_to_the_tick(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend(ttl_s=5)
        await trio.sleep(5 - 0.001)
        assert written(lease) == KEY
        await trio.sleep(0.001)
        with pytest.raises(LeaseRefused, match="expired"):
            written(lease)


async def test_at_its_deadline_a_lease_refuses_even_before_its_alarm_ran(
    mock_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend(ttl_s=5)
        mock_clock.jump(5)  # And no other task has run yet.
        with pytest.raises(LeaseRefused, match="expired"):
            written(lease)


async def test_a_revoked_key_is_wiped_in_the_same_tick(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend()
        bench.vault.offer(Revoke(SCOPE))
        with pytest.raises(LeaseRefused, match="revoked"):
            written(lease)


async def test_a_revoked_secret_is_never_lent_again(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend()
        assert await bench.vault.ask(RevokeSecret(SCOPE, OPERATOR)) == 1
        with pytest.raises(LeaseRefused, match="revoked"):
            written(lease)
        with pytest.raises(LeaseRefused, match="was revoked"):
            await bench.lend()
        await bench.put(b"sk-another-key", replace=True)
        assert written(await bench.lend()) == b"sk-another-key"


async def test_a_revocation_wipes_although_the_log_is_broken(
    autojump_clock: MockClock,
) -> None:
    """Taking a key away needs no leave of the disk; the refusal is told."""
    async with running() as bench:
        await bench.put()
        lease = await bench.lend()
        bench.log.broken = True
        with pytest.raises(Exception, match="no space"):
            await bench.vault.ask(RevokeSecret(SCOPE, OPERATOR))
        with pytest.raises(LeaseRefused):
            written(lease)


async def test_the_end_of_its_stream_wipes_a_lease(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.put()
        root = bench.system.root
        stream = await root.ask(Spawn(bench.borrower("short")))
        lease = await bench.lend(stream=stream)
        from runtime import StopChild  # noqa: PLC0415

        await root.ask(StopChild("short"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(LeaseRefused):
            written(lease)


async def test_deny_is_the_default_and_wins(autojump_clock: MockClock) -> None:
    rules = [
        parse("allow add principal=* tenant=* env=* provider=* name=*"),
        parse(
            "allow lease principal=site:a* tenant=default env=default provider=main "
            "name=default ttl<=7s uses<=2 when route in [chat]"
        ),
        parse("deny lease principal=site:able tenant=* env=* provider=* name=*"),
    ]
    async with running(rules=rules) as bench:
        await bench.put()
        for site, route in (("able", "chat"), ("bee", "chat"), ("acme", "images")):
            with pytest.raises(LeaseRefused, match="denied"):
                await bench.lend(site=site, route=route)
        lease = await bench.lend(ttl_s=60)
        assert lease.expires_at == trio.current_time() + 7
        lease.handle.spent()
        assert written(lease) == KEY
        lease.handle.spent()
        with pytest.raises(LeaseRefused):
            written(lease)
        await trio.sleep(0.2)
        refusals = [e for e in bench.log.noted if e.act == "key.refuse"]
        assert {e.actor for e in refusals} == {"site:able", "site:bee", "site:acme"}


async def test_a_flood_of_refusals_is_one_event(autojump_clock: MockClock) -> None:
    async with running(rules=[]) as bench:
        bench.cell.rules = ()
        for _ in range(100):
            with pytest.raises(LeaseRefused):
                await bench.lend()
        await trio.sleep(0.2)
        times = [dict(e.detail)["times"] for e in bench.log.noted]
        assert sum(int(t) for t in times) == 100
        assert len(times) <= 2


async def test_a_row_of_another_environment_opens_nowhere(
    autojump_clock: MockClock,
) -> None:
    """Swapped in the store, as an attacker with the database would."""
    theirs = KeyScope("main", "default", "default", "dev")
    sources = {SCOPE: source(), theirs: source()}
    rules = [
        *default_rules("default", "default"),
        *default_rules("default", "dev"),
    ]
    async with running(sources=sources, rules=rules) as bench:
        await bench.put(b"sk-production-key")
        await bench.put(b"sk-development-key", theirs)
        rows = bench.store.rows
        mine = [r for r in rows.values() if isinstance(r, SecretRow)]
        for row in mine:
            other = next(r for r in mine if r is not row)
            import msgspec  # noqa: PLC0415

            rows[row.key] = msgspec.structs.replace(row, record=other.record)
        await bench.safe.load()
        for scope in (SCOPE, theirs):
            with pytest.raises(LeaseRefused, match=r"not its tenant's|does not open"):
                await bench.lend(scope)


async def test_a_kms_that_is_down_is_survived_until_the_kek_ends(
    autojump_clock: MockClock,
) -> None:
    limits = KekLimits(ttl_s=100)
    async with running(limits=limits) as bench:
        await bench.put()
        await bench.lend()
        bench.kms.down = True
        await trio.sleep(99)
        assert written(await bench.lend()) == KEY
        await trio.sleep(2)
        with pytest.raises(LeaseRefused, match="does not answer"):
            await bench.lend()
        bench.kms.down = False
        assert written(await bench.lend()) == KEY


async def test_a_kek_is_fetched_anew_before_it_ends(autojump_clock: MockClock) -> None:
    async with running(limits=KekLimits(ttl_s=100)) as bench:
        await bench.put()
        for _ in range(100):
            await trio.sleep(10)
            bench.kms.slow_s = 5
            began = trio.current_time()
            await bench.lend()
            assert trio.current_time() == began
        assert 8 <= bench.kms.unwrapped <= 15


async def test_a_kek_serves_a_bounded_number_of_uses(
    autojump_clock: MockClock,
) -> None:
    async with running(limits=KekLimits(uses_max=3)) as bench:
        await bench.put()
        for _ in range(7):
            await bench.lend()
        assert bench.kms.unwrapped >= 2


async def test_without_a_cache_every_lease_asks_the_kms(
    autojump_clock: MockClock,
) -> None:
    async with running(limits=KekLimits(ttl_s=0)) as bench:
        await bench.put()
        for _ in range(3):
            assert written(await bench.lend()) == KEY
        assert bench.kms.unwrapped == 3
        bench.kms.down = True
        with pytest.raises(LeaseRefused):
            await bench.lend()


async def test_re_wrapping_goes_unnoticed_and_destroys_the_old_kek(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        before = [r for r in bench.store.rows.values() if isinstance(r, SecretRow)]
        assert await bench.vault.ask(RotateKek("default", "default", OPERATOR)) == 1
        [row] = [r for r in bench.store.rows.values() if isinstance(r, SecretRow)]
        keks = [r for r in bench.store.rows.values() if isinstance(r, KekRow)]

        assert row.record != before[0].record
        assert [(k.version, k.state, bool(k.blob)) for k in keks] == [
            (1, "destroyed", False),
            (2, "active", True),
        ]
        assert written(await bench.lend()) == KEY


async def test_a_shredded_tenants_keys_never_open_again(
    autojump_clock: MockClock,
) -> None:
    theirs = KeyScope("main", "default", "default", "dev")
    async with running(sources={SCOPE: source(), theirs: source()}) as bench:
        await bench.put()
        assert await bench.vault.ask(Shred("default", "default", OPERATOR)) == 1
        with pytest.raises(LeaseRefused, match="shredded"):
            await bench.lend()


async def test_a_restarted_vault_wiped_what_it_lent_and_lends_again(
    autojump_clock: MockClock,
) -> None:
    store, kms = VaultMemory(), FlakyKms()
    async with running(store=store, kms=kms) as bench:
        await bench.put()
        lease = await bench.lend()
    with pytest.raises(LeaseRefused):
        written(lease)
    async with running(store=store, kms=kms) as bench:
        assert written(await bench.lend()) == KEY


async def test_a_delivery_serves_once_and_only_for_its_name(
    autojump_clock: MockClock,
) -> None:
    from actors.vault.delivery import info, seal  # noqa: PLC0415
    from actors.vault.messages import Deliver, DeliveryKey  # noqa: PLC0415

    async with running() as bench:
        box = await bench.vault.ask(DeliveryKey())
        delivery = seal(KEY, box, info("default", "default", "main", "default"))
        moved = KeyScope("evil")
        with pytest.raises(VaultRefused, match="does not open"):
            await bench.vault.ask(Deliver(moved, delivery, (HOST,), OPERATOR))
        taken = Deliver(SCOPE, delivery, (HOST,), OPERATOR)
        await bench.vault.ask(taken)
        again = Deliver(SCOPE, delivery, (HOST,), OPERATOR, replace=True)
        with pytest.raises(VaultRefused, match="already"):
            await bench.vault.ask(again)


@pytest.mark.parametrize(
    ("key", "why"),
    [(b"sk-a\r\nx-evil: 1", "no header may carry"), (b"sk key", "no header")],
)
async def test_what_no_header_may_carry_is_no_key(
    autojump_clock: MockClock, key: bytes, why: str
) -> None:
    async with running() as bench:
        with pytest.raises(VaultRefused, match=why):
            await bench.put(key)


async def test_an_operators_rights_are_checked(autojump_clock: MockClock) -> None:
    async with running() as bench:
        with pytest.raises(VaultRefused, match="add is denied to site:acme"):
            await bench.put(principal="site:acme")
        assert bench.log.attested == []


async def test_the_key_of_a_variable_is_lent_the_same_way(
    autojump_clock: MockClock,
) -> None:
    sources = {SCOPE: source(env="MAIN_KEY")}
    async with running(sources=sources, environ={"MAIN_KEY": "sk-env"}) as bench:
        assert written(await bench.lend()) == b"sk-env"
        assert bench.log.acts() == ["key.grant"]


async def test_a_leased_key_cannot_be_copied_or_shown(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        lease = await bench.lend()
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copier(lease.handle)
        for text in (repr(lease), repr(bench.vault), repr(bench.cell), str(bench)):
            assert KEY.decode() not in text


class SharedRows(VaultMemory):
    """One store that two workers write to."""

    @property
    def shared(self) -> bool:
        return True


async def test_what_one_worker_changes_the_others_follow(
    autojump_clock: MockClock,
) -> None:
    """New keys are lent, and revoked ones wiped, within seconds."""
    store, kms = SharedRows(), FlakyKms()
    async with (
        running(store=store, kms=kms) as one,
        running(store=store, kms=kms) as other,
    ):
        await one.put()
        await trio.sleep(FOLLOW_S + 0.1)
        lease = await other.lend()
        assert written(lease) == KEY

        await one.vault.ask(RevokeSecret(SCOPE, OPERATOR))
        await trio.sleep(FOLLOW_S + 0.1)
        with pytest.raises(LeaseRefused, match="revoked"):
            written(lease)
        with pytest.raises(LeaseRefused, match="was revoked"):
            await other.lend()


async def test_two_workers_that_make_the_first_kek_at_once_end_with_one(
    autojump_clock: MockClock,
) -> None:
    store, kms = SharedRows(), FlakyKms()
    kms.slow_s = 1
    theirs = KeyScope("main", "spare")
    async with (
        running(store=store, kms=kms) as one,
        running(store=store, kms=kms) as other,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.put)
            nursery.start_soon(other.put, KEY, theirs)
        keks = [row for row in store.rows.values() if isinstance(row, KekRow)]
        assert [kek.version for kek in keks] == [1]
        await trio.sleep(FOLLOW_S + 2)
        assert written(await one.lend()) == KEY


async def test_a_revoked_key_that_is_made_active_in_the_store_stays_ended(
    autojump_clock: MockClock,
) -> None:
    """The state of a row is not sealed; so the key itself is gone from it."""
    async with running() as bench:
        await bench.put()
        await bench.vault.ask(RevokeSecret(SCOPE, OPERATOR))
        [row] = [r for r in bench.store.rows.values() if isinstance(r, SecretRow)]
        assert row.record == b""
        await bench.store.commit(
            Put(replace(row, state="active", revision=row.revision + 1))
        )
        await bench.safe.load()
        with pytest.raises(LeaseRefused, match="damaged"):
            await bench.lend()


async def test_a_tenant_with_a_revoked_key_is_still_re_wrapped(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.put()
        await bench.vault.ask(RevokeSecret(SCOPE, OPERATOR))
        await bench.put(b"sk-another-key", replace=True)
        assert await bench.vault.ask(RotateKek("default", "default", OPERATOR)) == 1
        assert written(await bench.lend()) == b"sk-another-key"
