"""One short question to one deployment, as an operator's test of it.

It goes through a stream like any request: with a permit, a hold, a lease, a record. So
it shows what a client would meet, is charged to a site, and counts for the breaker.
"""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from actors.router.messages import Deployment
from actors.stream.messages import Begin, ClientGone, Inquiry, Open, Whole
from gateway.gate import Gate
from gateway.logs import new_request_id
from wire.openai_chat import CHAT

TRY_S: Final = 30.0  # A model that says nothing for longer has failed the test.
TRY_TOKENS_MAX: Final = 64  # Reasoning models think before they say a word.
ERROR_CHARS_MAX: Final = 300
QUESTION: Final = "Answer with the single word OK."


class Tried(msgspec.Struct, frozen=True):
    """What a test call said."""

    ok: bool
    provider: str
    model: str
    request_id: str
    """Its record, as any request's."""
    elapsed_ms: int
    status: int
    error: str


async def try_deployment(gate: Gate, site: str, key_id: str, at: Deployment) -> Tried:
    """Ask. Raises AskError: the gateway itself takes no request now."""
    began = trio.current_time()
    body = msgspec.json.encode(
        {
            "model": at.model,
            "max_completion_tokens": TRY_TOKENS_MAX,
            "messages": [{"role": "user", "content": QUESTION}],
        }
    )
    inquiry = Inquiry(
        request_id=new_request_id(),
        site=site,
        key_id=key_id,
        operation="chat",
        dialect=CHAT,
        head=CHAT.read_head(body, {}),
        body=body,
        headers={},
        only=at,
        feature="provider-test",
    )
    opened = await gate.streams.ask(Open(inquiry))
    status, said = 0, b""
    with trio.move_on_after(TRY_S) as patience:
        while pieces := await opened.channel.receive_some():
            for piece in pieces:
                match piece:
                    case Whole():
                        status, said = piece.status, piece.body
                    case Begin():
                        status = piece.status
                    case _:
                        pass
    if patience.cancelled_caught:
        opened.ref.offer(ClientGone("aborted"))
    ok = status == 200
    error = ""
    if patience.cancelled_caught:
        error = f"no answer within {TRY_S:g} s"
    elif not ok:
        error = _reason(said) or "it ended without an answer"
    return Tried(
        ok=ok,
        provider=at.provider,
        model=at.model,
        request_id=inquiry.request_id,
        elapsed_ms=round((trio.current_time() - began) * 1000),
        status=status,
        error=error,
    )


class _Error(msgspec.Struct):
    message: str = ""


class _Said(msgspec.Struct):
    error: _Error


def _reason(body: bytes) -> str:
    """What a client would have been told."""
    try:
        text = msgspec.json.decode(body, type=_Said).error.message
    except msgspec.MsgspecError:
        return ""
    return "".join(c for c in text[:ERROR_CHARS_MAX] if c.isprintable())
