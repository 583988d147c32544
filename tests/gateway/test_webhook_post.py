"""Webhooks go where they may, as they were signed, and nowhere else."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence

import pytest
import trio

from actors.herald.ports import PostFailed
from gateway.webhook_post import Network, Poster, may_reach, problem_of

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1",
        "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_reached(address: str) -> None:
    """However it is spelt: the metadata service of a cloud hands out keys."""
    assert not may_reach(ipaddress.ip_address(address), [])


def test_what_is_public_or_allowed_is_reached() -> None:
    assert may_reach(ipaddress.ip_address("93.184.215.14"), [])
    assert may_reach(ipaddress.ip_address("2606:2800:21f::1"), [])
    assert may_reach(ipaddress.ip_address("127.0.0.1"), LOOPBACK)
    assert may_reach(ipaddress.ip_address("::ffff:127.0.0.1"), LOOPBACK)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks.example/x?a=b", ""),
        ("https://hooks.example:8443/", ""),
        ("http://hooks.example/x", "is not encrypted"),
        ("ftp://hooks.example/x", "is no https"),
        ("https://user:pass@hooks.example/", "holds a login"),
        ("https:///x", "is no https"),
        ("https://127.0.0.1/x", "not public"),
        ("https://[::1]/x", "not public"),
        ("https://hooks.example/\r\nx: y", "percent-encoded"),
        ("https://hooks.example/ä", "percent-encoded"),
        ("https://hooks.example/#x", "fragment"),
        ("https://ho oks.example/", "no receiver has"),
        ("https://hooks.example:99999/", "is no URL"),
        ("javascript:alert(1)", "is no https"),
    ],
)
def test_a_url_is_looked_at_before_anything_is_resolved(url: str, problem: str) -> None:
    assert (problem_of(url, []) == "") == (problem == "")
    assert problem in problem_of(url, [])


class Receiver:
    """One answer a connection, over plain loopback."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard = b""

    async def __call__(self, stream: trio.SocketStream) -> None:
        while b"\r\n\r\n" not in self.heard or not self.heard.endswith(b"}"):
            piece = await stream.receive_some()
            if not piece:
                return
            self.heard += piece
        await stream.send_all(self.answer)


async def posted(
    receiver: Receiver, private: Sequence[Network] = LOOPBACK, host: str = "127.0.0.1"
) -> int | str:
    """The status, or why there was none."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    post = Poster(ssl.create_default_context(), lambda: private)
    said: int | str = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, receiver, listeners)
        with trio.fail_after(10):
            try:
                said = await post(
                    f"http://{host}:{port}/hook?x=1", {"webhook-id": "m1"}, b"{}"
                )
            except PostFailed as failed:
                said = str(failed)
        nursery.cancel_scope.cancel(reason="done")
    return said


async def test_a_message_arrives_as_it_was_signed() -> None:
    receiver = Receiver(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert await posted(receiver) == 204

    head, _, body = receiver.heard.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"webhook-id: m1" in head
    assert b"content-length: 2" in head
    assert body == b"{}"


async def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    to = b"location: http://127.0.0.1:1/\r\n"
    receiver = Receiver(b"HTTP/1.1 307 Temporary Redirect\r\n" + to + b"\r\n")

    assert await posted(receiver) == 307


async def test_an_interim_answer_is_waited_out() -> None:
    receiver = Receiver(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n")

    assert await posted(receiver) == 202


async def test_what_is_no_http_is_a_failure() -> None:
    said = await posted(Receiver(b"SSH-2.0-OpenSSH_9.2\r\n"))

    assert said == "what it answers is no HTTP"


async def test_a_name_that_leads_inside_is_not_followed() -> None:
    """What counts is the address that is connected to, not what it is called."""
    receiver = Receiver(b"HTTP/1.1 200 OK\r\n\r\n")
    elsewhere = [ipaddress.ip_network("10.0.0.0/8")]

    said = await posted(receiver, elsewhere, host="localhost")

    assert "no public address" in str(said)
    assert receiver.heard == b""
