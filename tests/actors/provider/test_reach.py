"""Where no provider is."""

from __future__ import annotations

import pytest
import trio

from actors.provider.dial import DialRefused, dial
from actors.provider.reach import is_metadata
from actors.provider.wires import Origin


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
    ],
)
def test_a_metadata_service_is_known_by_every_name_of_its_address(host: str) -> None:
    assert is_metadata(host)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.5", "192.168.1.2", "8.8.8.8", "::1", "fd00::5", "a.example"],
)
def test_providers_at_home_and_elsewhere_are_not(host: str) -> None:
    assert not is_metadata(host)


class _Listener:
    """What a name leads to, as the connection itself says."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.is_closed = False

    def getpeername(self) -> tuple[str, int]:
        return self.peer, 443

    def close(self) -> None:
        self.is_closed = True


class _Connected:
    def __init__(self, peer: str) -> None:
        self.socket = _Listener(peer)


async def test_a_name_that_leads_to_a_metadata_service_is_hung_up_on_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = _Connected("169.254.169.254")

    async def connected(_host: str, _port: int) -> _Connected:
        await trio.lowlevel.checkpoint()
        return made

    monkeypatch.setattr(trio, "open_tcp_stream", connected)
    with pytest.raises(DialRefused, match=r"169\.254\.169\.254 is link-local"):
        await dial(Origin("http", "models.example", 80), None, lambda _phase: None)
    assert made.socket.is_closed
