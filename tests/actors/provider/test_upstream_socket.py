"""A provider's WebSocket, byte by byte."""

from __future__ import annotations

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, TextMessage

from actors.provider.sockets import UpstreamSocket
from actors.provider.wires import Origin


class Quick:
    """A provider whose answer to the handshake and first words are cut anywhere."""

    secure = False

    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.peer = WSConnection(ConnectionType.SERVER)
        self.pieces: list[bytes] = []

    async def send_all(self, data: bytes | bytearray) -> None:
        self.peer.receive_data(bytes(data))
        for _ in self.peer.events():
            out = self.peer.send(AcceptConnection())
            out += self.peer.send(TextMessage(data="first"))
            out += self.peer.send(TextMessage(data="second"))
            at = min(self.cut, len(out))
            self.pieces = [piece for piece in (out[:at], out[at:]) if piece]

    async def receive(self) -> bytes:
        return self.pieces.pop(0)

    def quiet(self) -> bool:
        return True

    def close(self) -> None:
        self.pieces.clear()

    def get_extra_info(self, info: str) -> object:
        del info
        return None


@pytest.mark.parametrize("cut", [10, 120, 129, 130, 131, 136, 140, 10_000])
async def test_words_that_come_with_the_handshake_are_heard(cut: int) -> None:
    socket = UpstreamSocket(Quick(cut), Origin("http", "127.0.0.1", 80))
    await socket.shake_hands("/v1/realtime", [], None, lambda _: None)

    assert [await socket.receive(), await socket.receive()] == [b"first", b"second"]
