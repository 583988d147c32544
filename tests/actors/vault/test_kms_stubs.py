"""Google and Azure, request by request, against servers that play their part.

Neither was run against the real one: what is checked is what their documents say.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from trio.testing import MockClock

from actors.vault.kms.azure import AzureKms
from actors.vault.kms.gcp import GcpKms, crc32c
from actors.vault.locked import LockedMemory
from actors.vault.ports import ContextMismatch, Kms, KmsDenied, KmsUnavailable

MEMORY = LockedMemory()
CONTEXT = {"tenant": "acme", "env": "prod", "kek": "acme/prod@1"}
OTHER = {**CONTEXT, "env": "dev"}
KEY_ID = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
VAULT = "https://acme.vault.azure.example"
TOKEN = "made-up-token"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class FakeGoogle:
    """encrypt and decrypt, with their checksums; `damages` breaks one answer field."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status = 200
        self.damages = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.status != 200:
            error = {"code": self.status, "status": "PERMISSION_DENIED"}
            return httpx.Response(self.status, json={"error": error})
        given = json.loads(request.content)
        aad = base64.b64decode(given["additionalAuthenticatedData"])
        assert given["additionalAuthenticatedDataCrc32c"] == str(crc32c(aad))
        if request.url.path.endswith(":encrypt"):
            plain = base64.b64decode(given["plaintext"])
            assert given["plaintextCrc32c"] == str(crc32c(plain))
            blob = json.dumps([b64(plain), b64(aad)]).encode()
            answer: dict[str, Any] = {
                "name": f"{KEY_ID}/cryptoKeyVersions/1",
                "ciphertext": b64(blob),
                "ciphertextCrc32c": str(crc32c(blob)),
                "verifiedPlaintextCrc32c": True,
                "verifiedAdditionalAuthenticatedDataCrc32c": True,
                "protectionLevel": "HSM",
            }
        else:
            blob = base64.b64decode(given["ciphertext"])
            assert given["ciphertextCrc32c"] == str(crc32c(blob))
            try:
                text, bound = json.loads(blob)
            except ValueError:
                text, bound = "", ""
            if bound != b64(aad):
                error = {"code": 400, "status": "INVALID_ARGUMENT"}
                return httpx.Response(400, json={"error": error})
            plain = base64.b64decode(text)
            answer = {"plaintext": text, "plaintextCrc32c": str(crc32c(plain))}
        if self.damages:
            answer[self.damages] = "1"
        return httpx.Response(200, json=answer)

    def kms(self) -> GcpKms:
        return GcpKms(
            KEY_ID,
            token=lambda: TOKEN,
            transport=httpx.MockTransport(self),
            memory=MEMORY,
        )


