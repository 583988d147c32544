"""The witness protocol, against a witness in memory that keeps to its letter."""

from __future__ import annotations

from base64 import b64decode, b64encode

import attrs
import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from actors.auditor.log import Publication
from actors.auditor.merkle import BadProof, check_consistency
from actors.auditor.messages import AuditEvent
from actors.auditor.notes import (
    COSIGNED_ED25519,
    BadNote,
    Checkpoint,
    Signature,
    Verifier,
    cosigned_text,
    cosigners,
    open_checkpoint,
    split_note,
    with_signatures,
)
from actors.auditor.ports import AuditBook, WitnessRefused
from storage.audit_memory import MemoryLogStore, memory_book
from storage.audit_witness import ANSWER_S, Witnesses, witnesses


@attrs.define
class MemoryWitness:
    """C2SP tlog-witness for one log; `mood` makes it misbehave."""

    log: Verifier
    name: str = "w.example/1"
    last: Checkpoint | None = None
    mood: str = ""
    asked: int = 0
    key: Ed25519PrivateKey = attrs.field(factory=Ed25519PrivateKey.generate)

    @property
    def verifier(self) -> Verifier:
        public = self.key.public_key().public_bytes_raw()
        return Verifier(self.name, COSIGNED_ED25519, public)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        assert request.url.path == "/witness/add-checkpoint"
        match self.mood:
            case "silent":
                await trio.sleep_forever()
            case "gone":
                raise httpx.ConnectError("refused")
            case "broken":
                return httpx.Response(500)
            case "babbles":
                return httpx.Response(200, text="hello")
            case "says conflict":
                return httpx.Response(409, text="no")
            case _:
                pass
        head, _, note = request.content.partition(b"\n\n")
        first, *proof = head.decode().split("\n")
        return self._judge(int(first.removeprefix("old ")), proof, note)

    def _judge(self, old: int, proof: list[str], note: bytes) -> httpx.Response:
        checkpoint = open_checkpoint(note, self.log)
        size = self.last.size if self.last else 0
        if old != size:
            return self._conflict(size)
        try:
            if self.last is not None:
                if checkpoint.size == size and checkpoint.root != self.last.root:
                    return self._conflict(size)
                hashes = [b64decode(one) for one in proof]
                check_consistency(
                    size, checkpoint.size, hashes, self.last.root, checkpoint.root
                )
        except BadProof:
            return httpx.Response(422)
        self.last = checkpoint
        text, _ = split_note(note)
        value = (7).to_bytes(8, "big") + self.key.sign(cosigned_text(text, 7))
        if self.mood == "lies":
            value = value[:-1] + bytes([value[-1] ^ 1])
        mine = self.verifier
        line = Signature(mine.name, mine.key_id, value).line()
        other = Signature("stranger.example", b"abcd", bytes(72)).line()
        return httpx.Response(200, content=(other + line).encode())

    def _conflict(self, size: int) -> httpx.Response:
        kind = {"content-type": "text/x.tlog.size"}
        return httpx.Response(409, content=f"{size}\n".encode(), headers=kind)


@attrs.define
class Scene:
    """A log that grows, and one witness."""

    book: AuditBook
    store: MemoryLogStore
    witness: MemoryWitness
    asks: Witnesses

    async def grow(self, count: int, name: str = "n") -> Publication:
        log = self.book.log
        for _ in range(count):
            log.add(AuditEvent("a.b", name=name), 0)
        log.commit(log.seal())
        shown = log.publication()
        assert shown is not None
        await self.store.publish(shown.files)
        log.publish(shown)
        return shown

    async def cosigned(self, shown: Publication) -> list[str]:
        signatures = await self.asks.cosign(shown, self.store)
        note = with_signatures(shown.note, signatures)
        return cosigners(note, [self.witness.verifier])


def scene(witness: MemoryWitness | None = None) -> Scene:
    book, store = memory_book("log.example")
    witness = witness or MemoryWitness(book.log.signer.verifier)
    transport = httpx.MockTransport(witness.answer)
    asks = Witnesses(["https://w.example/witness/"], [witness.verifier], transport)
    return Scene(book, store, witness, asks)


async def test_a_growing_log_is_signed_again_and_again() -> None:
    made = scene()
    for count in (1, 300, 7):
        assert await made.cosigned(await made.grow(count)) == ["w.example/1"]

    assert made.witness.asked == 3, "it knows what the witness remembers"
    await made.asks.aclose()


async def test_after_a_restart_it_learns_what_the_witness_remembers() -> None:
    made = scene()
    await made.cosigned(await made.grow(5))
    made.asks.witnesses[0].remembers = 0

    assert await made.cosigned(await made.grow(5)) == ["w.example/1"]
    await made.asks.aclose()


async def test_the_same_checkpoint_is_signed_twice() -> None:
    made = scene()
    shown = await made.grow(5)
    await made.cosigned(shown)
    made.asks.witnesses[0].remembers = 0

    assert await made.cosigned(shown) == ["w.example/1"]
    await made.asks.aclose()


@pytest.mark.parametrize("sizes", [(9, 5), (9, 9), (9, 20)])
async def test_another_history_is_refused_shorter_equal_or_longer(
    sizes: tuple[int, int],
) -> None:
    first = scene()
    await first.cosigned(await first.grow(sizes[0]))
    forged = scene(first.witness)

    with pytest.raises(WitnessRefused, match="another history"):
        await forged.cosigned(await forged.grow(sizes[1], "forged"))
    await first.asks.aclose()
    await forged.asks.aclose()


@pytest.mark.parametrize(
    "mood", ["silent", "gone", "broken", "babbles", "lies", "says conflict"]
)
async def test_a_witness_that_does_not_sign_holds_nobody_up(
    autojump_clock: MockClock, mood: str
) -> None:
    """It can delay, not stop: only one that remembers more can do that."""
    # The proof is made in a thread: no time may pass while that one works.
    autojump_clock.autojump_threshold = 0.5
    made = scene()
    made.witness.mood = mood
    started = trio.current_time()
    assert await made.cosigned(await made.grow(1)) == []
    assert trio.current_time() - started <= ANSWER_S
    assert made.asks.witnesses[0].trouble

    made.witness.mood, made.witness.last = "", None
    assert await made.cosigned(await made.grow(1)) == ["w.example/1"]
    assert not made.asks.witnesses[0].trouble
    await made.asks.aclose()


def test_witnesses_without_keys_are_no_witnesses() -> None:
    assert witnesses([], []) is None
    with pytest.raises(BadNote, match="would not count"):
        witnesses(["https://w.example"], [])
    with pytest.raises(BadNote):
        witnesses(["https://w.example"], [b64encode(bytes(33)).decode()])
