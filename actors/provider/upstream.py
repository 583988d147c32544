"""One deployment as streams call it: where it is, how it speaks, what it costs.

Owns the transport with its connection pool; lives in the provider's cell. Never holds a
key: it says which header carries one and lets the lease write it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

import attrs
import httpx

from actors.ledger.messages import Price
from actors.provider.http import Prepared, prepare
from actors.provider.messages import Deadlines, OnAbort
from actors.provider.sockets import UpstreamSocket
from actors.provider.transport import StaleConnection, Transport
from actors.vault.keyuse import KeyHandle, KeyUse, SigningHandle
from actors.vault.messages import KeyScope
from wire.dialect import (
    AuthScheme,
    Target,
    UpstreamRequest,
)
from wire.registry import Speech
from wire.sigv4 import Unsigned, sign

AWS_SERVICE: Final = "bedrock"
PREPARED_MAX: Final = 256  # Heads kept rendered: a few paths for each model.

KEY_HEADERS: Final[dict[AuthScheme, tuple[bytes, bytes]]] = {
    "bearer": (b"authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "api-key": (b"api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
}


@attrs.define(repr=False)
class HttpUpstream:
    """A deployment behind an httpx transport."""

    name: str
    kind: str
    base_url: str
    transport: httpx.AsyncBaseTransport
    speech: Speech
    deadlines: Deadlines
    key: KeyScope | None
    on_abort: OnAbort
    prices: Mapping[str, Price]
    options: Mapping[str, str] = attrs.field(factory=dict[str, str])
    region: str = ""
    wall: Callable[[], float] = time.time  # AWS signs the date.
    _prepared: dict[tuple[str, str, tuple[tuple[str, str], ...]], Prepared] = (
        attrs.field(factory=dict, init=False)
    )

    def __repr__(self) -> str:
        """Name, kind and place."""
        return f"<HttpUpstream {self.name} {self.kind} {self.base_url}>"

    def target(self, model: str, output_tokens_max: int | None) -> Target:
        """The target for one of its models."""
        return Target(
            model=model,
            flavour=self.speech.flavour,
            max_output_tokens=output_tokens_max,
            options=self.options,
        )

    def price(self, model: str) -> Price | None:
        """What `model` costs here."""
        return self.prices.get(model)

    async def send(
        self,
        request: UpstreamRequest,
        lend: Callable[[], Awaitable[KeyHandle]] | None,
        on_phase: Callable[[str], None],
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> httpx.Response:
        """Send one request, again on a fresh connection if a kept one had died."""
        prepared = self._prepare(request)
        try:
            return await self._send(prepared, request, lend, on_phase, fields)
        except StaleConnection:
            # No byte of an answer came and the peer had hung up while the connection
            # was idle. The lease was for that one head, so a new one is asked for.
            return await self._send(prepared, request, lend, on_phase, fields)

    async def open_socket(
        self,
        request: UpstreamRequest,
        lend: Callable[[], Awaitable[KeyHandle]] | None,
        on_phase: Callable[[str], None],
    ) -> UpstreamSocket:
        """See Upstream. Proxies and fakes that only speak requests cannot."""
        transport = self.transport
        if not isinstance(transport, Transport):
            raise httpx.ConnectError(f"{self.name} is reached in a way without sockets")
        prepared = self._prepare(request)
        wire, origin = await transport.connect(prepared.url, on_phase)
        socket = UpstreamSocket(wire, origin)
        try:
            key: KeyUse | None = None
            if lend is not None and request.auth != "none":
                name, prefix = KEY_HEADERS[request.auth]
                key = KeyUse(name, prefix, await lend())
            fields = [(k.encode("ascii"), v.encode()) for k, v in request.headers]
            target = prepared.url.raw_path.decode("ascii")
            await socket.shake_hands(target, fields, key, on_phase)
        except BaseException:
            socket.close()
            raise
        return socket

    async def aclose(self) -> None:
        """Close the pool."""
        await self.transport.aclose()

    async def _send(
        self,
        prepared: Prepared,
        request: UpstreamRequest,
        lend: Callable[[], Awaitable[KeyHandle]] | None,
        on_phase: Callable[[str], None],
        fields: Sequence[tuple[bytes, bytes]],
    ) -> httpx.Response:
        extensions: dict[str, object] = {"stagedoor.phase": on_phase}
        extra = fields
        handle: KeyHandle | None = None
        try:
            if lend is not None and request.auth != "none":
                handle = await lend()
                if request.auth == "sigv4":
                    # Not signed: whatever a proxy of ours adds is not, either.
                    extra = [*self._sign(prepared, request, handle), *fields]
                else:
                    name, prefix = KEY_HEADERS[request.auth]
                    extensions["stagedoor.key"] = KeyUse(name, prefix, handle)
            return await self.transport.handle_async_request(
                prepared.request(request.body, extensions, extra)
            )
        except BaseException:
            if handle is not None:
                # No connection, perhaps: then no head has spent it, and it would lie
                # in memory until its deadline, or the end of the stream.
                handle.spent()
            raise

    def _sign(
        self, prepared: Prepared, request: UpstreamRequest, handle: KeyHandle
    ) -> list[tuple[bytes, bytes]]:
        """AWS's headers: the secret signs inside its lease and goes nowhere."""
        unsigned = Unsigned(
            request.method,
            prepared.url.raw_path.decode("ascii"),
            tuple((k.decode(), v.decode()) for k, v in prepared.headers),
            request.body,
        )
        signer = cast("SigningHandle", handle)
        try:
            headers = sign(
                unsigned,
                signer=signer,
                region=self.region,
                service=AWS_SERVICE,
                now_s=self.wall(),
                session_token=signer.session_token,
            )
        finally:
            handle.spent()
        return [(k.encode("ascii"), v.encode("latin-1")) for k, v in headers]

    def _prepare(self, request: UpstreamRequest) -> Prepared:
        key = (request.method, request.path, request.headers)
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= PREPARED_MAX:
                self._prepared.clear()
            prepared = prepare(
                self.base_url,
                request.path,
                [(k.encode("ascii"), v.encode("latin-1")) for k, v in request.headers],
                method=request.method,
            )
            self._prepared[key] = prepared
        return prepared
