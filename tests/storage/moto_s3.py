"""A real S3 server for the tests: moto, which checks signatures, IAM and locks."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from hashlib import sha256

import attrs

from actors.provider.transport import Transport
from storage.audit_bucket import AuditBucket
from storage.s3 import S3, Credentials
from tests.actors.vault.kms_servers import ask, free_port, process, until_up, venv
from wire.sigv4 import KeySigner, Unsigned, sign

REGION = "us-east-1"
LOCKED = "anchors"
UNLOCKED = "forgetful"
# What docs/audit.md says the gateway needs, and no more.
ALLOWED = (
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:ListBucketVersions",
    "s3:GetBucketObjectLockConfiguration",
    "s3:ListBucket",  # What moto wants for the last one; AWS does not.
)


@attrs.frozen
class Moto:
    """The server, the gateway's user, and one who may do anything."""

    url: str
    user: tuple[str, str] = attrs.field(repr=False)
    owner: tuple[str, str] = attrs.field(repr=False)

    def s3(
        self,
        transport: Transport,
        bucket: str = LOCKED,
        key: tuple[str, str] | None = None,
        url: str = "",
    ) -> S3:
        access, secret = key or self.user
        made = Credentials(KeySigner(access, secret.encode()))
        return S3(
            f"{url or self.url}/{bucket}", REGION, lambda: made, transport, time.time
        )

    def bucket(self, transport: Transport, name: str = LOCKED) -> AuditBucket:
        return AuditBucket(self.s3(transport, name), "stagedoor/", 60.0, 30)

    def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        key: tuple[str, str] | None = None,
        service: str = "s3",
    ) -> tuple[int, bytes]:
        """Anything, as its owner: what an attacker with every right would try."""
        access, secret = key or self.owner
        sent = {
            "host": self.url.removeprefix("http://"),
            "content-type": "text/plain",  # Else urllib says that it is a form.
            **(headers or {}),
            "x-amz-content-sha256": sha256(body).hexdigest(),
        }
        signed = sign(
            Unsigned(method, target, tuple(sent.items()), body),
            signer=KeySigner(access, secret.encode()),
            region=REGION,
            service=service,
            now_s=time.time(),
        )
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}{target}",
            data=body if method != "GET" else None,
            headers={**sent, **dict(signed)},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def iam(self, **fields: str) -> str:
        body = urllib.parse.urlencode({"Version": "2010-05-08", **fields}).encode()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        status, answer = self.call("POST", "/", body, kind, service="iam")
        assert status == 200, answer
        return answer.decode()


def _user(moto: Moto, name: str, actions: tuple[str, ...]) -> tuple[str, str]:
    moto.iam(Action="CreateUser", UserName=name)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    moto.iam(
        Action="PutUserPolicy",
        UserName=name,
        PolicyName="all",
        PolicyDocument=json.dumps(document),
    )
    made = moto.iam(Action="CreateAccessKey", UserName=name)
    found = [
        re.search(f"<{tag}>(.*?)</{tag}>", made)
        for tag in ("AccessKeyId", "SecretAccessKey")
    ]
    access, secret = found
    assert access
    assert secret
    return access[1], secret[1]


@contextmanager
def moto_s3() -> Generator[Moto]:
    """One that enforces what it was told."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = venv() / "bin" / "moto_server"
    with process(server, "-H", "127.0.0.1", "-p", str(port), env={}):
        until_up(f"{url}/moto-api/data.json")
        root = ("AKIAROOT", "root")
        moto = Moto(url, root, root)
        locks = {"x-amz-bucket-object-lock-enabled": "true"}
        assert moto.call("PUT", f"/{LOCKED}", headers=locks)[0] == 200
        assert moto.call("PUT", f"/{UNLOCKED}")[0] == 200
        user = _user(moto, "gateway", ALLOWED)
        owner = _user(moto, "owner", ("s3:*", "iam:*"))
        # From here on signatures and rights are checked.
        ask(f"{url}/moto-api/reset-auth", b"0", headers={"content-type": "text/plain"})
        yield Moto(url, user, owner)
