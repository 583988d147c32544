"""Admin tokens: made (shown once), listed, revoked."""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec

from actors.adminbooks import Role, Taken, TokenBook, TokenRow
from gateway.admin import paging, tokens
from gateway.admin.office import Office, needed
from gateway.admin.operation import Answer, Call, Operation
from gateway.admin.paging import Page, Paged
from gateway.admin.problems import Problem
from gateway.admin.resources.usage import Time

ID_BYTES = 8


class Token(msgspec.Struct, frozen=True):
    """An admin token, without what it opens with."""

    id: str
    name: str
    role: Role
    tenants: tuple[str, ...] | None
    """The tenants it is about; null is all of them, and the gateway itself."""
    prefix: str
    created_ms: int
    created_by: str
    expires_ms: int | None
    revoked_ms: int | None
    used_ms: int | None
    """When it was last used, to the minute."""


class NewToken(msgspec.Struct, frozen=True):
    """A token that was just made. `secret` is not shown again."""

    token: Token
    secret: str


TenantName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class TokenWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made."""

    name: TenantName
    role: Role
    tenants: Annotated[
        tuple[TenantName, ...],
        msgspec.Meta(
            max_length=100,
            description="The tenants it is about. Empty: whatever its maker is about.",
        ),
    ] = ()
    expires_ms: Time | None = None


def shown(row: TokenRow) -> Token:
    """As the API shows it."""
    return Token(
        row.id,
        row.name,
        row.role,
        row.tenants,
        row.prefix,
        row.created_ms,
        row.created_by,
        row.expires_ms,
        row.revoked_ms,
        row.used_ms,
    )


def operations(office: Office) -> tuple[Operation, ...]:
    """All about tokens."""

    def book() -> TokenBook:
        return needed(office.books.tokens, "a token")

    def sees(call: Call, row: TokenRow) -> bool:
        """A token of some tenants is the business of whoever has all of these."""
        mine = call.principal.tenants
        return mine is None or (row.tenants is not None and mine >= set(row.tenants))

    async def one(call: Call) -> TokenRow:
        name = call.param("token")
        row = await book().get_token(name)
        if row is None or not sees(call, row):
            raise Problem("not-found", f"there is no token {name}")
        return row

    async def list_tokens(call: Call) -> Page[Token]:
        asked: Paged = call.query
        place = paging.decode("tokens", asked.cursor)
        after = "" if place is None else paging.name_at(place)
        found: list[TokenRow] = []
        while len(found) <= asked.limit:
            rows = await book().list_tokens(after, paging.LIMIT_MAX)
            found += [row for row in rows if sees(call, row)]
            if len(rows) < paging.LIMIT_MAX:
                break
            after = rows[-1].id
        page = paging.page("tokens", found, asked.limit, lambda row: (row.id,))
        return Page(tuple(map(shown, page.items)), page.next_cursor)

    async def get_token(call: Call) -> Token:
        return shown(await one(call))

    async def create(call: Call) -> Answer:
        asked: TokenWanted = call.body
        mine = call.principal.tenants
        for tenant in asked.tenants:
            call.principal.check_tenant(tenant, f"tenant {tenant}")
        if asked.expires_ms is not None and asked.expires_ms <= office.now_ms():
            raise Problem("invalid", "$.expires_ms: is over already")
        about = asked.tenants or (None if mine is None else tuple(sorted(mine)))
        secret, digest, prefix = tokens.make()
        row = TokenRow(
            id=f"tok_{secrets.token_hex(ID_BYTES)}",
            name=asked.name,
            role=asked.role,
            tenants=about,
            prefix=prefix,
            created_ms=office.now_ms(),
            created_by=call.principal.name,
            expires_ms=asked.expires_ms,
        )
        if any(known.name == asked.name for known in office.config.admin.tokens):
            raise Problem("read-only", f"the file has a token {asked.name}")
        await call.record(row.name, role=row.role, id=row.id)
        try:
            await book().add_token(row, digest)
        except Taken as taken:
            raise Problem("conflict", str(taken)) from None
        return Answer(NewToken(shown(row), secret))

    async def revoke(call: Call) -> Token:
        row = await one(call)
        await call.record(row.name, id=row.id)
        await book().revoke_token(row.id, office.now_ms())
        return shown(await one(call))

    return (
        Operation(
            "listTokens", "GET", "/tokens", "tokens", "Admin tokens", list_tokens,
            role="owner", query=Paged, gives=Page[Token],
        ),
        Operation(
            "createToken", "POST", "/tokens", "tokens", "Make a token", create,
            doc="Its secret is in this answer and nowhere else.",
            role="owner", body=TokenWanted, gives=NewToken, status=201,
            act="token.create", conflicts=True,
        ),
        Operation(
            "getToken", "GET", "/tokens/{token}", "tokens", "One token", get_token,
            role="owner", gives=Token,
        ),
        Operation(
            "revokeToken", "POST", "/tokens/{token}/revoke", "tokens",
            "End a token", revoke,
            doc="It opens nothing from the next request on, in every process. Again is "
            "the same.",
            role="owner", gives=Token, act="token.revoke",
        ),
    )  # fmt: skip
