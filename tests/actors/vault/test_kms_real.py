"""AWS KMS against moto with IAM enforced; transit against the real OpenBao."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actors.provider.transport import Transport
from actors.vault.kms.aws import AwsCredentials, AwsKms
from actors.vault.kms.transit import TransitKms
from actors.vault.locked import LockedMemory
from actors.vault.ports import ContextMismatch, Kms, KmsDenied, KmsUnavailable
from tests.actors.vault.kms_servers import ask, free_port, process, until_up, venv
from wire.sigv4 import KeySigner, Unsigned
from wire.sigv4 import sign as sign_aws

# The first run makes the servers' environment, from the lock file.
pytestmark = pytest.mark.timeout(900)
MEMORY = LockedMemory()
OPENED: list[Transport] = []


def transport() -> Transport:
    """Closed after the test that opened it."""
    OPENED.append(Transport())
    return OPENED[-1]


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().aclose()


CONTEXT = {"tenant": "acme", "env": "prod", "kek": "acme/prod@1"}
OTHERS: list[dict[str, str]] = [
    {**CONTEXT, "tenant": "other"},
    {**CONTEXT, "env": "dev"},
    {"tenant": "acme", "env": "prod"},
    {},
]


async def assert_it_is_a_kms(kms: Kms) -> None:
    """What every KMS must do: wrap, open in its context only, move to another."""
    await kms.health()
    made = await kms.generate(CONTEXT)
    key = bytes(made.key.view)
    assert len(key) == 32
    assert key not in made.blob
    opened = await kms.unwrap(made.blob, CONTEXT)
    assert bytes(opened.view) == key
    for context in OTHERS:
        with pytest.raises(ContextMismatch):
            await kms.unwrap(made.blob, context)
    for place in range(0, len(made.blob), max(1, len(made.blob) // 7)):
        changed = bytearray(made.blob)
        changed[place] ^= 1
        with pytest.raises((ContextMismatch, KmsDenied)):
            await kms.unwrap(bytes(changed), CONTEXT)
    again = await kms.rewrap(made.blob, CONTEXT, CONTEXT)
    assert again != made.blob
    assert bytes((await kms.unwrap(again, CONTEXT)).view) == key
    moved = await kms.rewrap(made.blob, CONTEXT, OTHERS[0])
    assert bytes((await kms.unwrap(moved, OTHERS[0])).view) == key
    with pytest.raises(ContextMismatch):
        await kms.unwrap(moved, CONTEXT)
    two = await kms.generate(CONTEXT)
    assert bytes(two.key.view) != key


# -- AWS -----------------------------------------------------------------------------


@attrs.frozen
class Aws:
    url: str
    key_id: str
    other_id: str
    access_key_id: str
    secret: str = attrs.field(repr=False)

    def kms(self, **changes: Any) -> AwsKms:
        given: dict[str, Any] = {
            "key_id": self.key_id,
            "access_key_id": self.access_key_id,
            "secret": self.secret,
            **changes,
        }
        credentials = AwsCredentials(
            KeySigner(given["access_key_id"], given["secret"].encode())
        )
        return AwsKms(
            given["key_id"],
            "us-east-1",
            credentials=lambda: credentials,
            transport=transport(),
            memory=MEMORY,
            wall=time.time,
            endpoint=self.url,
        )


def aws_call(url: str, service: str, action: str, **fields: Any) -> dict[str, Any]:
    """Set moto up, as its root."""
    body = json.dumps(fields).encode()
    headers = (
        ("host", url.removeprefix("http://")),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", action),
    )
    signed = sign_aws(
        Unsigned("POST", "/", headers, body),
        signer=KeySigner("AKIAROOT", b"root"),
        region="us-east-1",
        service=service,
        now_s=time.time(),
    )
    return ask(f"{url}/", body, headers=dict((*headers, *signed)))


def iam(url: str, **fields: str) -> str:
    """IAM speaks forms and XML."""
    import urllib.parse  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    body = urllib.parse.urlencode({"Version": "2010-05-08", **fields}).encode()
    headers = (
        ("host", url.removeprefix("http://")),
        ("content-type", "application/x-www-form-urlencoded"),
    )
    signed = sign_aws(
        Unsigned("POST", "/", headers, body),
        signer=KeySigner("AKIAROOT", b"root"),
        region="us-east-1",
        service="iam",
        now_s=time.time(),
    )
    request = urllib.request.Request(  # noqa: S310
        f"{url}/", data=body, headers=dict((*headers, *signed))
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return str(response.read().decode())


@pytest.fixture(name="aws", scope="module")
def _aws() -> Iterator[Aws]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = venv() / "bin" / "moto_server"
    with process(server, "-H", "127.0.0.1", "-p", str(port), env={}) as _:
        until_up(f"{url}/moto-api/data.json")
        key_id, other_id = (
            aws_call(url, "kms", "TrentService.CreateKey")["KeyMetadata"]["KeyId"]
            for _ in range(2)
        )
        iam(url, Action="CreateUser", UserName="gateway")
        allowed = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": [
                        "kms:GenerateDataKey",
                        "kms:Decrypt",
                        "kms:ReEncrypt",
                        "kms:ReEncryptFrom",
                        "kms:ReEncryptTo",
                    ],
                    "Resource": "*",
                }
            ],
        }
        iam(
            url,
            Action="PutUserPolicy",
            UserName="gateway",
            PolicyName="kms",
            PolicyDocument=json.dumps(allowed),
        )
        made = iam(url, Action="CreateAccessKey", UserName="gateway")
        iam(url, Action="CreateUser", UserName="nobody")
        found = {
            tag: re.search(f"<{tag}>(.*?)</{tag}>", made)
            for tag in ("AccessKeyId", "SecretAccessKey")
        }
        access, secret = found["AccessKeyId"], found["SecretAccessKey"]
        assert access
        assert secret
        # From here on moto checks signatures and IAM.
        ask(f"{url}/moto-api/reset-auth", b"0", headers={"content-type": "text/plain"})
        yield Aws(url, key_id, other_id, access[1], secret[1])


async def test_aws_is_a_kms(aws: Aws) -> None:
    await assert_it_is_a_kms(aws.kms())


async def test_aws_refuses_a_wrong_secret_an_unknown_user_and_an_unknown_key(
    aws: Aws,
) -> None:
    for wrong in (
        {"secret": "x" * 40},
        {"access_key_id": "AKIAUNKNOWN000000000"},
        {"key_id": "00000000-0000-0000-0000-000000000000"},
    ):
        with pytest.raises(KmsDenied) as caught:
            await aws.kms(**wrong).generate(CONTEXT)
        assert aws.secret not in str(caught.value)


async def test_a_blob_of_another_aws_key_opens_nothing(aws: Aws) -> None:
    """The key id is pinned: who may write rows cannot bring a key of his own."""
    made = await aws.kms(key_id=aws.other_id).generate(CONTEXT)
    for blob in (made.blob, b"no blob of any key" * 3):
        with pytest.raises((ContextMismatch, KmsDenied)):
            await aws.kms().unwrap(blob, CONTEXT)


async def test_an_aws_that_is_gone_is_unavailable(aws: Aws) -> None:
    gone = attrs.evolve(aws, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(KmsUnavailable, match="cannot be reached"):
        await gone.kms().generate(CONTEXT)


# -- OpenBao -------------------------------------------------------------------------


@attrs.frozen
class Bao:
    url: str
    root: str
    token: str

    def call(self, method: str, path: str, value: Any = None) -> dict[str, Any]:
        return ask(
            f"{self.url}/v1/{path}",
            value,
            method=method,
            headers={"x-vault-token": self.root},
        )

    def kms(self, key: str = "gateway", token: str = "") -> TransitKms:
        return TransitKms(
            key,
            self.url,
            token=lambda: token or self.token,
            transport=transport(),
            memory=MEMORY,
        )


POLICY = "\n".join(
    f'path "transit/{action}/gateway" {{ capabilities = ["update"] }}'
    for action in ("datakey/plaintext", "encrypt", "decrypt", "rewrap")
)


@pytest.fixture(name="bao", scope="module")
def _bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    home: Path = tmp_path_factory.mktemp("bao")
    server = venv() / "bin" / "bao"
    with process(
        server,
        "server",
        "-dev",
        "-dev-no-store-token",
        "-dev-root-token-id=made-up-root",
        f"-dev-listen-address=127.0.0.1:{port}",
        env={"HOME": str(home)},
    ):
        until_up(f"{url}/v1/sys/health")
        bao = Bao(url, "made-up-root", "")
        bao.call("POST", "sys/mounts/transit", {"type": "transit"})
        bao.call("POST", "transit/keys/gateway", {"derived": True})
        bao.call("POST", "transit/keys/other", {"derived": True})
        bao.call("PUT", "sys/policies/acl/gateway", {"policy": POLICY})
        made = bao.call("POST", "auth/token/create", {"policies": ["gateway"]})
        yield attrs.evolve(bao, token=made["auth"]["client_token"])


async def test_openbao_is_a_kms_with_the_least_of_tokens(bao: Bao) -> None:
    await assert_it_is_a_kms(bao.kms())


async def test_openbao_refuses_a_wrong_token_and_another_key(bao: Bao) -> None:
    for kms in (bao.kms(token="made-up"), bao.kms(key="other")):
        with pytest.raises(KmsDenied):
            await kms.generate(CONTEXT)


async def test_after_a_rotation_old_blobs_open_until_they_are_re_wrapped(
    bao: Bao,
) -> None:
    kms = bao.kms()
    made = await kms.generate(CONTEXT)
    bao.call("POST", "transit/keys/gateway/rotate", {})
    again = await kms.rewrap(made.blob, CONTEXT, CONTEXT)
    version = int(again.split(b":")[1][1:])
    assert version > int(made.blob.split(b":")[1][1:])
    bao.call("POST", "transit/keys/gateway/config", {"min_decryption_version": version})
    assert bytes((await kms.unwrap(again, CONTEXT)).view) == bytes(made.key.view)
    with pytest.raises((ContextMismatch, KmsDenied)):
        await kms.unwrap(made.blob, CONTEXT)


async def test_a_sealed_openbao_is_unavailable_in_words(bao: Bao) -> None:
    """The last test of this server: sealed, it serves nobody."""
    kms = bao.kms()
    made = await kms.generate(CONTEXT)
    bao.call("PUT", "sys/seal", {})
    with pytest.raises(KmsUnavailable, match="sealed"):
        await kms.unwrap(made.blob, CONTEXT)
    with pytest.raises(KmsUnavailable, match="sealed"):
        await kms.health()
