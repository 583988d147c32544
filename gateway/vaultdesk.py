"""The vault over HTTP: JSON in, JSON out. For the control socket and the admin API.

Owns: what a command looks like as JSON. Whoever calls has settled who is asking: the
principal is an argument. Keys come in HPKE-sealed, so that no JSON ever holds one; none
goes out.
"""

from __future__ import annotations

import base64
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from actors.auditor.messages import AuditUnavailable
from actors.vault.messages import (
    Deliver,
    DeliveryKey,
    Follow,
    KeyScope,
    ListSecrets,
    ReportVault,
    RevokeSecret,
    RotateKek,
    RotateSecret,
    SecretFacts,
    Shred,
    VaultRefused,
)
from actors.vault.verifier import NOWHERE, SIGNING
from gateway.settings.config import Config
from gateway.workers import merging
from gateway.workers.peers import FIRST, OWN, Peers
from runtime import ActorDown, AskError, Ref

PREFIX: Final = "/vault"
BODY_BYTES_MAX: Final = 64 * 1024  # A sealed key of 16 kB as base64, and its names.
REVOKE: Final = "/vault/secrets/revoke"
PASSED_S: Final = 30.0  # A shred of thousands of rows, or a KMS that is slow.

T = TypeVar("T")


class SecretCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command about one secret; what is left out is the configuration's own."""

    provider: str
    name: str = "default"
    tenant: str = ""
    environment: str = ""
    delivery: str = ""
    hosts: tuple[str, ...] = ()
    access_key_id: str = ""
    replace: bool = False
    revoke_open: bool = False

    def __repr__(self) -> str:
        return f"<SecretCommand {self.provider}/{self.name}>"


class TenantCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command about all keys of a tenant and environment."""

    tenant: str = ""
    environment: str = ""


class Passed(msgspec.Struct, frozen=True):
    """A command that came to a worker which does not keep the desk."""

    method: str
    path: str
    body: bytes
    principal: str
    within: tuple[str, str] | None

    def __repr__(self) -> str:
        return f"<Passed {self.method} {self.path}>"


class VaultDesk:
    """Answers commands; one a request."""

    def __init__(
        self,
        vault: Ref[Any],
        config: Config,
        *,
        within: tuple[str, str] | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._vault = vault
        self._peers = peers
        self._config = config
        # Whoever signed for one tenant and environment stays in it.
        self._within = within or (config.vault.tenant, config.vault.environment)
        self._bound = within is not None

    def __repr__(self) -> str:
        return "<VaultDesk>"

    async def answer(
        self, method: str, path: str, body: bytes, principal: str
    ) -> tuple[int, dict[str, Any]]:
        """The status and the value to reply with."""
        peers = self._peers
        if peers is not None and peers.worker.number != FIRST:
            return await self._passed_on(peers, Passed(
                method, path, body, principal, self._within if self._bound else None
            ))  # fmt: skip
        try:
            found = await self._answer(method, path, body, principal)
            if peers is not None:
                found = await self._with_others(peers, method, path, body, found)
        except _Unknown:
            return 404, _error(f"there is no {method} {path}")
        except msgspec.MsgspecError as error:
            return 400, _error(f"the command cannot be read: {error}")
        except VaultRefused as refused:
            return 409, _error(str(refused))
        except ActorDown as down:
            return 503, _error(
                f"the {down.id} is being started again: try again in a moment; /readyz "
                "and `stagedoor doctor` say why"
            )
        except (AuditUnavailable, AskError) as error:
            return 503, _error(f"{error}; /readyz and `stagedoor doctor` say why")
        return 200, found

    async def _passed_on(
        self, peers: Peers, command: Passed
    ) -> tuple[int, dict[str, Any]]:
        """To the worker that has the delivery key and runs the rotations."""
        answer = await peers.ask(
            FIRST,
            "POST",
            f"{OWN}{PREFIX}",
            body=msgspec.json.encode(command),
            wait_s=PASSED_S,
        )
        if answer is None:
            return 503, _error(
                f"worker {FIRST}, which keeps the vault's desk, does not answer; it is "
                "being started again: try again in a moment"
            )
        status, value = answer
        return status, msgspec.json.decode(value, type=dict[str, Any])

    async def _with_others(
        self, peers: Peers, method: str, path: str, body: bytes, found: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the other workers see a change at once, or add up what each one has."""
        if method == "POST":
            open_too = path == REVOKE and _read(body, SecretCommand).revoke_open
            order = msgspec.json.encode(Follow(open_too))
            # One that does not hear it looks by itself within `FOLLOW_S`.
            await peers.ask_all("POST", f"{OWN}/follow", body=order)
            return found
        if path != PREFIX:
            return found
        others = await peers.values(f"{OWN}/vault/counts", found)
        return merging.vault(found, others)

    async def _answer(
        self, method: str, path: str, body: bytes, principal: str
    ) -> dict[str, Any]:
        ask = self._vault.ask
        match method, path:
            case "GET", "/vault":
                return _facts(await ask(ReportVault()))
            case "GET", "/vault/delivery-key":
                key = await ask(DeliveryKey())
                tenant, environment = self._within
                return {
                    "public_key": base64.b64encode(key).decode(),
                    "tenant": tenant,
                    "environment": environment,
                }
            case "GET", "/vault/secrets":
                listed = await ask(ListSecrets(principal))
                return {"secrets": [_plain(one) for one in listed if self._sees(one)]}
            case "POST", "/vault/secrets":
                return _facts(await ask(self._deliver(body, principal)))
            case "POST", path if path == REVOKE:
                command = _read(body, SecretCommand)
                scope = self._scope(command)
                ended = RevokeSecret(scope, principal, command.revoke_open)
                return {"revoked": await ask(ended)}
            case "POST", "/vault/secrets/rotate":
                await ask(
                    RotateSecret(self._scope(_read(body, SecretCommand)), principal)
                )
                return {"begun": True}
            case "POST", "/vault/keks/rotate":
                where = self._tenant(body)
                return {"rewrapped": await ask(RotateKek(*where, principal))}
            case "POST", "/vault/shred":
                where = self._tenant(body)
                return {"destroyed": await ask(Shred(*where, principal))}
            case _:
                raise _Unknown

    def _deliver(self, body: bytes, principal: str) -> Deliver:
        command = _read(body, SecretCommand)
        scope = self._scope(command)
        try:
            delivery = base64.b64decode(command.delivery, validate=True)
        except ValueError:
            raise VaultRefused(scope, "its delivery is no base64") from None
        return Deliver(
            scope=scope,
            delivery=delivery,
            hosts=command.hosts or self._hosts(scope),
            principal=principal,
            access_key_id=command.access_key_id,
            replace=command.replace,
        )

    def _hosts(self, scope: KeyScope) -> tuple[str, ...]:
        """Where the provider is today: what the key may be sent to, from now on."""
        if scope.provider == SIGNING:
            return (NOWHERE,)
        for provider in self._config.providers:
            host = urlsplit(provider.base_url).hostname
            if provider.name == scope.provider and host:
                return (host,)
        raise VaultRefused(
            scope, "no provider of this name is configured; name its hosts"
        )

    def _scope(self, command: SecretCommand) -> KeyScope:
        return KeyScope(
            command.provider,
            command.name,
            *self._where(command.tenant, command.environment),
        )

    def _where(self, tenant: str, environment: str) -> tuple[str, str]:
        where = (tenant or self._within[0], environment or self._within[1])
        if self._bound and where != self._within:
            raise VaultRefused(
                KeyScope("*", "*", *where),
                "the request is signed for another tenant or environment",
            )
        return where

    def _sees(self, facts: SecretFacts) -> bool:
        """Whoever signed for one tenant and environment sees no other."""
        return not self._bound or self._within == (facts.tenant, facts.environment)

    def _tenant(self, body: bytes) -> tuple[str, str]:
        command = _read(body, TenantCommand)
        return self._where(command.tenant, command.environment)


class _Unknown(Exception):
    """No such command."""


def _read(body: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(body or b"{}", type=kind)


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)


def _facts(value: object) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(value)
    return facts


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}
