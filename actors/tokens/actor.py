"""Tokens. Owns the access tokens of Google's service accounts, and keeps them fresh.

A token is asked for at the start and again at four fifths of its life, so no request
waits for one; while none is to be had, its provider's key is missing and others are
tried. Key files are read anew each time: a rotated one needs no restart. Talks to: the
token endpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Final

import attrs
import httpx
import trio

from actors.tokens.messages import SetAccounts, token_name
from actors.vault.google import (
    FILE_BYTES_MAX,
    AccessToken,
    BadAccount,
    TokenRefused,
    fetch,
    read_account,
)
from runtime import Actor, MailboxSpec, answers

RETRY_FIRST_S: Final = 2.0
RETRY_CAP_S: Final = 300.0  # A revoked account is asked for twelve times an hour.
FETCH_S: Final = 30.0
ACCOUNTS_MAX: Final = 64  # Each is a task; a deployment has a handful.


async def read_in_thread(file: Path) -> bytes:
    """A key file's bytes. Raises OSError."""

    def read() -> bytes:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX + 1)

    return await trio.to_thread.run_sync(read)


@attrs.define
class TokensCell:
    """What outlives a crash: which accounts, and the tokens that are still good.

    `accounts` names key files, each with the transport to ask over.
    """

    accounts: Mapping[Path, httpx.AsyncBaseTransport]
    wall: Callable[[], float]
    rng: Random
    read: Callable[[Path], Awaitable[bytes]] = read_in_thread
    tokens: dict[str, AccessToken] = attrs.field(
        factory=dict[str, AccessToken], repr=False
    )

    def environ(self, base: Mapping[str, str]) -> Mapping[str, str]:
        """What the vault reads: the environment, and the tokens beside it."""
        return WithTokens(base, self)


class WithTokens(Mapping[str, str]):
    """An environment with access tokens in it, as long as they are good."""

    def __init__(self, base: Mapping[str, str], cell: TokensCell) -> None:
        self._base = base
        self._cell = cell

    def __repr__(self) -> str:
        """Without a value: they are keys."""
        return f"<WithTokens {len(self._cell.tokens)}>"

    def __getitem__(self, name: str) -> str:
        token = self._cell.tokens.get(name)
        if token is None:
            return self._base[name]
        if token.expires_at_s <= self._cell.wall():
            raise KeyError(name)
        return token.value

    def __iter__(self) -> Iterator[str]:
        return iter((*self._base, *self._cell.tokens))

    def __len__(self) -> int:
        return len(self._base) + len(self._cell.tokens)


class Tokens(Actor):
    """Keeps one token an account."""

    mailbox = MailboxSpec(8, full="block", down="hold")
    accepts = (SetAccounts,)

    def __init__(self, cell: TokensCell) -> None:
        self.cell = cell
        self.scopes: dict[Path, trio.CancelScope] = {}
        self.troubles: dict[Path, str] = {}

    def __repr__(self) -> str:
        """As an operator wants it."""
        why = "".join(f" {file.name}: {w}" for file, w in self.troubles.items())
        return f"<Tokens fresh={len(self.cell.tokens)}/{len(self.scopes)}{why}>"

    def on_start(self) -> None:
        """Begin with every account."""
        self._follow(self.cell.accounts)

    @answers(SetAccounts)
    def set_accounts(self, msg: SetAccounts) -> None:
        """Forget those that are gone; begin with new ones."""
        self.cell.accounts = msg.accounts
        self._follow(msg.accounts)

    def _follow(self, files: Iterable[Path]) -> None:
        wanted = dict.fromkeys(files)
        assert len(wanted) <= ACCOUNTS_MAX, "too many service accounts"
        for file in [file for file in self.scopes if file not in wanted]:
            self.scopes.pop(file).cancel(reason="the account is not configured")
            self.cell.tokens.pop(token_name(file), None)
            self.troubles.pop(file, None)
        for file in wanted:
            if file not in self.scopes:
                self.scopes[file] = self.ctx.start_soon(self._keep_fresh, file)

    async def _keep_fresh(self, file: Path) -> None:
        name = token_name(file)
        failures = 0
        while True:
            wait_s = 0.0
            token = self.cell.tokens.get(name)
            if token is not None:
                wait_s = max(0.0, token.renew_at_s - self.cell.wall())
            if failures:
                grown = RETRY_FIRST_S * 2.0 ** min(failures - 1, 16)
                wait_s = min(RETRY_CAP_S, grown) * self.cell.rng.uniform(0.5, 1.0)
            await trio.sleep(wait_s)
            why = await self._renew(file, name)
            failures = failures + 1 if why else 0
            if why:
                self.troubles[file] = why
            else:
                self.troubles.pop(file, None)

    async def _renew(self, file: Path, name: str) -> str:
        """Have a new token; why not, where it was not to be had."""
        cell = self.cell
        transport = cell.accounts[file]
        try:
            account = read_account(await cell.read(file))
            with trio.fail_after(FETCH_S):
                cell.tokens[name] = await fetch(transport, account, cell.wall())
        except OSError as error:
            return f"cannot be read ({type(error).__name__})"
        except (BadAccount, TokenRefused) as error:
            return str(error)
        except (httpx.TransportError, trio.TooSlowError) as error:
            return f"the token endpoint cannot be reached ({type(error).__name__})"
        return ""
