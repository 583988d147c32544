"""API keys of sites: made and rotated (shown once), changed, revoked."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from actors.directory.messages import KeyFacts, KeyTerms, Scope, SecretFacts
from actors.directory.policy import OVERLAP_S_MAX
from gateway.admin import paging
from gateway.admin.office import Office, directory_of, refusals
from gateway.admin.operation import Answer, Call, Operation, etag
from gateway.admin.paging import Page, Paged
from gateway.admin.problems import Problem
from gateway.admin.resources.usage import Time
from gateway.settings import values
from gateway.settings.errors import Unfit
from gateway.settings.origins import ORIGIN

ORIGINS: Final = values.many(ORIGIN)
Audience = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,200}$")]
OVERLAP_S: Final = 86_400  # A day to bring a new key to every client.


class Key(msgspec.Struct, frozen=True):
    """A key of a site, without its secrets."""

    id: str
    site: str
    prefix: str
    """How its secrets begin."""
    key_id: str
    """As records and caps call it."""
    terms: KeyTerms
    secrets: tuple[SecretFacts, ...]
    """One, or more while it is rotated."""
    revoked_ms: int | None
    version: int
    created_ms: int
    created_by: str
    updated_ms: int
    updated_by: str


class NewKey(msgspec.Struct, frozen=True):
    """A key with its secret, this once."""

    key: Key
    secret: str


Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Pattern = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:/@*?-]{1,128}$")]
Patterns = Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=1000)]
Origin = Annotated[
    str,
    msgspec.Meta(
        max_length=300,
        description="As browsers send it, as https://www.example.org; `*.` may stand "
        "for any host below, `*` for all.",
    ),
]


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may do. An empty list of scopes, models or audiences is no limit."""

    label: Annotated[
        str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    ] = ""
    expires_ms: Time | None = None
    scopes: tuple[Scope, ...] = ()
    """inference, models (lists them), usage (of its site), grants (for browsers)."""
    models: Patterns = ()
    """Names or patterns that it may ask for, of those that its site may."""
    models_denied: Patterns = ()
    origins: Annotated[tuple[Origin, ...], msgspec.Meta(max_length=100)] = ()
    """Web origins that may use it from a browser; without, no browser may."""
    audiences: Annotated[tuple[Audience, ...], msgspec.Meta(max_length=100)] = ()
    """For whom its stream grants may be."""
    requests_per_minute_max: Count | None = None
    tokens_per_minute_max: Count | None = None
    in_flight_max: Count | None = None


class KeyWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made."""

    terms: Terms = Terms()


class KeyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The terms that a key is to have, all of them."""

    terms: Terms


class Rotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give a key a new secret."""

    overlap_s: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=OVERLAP_S_MAX,
            description="How long the earlier secrets go on serving.",
        ),
    ] = OVERLAP_S


def shown(facts: KeyFacts) -> Key:
    """As the API shows it."""
    return Key(
        id=facts.id,
        site=facts.site,
        prefix=facts.prefix,
        key_id=facts.key_id,
        terms=facts.terms,
        secrets=facts.secrets,
        revoked_ms=facts.revoked_ms,
        version=facts.version,
        created_ms=facts.created_ms,
        created_by=facts.created_by,
        updated_ms=facts.updated_ms,
        updated_by=facts.updated_by,
    )


def operations(office: Office) -> tuple[Operation, ...]:
    """All about keys."""

    async def one(call: Call) -> KeyFacts:
        """The key, of the site in the path. Raises Problem."""
        site, _ = await office.site_of(call)
        name = call.param("key")
        with refusals():
            facts = await directory_of(office).key(name)
        if facts.site != site or facts.id != name:
            raise Problem("not-found", f"there is no key {name} of site {site}")
        return facts

    async def every(call: Call) -> Page[Key]:
        site, _ = await office.site_of(call)
        asked: Paged = call.query
        place = paging.decode("keys", asked.cursor)
        with refusals():
            found = await directory_of(office).list_keys(
                site=site,
                after="" if place is None else paging.name_at(place),
                limit=asked.limit,
            )
        cursor = paging.encode("keys", (found.next,)) if found.next else ""
        return Page(tuple(map(shown, found.items)), cursor)

    async def get(call: Call) -> Answer:
        facts = await one(call)
        return Answer(shown(facts), etag=etag(facts.version))

    async def create(call: Call) -> Answer:
        site, tenant = await office.site_of(call)
        terms = _checked(office, call.body.terms)
        await call.record(site, tenant=tenant)
        with refusals():
            made = await directory_of(office).create_key(
                site, terms, by=call.principal.name
            )
        # Which one it became, for whoever reads the log.
        call.note("key.made", made.facts.key_id, tenant=tenant)
        return Answer(
            NewKey(shown(made.facts), made.secret), etag=etag(made.facts.version)
        )

    async def change(call: Call) -> Answer:
        _, tenant = await office.site_of(call)
        facts = await one(call)
        expected = call.expected()
        if expected is not None and expected != facts.version:
            raise Problem("stale", f"key {facts.id} is at v{facts.version} now")
        terms = _checked(office, call.body.terms)
        await call.record(facts.key_id, tenant=tenant)
        with refusals():
            changed = await directory_of(office).change_key(
                facts.id,
                terms,
                by=call.principal.name,
                expected=facts.version,
            )
        return Answer(shown(changed), etag=etag(changed.version))

    async def rotate(call: Call) -> Answer:
        _, tenant = await office.site_of(call)
        facts = await one(call)
        overlap_s: int = call.body.overlap_s
        if facts.revoked_ms is not None:
            raise Problem("conflict", f"key {facts.id} is revoked; make a new one")
        await call.record(facts.key_id, tenant=tenant, overlap_s=overlap_s)
        with refusals():
            made = await directory_of(office).rotate_key(
                facts.id, overlap_s=overlap_s, by=call.principal.name
            )
        return Answer(
            NewKey(shown(made.facts), made.secret), etag=etag(made.facts.version)
        )

    async def revoke(call: Call) -> Answer:
        _, tenant = await office.site_of(call)
        facts = await one(call)
        await call.record(facts.key_id, tenant=tenant)
        with refusals():
            ended = await directory_of(office).revoke_key(
                facts.id, by=call.principal.name
            )
        return Answer(shown(ended), etag=etag(ended.version))

    path = "/sites/{site}/keys"
    return (
        Operation(
            "listKeys", "GET", path, "keys", "A site's keys, revoked ones too", every,
            doc="Keys of the configuration file are not among them.",
            query=Paged, gives=Page[Key],
        ),
        Operation(
            "createKey", "POST", path, "keys", "Make a key", create,
            doc="Its secret is in this answer and nowhere else.",
            role="admin", body=KeyWanted, gives=NewKey, status=201, act="key.create",
            conflicts=True, versioned=True,
        ),
        Operation(
            "getKey", "GET", f"{path}/{{key}}", "keys", "One key", get,
            gives=Key, versioned=True,
        ),
        Operation(
            "changeKey", "PUT", f"{path}/{{key}}", "keys", "Give a key other terms",
            change, role="admin", body=KeyChange, gives=Key, act="key.change",
            versioned=True,
        ),
        Operation(
            "rotateKey", "POST", f"{path}/{{key}}/rotate", "keys",
            "Give a key a new secret", rotate,
            doc="The earlier ones go on serving for `overlap_s`. The new one is in "
            "this answer and nowhere else.",
            role="admin", body=Rotate, gives=NewKey, act="key.rotate", conflicts=True,
            versioned=True,
        ),
        Operation(
            "revokeKey", "POST", f"{path}/{{key}}/revoke", "keys", "End a key", revoke,
            doc="In every process within a second, with the streams begun with it. "
            "Again is the same.",
            role="admin", gives=Key, act="key.revoke", versioned=True,
        ),
    )  # fmt: skip


def _checked(office: Office, terms: Terms) -> KeyTerms:
    """The directory's terms. Raises Problem for what no key can have."""
    if terms.expires_ms is not None and terms.expires_ms <= office.now_ms():
        raise Problem("invalid", "$.terms.expires_ms: is over already")
    try:
        origins = ORIGINS.read(list(terms.origins))
    except Unfit as unfit:
        raise Problem("invalid", f"$.terms.origins: {unfit.why}") from None
    made = msgspec.convert(terms, type=KeyTerms, from_attributes=True)
    return msgspec.structs.replace(made, origins=origins)
