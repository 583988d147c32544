"""From the settings of the vault to its safe: KMS, root key, store.

Owns: which KMS a configuration means, and that a named one that is missing stops the
start. Does the start's I/O. Without one, a root key file is made in the state folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx

from actors.vault.federation import Federated
from actors.vault.keks import KekLimits
from actors.vault.kms.aws import AwsCredentials, AwsKms
from actors.vault.kms.azure import AzureKms
from actors.vault.kms.errands import ErrandKms
from actors.vault.kms.gcp import GcpKms
from actors.vault.kms.local import LocalKms, open_root
from actors.vault.kms.transit import TransitKms
from actors.vault.locked import LockedMemory
from actors.vault.messages import Federation
from actors.vault.mints import (
    AWS_IAM,
    OPENAI,
    OPENROUTER,
    AwsMint,
    OpenAiMint,
    OpenRouterMint,
)
from actors.vault.policy import RULES_MAX, BadRule, Rule, default_rules, parse
from actors.vault.ports import Kms, KmsError, Minter, VaultStore
from actors.vault.rotations import Lend, MakeMinter, MintSpec
from actors.vault.safe import Safe
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.vault import VaultConfig
from wire.sigv4 import KeySigner

ROOT_KEY_FILE: Final = "root.key"


def open_safe(
    vault: VaultConfig,
    *,
    store: VaultStore,
    state_dir: Path,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    transport: Callable[[], httpx.AsyncBaseTransport],
    memory: LockedMemory | None = None,
) -> Safe:
    """The safe of a configuration. Raises ConfigError."""
    memory = memory or LockedMemory()
    kms = open_kms(
        vault,
        state_dir=state_dir,
        environ=environ,
        wall=wall,
        transport=transport,
        memory=memory,
        has_rows=store.generation() != 0,
    )
    return Safe(
        store,
        kms,
        memory,
        seals_with=vault.kms,
        wall=wall,
        limits=KekLimits(ttl_s=float(vault.kek_cache_s)),
    )


def open_kms(
    vault: VaultConfig,
    *,
    state_dir: Path,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    transport: Callable[[], httpx.AsyncBaseTransport],
    memory: LockedMemory,
    has_rows: bool = False,
) -> dict[str, Kms]:
    """The KMS that is named, and the local one where it was used before.

    `has_rows`: the vault is not new, so a root key that is missing was lost.

    Raises ConfigError.
    """
    kms: dict[str, Kms] = {}
    try:
        if vault.kms != "local":
            kms[vault.kms] = remote(vault, environ, memory, wall, transport())
            if vault.kms_errands:
                # Only for what it checks: it is never asked.
                kms[vault.kms] = _errands(vault, environ, memory)
        local = _local(vault, state_dir, environ, memory, has_rows)
        if local is not None:
            kms["local"] = local
    except KmsError as error:
        raise ConfigError((Problem("", "vault.kms", str(error)),)) from None
    return kms


async def try_kms(kms: Kms) -> None:
    """Wrap and unwrap a key that nobody uses. Raises KmsError."""
    context = {"tenant": "check", "env": "check", "kek": "check"}
    made = await kms.generate(context)
    try:
        (await kms.unwrap(made.blob, context)).wipe()
    finally:
        made.key.wipe()


def rules_of(vault: VaultConfig) -> tuple[Rule, ...]:
    """The policy. Raises ConfigError, with every bad rule."""
    if len(vault.policy) > RULES_MAX:
        count = len(vault.policy)
        what = f"has {count} rules; every grant asks all of them: {RULES_MAX} at most"
        raise ConfigError((Problem("", "vault.policy", what),))
    if not vault.policy:
        return default_rules(vault.tenant, vault.environment)
    rules: list[Rule] = []
    problems: list[Problem] = []
    for index, text in enumerate(vault.policy):
        try:
            rules.append(parse(text))
        except BadRule as bad:
            problems.append(Problem("", f"vault.policy[{index}]", str(bad)))
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(rules)


def make_minters(
    safe: Safe, transport: httpx.AsyncBaseTransport, wall: Callable[[], float]
) -> MakeMinter:
    """How new keys are made at providers."""

    def make(spec: MintSpec, lend: Lend) -> Minter:
        match spec.kind:
            case "openai":
                base = spec.base or OPENAI
                return OpenAiMint(spec.account, lend, transport, safe.memory, base)
            case "openrouter":
                base = spec.base or OPENROUTER
                return OpenRouterMint(lend, transport, safe.memory, base)
            case "aws":
                return AwsMint(
                    spec.account,
                    lend,
                    transport,
                    safe.memory,
                    wall,
                    iam=spec.base or AWS_IAM,
                )

    return make


def make_federated(
    safe: Safe, transport: httpx.AsyncBaseTransport, wall: Callable[[], float]
) -> Callable[[Federation], Federated]:
    """How identities are exchanged for credentials."""

    def make(federation: Federation) -> Federated:
        return Federated(
            federation,
            transport=transport,
            memory=safe.memory,
            wall=wall,
            read=lambda path: Path(path).read_bytes(),
        )

    return make


def root_key_path(vault: VaultConfig, state_dir: Path) -> Path:
    """Where the local KMS's root key is."""
    return vault.root_key_file or state_dir / ROOT_KEY_FILE


