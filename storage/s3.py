"""As much of S3's API as write-once storage needs, over an httpx transport.

Owns: requests, signatures, bounds, and what an answer means. Never: retries; whoever
asks knows when that makes sense. Works with AWS and with what speaks its API; the
bucket's address comes as it is (`https://BUCKET.s3.REGION.amazonaws.com`, or
`https://HOST/BUCKET`), so that nothing is guessed.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, cast
from urllib.parse import quote, urlsplit
from xml.parsers import expat

import attrs
import httpx
import trio

from wire.sigv4 import S3 as SERVICE
from wire.sigv4 import Signer, Unsigned, sign

ANSWER_S: Final = 10.0  # S3's own clients give up later; here something else waits.
ANSWER_BYTES_MAX: Final = 4 << 20  # A page of a thousand versions takes 0.5 MB.
PAGE_VERSIONS_MAX: Final = 1000  # S3's own bound.
DEPTH_MAX: Final = 16  # Its answers nest to 4.
CODE_CHARS_MAX: Final = 64

LOCK_MODE: Final = "x-amz-object-lock-mode"
LOCK_UNTIL: Final = "x-amz-object-lock-retain-until-date"
COMPLIANCE: Final = "COMPLIANCE"


class S3Error(Exception):
    """A call that did not do what was asked: why, in words for an operator."""

    def __init__(self, why: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.code = code


@attrs.frozen(repr=False)
class Credentials:
    """Who asks; the secret signs and is never sent."""

    signer: Signer
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"<Credentials {self.signer.access_key_id}>"


@attrs.frozen
class Version:
    """One version of an object, or the marker of a deletion."""

    key: str
    version: str
    is_marker: bool = False


@attrs.frozen
class Page:
    """Versions in the order of their keys, and where the next page begins."""

    versions: tuple[Version, ...]
    more: tuple[str, str] | None = None


@attrs.frozen
class Stored:
    """An object's bytes, and for how long nobody can remove them."""

    data: bytes = attrs.field(repr=False)
    lock_mode: str = ""
    locked_until: str = ""


class S3:
    """One bucket."""

    def __init__(
        self,
        url: str,
        region: str,
        credentials: Callable[[], Credentials],
        transport: httpx.AsyncBaseTransport,
        wall: Callable[[], float],
    ) -> None:
        self.url = url.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._transport = transport
        self._wall = wall

    def __repr__(self) -> str:
        return f"<S3 {self.url}>"

    async def put_locked(self, key: str, data: bytes, until_s: float) -> str:
        """Put a new object that nobody can remove until then; its version.

        Raises S3Error; with status 412 when there is one of that name.
        """
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until_s))
        checksum = b64encode(sha256(data).digest()).decode()
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "if-none-match": "*",
            "x-amz-checksum-sha256": checksum,
            LOCK_MODE: COMPLIANCE,
            LOCK_UNTIL: until,
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        response, _ = await self._call("PUT", key, headers=headers, body=data)
        return str(response.headers.get("x-amz-version-id", ""))

    async def get(self, key: str, version: str = "") -> Stored:
        """An object, or one version of it. Raises S3Error."""
        query = {"versionId": version} if version else {}
        response, data = await self._call("GET", key, query)
        return Stored(
            data,
            response.headers.get(LOCK_MODE, ""),
            response.headers.get(LOCK_UNTIL, ""),
        )

    async def versions(
        self,
        prefix: str,
        *,
        after: tuple[str, str] | None = None,
        most: int = PAGE_VERSIONS_MAX,
    ) -> Page:
        """All versions of the objects below a prefix, by name. Raises S3Error."""
        query = {"versions": "", "prefix": prefix, "max-keys": str(most)}
        if after is not None:
            query["key-marker"], query["version-id-marker"] = after
        _, data = await self._call("GET", "", query)
        return _page(data)

    async def locks(self) -> bool:
        """Whether objects of this bucket can be locked. Raises S3Error."""
        try:
            _, data = await self._call("GET", "", {"object-lock": ""})
        except S3Error as error:
            if error.code == "ObjectLockConfigurationNotFoundError":
                return False
            raise
        return ("ObjectLockEnabled", "Enabled") in _leaves(data)

    async def _call(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> tuple[httpx.Response, bytes]:
        parts = urlsplit(self.url)
        target = f"{parts.path}/{quote(key, safe='/~')}"
        if query:
            target += "?" + "&".join(
                f"{quote(name, safe='~')}={quote(value, safe='~')}"
                for name, value in sorted(query.items())
            )
        credentials = self._credentials()
        sent = {
            "host": parts.netloc,
            **(headers or {}),
            "x-amz-content-sha256": sha256(body).hexdigest(),
        }
        signed = sign(
            Unsigned(method, target, tuple(sent.items()), body),
            signer=credentials.signer,
            region=self._region,
            service=SERVICE,
            now_s=self._wall(),
            session_token=credentials.session_token,
        )
        request = httpx.Request(
            method,
            f"{parts.scheme}://{parts.netloc}{target}",
            headers={**sent, **dict(signed)},
            content=body,
        )
        response, data = await self._sent(request)
        if response.status_code != 200:
            raise _refusal(response.status_code, data)
        return response, data

    async def _sent(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        try:
            with trio.fail_after(ANSWER_S):
                response = await self._transport.handle_async_request(request)
                try:
                    return response, await _read(response)
                finally:
                    await response.aclose()
        except trio.TooSlowError:
            why = f"did not answer within {ANSWER_S:g} s"
        except httpx.TransportError as error:
            why = f"cannot be reached ({type(error).__name__})"
        raise S3Error(why) from None


async def _read(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        data += chunk
        if len(data) > ANSWER_BYTES_MAX:
            raise S3Error("answers more than it was asked for")
    return bytes(data)


def _refusal(status: int, data: bytes) -> S3Error:
    """Only the code of an error is told: it comes from outside."""
    try:
        found = dict(_leaves(data)).get("Code", "") if data else ""
    except S3Error:
        found = ""
    code = "".join(char for char in found if char.isalnum())[:CODE_CHARS_MAX]
    return S3Error(f"answered {status} {code}".rstrip(), status=status, code=code)


def _page(data: bytes) -> Page:
    """A ListObjectVersions answer. Raises S3Error."""
    found: list[Version] = []
    facts: dict[str, str] = {}
    current: dict[str, str] = {}
    for name, text in _leaves(data, ends=("Version", "DeleteMarker")):
        if name in ("Version", "DeleteMarker"):
            found.append(
                Version(
                    current.get("Key", ""),
                    current.get("VersionId", ""),
                    name == "DeleteMarker",
                )
            )
            current = {}
        elif name in ("Key", "VersionId"):
            current[name] = text
        else:
            facts[name] = text
    more = None
    if facts.get("IsTruncated") == "true":
        more = facts.get("NextKeyMarker", ""), facts.get("NextVersionIdMarker", "")
    return Page(tuple(found), more)


def _leaves(data: bytes, ends: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """The texts of an XML document in order, and where elements of some names end.

    Raises S3Error. No document type: nothing expands, nothing is fetched.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    found: list[tuple[str, str]] = []
    depth = 0
    text: list[str] = []

    def begin(_name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        text.clear()
        if depth > DEPTH_MAX:
            raise S3Error("answered XML that nests too deep")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        name = name.rpartition(" ")[2]
        said = "".join(text).strip()
        if name in ends or said:
            found.append((name, said))
        text.clear()

    def doctype(*_: object) -> None:
        raise S3Error("answered XML with a document type")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        raise S3Error("answered something that is no XML") from None
    return found
