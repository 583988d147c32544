"""Minting clients: OpenAI, OpenRouter and AWS make and end keys by API.

Each implements `Minter`. The key that may mint is itself in the vault and comes as a
lease, one use a call. Others (Anthropic lists keys and cannot make one; Google and
Azure are better federated) are rotated by hand, and their overdue keys are told.

OpenAI has no way to deactivate a key: it is deleted when it is certain that nobody uses
it. AWS allows two keys a user, so a user whose second key is somebody else's cannot be
rotated; nothing is ever ended that was not made here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from actors.vault.keyuse import KeyHandle, KeyUse, SigningHandle
from actors.vault.kms.http import Caller
from actors.vault.locked import LockedMemory
from actors.vault.messages import KeyScope, LeaseRefused
from actors.vault.ports import KmsUnavailable, Minted, MintFault
from actors.vault.secret import LeasedKey
from wire.sigv4 import Unsigned, sign

Lend = Callable[[], Awaitable[KeyHandle]]

LISTED_MAX: Final = 100  # Leftovers of one label are looked for among the newest.
OPENAI: Final = "https://api.openai.com"
OPENROUTER: Final = "https://openrouter.ai"
AWS_IAM: Final = "https://iam.amazonaws.com"
AWS_STS: Final = "https://sts.amazonaws.com"


class JsonApi:
    """JSON over HTTP, with a bearer key that a lease writes into the head."""

    def __init__(
        self, name: str, base: str, lend: Lend, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._base = base
        self._lend = lend
        self._caller = Caller(name, transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base}>"

    async def ask(
        self,
        method: str,
        path: str,
        value: object = None,
        *,
        handle: KeyHandle | None = None,
    ) -> dict[str, Any]:
        """The answer's object. Raises MintFault."""
        try:
            key = handle or await self._lend()
            status, data = await self._caller.call(
                method,
                f"{self._base}{path}",
                headers={"content-type": "application/json"},
                body=b"" if value is None else msgspec.json.encode(value),
                key=KeyUse(b"authorization", b"Bearer ", key),
            )
        except (KmsUnavailable, LeaseRefused) as fault:
            raise MintFault(str(fault)) from None
        if status == 404 and method == "DELETE":
            return {}
        if not 200 <= status < 300:
            lasting = 400 <= status < 500 and status not in (401, 408, 409, 425, 429)
            raise MintFault(
                f"{self._caller.name} answered {status} to {method}", lasting=lasting
            )
        try:
            found = msgspec.json.decode(data or b"{}")
        except msgspec.MsgspecError:
            found = None
        if not isinstance(found, dict):
            raise MintFault(f"{self._caller.name} answered no JSON object")
        return cast("dict[str, Any]", found)


