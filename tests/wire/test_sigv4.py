"""Our signer against AWS's published suite and against botocore."""

import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.sigv4 import (
    UNSIGNED,
    KeySigner,
    Scope,
    Unsigned,
    canonical_path,
    derive_key,
    sign,
)

SUITE = json.loads((Path(__file__).parent / "vectors/sigv4.json").read_text())
SUITE_S = dt.datetime.fromisoformat(SUITE["timestamp"]).timestamp()
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class RecordingSigner:
    """A key holder of another kind: only the protocol, and it notes what it is told."""

    access_key_id = "AKIDEXAMPLE"

    def __init__(self) -> None:
        self.asked: list[tuple[Scope, bytes]] = []

    def sign(self, scope: Scope, text: bytes) -> bytes:
        self.asked.append((scope, text))
        return KeySigner(self.access_key_id, SECRET.encode()).sign(scope, text)


def read_suite_request(case: dict[str, Any]) -> Unsigned:
    """The suite writes requests as text; folded header lines continue the value."""
    head, _, body = case["request"].partition("\n\n")
    first, *lines = head.rstrip("\n").split("\n")
    method, _, rest = first.partition(" ")
    path, mark, query = rest.rpartition(" ")[0].partition("?")
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith(" "):
            name, value = headers.pop()
            headers.append((name, f"{value} {line}"))
        else:
            name, _, value = line.partition(":")
            headers.append((name, value))
    if case.get("sign_body"):
        sha = case["canonical_request"].rpartition("\n")[2]
        headers.append(("X-Amz-Content-Sha256", sha))
    query = quote(query, safe="%&=-_.~")
    return Unsigned(method, path + mark + query, tuple(headers), body.encode())


@pytest.mark.parametrize("case", SUITE["cases"], ids=lambda case: str(case["name"]))
def test_the_published_suite_is_met(case: dict[str, Any]) -> None:
    signer = RecordingSigner()

    headers = dict(
        sign(
            read_suite_request(case),
            signer=signer,
            region=SUITE["region"],
            service=SUITE["service"],
            now_s=SUITE_S,
            session_token=case.get("session_token"),
        )
    )

    assert [text.decode() for _, text in signer.asked] == [case["string_to_sign"]]
    assert headers["authorization"].endswith(f"Signature={case['signature']}")


def test_the_documented_key_derivation_is_met() -> None:
    """AWS General Reference, "Examples of how to derive a signing key"."""
    scope = Scope("20150830", "us-east-1", "iam")

    key = derive_key(SECRET.encode(), scope)

    assert (
        key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    )


def test_the_documented_list_users_example_is_met() -> None:
    """AWS General Reference, the IAM ListUsers request signed step by step."""
    request = Unsigned(
        "GET",
        "/?Action=ListUsers&Version=2010-05-08",
        (
            ("Host", "iam.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        ),
    )

    headers = dict(
        sign(
            request,
            signer=KeySigner("AKIDEXAMPLE", SECRET.encode()),
            region="us-east-1",
            service="iam",
            now_s=SUITE_S,
        )
    )

    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature="
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


TOKEN = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"),
    min_size=1,
    max_size=12,
)
HEADER_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in UNSIGNED | {"host", "date", "x-amz-date", "x-amz-security-token"}
        and name.lower() != "x-amz-content-sha256"
    )
)
HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
SEGMENTS = st.one_of(
    st.text(max_size=8).map(lambda text: quote(text, safe="")),
    st.sampled_from(
        [".", "..", "", "anthropic.claude-v2%3A1", "a+b", "~x", "a*b", "c:d", "$&'()"]
    ),
)
PAIRS = st.tuples(
    st.text(max_size=6).map(lambda text: quote(text, safe="-_.~")),
    st.one_of(st.none(), st.text(max_size=6).map(lambda t: quote(t, safe="-_.~"))),
).map(lambda pair: pair[0] if pair[1] is None else f"{pair[0]}={pair[1]}")


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    segments=st.lists(SEGMENTS, max_size=6),
    query=st.lists(PAIRS, max_size=5),
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=5),
    body=st.binary(max_size=64),
    region=st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"]),
    service=st.sampled_from(["bedrock", "kms", "sts"]),
    token=st.one_of(st.none(), TOKEN),
    now_s=st.integers(min_value=0, max_value=4_000_000_000),
)
def test_botocore_makes_the_same_signature(
    *,
    method: str,
    segments: list[str],
    query: list[str],
    headers: dict[str, str],
    body: bytes,
    region: str,
    service: str,
    token: str | None,
    now_s: int,
) -> None:
    target = "/" + "/".join(segments) + ("?" + "&".join(query) if query else "")
    host = "bedrock-runtime.eu-central-1.amazonaws.com"
    unique = {name.lower(): (name, value) for name, value in headers.items()}
    sent = [("Host", host), *unique.values()]
    theirs = AWSRequest(
        method, f"https://{host}{target}", headers=dict(sent), data=body
    )
    moment = dt.datetime.fromtimestamp(now_s, dt.UTC)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(botocore.auth, "get_current_datetime", lambda: moment)
        auth = botocore.auth.SigV4Auth(
            Credentials("AKIDEXAMPLE", SECRET, token), service, region
        )
        auth.add_auth(theirs)

    ours = dict(
        sign(
            Unsigned(method, target, tuple(sent), body),
            signer=KeySigner("AKIDEXAMPLE", SECRET.encode()),
            region=region,
            service=service,
            now_s=now_s,
            session_token=token,
        )
    )

    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == theirs.headers.get(
        "X-Amz-Security-Token"
    )


def test_an_escaped_colon_is_signed_escaped_twice() -> None:
    path = "/model/anthropic.claude-v2%3A1/converse"

    assert canonical_path(path) == "/model/anthropic.claude-v2%253A1/converse"


def test_headers_a_proxy_may_change_are_not_signed() -> None:
    headers = (("Host", "h"), ("Connection", "close"), ("User-Agent", "x"))
    signer = KeySigner("AKID", b"secret")

    signed = dict(
        sign(
            Unsigned("POST", "/", headers),
            signer=signer,
            region="r",
            service="s",
            now_s=0,
        )
    )

    assert "SignedHeaders=host;x-amz-date," in signed["authorization"]


@pytest.mark.parametrize("headers", [(), (("X-Amz-Date", "x"), ("Host", "h"))])
def test_what_cannot_be_signed_is_refused(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match=r"Host|x-amz-date"):
        sign(
            Unsigned("GET", "/", headers),
            signer=KeySigner("AKID", b"s"),
            region="r",
            service="s",
            now_s=0,
        )


def test_a_secret_is_in_no_repr_and_stays_with_its_holder() -> None:
    """The signer may hold a vault's buffer: what wipes that buffer wipes the key."""
    buffer = bytearray(b"s3cr3t")
    signer = KeySigner("AKID", buffer)
    scope = Scope("20150830", "us-east-1", "bedrock")
    before = signer.sign(scope, b"text")

    buffer[:] = bytes(len(buffer))

    assert "s3cr3t" not in repr(signer)
    assert signer.sign(scope, b"text") != before