def _errands(
    vault: VaultConfig, environ: Mapping[str, str], memory: LockedMemory
) -> Kms:
    """The same, asked by a process a call."""
    return ErrandKms(
        vault.kms,
        {
            "kms": vault.kms,
            "key_id": vault.key_id,
            "region": vault.region,
            "endpoint": vault.endpoint,
            "token_env": vault.token_env,
        },
        command=(sys.executable, "-m", "gateway.kms_errand"),
        environ=environ,
        memory=memory,
    )


def _local(
    vault: VaultConfig,
    state_dir: Path,
    environ: Mapping[str, str],
    memory: LockedMemory,
    has_rows: bool,
) -> LocalKms | None:
    """The local KMS; beside another one only where it has a root key already."""
    path = root_key_path(vault, state_dir)
    if vault.kms != "local" and not path.exists():
        return None
    passphrase: bytes | None = None
    if vault.passphrase_env:
        text = environ.get(vault.passphrase_env, "")
        if not text:
            what = f"{vault.passphrase_env} is not set; it holds the passphrase"
            raise ConfigError((Problem("", "vault.passphrase_env", what),))
        passphrase = text.encode()
    make = vault.kms == "local" and vault.root_key_file is None
    if make and has_rows and not path.exists():
        # A new one would open none of the rows, and hide that the old one is lost.
        what = (
            f"there is no root key at {path}, and the vault holds keys: restore the "
            "file from its copy; if it is lost, move state_dir/vault aside, start "
            "once with --set vault.accept_commits=0, and add the keys anew"
        )
        raise ConfigError((Problem("", "vault.root_key_file", what),))
    root = open_root(path, memory, passphrase=passphrase, make=make)
    return LocalKms(root, memory)


def remote(
    vault: VaultConfig,
    environ: Mapping[str, str],
    memory: LockedMemory,
    wall: Callable[[], float],
    transport: httpx.AsyncBaseTransport,
) -> Kms:
    """The KMS that was named, or ConfigError about what it misses."""

    def needed(variable: str, where: str) -> Callable[[], str]:
        if not environ.get(variable):
            what = f"{variable} is not set; kms {vault.kms} needs it"
            raise ConfigError((Problem("", where, what),))
        # Read at each call: whoever renews a token changes it in this mapping.
        return lambda: environ.get(variable, "")

    match vault.kms:
        case "aws":
            key_id = needed("AWS_ACCESS_KEY_ID", "vault.kms")
            secret = needed("AWS_SECRET_ACCESS_KEY", "vault.kms")
            held = memory.hold(secret().encode())
            credentials = AwsCredentials(
                KeySigner(key_id(), held.view), environ.get("AWS_SESSION_TOKEN") or None
            )
            return AwsKms(
                vault.key_id,
                vault.region,
                credentials=lambda: credentials,
                transport=transport,
                memory=memory,
                wall=wall,
                endpoint=vault.endpoint,
            )
        case "transit":
            return TransitKms(
                vault.key_id,
                vault.endpoint,
                token=needed(vault.token_env, "vault.token_env"),
                transport=transport,
                memory=memory,
            )
        case "gcp":
            return GcpKms(
                vault.key_id,
                token=needed(vault.token_env, "vault.token_env"),
                transport=transport,
                memory=memory,
                endpoint=vault.endpoint,
            )
        case _:
            return AzureKms(
                vault.key_id,
                vault.endpoint,
                token=needed(vault.token_env, "vault.token_env"),
                transport=transport,
                memory=memory,
            )
