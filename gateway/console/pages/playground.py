"""Two routes side by side on one prompt: what they say, how fast, for how much.

Each side is a request like any other: planned, held, leased, recorded, charged to the
site that is chosen. The prompt and the answers stay in the browser; nothing keeps them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from actors.auditor.messages import AuditEvent, Noted
from actors.router.messages import Deployment
from actors.stream.messages import Begin, ClientGone, Inquiry, Open, Whole
from gateway.console.app import Console, Page
from gateway.console.visit import Refused, Shown, Visit, at
from gateway.logs import new_request_id
from wire.dialect import ClientError
from wire.openai_chat import CHAT

TOKENS_MAX: Final = 4096  # Of one answer: a playground is for looking, not for work.
FEATURE: Final = "playground"
SSE: Final = (("content-type", "text/event-stream"), ("x-accel-buffering", "no"))


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (
        Page("GET", "/playground", playground, role="admin"),
        Page("POST", "/playground/run", run, role="admin"),
        Page("GET", "/playground/{request}", outcome, role="admin"),
    )


async def playground(visit: Visit) -> Shown:
    """The form."""
    config = visit.console.office.config
    principal = visit.who.principal
    sites = [
        site.name for site in config.sites if principal.sees(config.home_of(site)[0])
    ]
    models = [model.name for model in config.models]
    deployments = (
        [
            f"{provider.name}/{model}"
            for provider in config.providers
            for model in provider.models
        ]
        if principal.is_operator
        else []
    )
    return visit.show(
        "playground.html",
        sites=sites,
        models=models,
        deployments=deployments,
        tokens_max=TOKENS_MAX,
    )


async def run(visit: Visit) -> Shown:
    """One side, streamed as it comes."""
    config = visit.console.office.config
    site = next((one for one in config.sites if one.name == visit.field("site")), None)
    principal = visit.who.principal
    if site is None or not principal.sees(config.home_of(site)[0]):
        return _problem(404, "There is no such site.")
    target = visit.field("target")
    only = None
    if target.startswith("deployment:"):
        if not principal.is_operator:
            return _problem(403, "Single deployments are the operators' to try.")
        provider, _, model = target.removeprefix("deployment:").partition("/")
        only = Deployment(provider, model)
    else:
        model = target.removeprefix("model:")
    tokens = visit.field("tokens", "512")
    body = msgspec.json.encode(
        {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": min(TOKENS_MAX, int(tokens))
            if tokens.isdecimal()
            else TOKENS_MAX,
            "messages": _messages(visit),
        }
    )
    request_id = new_request_id()
    try:
        head = CHAT.read_head(body, {})
    except ClientError as error:
        return _problem(422, error.message)
    inquiry = Inquiry(
        request_id=request_id,
        site=site.name,
        key_id=f"{site.name}:{visit.console.office.gate.actor_of(principal.name)}",
        operation="chat",
        dialect=CHAT,
        head=head,
        body=body,
        headers={},
        feature=FEATURE,
        only=only,
    )
    gate = visit.console.office.gate
    said = AuditEvent(
        "console.playground",
        actor=principal.name,
        name=model,
        req=request_id,
        detail=(("site", site.name),),
    )
    gate.auditor.offer(Noted((said,)))
    headers = (*SSE, ("x-playground-request", request_id))
    return Shown(200, b"", headers, _answer(visit, inquiry))


async def outcome(visit: Visit) -> Shown:
    """The record of a side, once it is taken in: time and money."""
    try:
        found = await visit.ask("GET", at("records", visit.params["request"]))
    except Refused as refused:
        if refused.status == 404:  # Not taken in yet.
            return Shown(202, b"{}", (("content-type", "application/json"),))
        raise
    record: dict[str, Any] = found["record"]
    kept = (
        "duration_ms", "first_content_ms", "prompt_tokens", "output_tokens",
        "cost_nanousd", "priced", "outcome", "code",
    )  # fmt: skip
    told = {name: record[name] for name in kept if name in record}
    last = record.get("attempts", [{}])[-1] if record.get("attempts") else {}
    told["served_by"] = f"{last.get('provider', '')}/{last.get('model', '')}"
    return Shown(
        200, msgspec.json.encode(told), (("content-type", "application/json"),)
    )


async def _answer(visit: Visit, inquiry: Inquiry) -> AsyncGenerator[bytes]:
    opened = await visit.console.office.gate.streams.ask(Open(inquiry))
    ended = False
    try:
        while pieces := await opened.channel.receive_some():
            for piece in pieces:
                match piece:
                    case Begin():
                        pass
                    case Whole():
                        yield b"data: " + piece.body.replace(b"\n", b" ") + b"\n\n"
                    case _:
                        yield piece
        ended = True
    finally:
        if not ended:
            opened.ref.offer(ClientGone("aborted"))


def _messages(visit: Visit) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": visit.field("prompt")}]
    system = visit.field("system")
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _problem(status: int, text: str) -> Shown:
    body = msgspec.json.encode({"error": {"message": text}})
    return Shown(status, body, (("content-type", "application/json"),))
