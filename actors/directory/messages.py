"""What operators add at run time, as values.

An object (`Declared`) is what a table of `stagedoor.toml` is: a kind, a name and a
document with the same words as the file; `gateway/settings` defines them, once for
both. A key belongs to a site and has one secret, or two while it is rotated. Its id is
part of every secret it ever had, and is what logs, records and caps call it:
`SITE:ID`. Nothing here can be used to call but `NewKey.secret`, which is shown once.
"""

from __future__ import annotations

from typing import Any, Final, Generic, Literal, TypeVar, get_args

from msgspec import Struct

from runtime import DomainError

T = TypeVar("T")

Kind = Literal["tenant", "site", "provider", "model", "cap"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Scope = Literal["inference", "models", "usage", "grants"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

Document = dict[str, Any]
"""An object's settings, without its name. Fractions are Decimal: money is exact."""

PAGE_MAX: Final = 500  # A page of the Console shows 100; an export asks for more.


class Declared(Struct, frozen=True):
    """An object as it stands.

    `version` is the generation of the directory that last changed it: no two states of
    anything share one, so it serves as an ETag. `tenant` is whose it is, empty for what
    belongs to the operator.
    """

    kind: Kind
    name: str
    tenant: str
    document: Document
    version: int
    created_ms: int
    updated_ms: int
    updated_by: str


class KeyTerms(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key may do. An empty list of scopes, models or audiences is no limit.

    Attributes:
        label: What people call it.
        expires_ms: Unix time from when on it is refused.
        scopes: `inference` calls models, `models` lists them, `usage` reads what its
            site spent, `grants` makes stream grants for browsers.
        models: Names or patterns that it may ask for, of those that its site may.
        models_denied: Names or patterns that it may not, whatever else is allowed.
        origins: Web origins that may use it (or its grants) from a browser. None:
            no browser may.
        audiences: For whom its grants may be.
        requests_per_minute_max: On top of the site's own limits, as the next two.
        tokens_per_minute_max: Prompts and answers together.
        in_flight_max: Requests at once.
    """

    label: str = ""
    expires_ms: int | None = None
    scopes: tuple[Scope, ...] = ()
    models: tuple[str, ...] = ()
    models_denied: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    requests_per_minute_max: int | None = None
    tokens_per_minute_max: int | None = None
    in_flight_max: int | None = None


class SecretFacts(Struct, frozen=True):
    """One secret of a key: when it was made, and from when on it is refused."""

    created_ms: int
    expires_ms: int | None


class KeyFacts(Struct, frozen=True):
    """A key, without its secrets."""

    id: str
    site: str
    terms: KeyTerms
    secrets: tuple[SecretFacts, ...]
    revoked_ms: int | None
    version: int
    created_ms: int
    created_by: str
    updated_ms: int
    updated_by: str

    @property
    def prefix(self) -> str:
        """How each of its secrets begins: enough to find it, nothing to call with."""
        return f"{SECRET_PREFIX}{self.id}"

    @property
    def key_id(self) -> str:
        """What logs, records and caps call it."""
        return f"{self.site}:{self.id}"


class NewKey(Struct, frozen=True):
    """A secret, this once."""

    facts: KeyFacts
    secret: str

    def __repr__(self) -> str:
        return f"<NewKey {self.facts.key_id}>"


class HeldKey(Struct, frozen=True):
    """A key as processes hold it: each secret's SHA-256, and until when it serves."""

    facts: KeyFacts
    digests: tuple[tuple[bytes, int | None], ...]


class Page(Struct, Generic[T], frozen=True):
    """Some of a list. `next` goes on from here; empty at its end."""

    items: tuple[T, ...]
    next: str = ""


class Changes(Struct, frozen=True):
    """What became of the directory since a generation.

    `whole`: it is all there is, and what is not in it is gone.
    """

    generation: int
    declared: tuple[Declared, ...]
    keys: tuple[HeldKey, ...]
    gone: tuple[tuple[str, str], ...] = ()  # Kind (or "key") and name.
    whole: bool = False


SECRET_PREFIX: Final = "sk-stagedoor-"  # noqa: S105 - the part that is public


class DirectoryRefused(DomainError):
    """Base of what the directory refuses; each says who, why and what next."""


class Unknown(DirectoryRefused):
    """There is no such object or key."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}")
        self.kind = kind
        self.name = name


class Exists(DirectoryRefused):
    """It was to be new, and is there."""

    def __init__(self, kind: str, name: str, version: int) -> None:
        super().__init__(f"{kind} {name!r} is there already")
        self.kind = kind
        self.name = name
        self.version = version


class Outdated(DirectoryRefused):
    """Somebody else changed it since it was read."""

    def __init__(self, kind: str, name: str, version: int) -> None:
        super().__init__(
            f"{kind} {name!r} was changed by somebody else (it is at version "
            f"{version}); read it again and decide anew"
        )
        self.kind = kind
        self.name = name
        self.version = version


class Unfit(DirectoryRefused):
    """With this change the configuration would not hold together."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class TooMany(DirectoryRefused):
    """A bound of the directory."""


class DirectoryDown(DomainError):
    """Its store cannot be reached. Reads go on from memory; writes have to wait."""
