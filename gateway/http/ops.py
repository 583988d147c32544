"""For operators and load balancers: health, readiness, metrics, the list of models."""

from __future__ import annotations

from actors.router.messages import ListModels
from gateway.gate import Gate
from gateway.http.replies import reply, reply_error, reply_json
from gateway.http.request import Request
from gateway.sites import Caller
from runtime import AskError


class Ops:
    """Handlers that need no stream."""

    def __init__(self, gate: Gate, created: int) -> None:
        self.gate = gate
        self.created = created

    def __repr__(self) -> str:
        """What it is."""
        return "<Ops>"

    async def healthz(self, request: Request) -> None:
        """The process runs and its loop turns."""
        await reply_json(request.send, 200, {"status": "ok"})

    async def readyz(self, request: Request) -> None:
        """Whether a request would be served now, and if not, why."""
        reasons = self.gate.unready()
        status = 503 if reasons else 200
        await reply_json(
            request.send,
            status,
            {"status": "unready" if reasons else "ready", "reasons": reasons},
        )

    async def metrics(self, request: Request) -> None:
        """Prometheus text; rendered in a thread, for it can be long."""
        content_type, body = await self.gate.render_metrics(
            request.headers.get("accept", "")
        )
        await reply(request.send, 200, body, [("content-type", content_type)])

    async def models(self, request: Request, caller: Caller) -> None:
        """GET /v1/models: what this key may ask for."""
        try:
            names = await self.gate.router.ask(ListModels(caller.site))
        except AskError:
            await reply_error(
                request.send,
                503,
                "gateway_unavailable",
                "The gateway cannot answer now; try again in a moment.",
            )
            return
        await reply_json(
            request.send,
            200,
            {
                "object": "list",
                "data": [
                    {
                        "id": name,
                        "object": "model",
                        "created": self.created,
                        "owned_by": "stagedoor",
                    }
                    for name in names
                ],
            },
        )
