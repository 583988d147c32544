"""What a worker answers for itself alone, when another one asks: all below `/own`.

    GET  /own/about|tree|models|readyz|metrics      its part of an answer for all
    GET  /own/reports/NAME                          the same, for the admin API
    GET  /own/shelf?site=&name=    DELETE the same  a kept answer
    any  /own/v1/responses/…                        a request of another's client
    POST /own/vault/…                               for the first worker's desk
    POST /own/follow                                the vault's rows have changed

Owns: nothing. Whoever can open the socket is the gateway's own user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from actors.vault.messages import CountVault, Follow
from gateway.gate import Gate
from gateway.http.answers import Answers
from gateway.http.replies import reply, reply_error, reply_json
from gateway.http.request import Request
from gateway.http11_exchange import Receive, Scope, Send
from gateway.http11_transport import ClientGone
from gateway.sites import Caller
from gateway.vaultdesk import BODY_BYTES_MAX, PREFIX, Passed, VaultDesk
from gateway.workers import chorus
from gateway.workers.forwarding import SITE
from gateway.workers.peers import ANSWER_S, OWN
from gateway.workers.shelf import PATH as SHELF
from runtime import AskError

if TYPE_CHECKING:
    from gateway.control import Control

REPORTS: Final = "/reports/"
OF_RESPONSES: Final = f"{OWN}/v1/responses/"
OF_VAULT: Final = f"{OWN}{PREFIX}"


class Own:
    """The handlers."""

    def __init__(self, gate: Gate, control: Control) -> None:
        self.gate = gate
        self._control = control
        self._answers = Answers(gate)

    def __repr__(self) -> str:
        return "<Own>"

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer another worker."""
        path: str = scope["path"]
        match scope["method"], path.removeprefix(OWN):
            case "GET", "/about" if self.gate.peers is not None:
                await reply_json(send, 200, chorus.about(self.gate.peers))
            case "GET", "/tree":
                await reply_json(send, 200, await self._control.tree())
            case "GET", "/models":
                await reply_json(send, 200, await self._control.models())
            case "GET", "/readyz":
                own = self.gate.readiness()
                status = 200 if own["status"] == "ready" else 503
                await reply_json(send, status, own)
            case "GET", "/metrics":
                accept = Request(scope, receive, send, 0).headers.get("accept", "")
                kind, text = await self.gate.render_metrics(accept)
                await reply(send, 200, text, [("content-type", kind)])
            case ("GET" | "DELETE") as method, _ if path == SHELF:
                await self._shelf(method, _query(scope), send)
            case _ if path.startswith(OF_RESPONSES):
                await self._response(scope, receive, send)
            case "GET", told if told.startswith(REPORTS):
                report = self.gate.reports.get(told.removeprefix(REPORTS))
                if report is None:
                    await reply_error(send, 404, "unknown_url", "no such report")
                else:
                    await reply_json(send, 200, await report())
            case "GET", "/vault/counts":
                await self._counts(send)
            case "POST", "/follow":
                await self._follow(await _body(scope, receive, send), send)
            case "POST", _ if path.startswith(OF_VAULT):
                body = await _body(scope, receive, send)
                await reply_json(send, *await self._vault(body))
            case method, _:
                await reply_error(send, 404, "unknown_url", f"no {method} {path}")

    async def _shelf(self, method: str, query: Mapping[str, str], send: Send) -> None:
        site, name = query.get("site", ""), query.get("name", "")
        shelf = self.gate.shelf
        blob: bytes | None = None
        if shelf is not None and method == "GET":
            blob = await shelf.get(site, name)
        elif shelf is not None and await shelf.delete(site, name):
            blob = b""
        if blob is None:
            await reply_error(send, 404, "not_found", "no such answer here")
            return
        await reply(send, 200, blob, [("content-type", "application/octet-stream")])

    async def _response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As if the other's client were ours; its key was checked there."""
        inner = {
            **scope,
            "path": scope["path"].removeprefix(OWN),
            "raw_path": scope["raw_path"].removeprefix(OWN.encode()),
        }
        request = Request(inner, receive, send, BODY_BYTES_MAX)
        handler = self._answers.route(request)
        if handler is None:
            await reply_error(send, 404, "unknown_url", "no such path")
            return
        try:
            await handler(request, Caller(request.headers.get(SITE, ""), ""))
        except ClientGone:
            return

    async def _vault(self, body: bytes) -> tuple[int, dict[str, Any]]:
        passed = msgspec.json.decode(body, type=Passed)
        vault = self.gate.lookup("vault")
        assert vault is not None  # It is permanent, and outlives the edge.
        desk = VaultDesk(
            vault, self.gate.config, within=passed.within, peers=self.gate.peers
        )
        return await desk.answer(
            passed.method, passed.path, passed.body, passed.principal
        )

    async def _counts(self, send: Send) -> None:
        vault = self.gate.lookup("vault")
        assert vault is not None  # It is permanent, and outlives the edge.
        try:
            counts = await vault.ask(CountVault(), timeout_s=ANSWER_S)
        except AskError as error:
            await reply_error(send, 404, "unavailable", str(error))
            return
        await reply_json(send, 200, counts)

    async def _follow(self, body: bytes, send: Send) -> None:
        vault = self.gate.lookup("vault")
        assert vault is not None  # It is permanent, and outlives the edge.
        try:
            await vault.ask(msgspec.json.decode(body, type=Follow))
        except AskError as error:
            await reply_error(send, 503, "unavailable", str(error))
            return
        await reply_json(send, 200, {"followed": True})


def _query(scope: Scope) -> Mapping[str, str]:
    raw: bytes = scope["query_string"]
    return dict(parse_qsl(raw.decode("ascii", "replace"), max_num_fields=4))


async def _body(scope: Scope, receive: Receive, send: Send) -> bytes:
    return await Request(scope, receive, send, 2 * BODY_BYTES_MAX).read()
