"""Where a key's bytes are: in one write, and afterwards nowhere."""

import gc
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from actors.provider import exchange
from actors.provider.exchange import KeyedHead
from actors.provider.http import Outgoing, prepare
from actors.provider.transport import StaleConnection, Transport
from actors.provider.wires import Origin, SocketWire
from actors.vault.keyuse import KeyUse
from tests.actors.provider.memory_scan import PREFIX, Masked
from tests.actors.provider.transport_fakes import (
    OK,
    STALL,
    ALease,
    ScriptedDial,
    ScriptedWire,
    post,
    read,
    scripted,
)
from tests.actors.provider.transport_server import certificate, client_context

BASE = "http://upstream.test/v1"


def bearer(lease: ALease) -> KeyUse:
    return KeyUse(b"authorization", b"Bearer ", lease)


async def test_the_key_is_the_last_field_and_goes_out_in_one_write() -> None:
    wire = ScriptedWire([OK])
    client, _ = scripted(wire)
    lease = ALease(b"sk-1")
    request = prepare(BASE, "chat", [(b"content-type", b"application/json")]).request(
        b"{}", {"stagedoor.key": bearer(lease)}
    )

    await read(await client.handle_async_request(request))

    assert bytes(wire.sent) == (
        b"POST /v1/chat HTTP/1.1\r\nhost: upstream.test\r\n"
        b"content-type: application/json\r\naccept-encoding: identity\r\n"
        b"content-length: 2\r\nauthorization: Bearer sk-1\r\n\r\n{}"
    )
    assert len(wire.writes) == 1
    assert lease.asked == [("upstream.test", True)]
    assert lease.spent_count == 1


async def test_the_key_is_spent_before_anybody_reads_a_response() -> None:
    """The lease ends with the write, not with the stream."""
    wire = ScriptedWire([STALL])
    client, _ = scripted(wire)
    lease = ALease(b"sk-1")

    async with trio.open_nursery() as nursery:
        request = post(**{"stagedoor.key": bearer(lease)})
        nursery.start_soon(client.handle_async_request, request)
        await trio.testing.wait_all_tasks_blocked()
        assert lease.spent_count == 1
        nursery.cancel_scope.cancel()


async def test_a_refusal_reaches_the_caller_and_costs_no_connection() -> None:
    """Nothing was sent, so the next request finds the connection warm."""
    wire = ScriptedWire([OK], secure=False)
    client, _ = scripted(wire)
    lease = ALease(b"sk-1")

    with pytest.raises(PermissionError, match="wants TLS"):
        await client.handle_async_request(post(**{"stagedoor.key": bearer(lease)}))

    assert not wire.sent
    assert lease.spent_count == 0
    assert await read(await client.handle_async_request(post())) == b"{}"


@pytest.mark.parametrize(
    "fault", [OSError("reset"), RuntimeError("bug")], ids=["network", "bug"]
)
async def test_a_failed_write_spends_the_key_too(fault: Exception) -> None:
    """Some of it may be on the wire."""
    wire = ScriptedWire([])
    wire.write_fault = fault
    client, _ = scripted(wire)
    lease = ALease(b"sk-1")

    with pytest.raises((httpx.WriteError, RuntimeError)):
        await client.handle_async_request(post(**{"stagedoor.key": bearer(lease)}))

    assert lease.spent_count == 1


async def test_a_stale_connection_surfaces_when_the_key_has_no_second_use() -> None:
    """The caller asks for a new lease; the fresh connection waits for it."""
    stale, fresh = ScriptedWire([OK], []), ScriptedWire([OK])
    client, dial = scripted(stale, fresh)
    await read(await client.handle_async_request(post()))

    request = post(**{"stagedoor.key": bearer(ALease(b"sk-1"))})
    with pytest.raises(StaleConnection, match="while it was idle"):
        await client.handle_async_request(request)

    again = post(**{"stagedoor.key": bearer(ALease(b"sk-1"))})
    assert await read(await client.handle_async_request(again)) == b"{}"
    assert len(dial.made) == 2


async def test_a_connection_that_never_served_can_be_stale_too() -> None:
    """Kept after a refused key, it idles like any other."""
    kept, fresh = ScriptedWire([]), ScriptedWire([OK])
    client, _ = scripted(kept, fresh)
    spent = post(**{"stagedoor.key": bearer(ALease(b"sk-1", uses_max=0))})
    with pytest.raises(PermissionError):
        await client.handle_async_request(spent)

    assert await read(await client.handle_async_request(post())) == b"{}"


async def test_a_lease_of_two_uses_makes_the_retry_invisible() -> None:
    stale, fresh = ScriptedWire([OK], []), ScriptedWire([OK])
    client, _ = scripted(stale, fresh)
    await read(await client.handle_async_request(post()))
    lease = ALease(b"sk-1", uses_max=2)

    request = post(**{"stagedoor.key": bearer(lease)})
    assert await read(await client.handle_async_request(request)) == b"{}"

    assert lease.spent_count == 2


@pytest.mark.parametrize("key", [b"a\r\nx: y", b"a\nb", b"a\0", b""])
async def test_a_key_that_would_break_the_head_is_not_sent(key: bytes) -> None:
    wire = ScriptedWire([OK])
    client, _ = scripted(wire)

    request = post(**{"stagedoor.key": bearer(ALease(key))})
    with pytest.raises(httpx.LocalProtocolError, match="store it again"):
        await client.handle_async_request(request)

    assert not wire.sent


