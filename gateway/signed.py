"""The vault over the network: `/admin/v1/vault/...`, every request signed.

Owns: what of an HTTP request is signed, and that an unsigned one is told nothing. The
commands themselves are the control socket's (vaultdesk.py); here the principal is
whoever signed, and the policy decides what that one may do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors.auditor.messages import AuditUnavailable
from actors.vault.messages import Signer, VaultRefused, VerifySigned
from actors.vault.signatures import SignedHeaders, SignedRequest
from gateway.gate import Gate
from gateway.http.replies import reply_error, reply_json
from gateway.http.request import Request, TooLarge
from gateway.settings.config import Config
from gateway.vaultdesk import BODY_BYTES_MAX, VaultDesk
from runtime import AskError

BASE: Final = "/admin/v1"
PATHS: Final = (
    ("GET", "/vault"),
    ("GET", "/vault/delivery-key"),
    ("GET", "/vault/secrets"),
    ("POST", "/vault/secrets"),
    ("POST", "/vault/secrets/revoke"),
    ("POST", "/vault/secrets/rotate"),
    ("POST", "/vault/keks/rotate"),
    ("POST", "/vault/shred"),
)
# Each exactly once: a second one is how proxies and servers are made to disagree.
SINGLE: Final = (
    "host",
    "signature-input",
    "signature",
    "content-digest",
    "gw-tenant",
    "gw-env",
)


class SignedVault:
    """The handler of all these paths."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __repr__(self) -> str:
        return "<SignedVault>"

    async def answer(self, request: Request) -> None:
        """Verify, then do what the control socket would."""
        vault = self._gate.lookup("vault")
        if vault is None:
            await reply_error(request.send, 503, "unavailable", "The vault is down.")
            return
        try:
            body = await _body(request)
            signer: Signer = await vault.ask(self._signed(request, body))
        except TooLarge as large:
            await reply_error(request.send, 413, "too_large", str(large))
            return
        except _Malformed as bad:
            await reply_error(request.send, 400, "bad_signature", str(bad))
            return
        except VaultRefused as refused:
            await reply_error(request.send, 401, "bad_signature", refused.why)
            return
        except (AuditUnavailable, AskError) as error:
            await reply_error(request.send, 503, "unavailable", str(error))
            return
        desk = VaultDesk(
            vault,
            self._gate.config,
            within=(signer.tenant, signer.environment),
            peers=self._gate.peers,
        )
        path = request.path.removeprefix(BASE)
        status, value = await desk.answer(request.method, path, body, signer.principal)
        await reply_json(request.send, status, value)

    def _signed(self, request: Request, body: bytes) -> VerifySigned:
        found = _single(request.scope["headers"])
        path, query = request.target
        signed = SignedRequest(
            method=request.method,
            authority=found["host"].lower(),
            path=path,
            query=query,
            tenant=found["gw-tenant"],
            environment=found["gw-env"],
            body=body,
        )
        headers = SignedHeaders(
            found["signature-input"], found["signature"], found["content-digest"]
        )
        return VerifySigned(signed, headers, authorities_of(self._gate.config))


async def _body(request: Request) -> bytes:
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge(BODY_BYTES_MAX)
    return body


class _Malformed(Exception):
    """The headers are not those of a signed request."""


def authorities_of(config: Config) -> frozenset[str]:
    """The names under which a request may have been signed for this instance."""
    named = config.vault.signed_for
    binds = (config.server.bind, config.server.admin_bind)
    own = tuple(str(bind) for bind in binds if bind is not None)
    return frozenset(name.lower() for name in named or own)


def _single(raw: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, value in raw:
        name = key.decode("latin-1")
        if name in SINGLE:
            if name in found:
                raise _Malformed(f"{name} is there twice")
            found[name] = value.decode("latin-1")
    for name in SINGLE:
        if name not in found:
            raise _Malformed(f"{name} is missing; see docs/security.md")
    return found