class OpenAiMint:
    """A service account a key, in one project; needs an admin key."""

    def __init__(
        self,
        project: str,
        lend: Lend,
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        base: str = OPENAI,
    ) -> None:
        self._api = JsonApi("OpenAI", base, lend, transport)
        place = f"/v1/organization/projects/{quote(project, safe='')}"
        self._accounts = f"{place}/service_accounts"
        self._memory = memory
        self._host = urlsplit(base).hostname or ""

    def __repr__(self) -> str:
        return f"<OpenAiMint {self._accounts}>"

    async def mint(self, label: str) -> Minted:
        """See Minter."""
        listed = await self._api.ask("GET", f"{self._accounts}?limit={LISTED_MAX}")
        for account in listed.get("data") or ():
            if account.get("name") == label:
                await self.delete(str(account["id"]))
        made = await self._api.ask("POST", self._accounts, {"name": label})
        return _minted(self._memory, made.get("id"), made.get("api_key"), "value")

    async def probe(self, minted: Minted) -> None:
        """See Minter."""
        await self._api.ask("GET", "/v1/models", handle=_using(minted, self._host))

    async def deactivate(self, provider_key_id: str) -> None:
        """OpenAI has no such thing; the watch before the deletion stands in for it."""

    async def reactivate(self, provider_key_id: str) -> None:
        """It was never deactivated."""

    async def delete(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._api.ask(
            "DELETE", f"{self._accounts}/{quote(provider_key_id, safe='')}"
        )


class OpenRouterMint:
    """Keys made with a management key."""

    def __init__(
        self,
        lend: Lend,
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        base: str = OPENROUTER,
    ) -> None:
        self._api = JsonApi("OpenRouter", base, lend, transport)
        self._memory = memory
        self._host = urlsplit(base).hostname or ""

    def __repr__(self) -> str:
        return "<OpenRouterMint>"

    async def mint(self, label: str) -> Minted:
        """See Minter."""
        listed = await self._api.ask("GET", "/api/v1/keys?include_disabled=true")
        for key in listed.get("data") or ():
            if key.get("name") == label:
                await self.delete(str(key["hash"]))
        made = await self._api.ask("POST", "/api/v1/keys", {"name": label})
        data = made.get("data")
        named = data.get("hash") if isinstance(data, dict) else None
        return _minted(self._memory, named, made, "key")

    async def probe(self, minted: Minted) -> None:
        """See Minter."""
        await self._api.ask("GET", "/api/v1/key", handle=_using(minted, self._host))

    async def deactivate(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._switch(provider_key_id, disabled=True)

    async def reactivate(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._switch(provider_key_id, disabled=False)

    async def delete(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._api.ask("DELETE", self._path(provider_key_id))

    async def _switch(self, key_id: str, *, disabled: bool) -> None:
        await self._api.ask("PATCH", self._path(key_id), {"disabled": disabled})

    def _path(self, key_id: str) -> str:
        return f"/api/v1/keys/{quote(key_id, safe='')}"


class AwsMint:
    """Access keys of one IAM user, signed for with a key that may make them."""

    def __init__(
        self,
        user: str,
        lend: Lend,
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        wall: Callable[[], float],
        *,
        iam: str = AWS_IAM,
        sts: str = AWS_STS,
    ) -> None:
        self._user = user
        self._lend = lend
        self._memory = memory
        self._wall = wall
        self._iam = iam
        self._sts = sts
        self._caller = Caller("AWS IAM", transport)

    def __repr__(self) -> str:
        return f"<AwsMint {self._user}>"

    async def mint(self, label: str) -> Minted:
        """See Minter. An access key has no label, so leftovers cannot be told apart."""
        del label
        answer = await self._ask(Action="CreateAccessKey", UserName=self._user)
        named, secret = _tag(answer, "AccessKeyId"), _tag(answer, "SecretAccessKey")
        return Minted(self._memory.hold(secret.encode()), named, named)

    async def probe(self, minted: Minted) -> None:
        """See Minter. AWS takes some seconds to know a new key: a probe is repeated."""
        handle = _using(minted, urlsplit(self._sts).hostname or "")
        await self._send(
            self._sts, "sts", {"Action": "GetCallerIdentity"}, "2011-06-15", handle
        )

    async def deactivate(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._switch(provider_key_id, "Inactive")

    async def reactivate(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._switch(provider_key_id, "Active")

    async def delete(self, provider_key_id: str) -> None:
        """See Minter."""
        await self._ask(
            Action="DeleteAccessKey",
            UserName=self._user,
            AccessKeyId=provider_key_id,
        )

    async def _switch(self, key_id: str, status: str) -> None:
        await self._ask(
            Action="UpdateAccessKey",
            UserName=self._user,
            AccessKeyId=key_id,
            Status=status,
        )

    async def _ask(self, **fields: str) -> str:
        try:
            handle = await self._lend()
        except LeaseRefused as refused:
            raise MintFault(str(refused)) from None
        return await self._send(self._iam, "iam", fields, "2010-05-08", handle)

    async def _send(
        self,
        base: str,
        service: str,
        fields: dict[str, str],
        version: str,
        handle: KeyHandle,
    ) -> str:
        body = urlencode({**fields, "Version": version}).encode()
        headers = (
            ("host", urlsplit(base).netloc),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        )
        signer = cast("SigningHandle", handle)
        try:
            signed = sign(
                Unsigned("POST", "/", headers, body),
                signer=signer,
                region="us-east-1",  # IAM and STS are global; they sign for this one.
                service=service,
                now_s=self._wall(),
                session_token=signer.session_token,
            )
            status, data = await self._caller.call(
                "POST", f"{base}/", headers=dict((*headers, *signed)), body=body
            )
        except (KmsUnavailable, LeaseRefused) as fault:
            raise MintFault(str(fault)) from None
        finally:
            handle.spent()
        text = data.decode("utf-8", "replace")
        if 200 <= status < 300:
            return text
        code = _tag(text, "Code", missing="")
        if code == "NoSuchEntity" and fields["Action"] == "DeleteAccessKey":
            return text
        lasting = code in ("LimitExceeded", "NoSuchEntity", "AccessDenied")
        raise MintFault(
            f"AWS answered {status} {code} to {fields['Action']}", lasting=lasting
        )


def _minted(memory: LockedMemory, named: Any, holder: Any, field: str) -> Minted:
    value = holder.get(field) if isinstance(holder, dict) else None
    if not isinstance(named, str) or not isinstance(value, str):
        raise MintFault("the provider answered without a key; look there for a stray")
    return Minted(memory.hold(value.encode()), named)


def _using(minted: Minted, host: str) -> LeasedKey:
    """The new key for one call, to this host only; the rotator wipes the original."""
    return LeasedKey(
        KeyScope("new key", minted.provider_key_id),
        minted.key,
        minted.key.view,
        hosts=frozenset({host}),
        plain_allowed=False,
        expires_at=1.0,
        now=lambda: 0.0,  # Its end is the call's own, which is bounded.
        on_end=lambda _: None,
        access_key_id=minted.access_key_id,
    )


def _tag(text: str, name: str, *, missing: str | None = None) -> str:
    found = re.search(rf"<{name}>([^<]{{1,256}})</{name}>", text)
    if found is None:
        if missing is not None:
            return missing
        raise MintFault(f"AWS answered without {name}")
    return found[1]
