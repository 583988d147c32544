"""Hypercorn is pinned, and this guards the names of it that the edge relies on.

When one of these fails after an upgrade of hypercorn, read gateway/http11_upgrade.py
and gateway/listener.py against the new release before changing the pin.
"""

import inspect
from importlib.metadata import version

from hypercorn.protocol import ProtocolWrapper, h2, h11
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import Handshake, WSStream
from hypercorn.trio import tcp_server
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from gateway import http11_upgrade
from gateway.websocket_stream import NAME, SocketStream


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_hypercorn_is_the_release_the_edge_was_read_against() -> None:
    assert version("hypercorn") == "0.18.0"


def test_tcp_server_takes_a_stream_and_finds_out_about_tls_by_its_methods() -> None:
    """`Replayed` has no `do_handshake`, `ReplayedTls` has: that is the whole switch."""
    assert parameters(TCPServer) == ["app", "config", "context", "state", "stream"]
    source = inspect.getsource(TCPServer.run)
    assert "await self.stream.do_handshake()" in source
    assert "self.stream.selected_alpn_protocol()" in source
    assert "self.stream.transport_stream.socket" in source
    assert "except AttributeError:  # Not SSL" in source


def test_tcp_server_writes_shielded_and_takes_a_broken_stream_for_closed() -> None:
    """`Replayed.send_all` ends the shielded write with BrokenResourceError."""
    source = inspect.getsource(TCPServer.protocol_send)
    assert "cancel_scope.shield = True" in source
    assert "await self.stream.send_all(event.data)" in source
    assert "except (trio.BrokenResourceError, trio.ClosedResourceError):" in source


def test_tcp_server_reads_until_an_empty_read_or_a_closed_stream() -> None:
    source = inspect.getsource(TCPServer._read_data)
    assert "await self.stream.receive_some(MAX_RECV)" in source
    assert 'if data == b"":' in source
    assert tcp_server.MAX_RECV >= 16_384


def test_upgrades_are_decided_by_the_protocols_we_replay_to() -> None:
    assert "alpn_protocol" in parameters(ProtocolWrapper)
    source = inspect.getsource(H11Protocol)
    assert "H2CProtocolRequiredError(" in source
    assert "H2ProtocolAssumedError(" in source
    assert "WSStream(" in source
    assert "our_state = None  # Prevents recycling" in inspect.getsource(
        inspect.getmodule(H11Protocol)  # type: ignore[arg-type]
    )


def test_the_app_gets_bound_methods_of_its_stream() -> None:
    """`_http2_of` goes from an ASGI send to its stream and to the connection."""
    assert "send: Callable" in inspect.getsource(_handle)
    assert inspect.isfunction(HTTPStream.app_send)
    assert inspect.isfunction(WSStream.app_send)
    assert inspect.isfunction(H2Protocol.stream_send)
    for stream in (HTTPStream, WSStream):
        assert parameters(stream)[-2:] == ["send", "stream_id"]


def test_http_2_has_what_a_reset_and_our_back_pressure_touch() -> None:
    source = inspect.getsource(H2Protocol.__init__)
    for name in ("connection", "stream_buffers", "priority", "has_data"):
        assert f"self.{name}" in source
    assert inspect.iscoroutinefunction(H2Protocol._flush)
    assert inspect.iscoroutinefunction(StreamBuffer.drain)
    assert inspect.iscoroutinefunction(StreamBuffer.close)
    assert "self.buffer" in inspect.getsource(StreamBuffer.__init__)


def test_http_2_still_lifts_its_own_pause_when_nothing_was_taken() -> None:
    """The reason for `_drain`; when hypercorn has mended it, take ours out."""
    source = inspect.getsource(StreamBuffer.pop)
    assert "if len(data) < BUFFER_LOW_WATER:" in source
    assert "await self._paused.set()" in source


def test_the_lifespan_and_the_worker_context_are_built_as_we_build_them() -> None:
    assert parameters(Lifespan) == ["app", "config", "state"]
    assert parameters(WorkerContext) == ["max_requests"]
    for name in ("handle_lifespan", "wait_for_startup", "wait_for_shutdown"):
        assert inspect.iscoroutinefunction(getattr(Lifespan, name))
    assert "self.terminated" in inspect.getsource(WorkerContext.__init__)


def test_websocket_streams_are_made_by_a_name_that_the_edge_replaces() -> None:
    """`SocketStream` takes the place of hypercorn's, on HTTP/1.1 and on HTTP/2."""
    assert http11_upgrade.install  # Importing it is installing.
    for protocol in (h11, h2):
        assert getattr(protocol, NAME) is SocketStream
    assert "self.stream = WSStream(" in inspect.getsource(H11Protocol._create_stream)
    assert "] = WSStream(" in inspect.getsource(H2Protocol._create_stream)


def test_a_websocket_stream_calls_what_the_edge_overrides() -> None:
    for name in ("_accept", "_handle_events", "_send_pings", "app_send", "handle"):
        assert name in vars(WSStream)
        assert name in vars(SocketStream)
    accept = inspect.getsource(WSStream._accept)
    assert "self.task_group.spawn(self._send_pings)" in accept
    assert "self.handshake.accept(" in accept
    handle = inspect.getsource(WSStream.handle)
    assert "await self._handle_events()" in handle
    assert "await self.app_put({" in handle
    assert "self.app, self.config, self.scope, self.app_send" in handle
    assert "config.max_app_queue_size" in inspect.getsource(TaskGroup.spawn_app)
    assert "if self.extensions is not None:" in inspect.getsource(Handshake.accept)
