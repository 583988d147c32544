"""Which models there are, to whom: OpenAI's, Anthropic's and Google's lists.

The three share paths; who asks is told by the version header or the path's own version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from actors.router.messages import ListModels
from gateway.gate import Gate
from gateway.http.replies import JSON, reply
from gateway.http.request import Request
from gateway.sites import Caller
from runtime import AskError
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect
from wire.events import Fault
from wire.gemini import GeminiClient, Route
from wire.model_lists import render_model, render_models
from wire.openai_chat import CHAT
from wire.openai_models import ModelCard

Handler = Callable[[Request, Caller], Awaitable[None]]

GEMINI: Final = GeminiClient(Route("", "generateContent"))
GOOGLE_PATHS: Final = ("/v1beta/", "/v1alpha/", "/v1beta1/")
LISTS: Final = ("/v1/models", "/v1beta/models", "/v1alpha/models")


def client_of(request: Request) -> ClientDialect:
    """Who asks, where the path alone does not say: for errors, and for lists."""
    # Google's own client asks at /v1/models too, where the version is left to it.
    if request.path.startswith(GOOGLE_PATHS) or "x-goog-api-key" in request.headers:
        return GEMINI
    if "anthropic-version" in request.headers or request.path.startswith(
        "/v1/messages"
    ):
        return MESSAGES
    return CHAT


class Models:
    """Handlers of the lists."""

    def __init__(self, gate: Gate, created: int) -> None:
        self.gate = gate
        self.created = created

    def __repr__(self) -> str:
        """What it serves."""
        return f"<Models at {', '.join(LISTS)}>"

    def route(self, request: Request) -> Handler | None:
        """The handler of a list, or of one model in it."""
        if request.method not in {"GET", "HEAD"}:
            return None
        if request.path in LISTS:
            return self.list
        if any(request.path.startswith(f"{prefix}/") for prefix in LISTS):
            return self.one
        return None

    async def list(self, request: Request, caller: Caller) -> None:
        """What this key may ask for."""
        client = client_of(request)
        names = await self._names(request, caller)
        if names is not None:
            cards = [ModelCard(name, self.created) for name in names]
            await _reply(request, 200, render_models(client, cards))

    async def one(self, request: Request, caller: Caller) -> None:
        """One of them. Names may hold slashes; Google's clients escape them."""
        client = client_of(request)
        name = unquote(request.path.split("/models/", 1)[1])
        names = await self._names(request, caller)
        if names is None:
            return
        if name in names:
            card = ModelCard(name, self.created)
            await _reply(request, 200, render_model(client, card))
            return
        await _fail(
            request,
            Fault(
                kind="client",
                message="There is no such model, or this key may not use it.",
                status=404,
                code="model_not_found",
                type="invalid_request_error",
                param="model",
                source="gateway",
            ),
        )

    async def _names(self, request: Request, caller: Caller) -> tuple[str, ...] | None:
        try:
            return await self.gate.router.ask(ListModels(caller.site, caller.terms))
        except AskError:
            await _fail(
                request,
                Fault(
                    kind="ours",
                    message="The gateway cannot answer now; try again in a moment.",
                    status=503,
                    code="gateway_unavailable",
                    type="server_error",
                    retry_after_s=1.0,
                    source="gateway",
                ),
            )
            return None


async def _reply(request: Request, status: int, body: bytes) -> None:
    await reply(request.send, status, body, (("content-type", JSON),))


async def _fail(request: Request, fault: Fault) -> None:
    shown = client_of(request).render_error(fault)
    await reply(request.send, shown.status, shown.body, shown.headers)
