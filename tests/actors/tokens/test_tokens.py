"""Google's service accounts: what is signed, what is asked, and when it is renewed."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.tokens.actor import RETRY_CAP_S, Tokens, TokensCell, read_in_thread
from actors.tokens.messages import SetAccounts, token_name
from actors.vault.google import (
    BadAccount,
    TokenRefused,
    assertion,
    fetch,
    read_account,
    read_token,
)
from runtime import ChildSpec, Ref, Supervisor, open_system

NOW = 1_800_000_000.0
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    return key.private_bytes(  # type: ignore[no-any-return]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def account_file(**changes: object) -> bytes:
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "gateway@project.iam.gserviceaccount.com",
            "private_key_id": "k1",
            "private_key": pem(KEY),
            "token_uri": "https://oauth2.googleapis.com/token",
            **changes,
        }
    ).encode()


class TokenServer(httpx.AsyncBaseTransport):
    """A token endpoint that checks what it is asked, as Google's does."""

    def __init__(self, answers: list[int] | None = None, life_s: int = 3600) -> None:
        self.answers = answers or [200]
        self.life_s = life_s
        self.asked: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.moved = trio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        form = parse_qs((await request.aread()).decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, signature = form["assertion"][0].split(".")
        KEY.public_key().verify(
            decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256()
        )
        assert json.loads(decoded(head))["alg"] == "RS256"
        self.asked.append(json.loads(decoded(claims)))
        self.times.append(trio.current_time())
        self.moved.set()
        self.moved = trio.Event()
        status = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if status != 200:
            body: dict[str, object] = {"error": "invalid_grant"}
        else:
            token = f"ya29.token-{len(self.asked)}"
            body = {"access_token": token, "expires_in": self.life_s}
        return httpx.Response(status, json=body)


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_token_is_given_for_a_signed_assertion() -> None:
    server = TokenServer()
    token = await fetch(server, read_account(account_file()), NOW)

    assert token.value == "ya29.token-1"
    assert (token.renew_at_s, token.expires_at_s) == (NOW + 2880, NOW + 3600)
    assert server.asked == [
        {
            "iss": "gateway@project.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": NOW - 10,
            "exp": NOW - 10 + 3600,
        }
    ]


def test_neither_key_nor_token_is_ever_shown() -> None:
    account = read_account(account_file())
    token = read_token(200, b'{"access_token":"ya29.secret","expires_in":60}', NOW)

    assert "PRIVATE" not in repr(account)
    assert "ya29" not in repr(token)
    with pytest.raises(TokenRefused) as refused:
        read_token(400, b'{"access_token":"ya29.secret","error":"a b ya29"}', NOW)
    assert "ya29" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "no JSON"),
        (b"[]", "no JSON"),
        (account_file(type="authorized_user"), "type"),
        (account_file(client_email=""), "client_email"),
        (account_file(token_uri="http://evil.example/token"), "https"),
        (account_file(token_uri="file:///etc/passwd"), "https"),
        (account_file(private_key="-----BEGIN"), "private_key"),
        (account_file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))), "RSA"),
        (b" " * 70_000, "larger"),
    ],
)
def test_a_file_that_is_no_account_is_refused_without_quoting_it(
    data: bytes, why: str
) -> None:
    with pytest.raises(BadAccount, match=why):
        read_account(data)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{}",
        b'{"access_token":"x","expires_in":0}',
        b'{"access_token":"a\\r\\nb","expires_in":9}',
    ],
)
def test_an_answer_without_a_token_is_a_refusal(body: bytes) -> None:
    with pytest.raises(TokenRefused):
        read_token(200, body, NOW)


def test_an_assertion_is_three_parts_without_padding() -> None:
    made = assertion(read_account(account_file()), NOW)
    assert made.count(".") == 2
    assert "=" not in made


# -- renewed in time -------------------------------------------------------------------


FILE = Path("account.json")


class Files:
    """Key files in memory: no thread that a virtual clock would not wait for."""

    def __init__(self, *there: Path) -> None:
        self.there = set(there)

    async def read(self, file: Path) -> bytes:
        await trio.lowlevel.checkpoint()
        if file not in self.there:
            raise FileNotFoundError(file)
        return account_file()


@asynccontextmanager
async def running(
    server: TokenServer, *files: Path, missing: bool = False
) -> AsyncIterator[tuple[TokensCell, Ref[Tokens], Files]]:
    disk = Files(*(() if missing else files))
    wall = lambda: NOW + trio.current_time()  # noqa: E731 - one clock, two names
    cell = TokensCell(dict.fromkeys(files, server), wall, Random(0), disk.read)
    root = ChildSpec(
        "system", lambda: Supervisor([ChildSpec("tokens", lambda: Tokens(cell))])
    )
    async with open_system(root) as system:
        ref = system.lookup("tokens", Tokens)
        assert ref is not None
        yield cell, ref, disk


async def until(server: TokenServer, count: int) -> None:
    """The endpoint was asked that often, and its last answer was taken."""
    while len(server.asked) < count:
        await server.moved.wait()
    await wait_all_tasks_blocked()


async def test_the_vault_reads_a_fresh_token_like_a_variable(
    autojump_clock: MockClock,
) -> None:
    server = TokenServer()
    async with running(server, FILE) as (cell, _, _):
        environ = cell.environ({"OTHER": "x"})
        assert environ.get(token_name(FILE)) is None
        await until(server, 1)

        assert environ[token_name(FILE)] == "ya29.token-1"
        assert environ["OTHER"] == "x"
        assert "ya29" not in repr(environ)
        await trio.sleep(2890)
        await until(server, 2)
        assert environ[token_name(FILE)] == "ya29.token-2"


async def test_a_refusal_is_retried_ever_more_slowly_and_told_to_operators(
    autojump_clock: MockClock,
) -> None:
    server = TokenServer([400] * 12 + [200])
    async with running(server, FILE) as (cell, ref, _):
        await until(server, 3)
        assert cell.environ({}).get(token_name(FILE)) is None
        shown = repr(ref.cell.actor)
        assert "invalid_grant" in shown
        assert "PRIVATE" not in shown
        await until(server, 13)

        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert gaps[0] < 3
        assert max(gaps) <= RETRY_CAP_S + 5
        assert cell.environ({})[token_name(FILE)].startswith("ya29.")


async def test_a_token_past_its_end_is_not_lent(autojump_clock: MockClock) -> None:
    server = TokenServer([200, *[500] * 1000])
    async with running(server, FILE) as (cell, _, _):
        await until(server, 1)
        await trio.sleep(3601)

        assert cell.environ({}).get(token_name(FILE)) is None


async def test_an_account_that_is_taken_out_has_no_token(
    autojump_clock: MockClock,
) -> None:
    server = TokenServer()
    async with running(server, FILE) as (cell, ref, _):
        await until(server, 1)
        await ref.ask(SetAccounts({}))

        assert cell.environ({}).get(token_name(FILE)) is None


async def test_a_missing_file_is_said_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    server = TokenServer()
    async with running(server, FILE, missing=True) as (_, ref, disk):
        await wait_all_tasks_blocked()
        assert "cannot be read (FileNotFoundError)" in repr(ref.cell.actor)
        disk.there.add(FILE)
        await until(server, 1)


async def test_a_file_is_read_from_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_bytes(account_file())

    assert read_account(await read_in_thread(file)).key_id == "k1"
