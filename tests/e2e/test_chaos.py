"""Bad networks on both sides of a real gateway: every stream has exactly one end.

Complete, the dialect's error event, an error instead of an answer, or an abort; never
an end that looks like a good one. In the end nothing is held, each request has one
record, what was charged is what the records say, and the audit log verifies.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from bench.lib.sockets import masked
from tests.e2e.stage import KEY, Stage, staged
from tests.support_chaos import FATES, REQUEST_FATES, Chaos, Fate, chaos

SEED = 20_261
STREAMS = 48
AT_ONCE = 8
PATIENCE_S = 12.0
DELTAS = 30
COMES_BACK_MAX = 40  # Half of all connections fail: that many in a row do not.
RESUME_PATIENCE_S = 2.0  # A whole answer takes 0.2 s; a half-open line takes for ever.

End = Literal["complete", "error event", "refused", "abort", "good-looking"]

FAR = """
[[providers]]
name = "far"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
key_env = "E2E_UPSTREAM_KEY"
models = ["gpt-mock"]
[providers.breaker]
failures_max = 1000
[providers.deadlines]
connect_s = 1.0
headers_s = 2.0
first_content_s = 3.0
idle_s = 2.0
total_s = 20.0
[providers.prices.gpt-mock]
input_usd_per_mtok = 1
output_usd_per_mtok = 2
[[models]]
name = "far"
route = ["far/gpt-mock"]
"""


def asked(tag: str) -> bytes:
    words = f"bench tag={tag} deltas={DELTAS} gap_us=4000"
    body = json.dumps(
        {
            "model": "far",
            "stream": True,
            "max_tokens": 500,
            "messages": [{"role": "user", "content": words}],
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
        f"authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def judged(raw: bytes) -> End:
    """What a client makes of what it got."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        is_whole = b'"error"' in body and body.rstrip().endswith(b"}")
        return "refused" if is_whole else "abort"
    if not body.endswith(b"0\r\n\r\n"):
        return "abort"
    if b"[DONE]" in body:
        return "complete" if b'"error"' not in body else "good-looking"
    return "error event" if b'"error"' in body else "good-looking"


async def one(port: int, tag: str, ends: dict[str, tuple[End, str]]) -> None:
    raw = b""
    with trio.move_on_after(PATIENCE_S):
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(asked(tag))
                while data := await stream.receive_some(65536):
                    raw += data
        except (trio.BrokenResourceError, OSError):
            pass
    # A request that came garbled is a 400 before it is one, and has no record.
    garbled = raw.startswith(b"HTTP/1.1 400 ")
    found = None if garbled else re.search(rb"x-request-id: (req_\w+)", raw)
    ends[tag] = (judged(raw), found[1].decode() if found else "")


def handshake() -> bytes:
    """As a client with a key makes it."""
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return (
        b"GET /v1/chat/completions/ws HTTP/1.1\r\nhost: gateway\r\n"
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        + key
        + f"authorization: Bearer {KEY}\r\n\r\n".encode()
    )


def event_of(tag: str) -> bytes:
    words = f"bench tag={tag} deltas={DELTAS} gap_us=4000"
    event = {
        "type": "response.create",
        "model": "far",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": words}],
    }
    return masked(json.dumps(event).encode())


def texts(raw: bytes) -> list[dict[str, Any]]:
    """The complete messages of a server's frames, as far as they go."""
    found: list[dict[str, Any]] = []
    at = 0
    while at + 4 <= len(raw):
        opcode, size = raw[at] & 0x0F, raw[at + 1]
        at += 2
        if size == 126:
            size = int.from_bytes(raw[at : at + 2], "big")
            at += 2
        if at + size > len(raw):
            break
        if opcode == 1:
            found.append(json.loads(raw[at : at + size]))
        at += size
    return found


def judged_by_socket(raw: bytes) -> End:
    """What a client of a WebSocket makes of what it got."""
    head, end, frames = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        return "refused" if end and frames.endswith(b"}") else "abort"
    events = texts(frames)
    numbers = [
        int(choice["delta"]["content"].partition("w")[2].partition("@")[0])
        for event in events
        for choice in event.get("choices", ())
        if choice["delta"].get("content")
    ]
    if numbers != list(range(len(numbers))):
        return "good-looking"  # Lost or doubled, and nobody told.
    last = events[-1] if events else {}
    if last.get("type") == "chat.completion.done":
        return "complete" if len(numbers) == DELTAS else "good-looking"
    return "error event" if "error" in last else "abort"


