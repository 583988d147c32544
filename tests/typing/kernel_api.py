"""What a type checker must accept and refuse about messages and handlers.

Checked by mypy --strict and pyright strict in `test_typing.py`; never imported.
A line that must be refused ends in `# refused`; any other error fails the test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

from runtime import (
    Actor,
    ChildSpec,
    ControlTell,
    Deferred,
    Down,
    Exit,
    Ref,
    Request,
    Spawn,
    StreamChannel,
    Supervisor,
    System,
    Tell,
    answers,
    handles,
)


class Lease: ...


class Permit: ...


class Refused: ...


class Acquire(Request["Vault", Lease], frozen=True):
    scope: str = ""


class Peek(Request["Vault", Permit | Refused], frozen=True):
    pass


class Revoke(Tell["Vault"], frozen=True):
    pass


class Wipe(ControlTell["Vault"], frozen=True):
    pass


class Price(Request["Ledger", int], frozen=True):
    pass


class Vault(Actor):
    accepts = (Acquire, Peek, Revoke, Wipe)

    @answers(Acquire)
    async def acquire(self, msg: Acquire) -> Lease | Deferred[Lease]:
        return Deferred[Lease]()

    @answers(Peek)
    def peek(self, msg: Peek) -> Permit | Refused:
        return Permit()

    @handles(Revoke)
    def revoke(self, msg: Revoke) -> None: ...

    @handles(Wipe)
    async def wipe(self, msg: Wipe) -> None: ...

    async def on_start(self) -> None: ...

    def on_stop(self, why: Exit) -> None: ...

    async def on_down(self, down: Down) -> None: ...


class AtOnce(Actor):
    def on_start(self) -> None: ...

    def on_down(self, down: Down) -> None: ...


class Sub(Vault):
    """What a Vault accepts, its subclass accepts."""


class Ledger(Actor):
    @answers(Price)
    def price(self, msg: Price) -> Deferred[int]:
        return Deferred[int]()


class Stranger(Actor):
    @answers(Price)  # refused
    def price(self, msg: Price) -> int:
        return 1


class Till(Ledger):
    """An override names the actor that the message is for."""

    @answers(Price)
    def price(self: Ledger, msg: Price) -> Deferred[int]:
        return Deferred[int]()


class Bad1(Ledger):
    @answers(Price)  # refused
    def quote(self, msg: Price) -> str:
        return "wrong reply"


class Bad2(Ledger):
    @answers(Price)  # refused
    async def quote(self, msg: Price) -> str:
        return "wrong reply"


class Bad3(Ledger):
    @answers(Price)  # refused
    def quote(self, msg: Acquire) -> int:
        return 1


class Bad4(Ledger):
    @handles(Revoke)  # refused
    def quote(self, msg: Revoke) -> None: ...


class Bad5(Vault):
    @answers(Revoke)  # refused
    def again(self, msg: Revoke) -> None: ...


class Bad6(Vault):
    @handles(Acquire)  # refused
    def again(self, msg: Acquire) -> None: ...


async def asks(vault: Ref[Vault], ledger: Ref[Ledger], sub: Ref[Sub]) -> None:
    assert_type(await vault.ask(Acquire()), Lease)
    assert_type(await vault.ask(Peek(), timeout_s=1), Permit | Refused)
    assert_type(await ledger.ask(Price()), int)
    assert_type(await sub.ask(Acquire()), Lease)
    assert_type(vault.offer(Revoke()), bool)
    await vault.tell(Wipe())
    base: Ref[Vault] = sub
    await base.tell(Revoke())

    await vault.ask(Price())  # refused
    await ledger.ask(Acquire())  # refused
    await vault.ask(Revoke())  # refused
    await vault.tell(Acquire())  # refused
    vault.offer(Acquire())  # refused
    wrong: int = await vault.ask(Acquire())  # refused
    worse: Ref[Sub] = vault  # refused
    print(wrong, worse)


async def spawns(streams: Ref[Supervisor], system: System) -> None:
    child = await streams.ask(Spawn(ChildSpec("v", Vault)))
    assert_type(child, Ref[Vault])
    assert_type(await child.ask(Acquire()), Lease)
    await child.ask(Price())  # refused
    found = system.lookup("vault", Vault)
    assert_type(found, Ref[Vault] | None)


class Mother(Actor):
    def on_start(self) -> None:
        child = self.ctx.spawn(ChildSpec("l", Ledger))
        assert_type(child, Ref[Ledger])
        self.ctx.start_soon(self.work, 1)
        self.ctx.start_soon(self.work, "one")  # refused

    async def work(self, n: int) -> None: ...


async def streams(channel: StreamChannel[bytes]) -> None:
    await channel.send(b"")
    await channel.send("")  # refused
    async for item in channel:
        assert_type(item, bytes)
    assert_type(channel.take_all(), list[bytes])


def deferred(promise: Deferred[int], get: Callable[[], Awaitable[int]]) -> None:
    assert_type(promise.reply(1), bool)
    promise.reply("one")  # refused
