"""Granter. Owns the tokens by which browsers start what their servers asked for.

Judges a token before it looks at any store: only the right origin, in time, can use one
up. The claim itself is the store's, which all workers share. Talks to its ports only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
import msgspec

from actors.granter import policy
from actors.granter.messages import (
    Check,
    Checked,
    Granted,
    GrantsUnavailable,
    Issue,
    NotGranted,
    NotRedeemed,
    Redeem,
    Waiting,
)
from actors.granter.ports import EpochKeys, GrantRow, GrantStore, StoreUnavailable
from runtime import Actor, Deferred, MailboxSpec, answers

Q = TypeVar("Q")
R = TypeVar("R")

MESSAGES_QUEUED_MAX: Final = 256
KEYS_CACHED_MAX: Final = 4  # Yesterday's, today's, tomorrow's.
FULL_RETRY_S: Final = 5.0  # Those that wait are gone within a minute.

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Waiting).decode


@attrs.define
class GranterCell:
    """What outlives a crash: where requests wait, and the keys."""

    store: GrantStore
    keys: EpochKeys
    wall: Callable[[], float]
    entropy: Callable[[int], bytes]
    cached: dict[int, bytes] = attrs.field(factory=dict[int, bytes], repr=False)


class Granter(Actor):
    """Issues and redeems."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="shed", down="reject")
    accepts = (Issue, Redeem, Check)

    def __init__(self, cell: GranterCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Granter {self.cell.store!r}>"

    @answers(Issue)
    def issue(self, msg: Issue) -> Deferred[Granted | NotGranted]:
        """Seal the request, let it wait, sign a token for it."""
        deferred: Deferred[Granted | NotGranted] = Deferred()
        self.ctx.start_soon(_answer, self._issue, msg, deferred)
        return deferred

    @answers(Redeem)
    def redeem(self, msg: Redeem) -> Deferred[Waiting | NotRedeemed]:
        """Judge the token, then claim what waits for it."""
        deferred: Deferred[Waiting | NotRedeemed] = Deferred()
        self.ctx.start_soon(_answer, self._redeem, msg, deferred)
        return deferred

    @answers(Check)
    def check(self, msg: Check) -> Deferred[Checked | NotRedeemed]:
        """Judge the token alone."""
        deferred: Deferred[Checked | NotRedeemed] = Deferred()
        self.ctx.start_soon(_answer, self._check, msg, deferred)
        return deferred

    # -- beside the mailbox ----------------------------------------------------

    async def _issue(self, msg: Issue) -> Granted | NotGranted:
        now_s = self.cell.wall()
        token = policy.make(
            msg.waiting.request_id,
            secret=self.cell.entropy(policy.SECRET_BYTES),
            origin=msg.origin,
            audience=msg.audience,
            now_s=now_s,
            ttl_s=msg.ttl_s,
            whole=not msg.waiting.as_events,
        )
        key = self.cell.cached.get(token.epoch)
        if key is None:
            key = self._remember(token.epoch, await self.cell.keys.make(token.epoch))
        row = GrantRow(
            request_id=token.request_id,
            site=msg.waiting.site,
            expires_at_s=token.expires_ms / 1000,
            sealed=policy.seal(token, key, _encode(msg.waiting)),
        )
        if not await self.cell.store.put(row):
            why = "too many requests wait to be picked up already"
            return NotGranted(why, FULL_RETRY_S)
        return Granted(policy.sign(token, key), row.expires_at_s)

    async def _redeem(self, msg: Redeem) -> Waiting | NotRedeemed:
        judged = await self._judge(msg.token, msg, by_socket=msg.by_socket)
        if isinstance(judged, NotRedeemed):
            return judged
        token, key = judged
        sealed = await self.cell.store.claim(token.request_id)
        if sealed == "used":
            return NotRedeemed("grant_used", token.request_id)
        plain = None
        if sealed != "unknown":
            plain = policy.unseal(token, key, sealed)
        if plain is None:
            return NotRedeemed("grant_unknown", token.request_id)
        return _decode(plain)

    async def _check(self, msg: Check) -> Checked | NotRedeemed:
        judged = await self._judge(msg.token, msg, late_s=msg.late_s)
        if isinstance(judged, NotRedeemed):
            return judged
        return Checked(judged[0].request_id)

    async def _judge(
        self,
        text: str,
        shown: Redeem | Check,
        *,
        late_s: float = 0.0,
        by_socket: bool = False,
    ) -> tuple[policy.Token, bytes] | NotRedeemed:
        now_s = self.cell.wall()
        epoch = policy.epoch_of(text)
        if epoch is None or not policy.accepts_epoch(epoch, now_s):
            return NotRedeemed("grant_invalid")
        key = self.cell.cached.get(epoch)
        if key is None:
            found = await self.cell.keys.find(epoch)
            if found is None:
                return NotRedeemed("grant_invalid")
            key = self._remember(epoch, found)
        token = policy.read(text, key)
        if token is None:
            return NotRedeemed("grant_invalid")
        refusal = policy.judge(
            token,
            origin=shown.origin,
            audience=shown.audience,
            now_s=now_s,
            late_s=late_s,
            by_socket=by_socket,
        )
        if refusal is not None:
            return NotRedeemed(refusal, token.request_id)
        return token, key

    def _remember(self, epoch: int, key: bytes) -> bytes:
        cached = self.cell.cached
        cached[epoch] = key
        while len(cached) > KEYS_CACHED_MAX:
            del cached[min(cached)]
        return key


async def _answer(
    work: Callable[[Q], Awaitable[R]], msg: Q, deferred: Deferred[R]
) -> None:
    """Reply with what came of it. A store that is down is no reason to crash."""
    try:
        deferred.reply(await work(msg))
    except (StoreUnavailable, OSError) as error:
        deferred.fail(GrantsUnavailable(type(error).__name__))
