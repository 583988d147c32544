"""Witnesses of the audit log, over C2SP's tlog-witness protocol. Implements Cosigner.

    POST <witness>/add-checkpoint     old size, consistency proof, checkpoint
    200 its signature lines   409 the size it remembers   422 it does not follow

A witness remembers the largest checkpoint it has signed. One that holds that ours does
not continue it has seen another history, and the log stops: somebody has rewritten or
rolled back what is on disk. One that does not answer is asked again with the next
checkpoint; the log goes on without it, and says so in its report.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import attrs
import httpx
import trio

from actors.auditor.log import Publication
from actors.auditor.merkle import PROOF_HASHES_MAX, consistency_proof
from actors.auditor.notes import (
    BadNote,
    Signature,
    Verifier,
    parse_signatures,
    split_note,
)
from actors.auditor.ports import LogStore, WitnessRefused
from actors.auditor.tiles import TileTree

ANSWER_S: Final = 2.0  # A witness syncs a disk; beyond this, the next checkpoint.
ANSWER_BYTES_MAX: Final = 1 << 16
TRIES_MAX: Final = 2  # The second with the size that the first was told.
SIZE_TYPE: Final = "text/x.tlog.size"

_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@attrs.define
class _Witness:
    url: str
    remembers: int = 0
    trouble: str = ""


class Witnesses:
    """Asks all witnesses side by side."""

    def __init__(
        self,
        urls: Sequence[str],
        keys: Sequence[Verifier],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.witnesses = [_Witness(url.rstrip("/")) for url in urls]
        self.keys = tuple(keys)
        self._client = httpx.AsyncClient(
            transport=transport, timeout=ANSWER_S, follow_redirects=False
        )

    def __repr__(self) -> str:
        """Who is asked."""
        return f"<Witnesses {[one.url for one in self.witnesses]}>"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def cosign(
        self, shown: Publication, store: LogStore
    ) -> tuple[Signature, ...]:
        """See Cosigner."""
        found: list[Signature] = []
        refused: list[str] = []

        async def ask(witness: _Witness) -> None:
            try:
                with trio.fail_after(ANSWER_S):
                    found.extend(await self._ask(witness, shown, store))
                witness.trouble = ""
            except WitnessRefused as error:
                refused.append(str(error))
            except (httpx.HTTPError, trio.TooSlowError, BadNote) as error:
                witness.trouble = type(error).__name__

        async with trio.open_nursery() as nursery:
            for witness in self.witnesses:
                nursery.start_soon(ask, witness)
        if refused:
            raise WitnessRefused(refused[0])
        return tuple(found)

    async def _ask(
        self, witness: _Witness, shown: Publication, store: LogStore
    ) -> list[Signature]:
        refusal = WitnessRefused(
            f"the witness {witness.url} has seen another history of this log: it was "
            f"rewritten or rolled back"
        )
        for attempt in range(TRIES_MAX):
            body = await trio.to_thread.run_sync(
                request_body, witness.remembers, shown, store
            )
            response = await self._client.post(
                f"{witness.url}/add-checkpoint", content=body
            )
            told = _SIZE.fullmatch(response.content)
            match response.status_code:
                case 200:
                    witness.remembers = shown.size
                    return self._signatures(response.content, shown)
                case 422:
                    raise refusal
                case 409 if told is not None and _is_size(response):
                    witness.remembers = int(told[1])
                    # It has signed a larger tree, or another of this size.
                    if witness.remembers > shown.size or attempt:
                        raise refusal
                case status:
                    raise BadNote(f"{witness.url} answered {status}")
        raise refusal

    def _signatures(self, lines: bytes, shown: Publication) -> list[Signature]:
        """Those of known witnesses that verify. Raises BadNote at a false one."""
        if len(lines) > ANSWER_BYTES_MAX:
            raise BadNote("a witness's answer is too long")
        text, _ = split_note(shown.note)
        return [
            one
            for one in parse_signatures(lines.decode(errors="replace"))
            if any(key.check(one, text) for key in self.keys)
        ]


def request_body(remembers: int, shown: Publication, store: LogStore) -> bytes:
    """What a witness is sent. Reads tiles: run it in a thread."""
    proof: list[bytes] = []
    if 0 < remembers < shown.size:
        tree = TileTree(store.read, shown.size)
        proof = consistency_proof(tree.node, remembers, shown.size)
    assert len(proof) <= PROOF_HASHES_MAX, "no tree is that tall"
    lines = [f"old {remembers}", *(b64encode(one).decode() for one in proof), "", ""]
    return "\n".join(lines).encode() + shown.note


def witnesses(urls: Sequence[str], keys: Sequence[str]) -> Witnesses | None:
    """The witnesses of a configuration, if it has any. Raises BadNote."""
    if not urls:
        return None
    if not keys:
        raise BadNote("the witnesses have no keys: their signatures would not count")
    return Witnesses(urls, [Verifier.parse(key) for key in keys])


def _is_size(response: httpx.Response) -> bool:
    """Whether a refusal says which size the witness remembers."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip() == SIZE_TYPE
