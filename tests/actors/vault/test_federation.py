"""Federated credentials: the three exchanges, and leases made of what they give."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

import attrs
import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.vault.federation import (
    Credential,
    Credentials,
    Federated,
    NotFederated,
    form_of,
    read_identity,
)
from actors.vault.locked import LockedMemory
from actors.vault.messages import Federation, LeaseRefused
from tests.actors.vault.vaults import HOST, SCOPE, running, source, written
from wire.sigv4 import Scope

MEMORY = LockedMemory()
URL = "https://auth.provider.example/oauth/token"
IDENTITY = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhY21lL3Byb2QifQ.c2ln"
NOW = 1_800_000_000.0
STS_ANSWER = (
    "<AssumeRoleWithWebIdentityResponse><Credentials>"
    "<AccessKeyId>ASIAMADEUP</AccessKeyId><SecretAccessKey>made/up+secret"
    "</SecretAccessKey><SessionToken>made-up-session</SessionToken>"
    "<Expiration>2027-01-15T09:00:00Z</Expiration></Credentials></X>"
)


def oidc(**changes: object) -> Federation:
    given = Federation("token-exchange", URL, "/run/identity", audience="provider")
    return msgspec.structs.replace(given, **changes)


@attrs.define
class Endpoint:
    """A token endpoint; `answers` are used up, the last one repeats."""

    answers: list[httpx.Response] = attrs.field(factory=list[httpx.Response])
    forms: list[dict[str, list[str]]] = attrs.field(factory=list)
    slow_s: float = 0.0
    down: bool = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(self.slow_s)
        if self.down:
            raise httpx.ConnectError("refused")
        assert str(request.url) == URL
        self.forms.append(parse_qs((await request.aread()).decode()))
        if self.answers:
            return self.answers.pop(0)
        token = f"token-{len(self.forms)}"
        return httpx.Response(
            200,
            json={"access_token": token, "token_type": "Bearer", "expires_in": 600},
        )

    def federated(
        self, federation: Federation, wall: Callable[[], float] = lambda: NOW
    ) -> Federated:
        return Federated(
            federation,
            transport=httpx.MockTransport(self),
            memory=MEMORY,
            wall=wall,
            read=lambda _: IDENTITY.encode() + b"\n",
        )


async def test_a_token_exchange_is_that_of_rfc_8693() -> None:
    endpoint = Endpoint()
    extra = (("organization_id", "org-1"),)
    made = await endpoint.federated(oidc(scope="inference", fields=extra)).fetch()
    assert endpoint.forms == [
        {
            "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "subject_token": [IDENTITY],
            "subject_token_type": ["urn:ietf:params:oauth:token-type:jwt"],
            "audience": ["provider"],
            "scope": ["inference"],
            "organization_id": ["org-1"],
        }
    ]
    assert bytes(made.secret.view) == b"token-1"
    assert (made.expires_at_s, made.renew_at_s) == (NOW + 600, NOW + 480)


def test_a_jwt_bearer_grant_is_that_of_rfc_7523() -> None:
    assert form_of(oidc(exchange="jwt-bearer", audience=""), IDENTITY) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": IDENTITY,
    }


async def test_aws_gives_a_key_that_signs_for_a_while() -> None:
    endpoint = Endpoint([httpx.Response(200, text=STS_ANSWER)])
    wall = 1_800_000_000.0  # 2027-01-15T08:00:00Z
    spec = oidc(exchange="aws", role_arn="arn:aws:iam::1:role/gw")
    made = await endpoint.federated(spec, lambda: wall).fetch()
    assert endpoint.forms[0]["Action"] == ["AssumeRoleWithWebIdentity"]
    assert endpoint.forms[0]["WebIdentityToken"] == [IDENTITY]
    assert (made.access_key_id, made.session_token) == (
        "ASIAMADEUP",
        "made-up-session",
    )
    assert made.expires_at_s == wall + 3600


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(400, json={"error": "invalid_grant"}), "400 invalid_grant"),
        (httpx.Response(400, json={"error": f"<{IDENTITY}>"}), "answered 400"),
        (httpx.Response(200, text="<html>"), "something else"),
        (httpx.Response(200, json={"access_token": ""}), "answered 200"),
        (httpx.Response(200, json={"access_token": "t", "expires_in": 5}), "too short"),
        (
            httpx.Response(
                200, json={"access_token": "t", "token_type": "mac", "expires_in": 600}
            ),
            "no bearer token",
        ),
    ],
)
async def test_what_is_no_credential_is_refused_in_words(
    answer: httpx.Response, why: str
) -> None:
    with pytest.raises(NotFederated, match=why) as caught:
        await Endpoint([answer]).federated(oidc()).fetch()
    assert IDENTITY not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"two words", b"a\nb", b"x" * 20_000, b"\xff"])
def test_an_identity_is_one_token(data: bytes) -> None:
    with pytest.raises(NotFederated):
        read_identity(data)


def test_credentials_are_wiped_when_they_are_over() -> None:
    now = [NOW]
    held = Credentials(lambda: now[0])
    made = Credential(MEMORY.hold(b"token"), NOW + 600, NOW + 480)
    held.put("p", made)
    assert held.get("p") is made
    assert not held.is_due("p")
    now[0] = NOW + 480
    assert held.is_due("p")
    now[0] = NOW + 600
    assert held.get("p") is None
    assert len(made.secret.view) == 0
    assert "token" not in repr(made)


async def test_a_lease_is_made_of_a_fresh_credential(
    autojump_clock: MockClock,
) -> None:
    """Many at once share one exchange; a later one is made ahead of the end."""
    endpoint = Endpoint(slow_s=1)
    async with running(sources={SCOPE: source(federation=oidc())}) as bench:
        wall = bench.safe.wall
        bench.cell.make_federated = lambda spec: endpoint.federated(spec, wall)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bench.lend)
        assert len(endpoint.forms) == 1
        lease = await bench.lend()
        assert written(lease) == b"token-1"
        with pytest.raises(LeaseRefused):
            written(lease, "evil.test")

        await trio.sleep(500)
        began = trio.current_time()
        assert written(await bench.lend()) == b"token-1"
        await trio.sleep(2)
        assert written(await bench.lend()) == b"token-2"
        assert trio.current_time() == began + 2

        endpoint.down = True
        await trio.sleep(590)
        assert written(await bench.lend()) == b"token-2"
        await trio.sleep(20)
        with pytest.raises(LeaseRefused, match="cannot be reached"):
            await bench.lend()


async def test_a_temporary_aws_key_signs_and_sends_its_session(
    autojump_clock: MockClock,
) -> None:
    endpoint = Endpoint([httpx.Response(200, text=STS_ANSWER)])
    spec = oidc(exchange="aws", role_arn="arn:aws:iam::1:role/gw")
    async with running(sources={SCOPE: source(federation=spec)}) as bench:
        bench.cell.make_federated = lambda one: endpoint.federated(one, bench.safe.wall)
        handle = (await bench.lend()).handle
        assert getattr(handle, "access_key_id") == "ASIAMADEUP"  # noqa: B009
        assert getattr(handle, "session_token") == "made-up-session"  # noqa: B009
        signed = getattr(handle, "sign")(  # noqa: B009
            Scope("20270115", "us-east-1", "bedrock"), b"text"
        )
        assert len(signed) == 32
        assert HOST