async def one_by_socket(port: int, tag: str, ends: dict[str, tuple[End, str]]) -> None:
    raw = b""
    with trio.move_on_after(PATIENCE_S):
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(handshake())
                asked_for = False
                while data := await stream.receive_some(65536):
                    raw += data
                    if not asked_for and b"\r\n\r\n" in raw:
                        asked_for = True
                        await stream.send_all(event_of(tag))
                    if b'"chat.completion.done"' in raw or b'"type":"error"' in raw:
                        break
        except (trio.BrokenResourceError, OSError):
            pass
    ends[tag] = (judged_by_socket(raw), "")


async def many(
    port: int, ask: Callable[..., Awaitable[None]] = one
) -> dict[str, tuple[End, str]]:
    ends: dict[str, tuple[End, str]] = {}
    room = trio.CapacityLimiter(AT_ONCE)

    async def turn(tag: str) -> None:
        async with room:
            await ask(port, tag, ends)

    async with trio.open_nursery() as nursery:
        for place in range(STREAMS):
            nursery.start_soon(turn, f"x{place}")
    return ends


def records(stage: Stage) -> list[dict[str, Any]]:
    """What the gateway kept of each request."""
    found: list[dict[str, Any]] = []
    for file in sorted((stage.state_dir / "records").rglob("*.jsonl")):
        found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


def spent(stage: Stage) -> int:
    """What the metrics say was charged, in nano-dollars."""
    _, _, text = stage.ask("GET", "/metrics", key=None)
    total = 0.0
    for line in text.decode().splitlines():
        if re.match(r"stagedoor_\w*spend\w*_total\{", line):
            total += float(line.rpartition(" ")[2])
    return round(total * 10**9)


def agree(stage: Stage, ends: dict[str, tuple[End, str]], proxy: Chaos) -> None:
    """Clients, records, money and the audit log tell one story."""
    told = f"replay with SEED={SEED}: {Counter(p.fate for p in proxy.plans)}"
    assert len(ends) == STREAMS
    assert "good-looking" not in {end for end, _ in ends.values()}, told
    stage.until("all is back", stage.is_idle)
    kept = records(stage)
    assert len({record["request_id"] for record in kept}) == len(kept)
    outcomes = {record["request_id"]: record["outcome"] for record in kept}
    fits: dict[End, set[str]] = {
        "complete": {"ok"},
        "error event": {"error"},
        "refused": {"error"},
        "abort": {"ok", "error", "aborted"},  # Its end was sent, and did not arrive.
    }
    for end, request_id in ends.values():
        if request_id:
            assert outcomes[request_id] in fits[end], (end, request_id, told)
    charged = sum(record.get("cost_nanousd", 0) for record in kept)
    assert charged > 0
    assert spent(stage) == pytest.approx(charged, abs=1000)


def verified(stage: Stage) -> None:
    """The audit log of a stopped gateway, by its own key."""
    [folder] = [p for p in (stage.state_dir / "audit").iterdir() if p.is_dir()]
    key = (folder / "vkey").read_text().strip()
    command = ["audit", "verify", str(folder), "--vkey", key]
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_between_gateway_and_upstream(tmp_path: Path) -> None:
    """The client's own network is good: it is always told how it ended."""
    fates = (*FATES, *REQUEST_FATES)
    async with chaos(0, seed=SEED, fates=fates) as proxy:
        with staged(tmp_path, FAR.format(port=proxy.port)) as stage:
            proxy.target = stage.upstream.port
            ends = await many(stage.port)
            kinds = Counter(end for end, _ in ends.values())
            assert kinds["complete"] > 0
            assert kinds["error event"] > 0
            assert kinds["abort"] == 0, kinds
            await trio.to_thread.run_sync(agree, stage, ends, proxy)
            assert await trio.to_thread.run_sync(stage.stop) == 0
            verified(stage)


