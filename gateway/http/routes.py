"""Which path is whose: the one table of routes."""

from __future__ import annotations

from gateway.gate import Gate
from gateway.http.app import App, Handler
from gateway.http.inquiries import Endpoint
from gateway.http.ops import Ops
from wire.openai_chat import CHAT


def client_app(gate: Gate, *, created: int, with_operations: bool) -> App:
    """What clients see; health and metrics too, unless they have their own address."""
    ops = Ops(gate, created)
    return App(
        gate,
        open_routes=_operations(ops) if with_operations else {},
        key_routes={("GET", "/v1/models"): ops.models},
        endpoints={"/v1/chat/completions": Endpoint(gate, CHAT)},
    )


def admin_app(gate: Gate, *, created: int) -> App:
    """What operators see on `admin_bind`."""
    ops = Ops(gate, created)
    return App(gate, open_routes=_operations(ops), key_routes={}, endpoints={})


def _operations(ops: Ops) -> dict[tuple[str, str], Handler]:
    return {
        ("GET", "/healthz"): ops.healthz,
        ("GET", "/readyz"): ops.readyz,
        ("GET", "/metrics"): ops.metrics,
    }
