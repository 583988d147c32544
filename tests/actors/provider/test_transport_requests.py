"""What is sent: heads that cannot be misread, whoever built the request."""

import httpx
import pytest

from actors.provider.http import UpstreamResponse, origin_of, outgoing, prepare
from actors.provider.wires import Origin

BASE = "https://api.test/v1"


def test_a_prepared_request_and_a_stock_one_send_the_same() -> None:
    """The cheap path is no other dialect."""
    static = [(b"Content-Type", b"application/json"), (b"x-a", b"1")]
    prepared = prepare(BASE, "/chat?beta=true", static)

    cheap = prepared.request(b"{}", headers=[(b"x-b", b"2")])
    looked_at = prepared.request(b"{}", headers=[(b"x-b", b"2")])
    assert looked_at.headers["x-b"] == "2"

    assert outgoing(cheap).head == outgoing(looked_at).head
    assert outgoing(cheap).head.startswith(b"POST /v1/chat?beta=true HTTP/1.1\r\n")


def test_a_header_changed_by_hand_is_sent() -> None:
    request = prepare(BASE, "chat", []).request(b"{}")

    request.headers["x-late"] = "1"

    assert b"x-late: 1\r\n" in outgoing(request).head


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.test/v1", "chat", "https://api.test/v1/chat"),
        ("https://api.test/v1/", "/chat", "https://api.test/v1/chat"),
        ("https://api.test", "", "https://api.test"),
        (
            "https://api.test/",
            "model/a%3A0/converse",
            "https://api.test/model/a%3A0/converse",
        ),
    ],
)
def test_base_and_path_meet_in_one_slash(base: str, path: str, url: str) -> None:
    """And an escaped colon (Bedrock's model ids) stays escaped."""
    assert str(prepare(base, path, []).url) == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\ny: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\0"),
        (b"x", b" a"),
        (b"x", b"a "),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
        (b"x\r\n", b"a"),
    ],
)
def test_a_field_that_would_not_arrive_as_one_field_is_refused(
    name: bytes, value: bytes
) -> None:
    """Static or not; and the error never shows the value."""
    prepared = prepare(BASE, "chat", [])
    with pytest.raises(httpx.LocalProtocolError) as static:
        prepare(BASE, "chat", [(name, value)])
    with pytest.raises(httpx.LocalProtocolError):
        outgoing(prepared.request(b"{}", headers=[(name, value)]))
    with pytest.raises(httpx.LocalProtocolError):
        outgoing(httpx.Request("POST", BASE, headers=[(name, value)]))

    assert "y: b" not in str(static.value)


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding"])
def test_framing_is_not_the_callers_to_set(name: bytes) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        prepare(BASE, "chat", [(name, b"5")])
    with pytest.raises(httpx.LocalProtocolError):
        outgoing(prepare(BASE, "chat", []).request(b"{}", headers=[(name, b"5")]))


@pytest.mark.parametrize(
    "fields",
    [
        [("content-length", "3")],
        [("content-length", "+2")],
        [("content-length", "2"), ("content-length", "2")],
        [("content-length", "2"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "gzip")],
        [("host", "a"), ("host", "b")],
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    fields: list[tuple[str, str]],
) -> None:
    """Two servers would read two requests in it."""
    request = httpx.Request(
        "POST", BASE, headers=fields, stream=httpx.ByteStream(b"{}")
    )

    with pytest.raises(httpx.LocalProtocolError):
        outgoing(request)


@pytest.mark.parametrize("method", ["CONNECT", "GET\r\n", "", "G T"])
def test_methods_that_are_none_are_refused(method: str) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        outgoing(httpx.Request(method, BASE))


def test_requests_without_a_body_say_so_where_one_is_expected() -> None:
    get = outgoing(httpx.Request("GET", BASE))
    bare_post = outgoing(httpx.Request("POST", BASE, stream=httpx.ByteStream(b"")))

    assert b"content-length" not in get.head
    assert bare_post.head.endswith(b"content-length: 0\r\n")


def test_a_body_that_is_all_here_is_never_chunked() -> None:
    request = httpx.Request(
        "POST",
        BASE,
        headers={"transfer-encoding": "chunked"},
        stream=httpx.ByteStream(b"{}"),
    )

    head = outgoing(request).head

    assert b"transfer-encoding" not in head
    assert b"content-length: 2\r\n" in head


def test_a_sync_iterable_is_read_at_once() -> None:
    request = httpx.Request("POST", BASE, content=iter([b"{", b"}"]))

    out = outgoing(request)

    assert (out.body, out.stream) == (b"{}", None)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.test/x", Origin("https", "api.test", 443)),
        ("http://api.test:8080", Origin("http", "api.test", 8080)),
        ("http://[::1]:8080/", Origin("http", "::1", 8080)),
        ("https://bücher.test/", Origin("https", "xn--bcher-kva.test", 443)),
    ],
)
def test_a_url_leads_to_its_origin(url: str, origin: Origin) -> None:
    assert origin_of(httpx.URL(url)) == origin


def test_an_ipv6_origin_reads_as_a_url() -> None:
    assert str(Origin("http", "::1", 80)) == "http://[::1]:80"


def test_our_cheap_objects_have_every_attribute_of_stock_ones() -> None:
    """They skip httpx's constructors, so a new release may add what they lack."""
    ours = prepare("https://a.example", "/x", []).request(b"body")
    stock = httpx.Request("POST", "https://a.example/x", stream=httpx.ByteStream(b""))
    assert {n for n in vars(stock) if not hasattr(ours, n)} == set()
    answer = UpstreamResponse(200, [], httpx.ByteStream(b""), ours, {})
    stock_answer = httpx.Response(200, stream=httpx.ByteStream(b""), request=stock)
    assert {n for n in vars(stock_answer) if not hasattr(answer, n)} == set()
    assert (ours.method, str(ours.url)) == (stock.method, str(stock.url))
