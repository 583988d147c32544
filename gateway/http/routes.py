"""Which path is whose: the one table of routes."""

from __future__ import annotations

from gateway import explaining
from gateway.gate import Gate
from gateway.http.answers import Answers
from gateway.http.app import App, EndpointOf, Handler
from gateway.http.counts import CountEndpoint
from gateway.http.grants import PATH as GRANTS
from gateway.http.grants import Grants
from gateway.http.inquiries import Endpoint
from gateway.http.models import Models
from gateway.http.ops import Ops
from gateway.http.request import Request
from gateway.http.responses import ResponsesEndpoint
from gateway.http.sockets import Sockets
from gateway.http.streams import Streams
from gateway.http.usage import PATH as USAGE
from gateway.http.usage import UsageOfSite
from gateway.signed import BASE, PATHS, SignedVault
from wire.anthropic import MESSAGES
from wire.gemini import GeminiClient, parse_path
from wire.openai_chat import CHAT
from wire.openai_completions import COMPLETIONS
from wire.openai_responses import RESPONSES
from wire.side_exchanges import EMBED_CLIENT

ADMIN = "/admin/"
CONSOLE = "/console"
GEMINI_PATHS = ("/v1beta/models/", "/v1/models/", "/v1alpha/models/", "/v1beta1/")


def client_app(
    gate: Gate,
    *,
    created: int,
    with_operations: bool,
    admin: Handler | None = None,
    console: Handler | None = None,
) -> App:
    """What clients see; what operators do too, unless that has its own address."""
    grants = Grants(gate)
    app = App(
        gate,
        open_routes=_operations(Ops(gate)) if with_operations else {},
        key_routes={
            ("POST", GRANTS): grants.issue,
            ("GET", USAGE): UsageOfSite(gate).answer,
        },
        endpoints={
            "/v1/chat/completions": Endpoint(gate, CHAT),
            "/v1/completions": Endpoint(gate, COMPLETIONS),
            "/v1/responses": ResponsesEndpoint(gate),
            "/v1/embeddings": Endpoint(gate, EMBED_CLIENT, "embed"),
            "/v1/responses/input_tokens": CountEndpoint(gate, RESPONSES),
            "/v1/messages": Endpoint(gate, MESSAGES),
            "/v1/messages/count_tokens": CountEndpoint(gate, MESSAGES),
        },
        by_path=gemini_endpoints(gate),
        open_by_path=grants.route,
        under_path=(
            Answers(gate).route,
            Streams(gate).route,
            Models(gate, created).route,
        ),
        below=_below(admin, console) if with_operations else {},
        sockets=Sockets(gate).serve,
        scopes={GRANTS: "grants", USAGE: "usage"},
    )
    grants.endpoint_at = app.endpoint_of
    app.redeem = grants.redeem_by_socket
    return app


def gemini_endpoints(gate: Gate) -> EndpointOf:
    """Google's clients name model and method in the path, with an encoded colon."""

    def endpoint(request: Request) -> Endpoint | None:
        if not request.path.startswith(GEMINI_PATHS):
            return None
        raw_path, query = request.target
        route = parse_path(raw_path, query)
        if route is None:
            return None
        client = GeminiClient(route)
        if route.method == "countTokens":
            return CountEndpoint(gate, client)
        return Endpoint(gate, client)

    return endpoint


def admin_app(
    gate: Gate,
    *,
    created: int,
    admin: Handler | None = None,
    console: Handler | None = None,
) -> App:
    """What operators see on `admin_bind`."""
    del created
    ops = Ops(gate)
    signed = SignedVault(gate).answer
    routes = {
        **_operations(ops),
        ("GET", explaining.PATH): ops.explain,
        **{(method, f"{BASE}{path}"): signed for method, path in PATHS},
    }
    return App(
        gate,
        open_routes=routes,
        key_routes={},
        endpoints={},
        below=_below(admin, console),
    )


def _below(admin: Handler | None, console: Handler | None) -> dict[str, Handler]:
    below = {ADMIN: admin, CONSOLE: console}
    return {prefix: handler for prefix, handler in below.items() if handler is not None}


def _operations(ops: Ops) -> dict[tuple[str, str], Handler]:
    return {
        ("GET", "/healthz"): ops.healthz,
        ("GET", "/readyz"): ops.readyz,
        ("GET", "/metrics"): ops.metrics,
    }
