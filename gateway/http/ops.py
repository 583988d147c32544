"""For operators and load balancers: health, readiness, metrics."""

from __future__ import annotations

from gateway import explaining
from gateway.gate import Gate
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request
from gateway.workers import chorus


class Ops:
    """Handlers that need no stream."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __repr__(self) -> str:
        """What it is."""
        return "<Ops>"

    async def healthz(self, request: Request) -> None:
        """The process runs and its loop turns."""
        await reply_json(request.send, 200, {"status": "ok"})

    async def readyz(self, request: Request) -> None:
        """Whether a request would be served now, and if not, why."""
        gate = self.gate
        found = await chorus.readiness(gate.peers, gate.readiness())
        await reply_json(request.send, *found)

    async def explain(self, request: Request) -> None:
        """What the router would do with a request, and why."""
        query: bytes = request.scope["query_string"]
        status, told = await explaining.answer(self.gate, query)
        await reply_json(request.send, status, told)

    async def metrics(self, request: Request) -> None:
        """Prometheus text; rendered in a thread, for it can be long."""
        accept = request.headers.get("accept", "")
        own = await self.gate.render_metrics(accept)
        content_type, body = await chorus.metrics(self.gate.peers, own, accept)
        await reply(request.send, 200, body, [("content-type", content_type)])
