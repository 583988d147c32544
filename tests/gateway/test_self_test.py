"""The self-test of a start: everything that doctor looks at, bounded, in one line."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway import self_test
from gateway.checkup import Finding
from gateway.checkup_services import certificate, tracing
from gateway.settings.server import ServerConfig
from gateway.settings.tracing import TracingConfig
from tests.gateway.gateways import config

DAY = timedelta(days=1)


def signed(folder: Path, begins: timedelta, ends: timedelta) -> ServerConfig:
    """A certificate of its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ServerConfig(tls_cert=cert, tls_key=private)


@pytest.mark.parametrize(
    ("begins", "ends", "level"),
    [
        (-DAY, 90 * DAY, "ok"),
        (-DAY, 3 * DAY, "warn"),
        (-9 * DAY, -DAY, "fail"),
        (DAY, 90 * DAY, "fail"),
    ],
)
def test_a_certificate_is_looked_at_before_clients_do(
    tmp_path: Path, begins: timedelta, ends: timedelta, level: str
) -> None:
    [found] = certificate(signed(tmp_path, begins, ends), time.time())
    assert found.level == level
    assert bool(found.todo) is (level != "ok")


def test_a_key_that_is_not_the_certificates_is_found(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    server = attrs.evolve(
        signed(tmp_path, -DAY, DAY), tls_key=signed(other, -DAY, DAY).tls_key
    )
    [found] = certificate(server, time.time())
    assert found.level == "fail"


async def test_a_collector_that_is_there_and_one_that_is_not() -> None:
    assert await tracing(TracingConfig()) == []
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    settings = TracingConfig(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    [found] = await tracing(settings)
    assert found.level == "ok"
    await listener.aclose()
    [found] = await tracing(settings)
    assert found.level == "warn"
    assert str(port) in found.what


def test_all_is_said_in_one_line() -> None:
    ok, warn = Finding("ok", "a"), Finding("warn", "b", "do")
    fail = Finding("fail", "no room", "make room")
    assert self_test.summary([ok, ok]) == "self-test: 2 ok"
    said = self_test.summary([ok, warn, fail, fail])
    assert said.startswith("self-test: 1 ok, 1 to look at, 2 failed (no room);")
    assert "\n" not in said
    assert "not done" in self_test.summary(None)


async def test_a_start_waits_no_longer_than_its_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stuck(*_: object) -> list[Finding]:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(self_test, "here", lambda *_: iter(()))
    monkeypatch.setattr(self_test, "elsewhere", stuck)
    said: list[str] = []
    await self_test.at_start(config(), {}, said.append, budget_s=0.01)
    assert "not done within 0.01 s" in said[0]


async def test_a_look_that_fails_does_not_end_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> list[Finding]:
        raise RuntimeError("sk-canary")

    monkeypatch.setattr(self_test, "here", broken)
    said: list[str] = []
    await self_test.at_start(config(), {}, said.append)
    assert "RuntimeError" in said[0]
    assert "sk-canary" not in said[0]
