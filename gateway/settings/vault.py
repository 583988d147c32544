"""The settings of the vault: which KMS guards it, and who may borrow keys.

Owns: `[vault]`. Never: does I/O; no value here is a secret, only where one is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.server import Found

KmsKind = Literal["local", "aws", "transit", "gcp", "azure"]

KMS: Final[values.Reader[KmsKind]] = values.choice(
    "local", "aws", "transit", "gcp", "azure"
)
NAME: Final = values.text(
    "name of letters, digits and . _ -, at most 63", r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)
VARIABLE: Final = values.text(
    "name of an environment variable", r"([A-Za-z_][A-Za-z0-9_]{0,127})?", hidden=True
)
KEY_ID: Final = values.text("the key's name at its KMS", r"[A-Za-z0-9:/._~-]{0,512}")
RULE: Final = values.text("rule of the policy", r"(allow|deny) .{1,2000}")
CACHE_S: Final = values.integer(0, 300)
COMMITS: Final = values.integer(-1, 2**53 - 1)


@config
class VaultConfig:
    """Which KMS guards the stored keys, and who may borrow them."""

    tenant: str = setting(
        NAME,
        default="default",
        reload="restart",
        doc="The tenant whose keys this configuration's providers use.",
    )
    environment: str = setting(
        NAME,
        default="default",
        reload="restart",
        doc="The environment whose keys they use: a key of another one does not open.",
    )
    kms: KmsKind = setting(
        KMS,
        default="local",
        reload="restart",
        doc="What wraps the keys of tenants. `local` is a root key of this machine and "
        "no HSM: it protects a stolen database, not a taken-over machine. `transit` is "
        "OpenBao or HashiCorp Vault. One that is named and missing stops the start.",
    )
    root_key_file: Path | None = setting(
        values.PATH,
        default=None,
        reload="restart",
        doc="The root key of the local KMS, mode 0600. Without it one is made in "
        "state_dir. Keep a copy elsewhere: without it no stored key opens again.",
    )
    passphrase_env: str = setting(
        VARIABLE,
        default="",
        reload="restart",
        doc="The environment variable with the passphrase of the root key file "
        "(Argon2id), where it has one.",
    )
    key_id: str = setting(
        KEY_ID,
        default="",
        reload="restart",
        doc="The key at the KMS: an ARN or alias (aws), a name (transit), "
        "projects/…/cryptoKeys/… (gcp), the key's name (azure).",
    )
    endpoint: str = setting(
        values.URL,
        default="",
        reload="restart",
        doc="Where the KMS is: needed for transit and azure; else the cloud's own.",
    )
    region: str = setting(
        values.text("region", r"[a-z0-9-]{0,32}"),
        default="us-east-1",
        reload="restart",
        doc="AWS's region.",
    )
    token_env: str = setting(
        VARIABLE,
        default="",
        reload="restart",
        doc="The environment variable with the token for transit (VAULT_TOKEN), gcp or "
        "azure (an access token). AWS's are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
        "and AWS_SESSION_TOKEN.",
    )
    kek_cache_s: int = setting(
        CACHE_S,
        default=300,
        unit="seconds",
        reload="restart",
        doc="How long an unwrapped key of a tenant serves without asking the KMS; also "
        "how long leases go on when it is down. 0 asks for every lease.",
    )
    policy: tuple[str, ...] = setting(
        values.many(RULE),
        default=(),
        doc="Who may do what with which key; see docs/security.md. Without rules every "
        "site may use the keys of `tenant` and `environment`.",
    )
    signed_for: tuple[str, ...] = setting(
        values.many(values.text("host or host:port", r"[A-Za-z0-9._:\[\]-]{1,255}")),
        default=(),
        doc="The names, as in Host, for which clients of /admin/v1/vault sign their "
        "requests; each instance its own. Without any, server.bind and admin_bind.",
    )
    kms_errands: bool = setting(
        values.BOOLEAN,
        default=False,
        reload="restart",
        doc="Whether each call to a remote KMS is made by a process of its own, so "
        "that its answer never was in the gateway's memory. Each costs 0.3 s of CPU.",
    )
    accept_commits: int = setting(
        COMMITS,
        default=-1,
        default_doc="none",
        reload="restart",
        doc="After state_dir/vault was put back to an older copy on purpose, or moved "
        "away: how many commits the refused start said it has. See docs/security.md.",
    )
    pepper_epochs: int = setting(
        values.integer(0, 400),
        default=4,
        unit="epochs of 90 days",
        doc="For how long the secret is kept under which records name people; once it "
        "is destroyed, nobody can tell any more whom they mean.",
    )
    rotate_days: int = setting(
        values.integer(1, 3650),
        default=30,
        unit="days",
        doc="After how many days a stored key is rotated, or its rotation is overdue.",
    )
    rotate_overlap_s: float = setting(
        values.SECONDS,
        default=86_400.0,
        unit="seconds",
        reload="restart",
        doc="How long a rotated key's predecessor stays good after the new one is in "
        "use, for whatever else uses it.",
    )
    rotate_watch_s: float = setting(
        values.SECONDS,
        default=86_400.0,
        unit="seconds",
        reload="restart",
        doc="How long it stays deactivated before it is deleted; what the provider "
        "refuses meanwhile brings it back.",
    )
    core_dumps: bool = setting(
        values.BOOLEAN,
        default=False,
        reload="restart",
        doc="Whether the process may dump core and be read by debuggers.",
    )

    @property
    def home(self) -> tuple[str, str]:
        """The tenant and environment of the gateway itself."""
        return self.tenant, self.environment

    def problems(self) -> Found:
        """A KMS elsewhere has a key there; transit and azure have an address."""
        if self.kms != "local" and not self.key_id:
            yield "key_id", f"is missing; kms {self.kms} needs it"
        if self.kms in ("transit", "azure") and not self.endpoint:
            yield "endpoint", f"is missing; kms {self.kms} needs it"
        if self.kms in ("transit", "gcp", "azure") and not self.token_env:
            yield "token_env", f"is missing; kms {self.kms} needs it"
        if self.endpoint.startswith("http://") and not values.is_loopback(
            self.endpoint.split("/")[2].rsplit(":", 1)[0]
        ):
            yield "endpoint", "would send keys unencrypted; use https://"