class FakeAzure:
    """wrapkey and unwrapkey with a real RSA key of each version."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.keys = [rsa.generate_private_key(65537, 2048)]
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.status != 200:
            error = {"code": "Forbidden", "message": "not for you"}
            return httpx.Response(self.status, json={"error": error})
        given = json.loads(request.content)
        assert given["alg"] == "RSA-OAEP-256"
        text = given["value"]
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
        parts = request.url.path.split("/")
        if parts[-1] == "wrapkey":
            version = len(self.keys)
            made = self.keys[-1].public_key().encrypt(value, oaep)
        else:
            version = int(parts[-2])
            try:
                made = self.keys[version - 1].decrypt(value, oaep)
            except ValueError:
                return httpx.Response(400, json={"error": {"code": "BadParameter"}})
        out = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        kid = f"{VAULT}/keys/gateway/{version}"
        return httpx.Response(200, json={"kid": kid, "value": out})

    def kms(self) -> AzureKms:
        return AzureKms(
            "gateway",
            VAULT,
            token=lambda: TOKEN,
            transport=httpx.MockTransport(self),
            memory=MEMORY,
        )


@pytest.fixture(name="fake", params=[FakeGoogle, FakeAzure])
def _fake(request: pytest.FixtureRequest) -> Any:
    return request.param()


async def test_it_is_a_kms(fake: Any) -> None:
    kms: Kms = fake.kms()
    made = await kms.generate(CONTEXT)
    key = bytes(made.key.view)
    assert bytes((await kms.unwrap(made.blob, CONTEXT)).view) == key
    with pytest.raises(ContextMismatch):
        await kms.unwrap(made.blob, OTHER)
    moved = await kms.rewrap(made.blob, CONTEXT, OTHER)
    assert bytes((await kms.unwrap(moved, OTHER)).view) == key
    with pytest.raises(ContextMismatch):
        await kms.unwrap(moved, CONTEXT)
    with pytest.raises(ContextMismatch):
        await kms.unwrap(b"no blob", CONTEXT)
    await kms.health()


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, KmsDenied), (429, KmsUnavailable), (503, KmsUnavailable)],
)
async def test_a_refusal_and_an_outage_are_two_things(
    fake: Any, status: int, error: type[Exception]
) -> None:
    fake.status = status
    with pytest.raises(error) as caught:
        await fake.kms().generate(CONTEXT)
    assert TOKEN not in repr(caught.value)


async def test_googles_request_is_the_documented_one() -> None:
    fake = FakeGoogle()
    await fake.kms().generate(CONTEXT)
    [request] = fake.requests
    assert str(request.url) == f"https://cloudkms.googleapis.com/v1/{KEY_ID}:encrypt"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert set(json.loads(request.content)) == {
        "plaintext",
        "additionalAuthenticatedData",
        "plaintextCrc32c",
        "additionalAuthenticatedDataCrc32c",
    }


@pytest.mark.parametrize(
    "field", ["ciphertextCrc32c", "verifiedPlaintextCrc32c", "ciphertext"]
)
async def test_what_is_damaged_on_the_way_to_google_is_no_key(field: str) -> None:
    fake = FakeGoogle()
    fake.damages = field
    with pytest.raises(KmsUnavailable, match="damaged"):
        await fake.kms().generate(CONTEXT)


def test_crc32c_is_castagnolis() -> None:
    """RFC 3720, B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


async def test_azures_request_is_the_documented_one() -> None:
    fake = FakeAzure()
    made = await fake.kms().generate(CONTEXT)
    await fake.kms().unwrap(made.blob, CONTEXT)
    wrap, unwrap = fake.requests
    assert str(wrap.url) == f"{VAULT}/keys/gateway/wrapkey?api-version=7.4"
    assert str(unwrap.url) == f"{VAULT}/keys/gateway/1/unwrapkey?api-version=7.4"


async def test_azures_older_versions_open_and_the_newest_wraps() -> None:
    fake = FakeAzure()
    kms = fake.kms()
    made = await kms.generate(CONTEXT)
    fake.keys.append(rsa.generate_private_key(65537, 2048))
    assert await kms.unwrap(made.blob, CONTEXT)
    again = await kms.rewrap(made.blob, CONTEXT, CONTEXT)
    await kms.unwrap(again, CONTEXT)
    assert fake.requests[-1].url.path == "/keys/gateway/2/unwrapkey"


async def test_azure_is_asked_for_no_key_but_ours() -> None:
    """A row that names another vault sends no token there."""
    fake = FakeAzure()
    made = await fake.kms().generate(CONTEXT)
    asked = len(fake.requests)
    moved = made.blob.replace(b"acme.vault", b"evil.vault")
    with pytest.raises(ContextMismatch):
        await fake.kms().unwrap(moved, CONTEXT)
    assert len(fake.requests) == asked


async def test_a_kms_that_hangs_is_unavailable(autojump_clock: MockClock) -> None:
    async def hang(_request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    kms = GcpKms(
        KEY_ID,
        token=lambda: TOKEN,
        transport=httpx.MockTransport(hang),
        memory=MEMORY,
    )
    with pytest.raises(KmsUnavailable, match="within 5 s"):
        await kms.generate(CONTEXT)