async def test_a_static_field_of_the_same_name_is_refused() -> None:
    """Two logins in one request: which one counts is the peer's guess."""
    client, _ = scripted(ScriptedWire([OK]))
    prepared = prepare(BASE, "chat", [(b"Authorization", b"Bearer other")])
    request = prepared.request(b"{}", {"stagedoor.key": bearer(ALease(b"sk-1"))})

    with pytest.raises(httpx.LocalProtocolError, match="authorization is set already"):
        await client.handle_async_request(request)


def test_no_repr_shows_a_key() -> None:
    key = bearer(ALease(b"sk-1"))
    out = Outgoing("POST", b"POST / HTTP/1.1\r\n", frozenset(), b"")
    keyed = KeyedHead(key, out, Origin("https", "x", 443), secure=True)

    with keyed as head:
        assert b"sk-1" in head
        assert "sk-1" not in repr(keyed) + repr(key)
    assert not any(head), "wiped in place"


# The whole process is searched, so the peer must not be in it.


class Sink(ScriptedWire):
    """Forgets what is written to it."""

    async def send_all(self, data: bytes | bytearray) -> None:
        assert PREFIX in data
        await trio.lowlevel.checkpoint()
        self._answered = False
        if self.write_fault is not None:
            raise self.write_fault


class MaskedLease(ALease):
    def __init__(self, secret: Masked) -> None:
        super().__init__(b"")
        secret.write_to(self.key)


@pytest.fixture(name="secret")
def _secret() -> Masked:
    return Masked()


def assert_nowhere(secret: Masked) -> None:
    gc.collect()
    assert secret.count_in_objects() == 0
    assert secret.count_in_memory() == 0


def test_the_search_finds_a_key_where_there_is_one(secret: Masked) -> None:
    """Else the tests below would prove nothing."""
    held = bytearray()
    secret.write_to(held)
    assert secret.count_in_memory() > 0
    kept = [bytes(held)]
    assert secret.count_in_objects() > 0
    assert kept
    held[:] = bytes(len(held))


@pytest.mark.parametrize("size", [2, exchange.BODY_JOINED_BYTES_MAX + 1])
@pytest.mark.parametrize("ending", ["success", "error", "cancel", "refusal"])
async def test_after_a_request_the_key_is_nowhere(
    secret: Masked, ending: str, size: int
) -> None:
    """However it ended: not in objects, not in freed memory."""
    wire = Sink([STALL] if ending == "cancel" else [OK])
    client, _ = scripted(wire)
    lease = MaskedLease(secret)
    if ending == "error":
        wire.write_fault = OSError("reset")
        wire.replies = []
    if ending == "refusal":
        wire.secure = False
    prepared = prepare(BASE, "chat", [(b"content-type", b"application/json")])
    request = prepared.request(PREFIX + b"x" * size, {"stagedoor.key": bearer(lease)})
    kept: list[object] = []
    error: BaseException | None = None

    async def call() -> None:
        nonlocal error
        try:
            response = await client.handle_async_request(request)
            kept.extend((response, response.headers, await read(response)))
        except (httpx.WriteError, PermissionError) as caught:
            error = caught  # With the frames of its traceback.

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        if ending == "cancel":
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    assert (error is not None) == (ending in ("error", "refusal"))
    if ending == "refusal":
        lease.spent()
    assert lease.spent_count == 1
    assert_nowhere(secret)


async def test_after_a_request_over_a_real_socket_the_key_is_nowhere(
    secret: Masked,
) -> None:
    """The plain wire hands the buffer to the kernel as it is."""

    class Trusted(SocketWire):
        secure = True  # As if, or the lease would refuse.

    ours, theirs = trio.socket.socketpair()
    wire = Trusted(trio.SocketStream(ours))

    class Dialled(ScriptedDial):
        async def __call__(self, *args: object) -> SocketWire:  # type: ignore[override]
            return wire

    client = Transport(dial=Dialled())  # type: ignore[arg-type]
    await theirs.send(OK)
    lease = MaskedLease(secret)

    request = post(**{"stagedoor.key": bearer(lease)})
    assert await read(await client.handle_async_request(request)) == b"{}"

    await client.aclose()
    theirs.close()
    assert_nowhere(secret)


@pytest.fixture(name="tls_peer")
def _tls_peer(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A TLS server in a process of its own, which says its port and answers once."""
    pem = certificate(tmp_path)
    script = textwrap.dedent(
        """
        import socket, ssl, sys
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(30)
        print(listener.getsockname()[1], flush=True)
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as secured:
            while b"\\r\\n\\r\\n" not in secured.recv(65536):
                pass
            secured.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n{}")
            try:
                secured.recv(1)
            except OSError:
                pass
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(pem)], stdout=subprocess.PIPE, text=True
    ) as peer:
        assert peer.stdout is not None
        yield pem, int(peer.stdout.readline())
        peer.terminate()


async def test_after_a_request_over_tls_the_key_is_nowhere(
    secret: Masked, tls_peer: tuple[Path, int]
) -> None:
    """OpenSSL encrypts in place and keeps no plain text."""
    pem, port = tls_peer
    client = Transport(tls=client_context(pem))
    lease = MaskedLease(secret)
    prepared = prepare(f"https://127.0.0.1:{port}", "v1/chat", [])

    request = prepared.request(b"{}", {"stagedoor.key": bearer(lease)})
    response = await client.handle_async_request(request)
    assert await read(response) == b"{}"

    assert lease.asked == [("127.0.0.1", True)]
    assert_nowhere(secret)
    await client.aclose()