NOT_DOUBLED: tuple[Fate, ...] = tuple(one for one in FATES if one != "repeat")


@pytest.mark.parametrize("ask", [one, one_by_socket], ids=["SSE", "WebSocket"])
async def test_between_client_and_gateway(
    tmp_path: Path, ask: Callable[..., Awaitable[None]]
) -> None:
    """Whatever the client did not get, the gateway ended, recorded and charged."""
    fates: tuple[Fate, ...] = (*NOT_DOUBLED, *REQUEST_FATES, "repeat_request")
    with staged(tmp_path, FAR.format(port=1)) as stage:
        far = stage.config.read_text().replace(":1/v1", f":{stage.upstream.port}/v1")
        stage.config.write_text(far)
        stage.until("reloaded", lambda: b"reload.applied" in stage.log.read_bytes())
        async with chaos(stage.port, seed=SEED + 1, fates=fates) as proxy:
            ends = await many(proxy.port, ask)
            kinds = Counter(end for end, _ in ends.values())
            assert kinds["complete"] > 0
            assert kinds["abort"] > 0
            await trio.to_thread.run_sync(agree, stage, ends, proxy)
        assert await trio.to_thread.run_sync(stage.stop) == 0
        verified(stage)


async def come_back(port: int, tag: str, told: dict[str, list[bytes]]) -> None:
    """A client that wants its answer: it asks again, for what it has not got."""
    frames: list[bytes] = []
    for _ in range(COMES_BACK_MAX):
        raw = b""
        extra = f"idempotency-key: {tag}\r\n"
        if frames:
            last = frames[-1].partition(b"\n")[0].removeprefix(b"id: ").decode()
            extra += f"last-event-id: {last}\r\n"
        # Without chunks, so that a frame is a frame wherever the network cuts.
        sent = asked(tag).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + extra.encode(), 1)
        with trio.move_on_after(RESUME_PATIENCE_S):
            try:
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(sent)
                    while data := await stream.receive_some(65536):
                        raw += data
            except (trio.BrokenResourceError, OSError):
                pass
        head, _, body = raw.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.") and b" 200 " in head.partition(b"\r\n")[0]:
            frames += [f for f in body.split(b"\n\n")[:-1] if f.startswith(b"id: ")]
        if frames and frames[-1].endswith(b"data: [DONE]"):
            break
    told[tag] = frames


async def test_whoever_comes_back_gets_every_event_once_for_one_generation(
    tmp_path: Path,
) -> None:
    fates: tuple[Fate, ...] = (*NOT_DOUBLED, "repeat_request")
    with staged(tmp_path, FAR.format(port=1), site='resume = "detach"') as stage:
        far = stage.config.read_text().replace(":1/v1", f":{stage.upstream.port}/v1")
        stage.config.write_text(far)
        stage.until("reloaded", lambda: b"reload.applied" in stage.log.read_bytes())
        told: dict[str, list[bytes]] = {}
        room = trio.CapacityLimiter(AT_ONCE)
        before = stage.seen().requests

        async def turn(tag: str) -> None:
            async with room:
                await come_back(proxy.port, tag, told)

        async with (
            chaos(stage.port, seed=SEED + 2, fates=fates) as proxy,
            trio.open_nursery() as nursery,
        ):
            for place in range(STREAMS):
                nursery.start_soon(turn, f"y{place}")
        replay = f"replay with SEED={SEED}: {Counter(p.fate for p in proxy.plans)}"
        assert len(proxy.plans) > STREAMS, replay
        for tag, frames in told.items():
            numbers = [int(f.partition(b"\n")[0].rpartition(b".")[2]) for f in frames]
            assert numbers == list(range(len(numbers))), (tag, replay)
            assert frames[-1].endswith(b"data: [DONE]"), (tag, replay)
            assert sum(b'"content":"' in frame for frame in frames) >= DELTAS
        assert stage.seen().requests == before + STREAMS
        await trio.to_thread.run_sync(stage.until, "all is back", stage.is_idle)
        kept = records(stage)
        assert Counter(record["outcome"] for record in kept) == {"ok": STREAMS}
