"""The control socket: what `stagedoor tree`, `models` and `vault` ask.

HTTP over `state_dir/control.sock`, mode 0700 by its folder: whoever may open it is the
gateway's own user, so there is no login: the principal is `operator:control`. With
several workers each has a socket of its own besides, on which the others ask it for
what lies below `/own` (workers/own.py); what is asked here is answered for all.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec

from actors.auditor.messages import Attest, AuditEvent
from actors.provider.messages import Vitals
from gateway import explaining
from gateway.gate import Gate
from gateway.http.replies import reply, reply_error, reply_json
from gateway.http.request import Request
from gateway.http11_exchange import Receive, Scope, Send
from gateway.vaultdesk import BODY_BYTES_MAX, PREFIX, VaultDesk
from gateway.workers import chorus
from gateway.workers.own import Own
from gateway.workers.peers import OWN
from runtime import AskError, DomainError, Node, System

PRINCIPAL: Final = "operator:control"
EXPORT_BYTES_MAX: Final = 1024  # Two numbers.
ADMIN: Final = "/admin/"
ADMIN_BYTES_MAX: Final = 1 << 20  # A configuration to import.

Handler = Callable[[Request], Awaitable[None]]


class Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries are read out; `last` is -1 for all that there are."""

    first: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] = 0
    last: Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)] = -1


class Control:
    """The ASGI app of the control socket."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.own = Own(gate, self)
        self.system: System | None = None
        self.admin: Handler | None = None

    def __repr__(self) -> str:
        """What it is."""
        return "<Control>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["type"] != "http":
            return
        peers = self.gate.peers
        match scope["method"], scope["path"]:
            case _, path if path.startswith(f"{OWN}/"):
                await self.own.answer(scope, receive, send)
            case "GET", "/tree":
                await reply_json(send, 200, await chorus.tree(peers, await self.tree()))
            case "GET", "/models":
                found = await chorus.models(peers, await self.models())
                await reply_json(send, 200, found)
            case "GET", "/metrics":
                own = await self.gate.render_metrics("")
                kind, text = await chorus.metrics(peers, own, "")
                await reply(send, 200, text, [("content-type", kind)])
            case "GET", "/workers":
                await reply_json(send, 200, await chorus.workers(peers))
            case "GET", explaining.PATH:
                query: bytes = scope["query_string"]
                status, told = await explaining.answer(self.gate, query)
                await reply_json(send, status, told)
            case "GET", "/dump":
                assert self.system is not None
                await reply_json(send, 200, {"dump": self.system.dump()})
            case "POST", "/audit/exports":
                body = await Request(scope, receive, send, EXPORT_BYTES_MAX).read()
                await reply_json(send, *await self._exported(body))
            case method, path if path == PREFIX or path.startswith(f"{PREFIX}/"):
                body = await Request(scope, receive, send, BODY_BYTES_MAX).read()
                desk = self.desk()
                found = await desk.answer(method, path, body, PRINCIPAL)
                await reply_json(send, *found)
            case _, path if self.admin is not None and path.startswith(ADMIN):
                await self.admin(Request(scope, receive, send, ADMIN_BYTES_MAX))
            case method, path:
                await reply_error(
                    send, 404, "unknown_url", f"no {method} {path}; try /tree, /models"
                )

    async def tree(self) -> dict[str, Any]:
        """The actors of this process."""
        assert self.system is not None
        worker = self.gate.peers.worker if self.gate.peers is not None else None
        return {
            "pid": os.getpid(),
            "starts": worker.starts if worker is not None else 1,
            "tree": _node(self.system.snapshot(), await self.gate.vitals()),
        }

    def desk(self) -> VaultDesk:
        """Where commands to the vault are taken."""
        vault = self.gate.lookup("vault")
        assert vault is not None  # It is permanent, and outlives the edge.
        return VaultDesk(vault, self.gate.config, peers=self.gate.peers)

    async def _exported(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Record that the log is about to be read out; only then it may be."""
        try:
            span = msgspec.json.decode(body, type=Export)
            detail = (("first", span.first), ("last", span.last))
            event = AuditEvent("audit.export", actor=PRINCIPAL, detail=detail)
            receipt = await self.gate.auditor.ask(Attest(event))
        except msgspec.MsgspecError as error:
            return 400, {"error": {"message": f"the span cannot be read: {error}"}}
        except (DomainError, AskError) as error:
            return 503, {"error": {"message": str(error)}}
        return 200, {"seq": receipt.seq}

    async def models(self) -> dict[str, Any]:
        """The routes, with the states of their candidates here."""
        vitals = await self.gate.vitals()
        return {
            "models": [
                {
                    "name": model.name,
                    "route": [
                        {
                            "provider": candidate.provider,
                            "model": candidate.model,
                            "state": _state(vitals.get(candidate.provider)),
                        }
                        for candidate in model.route
                    ],
                }
                for model in self.gate.config.models
            ]
        }


def _state(vitals: Vitals | str | None) -> str:
    if isinstance(vitals, Vitals):
        return vitals.state
    return "open" if vitals == "down" else (vitals or "unknown")


def _node(node: Node, vitals: dict[str, Vitals | str]) -> dict[str, Any]:
    """A node, with what a provider says of itself."""
    shown: dict[str, Any] = msgspec.to_builtins(node)
    shown["children"] = [_node(child, vitals) for child in node.children]
    parent, _, name = node.id.rpartition("/")
    if parent == "providers" and name in vitals:
        own = vitals[name]
        shown["state"] = _state(own)
        if isinstance(own, Vitals):
            shown["in_flight"] = f"{own.in_flight}/{own.in_flight_max}"
            shown["waiting"] = own.queued
            shown["failures"] = own.failures
            shown["key_refused"] = own.key_refused
    return shown
